//! Draining: serve what waits, say goodbye, and be done by the deadline; and stopping, which does none of that.

mod support;

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use pants_engine::{CloseReason, ServerOptions};
use support::*;

/// Far later than anything here takes, so that a test that needs it fails.
const LATE: Duration = Duration::from_secs(60);

fn echo_by_the_book(connection: &mut pants_engine::Connection<'_>, event: &Event) {
    match event {
        Event::Read(data) => {
            connection.write(data);
        }
        other => close_when_asked(connection, other),
    }
}

#[test]
fn a_drain_with_nothing_to_do_ends_at_once() {
    let (running, _) = Running::start(|engine| listen(engine, ServerOptions::default(), || Silent));
    running.remote.drain(LATE);
    running.join();
}

#[test]
fn a_drain_accepts_what_waits_in_the_queue_and_answers_what_was_sent() {
    let (handler, seen) = recorder(echo_by_the_book);
    // The drain is asked for before the first turn: everything is still in the kernel's queues.
    let (running, (address, clients)) = Running::start(move |engine| {
        let (_, address) = listen(engine, ServerOptions::default(), handler);
        let clients: Vec<TcpStream> = (0..100)
            .map(|number: u32| {
                let mut client = client(address);
                client.write_all(&number.to_le_bytes()).unwrap();
                client
            })
            .collect();
        engine.context().drain(LATE);
        (address, clients)
    });
    for (number, mut client) in clients.into_iter().enumerate() {
        assert_eq!(receive_all(&mut client), (number as u32).to_le_bytes());
    }
    let stats = running.join();
    assert_eq!((stats.connections_accepted, stats.connections_closed), (100, 100));
    let reasons: Vec<_> = seen.iter().filter(|event| matches!(event, Event::Close(_))).collect();
    assert_eq!(reasons, vec![Event::Close(CloseReason::Finished); 100]);
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn quiet_connections_are_ended_by_fin_and_not_by_a_reset() {
    let (handler, seen) = recorder(echo_by_the_book);
    let (running, address) = Running::serve(handler);
    let mut clients: Vec<TcpStream> = (0..10).map(|_| client(address)).collect();
    for client in &mut clients {
        assert_echoes(client, b"x");
    }
    running.remote.drain(LATE);
    for mut client in clients {
        assert_eq!(receive_all(&mut client), b"");
    }
    assert_eq!(running.join().connections_closed, 10);
    let events: Vec<_> = seen.iter().collect();
    assert_eq!(events.iter().filter(|event| **event == Event::Drain).count(), 10, "each is told once");
    assert_eq!(events.iter().filter(|event| **event == Event::Close(CloseReason::Finished)).count(), 10);
}

#[test]
fn a_large_reply_that_is_queued_when_the_drain_begins_arrives_whole() {
    let (handler, seen) = recorder(|connection, event| match event {
        Event::Read(_) => assert!(connection.write(&Noise::bytes(10 << 20))),
        other => close_when_asked(connection, other),
    });
    let (running, address) = Running::serve(handler);
    let mut client = client(address);
    client.write_all(b"go").unwrap();
    up_to(&seen, |event| matches!(event, Event::Read(_)));
    running.remote.drain(LATE);
    assert!(receive_all(&mut client) == Noise::bytes(10 << 20));
    drop(client);
    running.join();
    assert_eq!(close_reason(&seen), CloseReason::Finished);
}

#[test]
fn a_connection_that_never_stops_sending_is_told_at_half_of_the_deadline() {
    let (handler, seen) = recorder(|connection, event| match event {
        Event::Drain => {
            connection.write(b"enough");
            connection.close();
        }
        other => close_when_asked(connection, other),
    });
    let (running, address) = Running::serve(handler);
    let client = client(address);
    let mut sending = client.try_clone().unwrap();
    let sender = std::thread::spawn(move || while sending.write_all(&[1; 100_000]).is_ok() {});
    up_to(&seen, |event| matches!(event, Event::Read(_)));
    let deadline = Duration::from_millis(1_000);
    let begun = Instant::now();
    running.remote.drain(deadline);
    // It may also be quiet for a moment by chance and be told then; at the latest it is told before it is closed.
    up_to(&seen, |event| *event == Event::Drain);
    let reason = close_reason(&seen);
    assert_eq!(reason, CloseReason::Stopped, "it goes on sending, so it has no end but the deadline");
    assert!(begun.elapsed() >= deadline - Duration::from_millis(1));
    running.join();
    drop(client);
    sender.join().unwrap();
}

#[test]
fn the_deadline_closes_the_rest() {
    let (handler, seen) = recorder(|_, _| {});
    let (running, address) = Running::serve(handler);
    let clients: Vec<TcpStream> = (0..3).map(|_| client(address)).collect();
    (0..3).for_each(|_| assert_eq!(next(&seen), Event::Connect));
    let deadline = Duration::from_millis(200);
    let begun = Instant::now();
    running.remote.drain(deadline);
    let stats = running.join();
    assert!(begun.elapsed() >= deadline - Duration::from_millis(1));
    assert_eq!((stats.connections_closed, stats.connections_open, stats.timers_pending), (3, 0, 0));
    let events: Vec<_> = seen.iter().collect();
    assert_eq!(events[..3], [Event::Drain, Event::Drain, Event::Drain]);
    assert_eq!(events[3..], vec![Event::Close(CloseReason::Stopped); 3]);
    drop(clients);
}

#[test]
fn on_drain_may_finish_later() {
    let (handler, seen) = recorder(|connection, event| {
        if *event == Event::Drain {
            connection.defer(Duration::from_millis(50), |_: &mut Recorder, connection| {
                connection.write(b"the answer");
                connection.close();
            });
        }
    });
    let (running, address) = Running::serve(handler);
    let mut client = client(address);
    assert_eq!(next(&seen), Event::Connect);
    running.remote.drain(LATE);
    assert_eq!(receive_all(&mut client), b"the answer");
    drop(client);
    running.join();
    assert_eq!(close_reason(&seen), CloseReason::Finished);
}

#[test]
fn a_connection_is_still_served_after_on_drain_until_it_is_closed() {
    let (handler, seen) = recorder(|connection, event| match event {
        Event::Read(data) if data == b"quit" => connection.close(),
        Event::Read(data) => assert!(connection.write(data)),
        _ => {}
    });
    let (running, address) = Running::serve(handler);
    let mut client = client(address);
    assert_eq!(next(&seen), Event::Connect);
    running.remote.drain(LATE);
    assert_eq!(next(&seen), Event::Drain);
    assert_echoes(&mut client, b"one more");
    client.write_all(b"quit").unwrap();
    assert_eq!(receive_all(&mut client), b"");
    drop(client);
    running.join();
}

#[test]
fn a_second_drain_brings_the_deadline_forward_and_never_back() {
    for (first, second) in [(LATE, Duration::from_millis(100)), (Duration::from_millis(100), LATE)] {
        let (handler, seen) = recorder(|_, _| {});
        let (running, address) = Running::serve(handler);
        let _client = client(address);
        assert_eq!(next(&seen), Event::Connect);
        running.remote.drain(first);
        assert_eq!(next(&seen), Event::Drain);
        running.remote.drain(second);
        running.join();
        assert_eq!(seen.iter().collect::<Vec<_>>(), [Event::Close(CloseReason::Stopped)]);
    }
}

#[test]
fn a_paused_connection_is_told_too_and_its_peer_is_not_left_stuck() {
    let (handler, seen) = recorder(|connection, event| match event {
        Event::Read(_) => connection.pause_reading(),
        other => close_when_asked(connection, other),
    });
    let (running, address) = Running::serve(handler);
    let mut client = client(address);
    client.write_all(b"x").unwrap();
    up_to(&seen, |event| matches!(event, Event::Read(_)));
    running.remote.drain(LATE);
    // More than the kernel holds: it is discarded once the connection is closing.
    client.write_all(&vec![1; 48 << 20]).unwrap();
    assert_eq!(receive_all(&mut client), b"");
    drop(client);
    running.join();
    assert_eq!(close_reason(&seen), CloseReason::Finished);
}

#[test]
fn a_drain_reads_on_where_the_peer_is_stuck_on_a_full_window() {
    let (handler, seen) = recorder(|connection, event| match event {
        Event::Read(_) => connection.pause_reading(),
        other => close_when_asked(connection, other),
    });
    let (running, address) = Running::serve(handler);
    let mut client = client(address);
    // As much as goes: no byte of it brings another edge.
    client.set_nonblocking(true).unwrap();
    let piece = [1; 100_000];
    let (mut read, limit) = (false, Instant::now() + PATIENCE);
    while client.write(&piece).is_ok() || !read {
        assert!(Instant::now() < limit, "it takes and takes, or reads nothing");
        read |= seen.try_iter().any(|event| matches!(event, Event::Read(_)));
    }
    client.set_nonblocking(false).unwrap();
    running.remote.drain(LATE);
    client.write_all(&vec![1; 48 << 20]).unwrap();
    drop(client);
    running.join();
    assert_eq!(close_reason(&seen), CloseReason::Finished);
}

#[test]
fn stop_closes_without_a_goodbye() {
    let (handler, seen) = recorder(|_, _| {});
    let (running, address) = Running::serve(handler);
    let mut client = client(address);
    assert_eq!(next(&seen), Event::Connect);
    running.stop();
    assert_eq!(seen.iter().collect::<Vec<_>>(), [Event::Close(CloseReason::Stopped)]);
    assert_eq!(receive_all(&mut client), b"");
}

#[test]
fn a_stop_ends_a_drain() {
    let (handler, seen) = recorder(|_, _| {});
    let (running, address) = Running::serve(handler);
    let _client = client(address);
    running.remote.drain(LATE);
    up_to(&seen, |event| matches!(event, Event::Connect | Event::Drain));
    running.stop();
    assert_eq!(close_reason(&seen), CloseReason::Stopped);
}
