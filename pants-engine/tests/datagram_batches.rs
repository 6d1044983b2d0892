//! UDP datagrams that pass the kernel together: to handlers and peers they are what they would be one by one.

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{UdpGroSegment, UdpGsoSegment};
use pants_engine::{CloseReason, Datagram, DatagramHandler, DatagramKey, DatagramOptions, Endpoint, Engine, Error};
use support::{ANY_PORT, ON_PURPOSE, PATIENCE, hush, turn_until};

/// Reads numbered datagrams, does about each what its script says, and tells their numbers and what else happens.
struct Numbers<F> {
    script: F,
    told: Sender<Told>,
}

#[derive(Debug, PartialEq)]
enum Told {
    Read(u64),
    Refused(Endpoint),
    Close(CloseReason),
}

impl<F: FnMut(&mut Datagram<'_>, u64, &Endpoint) + 'static> DatagramHandler for Numbers<F> {
    fn on_read(&mut self, datagram: &mut Datagram<'_>, data: &[u8], from: &Endpoint) {
        let number = u64::from_le_bytes(data[..8].try_into().unwrap());
        let _ = self.told.send(Told::Read(number));
        (self.script)(datagram, number, from);
    }

    fn on_error(&mut self, _datagram: &mut Datagram<'_>, error: &Error) {
        let Error::Send { to, .. } = error else { panic!("nothing else fails: {error}") };
        let _ = self.told.send(Told::Refused(to.clone()));
    }

    fn on_close(&mut self, _datagram: &mut Datagram<'_>, reason: CloseReason) {
        let _ = self.told.send(Told::Close(reason));
    }
}

/// The datagram `number`, 16 bytes long.
fn numbered(number: u64) -> [u8; 16] {
    let mut datagram = [0; 16];
    datagram[..8].copy_from_slice(&number.to_le_bytes());
    datagram
}

fn echo(datagram: &mut Datagram<'_>, number: u64, from: &Endpoint) {
    assert!(datagram.send_to(&numbered(number), from));
}

/// An engine with one channel, its address, what its handler is told, and a peer.
fn open(
    options: DatagramOptions,
    script: impl FnMut(&mut Datagram<'_>, u64, &Endpoint) + 'static,
) -> (Engine, DatagramKey, SocketAddr, Receiver<Told>, UdpSocket) {
    let (told, seen) = channel();
    let mut engine = Engine::new().unwrap();
    let key = engine.context().open_datagram_with(ANY_PORT, options, Numbers { script, told }).unwrap();
    let address = engine.context().datagram(key).unwrap().local_address().socket_address().unwrap();
    let peer = UdpSocket::bind(ANY_PORT).unwrap();
    peer.connect(address).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    (engine, key, address, seen, peer)
}

fn send(peer: &UdpSocket, numbers: std::ops::Range<u64>) {
    for number in numbers {
        peer.send(&numbered(number)).unwrap();
    }
}

/// The numbers of so many datagrams in the order in which they come, and in how many messages they come.
fn receive(peer: &UdpSocket, count: usize) -> (Vec<u64>, usize) {
    let (mut numbers, mut messages) = (Vec::new(), 0);
    let mut room = vec![0; 65_536];
    while numbers.len() < count {
        let length = peer.recv(&mut room).unwrap();
        numbers.extend(room[..length].chunks(16).map(|data| u64::from_le_bytes(data[..8].try_into().unwrap())));
        messages += 1;
    }
    (numbers, messages)
}

fn read(numbers: std::ops::Range<u64>) -> Vec<Told> {
    numbers.map(Told::Read).collect()
}

fn stats(engine: &mut Engine) -> pants_engine::Stats {
    engine.context().stats()
}

/// Forty answers at a peer that takes trains whole: in how many messages they come.
fn messages_of_forty(segmentation: bool) -> usize {
    let options = DatagramOptions { segmentation, ..DatagramOptions::default() };
    let (mut engine, _, _, seen, peer) = open(options, echo);
    setsockopt(&peer, UdpGroSegment, &true).unwrap();
    send(&peer, 0..40);
    turn_until(&mut engine, |engine| stats(engine).datagrams_out == 40);
    let (numbers, messages) = receive(&peer, 40);
    assert_eq!(numbers, (0..40).collect::<Vec<_>>());
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), read(0..40));
    assert_eq!((stats(&mut engine).bytes_in, stats(&mut engine).bytes_out), (640, 640));
    messages
}

#[test]
fn answers_to_one_peer_leave_as_trains() {
    let messages = messages_of_forty(true);
    assert!(messages <= 8, "{messages} messages");
}

#[test]
fn without_segmentation_each_leaves_as_a_message() {
    assert_eq!(messages_of_forty(false), 40);
}

/// Whoever sent from port 0 took trains from everybody else.
#[test]
fn answers_to_port_0_cost_the_others_no_trains() {
    let nowhere = Endpoint::from(SocketAddr::from(([127, 0, 0, 1], 0)));
    let (mut engine, _, _, seen, peer) = open(DatagramOptions::default(), move |datagram, number, from| {
        // The first of a callback leaves alone, the second and third as a train.
        for _ in 0..3 {
            datagram.send_to(&numbered(number), if number == 0 { &nowhere } else { from });
        }
    });
    send(&peer, 0..1);
    turn_until(&mut engine, |engine| stats(engine).datagrams_dropped == 3);
    setsockopt(&peer, UdpGroSegment, &true).unwrap();
    send(&peer, 1..41);
    turn_until(&mut engine, |engine| stats(engine).datagrams_out == 120);
    let (_, messages) = receive(&peer, 120);
    assert!(messages <= 20, "{messages} messages");
    let refused = seen.try_iter().filter(|told| matches!(told, Told::Refused(to) if to.port() == Some(0))).count();
    assert_eq!(refused, 3);
}

