//! Panics in callbacks: they end the connection they belong to, once, and nothing else.

mod support;

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::panic::panic_any;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use pants_engine::{CloseReason, Connection, ConnectionOptions, Context, Error, Handler, Overflow, ServerOptions};
use support::*;

/// The callback in which it is to panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Nowhere,
    Connect,
    Read,
    Write,
    End,
    Drain,
    Overflow,
    Close,
    Drop,
}

/// An echo that panics where the first byte it is sent, or its making, says.
struct Mine {
    at: At,
    closed: Sender<CloseReason>,
}

impl Mine {
    fn pass(&self, at: At) {
        if self.at == at {
            panic_any(ON_PURPOSE);
        }
    }
}

impl Handler for Mine {
    fn on_connect(&mut self, _connection: &mut Connection<'_>) {
        self.pass(At::Connect);
    }

    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        connection.write(data);
        self.pass(At::Read);
        if self.at == At::Overflow {
            connection.write(&[0; 100_000]);
        }
    }

    fn on_write(&mut self, _connection: &mut Connection<'_>) {
        self.pass(At::Write);
    }

    fn on_end(&mut self, connection: &mut Connection<'_>) {
        self.pass(At::End);
        connection.close();
    }

    fn on_shutdown(&mut self, connection: &mut Connection<'_>) {
        self.pass(At::Drain);
        connection.close();
    }

    fn on_overflow_error(&mut self, _connection: &mut Connection<'_>, _overflow: Overflow) {
        self.pass(At::Overflow);
    }

    fn on_close(&mut self, _connection: &mut Connection<'_>, reason: CloseReason) {
        self.closed.send(reason).unwrap();
        self.pass(At::Close);
    }
}

impl Drop for Mine {
    fn drop(&mut self) {
        self.pass(At::Drop);
    }
}

/// A server whose second connection panics at `at`; the first and the third do not.
fn serve(at: At) -> (Running, [TcpStream; 3], Receiver<CloseReason>) {
    hush();
    let (closed, closing) = channel();
    let connection = ConnectionOptions {
        write_cap: 20_000,
        write_high_water: 20_000,
        write_low_water: 1,
        ..ConnectionOptions::default()
    };
    let options = ServerOptions { connection, ..ServerOptions::default() };
    let (running, clients) = Running::start(move |engine| {
        let order = std::cell::Cell::new(0);
        let handler = move || {
            order.set(order.get() + 1);
            Mine { at: if order.get() == 2 { at } else { At::Nowhere }, closed: closed.clone() }
        };
        let (_, address) = listen(engine, options, handler);
        // They are there before the engine is started, so that it meets them in one batch.
        [(); 3].map(|()| {
            let mut client = client(address);
            client.write_all(b"x").unwrap();
            client
        })
    });
    (running, clients, closing)
}

/// That the others are served, and that exactly one panic was counted.
fn assert_others_go_on(running: &Running, [first, _, third]: &mut [TcpStream; 3]) {
    for client in [first, third] {
        assert_eq!(receive(client, 1), b"x");
        assert_echoes(client, b"and more");
    }
    running.wait_until(|stats| stats.connections_open == 2);
    assert_eq!(running.stats().panics, 1);
}

#[test]
fn a_panic_in_a_callback_ends_its_connection_alone() {
    for at in [At::Connect, At::Read, At::Write] {
        let (running, mut clients, closed) = serve(at);
        assert_eq!(next(&closed), CloseReason::Panicked, "{at:?}");
        assert!(ends_with_reset(&mut clients[1]), "{at:?}");
        assert_others_go_on(&running, &mut clients);
        drop(running);
        assert_eq!(closed.iter().collect::<Vec<_>>(), [CloseReason::Stopped; 2], "{at:?}");
    }
}

#[test]
fn a_panic_in_on_end_ends_its_connection_alone() {
    let (running, mut clients, closed) = serve(At::End);
    clients[1].shutdown(Shutdown::Write).unwrap();
    assert_eq!(next(&closed), CloseReason::Panicked);
    assert!(ends_with_reset(&mut clients[1]));
    assert_others_go_on(&running, &mut clients);
}

#[test]
fn a_panic_in_on_overflow_error_ends_its_connection_alone() {
    let (running, mut clients, closed) = serve(At::Overflow);
    // The overflow was the first reason to close; either is true of it.
    assert!(matches!(next(&closed), CloseReason::Panicked | CloseReason::Overflow));
    assert!(ends_with_reset(&mut clients[1]));
    assert_others_go_on(&running, &mut clients);
}

