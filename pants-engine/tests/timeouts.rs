//! The timeouts of connections: idle and write-stall, for a server's connections and for one alone.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use pants_engine::{CloseReason, Connection, ConnectionOptions, Engine, Error, Handler, ServerOptions};
use support::*;

/// The engine counts in ticks of a millisecond, so a timeout may be early by less than one.
const TICK: Duration = Duration::from_millis(1);

fn idle_after(timeout: Duration) -> ServerOptions {
    let connection = ConnectionOptions { idle_timeout: Some(timeout), ..ConnectionOptions::default() };
    ServerOptions { connection, ..ServerOptions::default() }
}

#[test]
fn a_silent_connection_is_closed_and_an_active_one_is_not() {
    let timeout = Duration::from_millis(300);
    let (handler, seen) = recorder(|connection, event| {
        if let Event::Read(data) = event {
            connection.write(data);
        }
    });
    let (running, address) = Running::serve_with(idle_after(timeout), handler);
    let begun = Instant::now();
    let mut silent = client(address);
    let mut active = client(address);
    // Its bytes pass more often than the timeout asks for, until the other's end comes.
    silent.set_nonblocking(true).unwrap();
    loop {
        assert_echoes(&mut active, b"x");
        match silent.read(&mut [0; 1]) {
            Ok(0) => break,
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
            other => panic!("{other:?}"),
        }
    }
    assert!(begun.elapsed() >= timeout - TICK);
    assert_eq!(close_reason(&seen), CloseReason::IdleTimeout);
    assert_echoes(&mut active, b"still here");
    assert_eq!(running.stats().connections_open, 1);
    // And when it falls silent too, it goes.
    assert_eq!(receive_all(&mut active), b"");
    assert_eq!(close_reason(&seen), CloseReason::IdleTimeout);
}

#[test]
fn bytes_that_are_written_count_as_activity() {
    struct Ticks(u32);
    impl Ticks {
        fn tick(&mut self, connection: &mut Connection<'_>) {
            self.0 += 1;
            connection.write(b"t");
            if self.0 < 20 {
                connection.defer(Duration::from_millis(50), Self::tick);
            }
        }
    }
    impl Handler for Ticks {
        fn on_connect(&mut self, connection: &mut Connection<'_>) {
            self.tick(connection);
        }
        fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {}
    }
    // A machine so busy that the gap of 50 ms becomes one of 500 would fail this.
    let (_running, address) = Running::serve_with(idle_after(Duration::from_millis(500)), || Ticks(0));
    assert_eq!(receive_all(&mut client(address)), [b't'; 20]);
}

#[test]
fn a_deadline_that_moves_back_costs_no_timer() {
    let (running, address) = Running::serve_with(idle_after(Duration::from_secs(60)), || Echo);
    let mut clients = [client(address), client(address)];
    for client in &mut clients {
        assert_echoes(client, b"x");
    }
    let before = running.stats();
    for _ in 0..200 {
        assert_echoes(&mut clients[0], b"x");
    }
    let after = running.stats();
    assert_eq!(after.timers_pending, 2, "one for each connection");
    assert_eq!(after.timers_fired, before.timers_fired);
    drop(clients);
    running.wait_until(|stats| stats.connections_open == 0);
    assert_eq!(running.stats().timers_pending, 0);
}

#[test]
fn set_idle_timeout_changes_one_connection_only() {
    let timeout = Duration::from_millis(100);
    let (handler, seen) = recorder(|connection, event| match event {
        Event::Read(data) if data == b"hurry" => connection.set_idle_timeout(Some(Duration::from_millis(100))),
        Event::Read(data) if data == b"relax" => connection.set_idle_timeout(None),
        _ => {}
    });
    let (running, address) = Running::serve_with(idle_after(Duration::from_secs(3600)), handler);
    let mut hurried = client(address);
    let mut others = [client(address), client(address)];
    others[0].write_all(b"relax").unwrap();
    up_to(&seen, |event| *event == Event::Read(b"relax".to_vec()));
    let begun = Instant::now();
    hurried.write_all(b"hurry").unwrap();
    assert_eq!(receive_all(&mut hurried), b"");
    assert!(begun.elapsed() >= timeout - TICK);
    assert_eq!(close_reason(&seen), CloseReason::IdleTimeout);
    let stats = running.stats();
    assert_eq!((stats.connections_open, stats.timers_pending), (2, 1), "one timeout is off, one as it was");
    assert_eq!(closes(&seen), 0);
}

