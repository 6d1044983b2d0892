//! Writing what many connections share: its place among other writes, slow peers, the marks, the cap and the ends.

mod support;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Weak};

use pants_engine::{CloseReason, Connection, ConnectionKey, ConnectionOptions, Context, ServerKey, ServerOptions};
use support::*;

/// A server whose connections do nothing by themselves, and close when their peers do; with its key.
fn server(connection: ConnectionOptions) -> (Running, ServerKey, SocketAddr, Receiver<Event>) {
    let (handler, seen) = recorder(close_when_asked);
    let options = ServerOptions { connection, ..ServerOptions::default() };
    let (running, (key, address)) = Running::start(move |engine| listen(engine, options, handler));
    (running, key, address, seen)
}

/// This many clients of it, all accepted, in the order of their connections' keys.
fn connect(running: &Running, server: ServerKey, address: SocketAddr, count: usize) -> Vec<(ConnectionKey, TcpStream)> {
    let add = |_| {
        let client = client(address);
        let local = client.local_addr().unwrap();
        let find = move |context: &mut Context| {
            let keys = context.connections(server);
            keys.into_iter().find(|&key| *context.connection(key).unwrap().peer_address() == local)
        };
        loop {
            if let Some(key) = running.ask(find) {
                return (key, client);
            }
        }
    };
    (0..count).map(add).collect()
}

/// Writes this to all of them, from outside of any of their callbacks. Gives whether each has taken it.
fn tell_all(running: &Running, clients: &[(ConnectionKey, TcpStream)], data: &Arc<[u8]>) -> Vec<bool> {
    let (keys, data): (Vec<_>, _) = (clients.iter().map(|(key, _)| *key).collect(), Arc::clone(data));
    let tell = move |context: &mut Context| {
        keys.into_iter().map(|key| context.connection(key).is_some_and(|mut to| to.write_shared(&data))).collect()
    };
    running.ask(tell)
}

/// Waits until nobody else holds it.
fn wait_until_let_go(running: &Running, data: &Weak<[u8]>) {
    running.wait_until(|_| data.strong_count() == 0);
}

#[test]
fn slow_peers_hear_all_of_what_is_queued_once_for_all_of_them() {
    const SIZE: usize = 8 * 1024 * 1024;
    let (running, server, address, _seen) = server(ConnectionOptions::default());
    let mut clients = connect(&running, server, address, 3);
    let data: Arc<[u8]> = Noise::bytes(SIZE).into();
    let (first, last) = (clients[0].0, clients[2].0);
    let before: Arc<[u8]> = b"before ".as_slice().into();
    running.ask(move |context| {
        context.connection(first).unwrap().write(b"of its own ");
        context.connection(last).unwrap().write_shared(&before);
    });
    assert_eq!(tell_all(&running, &clients, &data), [true; 3]);
    assert_eq!(Arc::strong_count(&data), 4, "each queue refers to it");
    running.ask(move |context| assert!(context.connection(last).unwrap().write(b" behind")));
    let expect = |client: &mut TcpStream, parts: &[&[u8]]| {
        for part in parts {
            assert!(receive(client, part.len()) == *part, "not what was written");
        }
    };
    expect(&mut clients[0].1, &[b"of its own ", &data]);
    expect(&mut clients[1].1, &[&data]);
    expect(&mut clients[2].1, &[b"before ", &data, b" behind"]);
    let weak = Arc::downgrade(&data);
    drop(data);
    wait_until_let_go(&running, &weak);
}

#[test]
fn what_is_small_leaves_with_the_other_writes_of_its_callback() {
    let small: Arc<[u8]> = b"small ".as_slice().into();
    let large: Arc<[u8]> = vec![b'l'; 300].into();
    let (handler, _seen) = recorder_with(move |connection: &mut Connection<'_>, event: &Event| {
        if matches!(event, Event::Read(_)) {
            // Alone at first, and then behind what waits already.
            assert!(connection.write_shared(&small) && connection.write(b"own "));
            assert!(connection.write_shared(&small) && connection.write_shared(&large));
            assert_eq!(connection.queued_bytes(), 316);
        }
    });
    let (running, address) = Running::serve(handler);
    let mut client = client(address);
    client.write_all(b"go").unwrap();
    assert_eq!(receive(&mut client, 316), [b"small own small ".as_slice(), &[b'l'; 300]].concat());
    assert_eq!(running.stats().writes, 1);
}

