//! What fell between the short ways of a message once: one test for each.

mod support;

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pants_engine::{
    Balancer, CloseReason, Connection, ConnectionKey, Context, Engine, Handler, Newcomer, ServerOptions,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use support::*;

/// Has no `on_write`, so that its messages take the shortest way.
struct Teller(fn(&mut Connection<'_>, &[u8], &Arc<[u8]>), Arc<[u8]>);

impl Handler for Teller {
    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        (self.0)(connection, data, &self.1);
    }
}

/// A server that tells so, with so many shared bytes, and a client whose connection rests.
fn teller(tell: fn(&mut Connection<'_>, &[u8], &Arc<[u8]>), shared: usize) -> (Running, TcpStream, Arc<[u8]>) {
    let shared: Arc<[u8]> = Noise::bytes(shared).into();
    let copy = Arc::clone(&shared);
    let (running, address) = Running::serve(move || Teller(tell, Arc::clone(&copy)));
    let client = client(address);
    running.wait_until(|stats| stats.connections_open == 1);
    (running, client, shared)
}

/// Shared bytes went before the echo that was written before them.
#[test]
fn shared_bytes_leave_behind_an_echo() {
    let tell = |connection: &mut Connection<'_>, data: &[u8], shared: &Arc<[u8]>| {
        assert!(connection.write(data) && connection.write_shared(shared));
    };
    for count in [10, 20_000] {
        let (_running, mut client, shared) = teller(tell, count);
        // The first message finds out that there is no `on_write`.
        for _ in 0..3 {
            client.write_all(b"echo").unwrap();
            assert!(receive(&mut client, 4 + count) == [b"echo", &shared[..]].concat(), "{count} shared bytes");
        }
    }
}

/// An echo was taken after shared bytes that were too many, though they end the connection.
#[test]
fn an_echo_is_not_taken_after_shared_bytes_that_were_refused() {
    let tell = |connection: &mut Connection<'_>, data: &[u8], shared: &Arc<[u8]>| {
        if data == b"first" {
            connection.write(data);
        } else {
            assert!(!connection.write_shared(shared) && !connection.write(data));
        }
    };
    let (running, mut client, _shared) = teller(tell, 17 * 1024 * 1024);
    assert_echoes(&mut client, b"first");
    client.write_all(b"echo").unwrap();
    assert!(ends_with_reset(&mut client));
    assert_eq!(running.stats().panics, 0);
}

/// A balancer that greets the first connection whenever there is another one.
struct Greeting(Option<ConnectionKey>);

impl Balancer for Greeting {
    fn on_accept(&mut self, _context: &mut Context, newcomer: Newcomer) -> Option<Newcomer> {
        Some(newcomer)
    }

    fn on_change(&mut self, context: &mut Context, _open: usize) {
        if let Some(mut first) = self.0.and_then(|key| context.connection(key)) {
            first.write(b"for the first");
        }
    }
}

/// What a balancer had written waited in the outbox, and left with what the next connection in the batch was sent.
#[test]
fn what_a_balancer_writes_reaches_nobody_else() {
    // The outbox is used for it, since it is no mere echo.
    let exclaim = |connection: &mut Connection<'_>, data: &[u8], _: &Arc<[u8]>| {
        assert!(connection.write(data) && connection.write(b"!"));
    };
    let mut engine = Engine::new().unwrap();
    let (server, address) = listen(&mut engine, ServerOptions::default(), move || Teller(exclaim, Arc::from([])));
    let mut clients = [(); 2].map(|()| client(address));
    turn_until(&mut engine, |engine| engine.context().connections_open(server) == 2);
    for (client, written) in clients.iter_mut().zip([6, 12]) {
        client.write_all(b"rests").unwrap();
        turn_until(&mut engine, |engine| engine.context().stats().bytes_out == written);
        assert_eq!(receive(client, 6), b"rests!");
    }
    let peer = clients[0].local_addr().unwrap();
    let context = engine.context();
    let mut keys = context.connections(server).into_iter();
    let first = keys.find(|key| context.connection(*key).is_some_and(|first| *first.peer_address() == peer));
    engine.context().set_balancer(server, Greeting(first));
    // Both events are of one turn: that of the listening socket comes first.
    let third = client(address);
    clients[1].write_all(b"mine").unwrap();
    turn_until(&mut engine, |engine| engine.context().stats().bytes_out >= 12 + 13 + 5);
    assert_eq!(receive(&mut clients[1], 5), b"mine!");
    assert_eq!(receive(&mut clients[0], 13), b"for the first");
    drop(third);
}

/// It was told that all had ended well: that the peer is gone showed in the `shutdown` that is not called any more.
#[test]
fn a_reset_right_behind_the_peers_end_is_told() {
    let (handler, seen) = recorder(close_when_asked);
    let mut engine = Engine::new().unwrap();
    let (_, address) = listen(&mut engine, ServerOptions::default(), handler);
    let client = client(address);
    turn_until(&mut engine, |engine| engine.context().stats().connections_open == 1);
    client.shutdown(Shutdown::Write).unwrap();
    reset(client);
    turn_until(&mut engine, |engine| engine.context().stats().connections_open == 0);
    assert_eq!(close_reason(&seen), CloseReason::Reset);
}

/// A listening socket that lives on elsewhere went on to wake an engine that had closed it.
#[test]
fn a_listening_socket_that_a_drain_has_closed_wakes_the_engine_no_more() {
    let mut engine = Engine::new().unwrap();
    let (server, address) = listen(&mut engine, ServerOptions::default(), || Silent);
    let open = client(address);
    turn_until(&mut engine, |engine| engine.context().connections_open(server) == 1);
    let elsewhere = engine.context().server_socket(server).unwrap().try_clone_to_owned().unwrap();
    engine.context().drain(Duration::ZERO);
    // The deadline has passed before the server is driven.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(2) {
        std::thread::yield_now();
    }
    engine.start().unwrap();
    let waiting = client(address);
    let mut watched = [PollFd::new(&engine, PollFlags::IN)];
    assert_eq!(poll(&mut watched, Some(&Timespec::default())).unwrap(), 0, "it is told of what is not its own");
    drop((open, waiting, elsewhere));
}