#[test]
fn a_shorter_idle_timeout_counts_from_the_last_byte() {
    let (handler, seen) = recorder(|_, _| {});
    let (running, (server, address)) =
        Running::start(move |engine| listen(engine, idle_after(Duration::from_secs(3600)), handler));
    let mut client = client(address);
    client.write_all(b"x").unwrap();
    up_to(&seen, |event| matches!(event, Event::Read(_)));
    let last_byte = Instant::now();
    while last_byte.elapsed() < Duration::from_millis(50) {
        running.stats();
    }
    // Its time is over already when it is set.
    running.ask(move |context| {
        for key in context.connections(server) {
            context.connection(key).unwrap().set_idle_timeout(Some(Duration::from_millis(20)));
        }
    });
    assert_eq!(next(&seen), Event::Close(CloseReason::IdleTimeout));
}

#[test]
fn a_peer_that_takes_nothing_for_too_long_is_reset() {
    let timeout = Duration::from_millis(200);
    let connection = ConnectionOptions { write_stall_timeout: Some(timeout), ..ConnectionOptions::default() };
    let (handler, seen) = recorder(|connection, event| {
        if matches!(event, Event::Read(_)) {
            connection.write(&vec![1; 12 << 20]);
        }
    });
    let options = ServerOptions { connection, ..ServerOptions::default() };
    let (running, address) = Running::serve_with(options, handler);
    let mut client = client(address);
    let begun = Instant::now();
    client.write_all(b"go").unwrap();
    assert_eq!(close_reason(&seen), CloseReason::WriteStalled);
    assert!(begun.elapsed() >= timeout - TICK);
    assert!(ends_with_reset(&mut client));
    assert_eq!(running.stop().timers_pending, 0);
}

#[test]
fn a_peer_that_takes_a_little_now_and_then_is_not_stalled() {
    struct Sends(Duration, Sender<CloseReason>);
    impl Handler for Sends {
        fn on_connect(&mut self, connection: &mut Connection<'_>) {
            connection.set_write_stall_timeout(Some(self.0));
            connection.write(&vec![1; 12 << 20]);
            connection.close();
        }
        fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {}
        fn on_close(&mut self, _connection: &mut Connection<'_>, reason: CloseReason) {
            self.1.send(reason).unwrap();
        }
    }
    let (tell, told) = channel();
    let timeout = Duration::from_millis(400);
    let (_running, address) = Running::serve(move || Sends(timeout, tell.clone()));
    let mut client = client(address);
    let begun = Instant::now();
    // Takes longer than the timeout as a whole, in pieces that come sooner.
    let mut left = 12 << 20;
    while left > 0 {
        left -= receive(&mut client, (1 << 20).min(left)).len();
        let piece = Instant::now();
        while begun.elapsed() < 2 * timeout && piece.elapsed() < timeout / 4 {
            std::thread::yield_now();
        }
    }
    assert!(begun.elapsed() > timeout);
    assert_eq!(receive_all(&mut client), b"");
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(next(&told), CloseReason::Finished);
}

#[test]
fn a_timeout_of_zero_is_an_error_in_options_and_off_on_a_connection() {
    let mut engine = Engine::new().unwrap();
    let result = engine.context().listen_with(ANY_PORT, idle_after(Duration::ZERO), |_| Silent);
    assert!(matches!(result, Err(Error::Options(_))));
    let (handler, seen) = recorder(|connection, event| {
        if matches!(event, Event::Read(_)) {
            connection.set_idle_timeout(Some(Duration::ZERO));
        }
    });
    let (running, address) = Running::serve_with(idle_after(Duration::from_secs(3600)), handler);
    let mut client = client(address);
    client.write_all(b"x").unwrap();
    up_to(&seen, |event| matches!(event, Event::Read(_)));
    running.wait_until(|stats| stats.timers_pending == 0);
}