#[test]
fn in_its_own_callback_what_is_large_goes_straight_out_behind_what_was_written() {
    let shared: Arc<[u8]> = Noise::bytes(20_000).into();
    let copy = Arc::clone(&shared);
    let (handler, seen) = recorder_with(move |connection: &mut Connection<'_>, event: &Event| {
        if matches!(event, Event::Read(_)) {
            assert!(connection.write(b"own ") && connection.write_shared(&copy));
            assert_eq!(connection.queued_bytes(), 0);
            assert!(connection.write(b" own"));
        }
    });
    let (running, address) = Running::serve(handler);
    let mut client = client(address);
    client.write_all(b"go").unwrap();
    assert!(receive(&mut client, 20_008) == [b"own ", &shared[..], b" own"].concat());
    assert_eq!(running.stats().writes, 3);
    drop(client);
    let events = up_to(&seen, |event| *event == Event::End);
    assert_eq!(events.iter().filter(|event| **event == Event::Write).count(), 1, "{events:?}");
}

#[test]
fn a_connection_that_is_told_by_others_hears_that_all_has_left() {
    let (running, server, address, seen) = server(ConnectionOptions::default());
    let clients = connect(&running, server, address, 1);
    let data: Arc<[u8]> = vec![1; 1000].into();
    assert_eq!(tell_all(&running, &clients, &data), [true]);
    assert_eq!(up_to(&seen, |event| *event == Event::Write), [Event::Connect, Event::Write]);
}

#[test]
fn it_passes_the_marks_and_the_cap_as_any_write_does() {
    const CAP: usize = 1024 * 1024;
    let options = ConnectionOptions { write_cap: CAP, ..ConnectionOptions::default() };
    let (running, server, address, seen) = server(options);
    let mut clients = connect(&running, server, address, 2);
    let piece: Arc<[u8]> = Noise::bytes(CAP / 4).into();
    // Only the first reads.
    let mut rounds = 0;
    while tell_all(&running, &clients, &piece) == [true, true] {
        rounds += 1;
        assert!(receive(&mut clients[0].1, piece.len()) == piece[..]);
    }
    assert!(rounds >= 3, "the cap holds three pieces");
    assert!(receive(&mut clients[0].1, piece.len()) == piece[..]);
    assert!(ends_with_reset(&mut clients[1].1));
    assert_eq!(close_reason(&seen), CloseReason::Overflow);
    // A write that is longer than the cap is refused as a whole.
    assert_eq!(tell_all(&running, &clients[..1], &vec![0; CAP + 1].into()), [false]);
    assert_eq!(close_reason(&seen), CloseReason::Overflow);
    let weak = Arc::downgrade(&piece);
    drop(piece);
    wait_until_let_go(&running, &weak);
}

#[test]
fn closed_and_closing_connections_take_nothing_and_an_empty_write_is_none() {
    let (running, server, address, seen) = server(ConnectionOptions::default());
    let mut clients = connect(&running, server, address, 3);
    let data: Arc<[u8]> = vec![1; 1000].into();
    let (aborted, closing) = (clients[0].0, clients[1].0);
    let told = Arc::clone(&data);
    let taken = running.ask(move |context| {
        context.connection(aborted).unwrap().abort();
        context.connection(closing).unwrap().close();
        [aborted, closing].map(|key| context.connection(key).unwrap().write_shared(&told))
    });
    assert_eq!(taken, [false; 2]);
    assert_eq!(close_reason(&seen), CloseReason::Aborted);
    assert_eq!(tell_all(&running, &clients, &Arc::default()), [false, false, true]);
    assert_eq!(running.stats().writes, 0);
    assert_eq!(tell_all(&running, &clients, &data), [false, false, true]);
    assert_eq!(receive(&mut clients[2].1, 1000), [1; 1000]);
}
