//! That a datagram costs no allocation: alone in its process, because it counts what the process's allocator is asked for.

#[path = "support/counting.rs"]
mod counting;
mod support;

use std::net::UdpSocket;

use counting::{IS_ENGINE, count};
use pants_engine::{Datagram, DatagramHandler, Endpoint};
use support::*;

struct Echo;

impl DatagramHandler for Echo {
    fn on_read(&mut self, datagram: &mut Datagram<'_>, data: &[u8], from: &Endpoint) {
        datagram.send_to(data, from);
    }
}

/// Datagrams from several senders, `each` of each, some of which one turn meets together.
fn exchange(clients: &[UdpSocket], each: usize, rounds: u32) {
    let message = [b'm'; 64];
    let mut reply = [0; 65];
    for _ in 0..rounds {
        for client in clients {
            for _ in 0..each {
                client.send(&message).unwrap();
            }
        }
        for client in clients {
            for _ in 0..each {
                assert_eq!(client.recv(&mut reply).unwrap(), message.len());
            }
        }
    }
}

#[test]
fn a_datagram_costs_no_allocation() {
    let (running, address) = Running::start(|engine| {
        IS_ENGINE.set(true);
        let key = engine.open_datagram(ANY_PORT, Echo).unwrap();
        engine.context().datagram(key).unwrap().local_address().socket_address().unwrap()
    });
    let client = |_| {
        let socket = UdpSocket::bind(ANY_PORT).unwrap();
        socket.connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    };
    let clients: Vec<UdpSocket> = (0..8).map(client).collect();
    exchange(&clients, 1, 100);
    exchange(&clients, 16, 10);
    // The counter counts: this answer's way back is allocated on the engine's thread.
    assert!(count(|| assert_eq!(running.ask(|_| vec![1_u8; 100]).len(), 100)) > 0);
    exchange(&clients, 1, 100);
    assert_eq!(count(|| exchange(&clients, 1, 2_000)), 0);
    assert_eq!(count(|| exchange(&clients, 16, 100)), 0);
    let stats = running.stop();
    let count = 8 * (2_200 + 16 * 110);
    assert_eq!((stats.datagrams_in, stats.datagrams_out), (count, count));
}
