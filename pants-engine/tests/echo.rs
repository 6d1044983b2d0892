//! Messages that are their own answer, which leave from where they were read: with whatever else a handler asks for, the peer
//! sees what was written, in its order.

mod support;

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use pants_engine::{CloseReason, Connection, ConnectionKey, Handler};
use support::*;

/// Echoes its input, and does what that says beside.
struct Obeys(Sender<CloseReason>);

impl Handler for Obeys {
    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        match data {
            b"nothing" => {}
            b"part" => assert!(connection.write(&data[1..])),
            b"copy" => {
                let elsewhere = data.to_vec();
                assert!(connection.write(&elsewhere));
            }
            b"empty" => assert!(connection.write(&data[..0]) && connection.write(data)),
            b"behind" => assert!(connection.write(b"!") && connection.write(data)),
            b"count" => {
                connection.write(data);
                let queued = connection.queued_bytes();
                connection.write(queued.to_string().as_bytes());
            }
            data => {
                assert!(connection.write(data));
                obey(connection, data);
            }
        }
    }

    fn on_close(&mut self, _connection: &mut Connection<'_>, reason: CloseReason) {
        self.0.send(reason).unwrap();
    }
}

/// After the echo is written.
fn obey(connection: &mut Connection<'_>, data: &[u8]) {
    match data {
        b"twice" => assert!(connection.write(data)),
        b"more" => assert!(connection.write(b"!")),
        b"slices" => assert!(connection.write_vectored(&[IoSlice::new(b"1"), IoSlice::new(b"2")])),
        b"flush" => {
            connection.flush();
            assert!(connection.write(b"!"));
        }
        b"by key" => {
            let key = connection.key();
            connection.context().connection(key).unwrap().write(b"!");
            connection.write(b"?");
        }
        b"later" => {
            connection.defer(Duration::from_millis(1), |_: &mut Obeys, connection| {
                connection.write(b"!");
            });
        }
        b"lines" => connection.set_delimiter("\n"),
        b"pause" => {
            connection.pause_reading();
            connection.defer(Duration::from_millis(1), |_: &mut Obeys, connection| connection.resume_reading());
        }
        b"half" => connection.shutdown_write(),
        b"close" => {
            connection.close();
            assert!(!connection.write(b"too late"));
        }
        b"abort" => connection.abort(),
        b"panic" => std::panic::panic_any(ON_PURPOSE),
        b"move" => {
            connection.detach(|context, detached, _left_behind| {
                context.attach(detached, None, Echo).map_err(|refused| refused.error).unwrap();
            });
        }
        _ => {}
    }
}

#[test]
fn an_echo_is_one_read_and_one_write() {
    let (running, address) = Running::serve(|| Echo);
    let mut client = client(address);
    for size in [1, 64, 16 * 1024] {
        assert_echoes(&mut client, &Noise::bytes(size));
    }
    let stats = running.stop();
    assert_eq!((stats.bytes_in, stats.bytes_out), (16 * 1024 + 65, 16 * 1024 + 65));
    assert_eq!(stats.reads, stats.writes, "whatever pieces the longest came in");
}

#[test]
fn whatever_follows_an_echo_arrives_behind_it_and_in_one_piece_with_it() {
    let (way, _closed) = channel();
    let (running, address) = Running::serve(move || Obeys(way.clone()));
    let mut client = client(address);
    let replies: [(&str, &str, u64); 12] = [
        ("hello", "hello", 1),
        ("part", "art", 1),
        ("copy", "copy", 1),
        ("empty", "empty", 1),
        ("behind", "!behind", 1),
        ("twice", "twicetwice", 1),
        ("more", "more!", 1),
        ("slices", "slices12", 1),
        ("count", "count5", 1),
        ("by key", "by key!?", 1),
        ("flush", "flush!", 2),
        ("later", "later!", 2),
    ];
    // The first leaves the connection with its handler's wish to hear of no `on_write`.
    for _ in 0..2 {
        for (message, reply, writes) in replies {
            let before = running.stats();
            client.write_all(message.as_bytes()).unwrap();
            assert_eq!(receive(&mut client, reply.len()), reply.as_bytes(), "to {message}");
            let after = running.stats();
            assert_eq!(after.writes - before.writes, writes, "to {message}");
        }
    }
    let before = running.stats();
    client.write_all(b"nothing").unwrap();
    running.wait_until(|stats| stats.bytes_in == before.bytes_in + 7);
    assert_eq!(running.stats().writes, before.writes);
    assert_echoes(&mut client, b"pause");
    assert_echoes(&mut client, b"lines");
    client.write_all(b"a\nb\n").unwrap();
    assert_eq!(receive(&mut client, 2), b"ab");
}