#[test]
fn a_panic_in_on_drain_ends_its_connection_alone_and_the_drain_goes_on() {
    let (running, mut clients, closed) = serve(At::Drain);
    for client in &mut clients {
        assert_eq!(receive(client, 1), b"x");
    }
    running.remote.drain(PATIENCE);
    let [first, second, third] = clients;
    assert!(ends_with_reset(&mut { second }));
    for mut client in [first, third] {
        assert_eq!(receive_all(&mut client), b"");
    }
    assert_eq!(running.join().panics, 1);
    let mut reasons: Vec<_> = closed.iter().collect();
    reasons.sort_by_key(|reason| *reason == CloseReason::Panicked);
    assert_eq!(reasons, [CloseReason::Finished, CloseReason::Finished, CloseReason::Panicked]);
}

#[test]
fn a_panic_in_on_close_or_in_the_handlers_drop_comes_once_and_the_connection_is_gone() {
    for at in [At::Close, At::Drop] {
        let (running, mut clients, closed) = serve(at);
        assert_eq!(receive(&mut clients[1], 1), b"x");
        clients[1].shutdown(Shutdown::Write).unwrap();
        assert_eq!(next(&closed), CloseReason::Finished, "{at:?}");
        assert_others_go_on(&running, &mut clients);
        assert_eq!(closed.try_iter().count(), 0, "{at:?}");
    }
}

#[test]
fn a_panic_in_on_close_while_the_engine_stops_spares_the_others_theirs() {
    for at in [At::Close, At::Drop] {
        let (running, mut clients, closed) = serve(at);
        for client in &mut clients {
            assert_eq!(receive(client, 1), b"x");
        }
        assert_eq!(running.stop().panics, 1);
        assert_eq!(closed.iter().collect::<Vec<_>>(), [CloseReason::Stopped; 3]);
    }
}

#[test]
fn a_panic_in_on_connect_error_leaves_nothing_behind() {
    hush();
    struct Fails;
    impl Handler for Fails {
        fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {}
        fn on_connect_error(&mut self, _context: &mut Context, _error: &Error) {
            panic_any(ON_PURPOSE);
        }
    }
    let nobody = std::net::TcpListener::bind(ANY_PORT).unwrap().local_addr().unwrap();
    let (running, _) = Running::start(move |engine| engine.connect(nobody, Fails).unwrap());
    running.wait_until(|stats| stats.panics == 1 && stats.connections_open == 0);
    assert_eq!(running.stop().timers_pending, 0);
}

#[test]
fn a_panic_in_a_connections_timer_ends_that_connection() {
    hush();
    let (handler, seen) = recorder(|connection, event| {
        if *event == Event::Connect {
            connection.defer(Duration::from_millis(1), |_: &mut Recorder, _| panic_any(ON_PURPOSE));
        }
    });
    let (running, address) = Running::serve(handler);
    assert!(ends_with_reset(&mut client(address)));
    assert_eq!(close_reason(&seen), CloseReason::Panicked);
    assert_eq!(running.stats().panics, 1);
}

#[test]
fn messages_from_other_threads_that_panic_leave_the_loop_and_the_rest_of_the_batch() {
    hush();
    let (running, address) = Running::serve(|| Echo);
    let mut client = client(address);
    assert_echoes(&mut client, b"before");
    let (tell, told) = channel();
    for number in 0..100 {
        let tell = tell.clone();
        let message = move |_: &mut Context| match number % 3 {
            0 => panic_any(ON_PURPOSE),
            _ => tell.send(number).unwrap(),
        };
        running.remote.send(message).unwrap();
    }
    drop(tell);
    assert_eq!(told.iter().collect::<Vec<_>>(), (0..100).filter(|number| number % 3 != 0).collect::<Vec<_>>());
    assert_echoes(&mut client, b"after");
    assert_eq!(running.stats().panics, 34);
}

#[test]
fn what_a_handler_wrote_to_another_before_it_panicked_still_leaves() {
    hush();
    let (running, (server, address)) = Running::start(|engine| {
        let (sink, _) = listen(engine, ServerOptions::default(), || Silent);
        let sink_address = engine.context().server_address(sink).unwrap().socket_address().unwrap();
        struct Tells(pants_engine::ServerKey);
        impl Handler for Tells {
            fn on_read(&mut self, connection: &mut Connection<'_>, _data: &[u8]) {
                let context = connection.context();
                for key in context.connections(self.0) {
                    context.connection(key).unwrap().write(b"told");
                }
                panic_any(ON_PURPOSE);
            }
        }
        let (_, address) = listen(engine, ServerOptions::default(), move || Tells(sink));
        (sink_address, address)
    });
    let mut listening = client(server);
    running.wait_until(|stats| stats.connections_accepted == 1);
    let mut panicking = client(address);
    panicking.write_all(b"x").unwrap();
    assert_eq!(receive(&mut listening, 4), b"told");
    assert!(ends_with_reset(&mut panicking));
}
