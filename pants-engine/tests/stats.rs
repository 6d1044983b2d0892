//! What an engine counts: connections by the reason of their end, and not those of its attendants, which drains leave alone.

mod support;

use std::io::Write;
use std::time::Duration;

use pants_engine::{CloseReason, Closings, ConnectionOptions, ServerOptions, Stats};
use support::*;

/// Far later than anything here takes, so that a test that needs it fails.
const LATE: Duration = Duration::from_secs(60);

/// Ends as its one byte of input says.
fn as_told(connection: &mut pants_engine::Connection<'_>, event: &Event) {
    match event {
        Event::Read(data) => match data[0] {
            b'a' => connection.abort(),
            b'p' => std::panic::panic_any(ON_PURPOSE),
            b'c' => connection.close(),
            b'i' => connection.set_idle_timeout(Some(Duration::from_millis(1))),
            b'r' => connection.set_read_timeout(Some(Duration::from_millis(1))),
            _ => {}
        },
        other => close_when_asked(connection, other),
    }
}

fn assert_adds_up(stats: &Stats) {
    assert_eq!(stats.closed.iter().map(|(_, count)| count).sum::<u64>(), stats.connections_closed);
}

#[test]
fn every_end_is_counted_under_its_reason() {
    hush();
    let (handler, seen) = recorder(as_told);
    let (running, address) = Running::serve(handler);
    for (told, reason) in [
        (b'c', CloseReason::Finished),
        (b'a', CloseReason::Aborted),
        (b'p', CloseReason::Panicked),
        (b'i', CloseReason::IdleTimeout),
        (b'r', CloseReason::ReadTimeout),
    ] {
        let mut client = client(address);
        client.write_all(&[told]).unwrap();
        if reason == CloseReason::Finished {
            // It lasts until both sides have said that they have finished.
            assert_eq!(receive_all(&mut client), b"");
            drop(client);
        }
        assert_eq!(close_reason(&seen), reason);
    }
    let mut last = client(address);
    last.write_all(b"-").unwrap();
    up_to(&seen, |event| matches!(event, Event::Read(_)));
    let stats = running.stop();
    assert_adds_up(&stats);
    let mut expected = Closings::default();
    (expected.finished, expected.aborted, expected.panicked) = (1, 1, 1);
    (expected.idle_timeout, expected.read_timeout, expected.stopped) = (1, 1, 1);
    assert_eq!(stats.closed, expected);
}

#[test]
fn a_client_that_nobody_answers_has_not_been_connected() {
    let unused = std::net::TcpListener::bind(ANY_PORT).unwrap().local_addr().unwrap();
    let (running, ()) = Running::start(move |engine| {
        engine.context().connect_with(unused, ConnectionOptions::default(), Silent).unwrap();
    });
    running.wait_until(|stats| stats.connections_closed == 1);
    let stats = running.stop();
    assert_adds_up(&stats);
    assert_eq!(stats.closed.unconnected, 1);
}

#[test]
fn an_attendants_connections_are_not_counted_and_outlive_a_drain() {
    let (running, (attendant, service)) = Running::start(|engine| {
        let options = ServerOptions { attendant: true, ..ServerOptions::default() };
        let (_, attendant) = listen(engine, options, recorder(echo).0);
        let (_, service) = listen(engine, ServerOptions::default(), recorder(as_told).0);
        (attendant, service)
    });
    let mut watcher = client(attendant);
    assert_echoes(&mut watcher, b"before");
    let mut served = client(service);
    served.write_all(b"-").unwrap();
    running.wait_until(|stats| stats.connections_accepted == 1 && stats.bytes_in == 7);
    assert_eq!(running.stats().connections_open, 1);

    // The drain waits for a connection that is busy, and all the while somebody can look.
    running.ask(|context| context.drain(LATE));
    assert_echoes(&mut watcher, b"meanwhile");
    let mut late = client(attendant);
    assert_echoes(&mut late, b"too");
    assert_eq!(receive_all(&mut served), b"", "the service ends");
    drop(served);
    assert_eq!(receive_all(&mut watcher), b"", "with the engine");
    let stats = running.join();
    assert_adds_up(&stats);
    assert_eq!((stats.connections_accepted, stats.connections_closed, stats.connections_open), (1, 1, 0));
}

#[test]
fn a_deadline_of_zero_spares_attendants_until_the_engine_ends() {
    let (running, address) = Running::start(|engine| {
        let options = ServerOptions { attendant: true, ..ServerOptions::default() };
        let (_, address) = listen(engine, options, recorder(echo).0);
        // Keeps the drain from being over.
        engine.context().open_datagram(ANY_PORT, Deaf).unwrap();
        address
    });
    let mut watcher = client(address);
    running.ask(|context| context.drain(LATE));
    assert_echoes(&mut watcher, b"still there");
    running.ask(|context| context.drain(Duration::ZERO));
    assert_eq!(receive_all(&mut watcher), b"");
    assert_eq!(running.join().connections_open, 0);
}

/// Does not end when asked.
struct Deaf;

impl pants_engine::DatagramHandler for Deaf {
    fn on_read(&mut self, _: &mut pants_engine::Datagram<'_>, _: &[u8], _: &pants_engine::Endpoint) {}

    fn on_shutdown(&mut self, _: &mut pants_engine::Datagram<'_>) {}
}

fn echo(connection: &mut pants_engine::Connection<'_>, event: &Event) {
    match event {
        Event::Read(data) => {
            connection.write(data);
        }
        other => close_when_asked(connection, other),
    }
}