#[test]
fn an_echo_leaves_before_the_end_that_its_callback_asked_for() {
    let (way, closed) = channel();
    let (_running, address) = Running::serve(move || Obeys(way.clone()));
    for end in ["half", "close"] {
        let mut client = client(address);
        assert_echoes(&mut client, b"hello");
        client.write_all(end.as_bytes()).unwrap();
        assert_eq!(receive_all(&mut client), end.as_bytes());
        drop(client);
        assert_eq!(next(&closed), CloseReason::Finished);
    }
    let mut client = client(address);
    assert_echoes(&mut client, b"hello");
    client.write_all(b"abort").unwrap();
    assert!(ends_with_reset(&mut client));
    assert_eq!(next(&closed), CloseReason::Aborted);
}

#[test]
fn an_echo_whose_callback_panics_goes_nowhere_and_ends_its_connection_alone() {
    hush();
    let (way, closed) = channel();
    let (running, address) = Running::serve(move || Obeys(way.clone()));
    let (mut first, mut second) = (client(address), client(address));
    assert_echoes(&mut first, b"hello");
    assert_echoes(&mut second, b"hello");
    first.write_all(b"panic").unwrap();
    assert!(ends_with_reset(&mut first));
    assert_eq!(next(&closed), CloseReason::Panicked);
    assert_echoes(&mut second, b"still there");
    let stats = running.stop();
    assert_eq!((stats.panics, stats.bytes_out), (1, 5 + 5 + 11));
}

#[test]
fn an_echo_written_before_its_connection_moves_arrives() {
    let (way, _closed) = channel();
    let (running, address) = Running::serve(move || Obeys(way.clone()));
    let mut client = client(address);
    assert_echoes(&mut client, b"hello");
    assert_echoes(&mut client, b"move");
    assert_echoes(&mut client, b"there");
    assert_eq!(running.stop().connections_handed_in, 1);
}

/// Writes what it is sent to itself, to another, and to itself again.
struct Tells(Option<ConnectionKey>);

impl Handler for Tells {
    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        connection.write(data);
        if let Some(mut other) = self.0.and_then(|key| connection.context().connection(key)) {
            other.write(data);
            connection.write(data);
        }
    }
}

#[test]
fn an_echo_keeps_its_place_among_what_is_written_to_others() {
    let (running, (server, address)) = Running::start(|engine| listen(engine, Default::default(), || Tells(None)));
    let mut other = client(address);
    assert_echoes(&mut other, b"hello");
    let address = running.ask(move |context| {
        let key = context.connections(server)[0];
        let server = context.listen(ANY_PORT, move |_peer| Tells(Some(key))).unwrap();
        context.server_address(server).unwrap().socket_address().unwrap()
    });
    let mut teller = client(address);
    for _ in 0..3 {
        teller.write_all(b"news").unwrap();
        assert_eq!(receive(&mut teller, 8), b"newsnews");
        assert_eq!(receive(&mut other, 4), b"news");
        assert_echoes(&mut other, b"hello");
    }
}

/// Sends until the kernel takes no more from here, and so, in the end, takes no more from the echo either.
fn fill(client: &mut TcpStream, noise: &[u8]) -> usize {
    client.set_nonblocking(true).unwrap();
    let mut sent = 0;
    loop {
        match client.write(&noise[sent..]) {
            Ok(count) => sent += count,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                break;
            }
        }
    }
    client.set_nonblocking(false).unwrap();
    sent
}

#[test]
fn what_the_kernel_will_not_take_of_an_echo_waits_and_arrives_whole() {
    let (running, address) = Running::serve(|| Echo);
    let mut client = client(address);
    assert_echoes(&mut client, b"hello");
    let noise = Noise::bytes(64 * 1024 * 1024);
    let mut sent = 0;
    // The engine may be slower to read than the client to write: then there is room again.
    running.wait_until(|stats| {
        sent += fill(&mut client, &noise[sent..]);
        stats.bytes_in > stats.bytes_out
    });
    sent += fill(&mut client, &noise[sent..]);
    let mut received = vec![0; sent];
    client.read_exact(&mut received).unwrap();
    assert!(received == noise[..sent], "the echo differs");
    let stats = running.stop();
    assert_eq!((stats.bytes_in, stats.bytes_out), (sent as u64 + 5, sent as u64 + 5));
}