#[test]
fn a_train_that_comes_whole_is_read_one_by_one() {
    let (mut engine, _, _, seen, peer) = open(DatagramOptions::default(), echo);
    // What has the channel take trains whole, and then some that end with a shorter datagram.
    send(&peer, 0..100);
    turn_until(&mut engine, |engine| stats(engine).datagrams_in == 100);
    assert_eq!(receive(&peer, 100).0, (0..100).collect::<Vec<_>>());
    setsockopt(&peer, UdpGsoSegment, &16).unwrap();
    for first in [100, 130, 160] {
        let mut train: Vec<u8> = (first..first + 30).flat_map(numbered).collect();
        train.truncate(29 * 16 + 8);
        peer.send(&train).unwrap();
    }
    turn_until(&mut engine, |engine| stats(engine).datagrams_in == 190);
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), read(0..190));
    assert_eq!(receive(&peer, 90).0, (100..190).collect::<Vec<_>>());
    assert_eq!(stats(&mut engine).bytes_in, 190 * 16 - 3 * 8);
}

#[test]
fn a_pause_within_a_batch_keeps_the_rest_for_later() {
    let (mut engine, key, _, seen, peer) = open(DatagramOptions::default(), |datagram, number, from| {
        echo(datagram, number, from);
        if [6, 7, 20].contains(&number) {
            datagram.pause_reading();
        }
    });
    send(&peer, 0..40);
    for last in [7, 8, 21] {
        turn_until(&mut engine, |engine| stats(engine).datagrams_in == last);
        for _ in 0..3 {
            engine.poll(Some(Duration::ZERO)).unwrap();
        }
        assert_eq!(stats(&mut engine).datagrams_in, last);
        engine.context().datagram(key).unwrap().resume_reading();
    }
    turn_until(&mut engine, |engine| stats(engine).datagrams_in == 40);
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), read(0..40));
    assert_eq!(receive(&peer, 40).0, (0..40).collect::<Vec<_>>());
    assert_eq!(stats(&mut engine).datagrams_dropped, 0);
}

/// Forty datagrams of which the handler does not survive the one with the number 9, in a batch of eight that begins with 6.
fn assert_ends_at_nine(reason: CloseReason) {
    let (mut engine, key, _, seen, peer) = open(DatagramOptions::default(), move |datagram, number, from| {
        echo(datagram, number, from);
        if number == 9 {
            if reason == CloseReason::Panicked {
                std::panic::panic_any(ON_PURPOSE);
            }
            datagram.close();
        }
    });
    send(&peer, 0..40);
    turn_until(&mut engine, |engine| engine.context().datagram(key).is_none());
    let mut told = read(0..10);
    told.push(Told::Close(reason));
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), told);
    assert_eq!(receive(&peer, 10).0, (0..10).collect::<Vec<_>>(), "what was answered before leaves");
    assert_eq!(stats(&mut engine).datagrams_dropped, 4, "what was read with it and not passed on");
}

#[test]
fn closing_within_a_batch_ends_it_and_sends_what_was_answered() {
    assert_ends_at_nine(CloseReason::Finished);
}

#[test]
fn a_panic_within_a_batch_costs_no_answer_given_before() {
    hush();
    assert_ends_at_nine(CloseReason::Panicked);
}

#[test]
fn each_of_a_batch_that_is_refused_is_told_by_its_address() {
    // Broadcasting is not allowed unless it is asked for.
    let nowhere = |number: u64| Endpoint::from(SocketAddr::from(([255, 255, 255, 255], 1 + number as u16)));
    let (mut engine, _, _, seen, peer) = open(DatagramOptions::default(), move |datagram, number, from| {
        datagram.send_to(&numbered(number), &if number % 2 == 0 { from.clone() } else { nowhere(number) });
    });
    send(&peer, 0..40);
    turn_until(&mut engine, |engine| stats(engine).datagrams_in == 40);
    assert_eq!(receive(&peer, 20).0, (0..40).step_by(2).collect::<Vec<_>>());
    turn_until(&mut engine, |engine| stats(engine).datagrams_dropped == 20);
    engine.poll(Some(Duration::ZERO)).unwrap();
    let refused: Vec<Told> = seen.try_iter().filter(|told| !matches!(told, Told::Read(_))).collect();
    assert_eq!(
        refused,
        (0..40).filter(|number| number % 2 == 1).map(|n| Told::Refused(nowhere(n))).collect::<Vec<_>>()
    );
}

#[test]
fn what_one_datagram_has_sent_to_many_reaches_each_in_order() {
    let peers: Vec<UdpSocket> = (0..100).map(|_| UdpSocket::bind(ANY_PORT).unwrap()).collect();
    let addresses: Vec<Endpoint> = peers.iter().map(|peer| peer.local_addr().unwrap().into()).collect();
    let (mut engine, _, _, _seen, peer) = open(DatagramOptions::default(), move |datagram, number, _| {
        for to in &addresses {
            assert!(datagram.send_to(&numbered(number), to));
            // Too long to be gathered: those before it leave first.
            assert!(datagram.send_to(&numbered(number + 1).repeat(1_500), to));
        }
    });
    send(&peer, 5..6);
    turn_until(&mut engine, |engine| stats(engine).datagrams_out == 200);
    for peer in &peers {
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(receive(peer, 1_501).0[..2], [5, 6]);
    }
}
