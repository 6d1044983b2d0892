//! That a message costs no allocation: alone in its process, because it counts what the process's allocator is asked for.

#[path = "support/counting.rs"]
mod counting;
mod support;

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use counting::{IS_ENGINE, count};
use pants_engine::{ConnectionOptions, ServerOptions};
use support::*;

/// Messages one at a time, and in batches that one turn meets together.
fn exchange(clients: &mut [TcpStream], rounds: u32) {
    let message = [b'm'; 64];
    let mut reply = [0; 64];
    for _ in 0..rounds {
        for client in &mut *clients {
            client.write_all(&message).unwrap();
        }
        for client in &mut *clients {
            std::io::Read::read_exact(client, &mut reply).unwrap();
            client.write_all(&message).unwrap();
            std::io::Read::read_exact(client, &mut reply).unwrap();
        }
    }
}

#[test]
fn a_message_costs_no_allocation() {
    let connection = ConnectionOptions { idle_timeout: Some(Duration::from_secs(60)), ..ConnectionOptions::default() };
    let options = ServerOptions { connection, ..ServerOptions::default() };
    let (running, (_, address)) = Running::start(move |engine| {
        IS_ENGINE.set(true);
        listen(engine, options, || Echo)
    });
    let mut clients: Vec<TcpStream> = (0..8).map(|_| client(address)).collect();
    exchange(&mut clients, 100);
    // The counter counts: this answer's way back is allocated on the engine's thread.
    assert!(count(|| assert_eq!(running.ask(|_| vec![1_u8; 100]).len(), 100)) > 0);
    exchange(&mut clients, 100);
    assert_eq!(count(|| exchange(&mut clients, 2_000)), 0);
    assert_eq!(running.stop().reads, 8 * 2 * 2_200);
}
