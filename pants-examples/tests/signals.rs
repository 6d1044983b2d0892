//! How pants-echo ends: the first signal drains it, the second ends it at once.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::*;

#[test]
fn both_signals_end_quiet_connections_with_fin_and_the_program_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let server = Server::start(&["--shards", "2"]);
        let mut clients: Vec<TcpStream> = (0..20).map(|_| client(server.address)).collect();
        for client in &mut clients {
            assert_echoes(client, b"hello");
        }
        server.signal(signal);
        for client in &mut clients {
            assert_ends(client);
        }
        drop(clients);
        let ended = server.program.join();
        assert_eq!(ended.code, Some(0));
        assert_eq!(ended.errors, ["pants-echo: draining for at most 10s; a second signal ends it at once"]);
    }
}

#[test]
fn a_server_without_connections_ends_at_once() {
    let server = Server::start(&["--shards", "2"]);
    let begun = Instant::now();
    assert_eq!(server.stop().code, Some(0));
    assert!(begun.elapsed() < Duration::from_secs(5), "it took {:?}", begun.elapsed());
}

/// Sends messages one by one until the server ends the connection; gives how many were answered.
///
/// # Panics
///
/// If the end is a reset, or comes within a reply.
fn converse(address: SocketAddr, number: usize, total: &AtomicUsize) -> usize {
    const MESSAGE_BYTES: usize = 64;
    let mut stream = client(address);
    let mut answered = 0;
    loop {
        let mut message = [0; MESSAGE_BYTES];
        Noise((number as u64 + 1) << 32 | answered as u64).fill(&mut message);
        stream.write_all(&message).expect("a message can be sent until the end was seen");
        let mut reply = [0; MESSAGE_BYTES];
        let mut received = 0;
        while received < MESSAGE_BYTES {
            match stream.read(&mut reply[received..]).expect("the end is no reset") {
                0 if received == 0 => return answered,
                0 => panic!("the end came after {received} bytes of a reply"),
                count => received += count,
            }
        }
        assert!(reply == message, "what came back is not what was sent");
        answered += 1;
        total.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn under_load_nobody_sees_a_reset_or_half_a_reply() {
    const CLIENTS: usize = 32;
    let server = Server::start(&["--shards", "2"]);
    let total = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (address, total) = (server.address, Arc::clone(&total));
            thread::spawn(move || converse(address, number, &total))
        })
        .collect();
    let limit = Instant::now() + PATIENCE;
    while total.load(Ordering::Relaxed) < 5000 {
        assert!(Instant::now() < limit, "the load does not come up");
        thread::yield_now();
    }
    let begun = Instant::now();
    server.signal(Signal::TERM);
    let answered: Vec<usize> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    let ended = server.program.join();
    assert_eq!(ended.code, Some(0));
    assert!(begun.elapsed() < Duration::from_secs(10), "it took {:?}", begun.elapsed());
    // Every byte that the server sent has arrived.
    let bytes = answered.iter().sum::<usize>() * 64;
    let summary = ended.output.last().unwrap();
    assert!(summary.starts_with(&format!("drained: {CLIENTS} connections, ")), "{summary}");
    assert!(summary.ends_with(&format!(", {bytes} bytes out")), "{bytes} bytes came: {summary}");
}

#[test]
fn what_waits_in_the_kernel_when_the_signal_comes_is_answered() {
    let server = Server::start(&["--shards", "2"]);
    let mut open: Vec<TcpStream> = (0..20).map(|_| client(server.address)).collect();
    for client in &mut open {
        assert_echoes(client, b"hello");
    }
    // While it is stopped, the kernel goes on to take connections and bytes.
    server.signal(Signal::STOP);
    for client in &mut open {
        client.write_all(b"on an open connection").unwrap();
    }
    let mut queued: Vec<TcpStream> = (0..50).map(|_| client(server.address)).collect();
    for client in &mut queued {
        client.write_all(b"on one in the listener's queue").unwrap();
    }
    server.signal(Signal::TERM);
    server.signal(Signal::CONT);
    for client in &mut open {
        assert_receives(client, b"on an open connection");
        assert_ends(client);
    }
    for client in &mut queued {
        assert_receives(client, b"on one in the listener's queue");
        assert_ends(client);
    }
    drop((open, queued));
    let ended = server.program.join();
    assert_eq!(ended.code, Some(0));
    assert!(ended.output.last().unwrap().starts_with("drained: 70 connections, "));
}

#[test]
fn nobody_is_accepted_after_the_drain_has_begun() {
    let server = Server::start(&["--shards", "2"]);
    let held = client_that_does_not_read(server.address);
    server.signal(Signal::TERM);
    server.program.next_error();
    let limit = Instant::now() + PATIENCE;
    // The listeners close a moment after the announcement.
    while let Ok(mut early) = TcpStream::connect(server.address) {
        assert!(Instant::now() < limit, "it still accepts");
        let _ = early.read(&mut [0; 8]);
    }
    let refused = TcpStream::connect(server.address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    drop(held);
}

/// A client that writes until nothing more goes and never reads, so that its replies stay with the server.
fn client_that_does_not_read(address: SocketAddr) -> TcpStream {
    let mut stream = client(address);
    stream.set_nonblocking(true).unwrap();
    let (chunk, mut sent) = ([7; 65536], 0);
    let (mut since, limit) = (Instant::now(), Instant::now() + PATIENCE);
    // It is full when the server has taken nothing more for a while.
    while since.elapsed() < Duration::from_millis(100) {
        assert!(Instant::now() < limit, "there is no end to it");
        match stream.write(&chunk) {
            Ok(count) => {
                sent += count;
                since = Instant::now();
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
    assert!(sent > 256 << 10, "only {sent} bytes went");
    stream
}

#[test]
fn a_second_signal_ends_it_at_once_and_the_status_tells_which() {
    for (second, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let server = Server::start(&["--shards", "1"]);
        let held = client_that_does_not_read(server.address);
        server.signal(Signal::TERM);
        assert!(server.program.next_error().starts_with("pants-echo: draining for at most 10s"));
        let begun = Instant::now();
        server.signal(second);
        let ended = server.program.join();
        assert_eq!(ended.code, Some(code));
        assert!(begun.elapsed() < Duration::from_secs(4), "it took {:?}", begun.elapsed());
        assert!(ended.output.iter().all(|line| !line.starts_with("drained")), "it has not drained: {ended:?}");
        drop(held);
    }
}

#[test]
fn a_connection_that_takes_nothing_is_closed_at_the_deadline() {
    let file = ScratchFile::new("drain.toml", "[runtime]\ndrain_timeout = \"300ms\"\n");
    let server = Server::start(&["--shards", "2", "--config", file.path()]);
    let held = client_that_does_not_read(server.address);
    let begun = Instant::now();
    let ended = server.stop();
    assert_eq!(ended.code, Some(0));
    assert!(begun.elapsed() >= Duration::from_millis(300), "it ended before the deadline");
    assert_eq!(ended.errors, ["pants-echo: draining for at most 300ms; a second signal ends it at once"]);
    drop(held);
}
