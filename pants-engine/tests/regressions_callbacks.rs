//! One case for each bug that was found in what comes after a callback: its panic, its bytes, its connection's end.

mod support;

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::panic::panic_any;
use std::rc::Rc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use pants_engine::{
    CloseReason, Connection, ConnectionKey, ConnectionOptions, Context, Engine, Error, Handler, ServerOptions,
};
use support::*;

const MIB: usize = 1024 * 1024;

/// Echoes; at "boom" it writes to the first connection and panics.
struct Bystander(Rc<RefCell<Vec<ConnectionKey>>>);

impl Handler for Bystander {
    fn on_connect(&mut self, connection: &mut Connection<'_>) {
        self.0.borrow_mut().push(connection.key());
    }

    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        if data == b"boom" {
            let first = self.0.borrow()[0];
            connection.context().connection(first).unwrap().write(b"for the first");
            panic_any(ON_PURPOSE);
        }
        connection.write(data);
    }
}

/// An engine with a server of bystanders, and its first `count` connections in order.
fn bystanders(count: usize) -> (Engine, Rc<RefCell<Vec<ConnectionKey>>>, Vec<TcpStream>) {
    let mut engine = Engine::new().unwrap();
    let keys: Rc<RefCell<Vec<ConnectionKey>>> = Rc::default();
    let known = Rc::clone(&keys);
    let server = engine.listen(ANY_PORT, move |_peer| Bystander(Rc::clone(&known))).unwrap();
    let address = engine.context().server_address(server).unwrap().socket_address().unwrap();
    let mut clients = Vec::new();
    while clients.len() < count {
        clients.push(client(address));
        turn_until(&mut engine, |_| keys.borrow().len() == clients.len());
    }
    (engine, keys, clients)
}

#[test]
fn what_a_callback_wrote_before_it_panicked_reaches_its_owner_and_nobody_else() {
    hush();
    let (mut engine, _keys, mut clients) = bystanders(3);
    // Both are there before the engine turns: one batch, the panic in front.
    clients[1].write_all(b"boom").unwrap();
    clients[2].write_all(b"hello").unwrap();
    turn_until(&mut engine, |engine| engine.context().stats().bytes_out == 18);
    assert_eq!(receive(&mut clients[0], 13), b"for the first");
    assert_eq!(receive(&mut clients[2], 5), b"hello");
}

#[test]
fn what_a_timer_wrote_before_it_panicked_reaches_its_owner_and_nobody_else() {
    hush();
    let (mut engine, keys, mut clients) = bystanders(2);
    let first = keys.borrow()[0];
    engine.context().callback(move |context| {
        context.connection(first).unwrap().write(b"for the first");
        panic_any(ON_PURPOSE);
    });
    clients[1].write_all(b"hello").unwrap();
    turn_until(&mut engine, |engine| engine.context().stats().bytes_out == 18);
    assert_eq!(receive(&mut clients[0], 13), b"for the first");
    assert_eq!(receive(&mut clients[1], 5), b"hello");
}

#[test]
fn a_connection_that_closes_after_its_half_close_does_not_wait_for_ever() {
    let (handler, seen) = recorder(|connection, event| match event {
        Event::Connect => connection.shutdown_write(),
        Event::Read(_) => connection.close(),
        _ => {}
    });
    let (running, address) = Running::serve(handler);
    let mut client = client(address);
    assert_eq!(receive_all(&mut client), b"");
    client.write_all(b"now").unwrap();
    // The client keeps its own side open: the linger of 5 s ends it.
    assert_eq!(close_reason(&seen), CloseReason::Finished);
    running.stop();
}

/// Writes more than any kernel's buffers hold.
struct Flood;

impl Handler for Flood {
    fn on_connect(&mut self, connection: &mut Connection<'_>) {
        connection.write(&vec![7; 15 * MIB]);
    }

    fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {}
}

#[test]
fn output_that_is_cut_short_does_not_end_like_the_whole() {
    let idle = ConnectionOptions { idle_timeout: Some(Duration::from_millis(200)), ..ConnectionOptions::default() };
    let options = ServerOptions { connection: idle, ..ServerOptions::default() };
    let (running, address) = Running::serve_with(options, || Flood);
    let mut client = client(address);
    running.wait_until(|stats| stats.connections_closed == 1);
    assert!(client.read_to_end(&mut Vec::new()).is_err(), "a reset was expected");
    running.stop();
}

#[test]
fn a_panic_in_on_close_does_not_destroy_the_reply() {
    hush();
    struct Reply;
    impl Handler for Reply {
        fn on_read(&mut self, connection: &mut Connection<'_>, _data: &[u8]) {
            connection.write(&vec![7; MIB]);
        }

        fn on_close(&mut self, _connection: &mut Connection<'_>, _reason: CloseReason) {
            panic_any(ON_PURPOSE);
        }
    }
    let (running, address) = Running::serve(|| Reply);
    let mut client = client(address);
    client.write_all(b"?").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(receive_all(&mut client).len(), MIB);
    running.wait_until(|stats| stats.connections_closed == 1);
    running.stop();
}

/// Tells of its timers, of which the first panics.
struct Timed(Sender<&'static str>);

impl Handler for Timed {
    fn on_connect(&mut self, connection: &mut Connection<'_>) {
        let soon = Duration::from_millis(5);
        connection.defer(soon, |_: &mut Self, _| panic_any(ON_PURPOSE));
        connection.defer(soon, |timed: &mut Self, _| timed.0.send("timer").unwrap());
        // So that both are due in the same turn.
        let due = Instant::now() + 2 * soon;
        while Instant::now() < due {
            std::hint::spin_loop();
        }
    }

    fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {}

    fn on_close(&mut self, _connection: &mut Connection<'_>, _reason: CloseReason) {
        self.0.send("close").unwrap();
    }
}

#[test]
fn no_timer_of_a_handler_runs_once_it_has_panicked() {
    hush();
    let (sender, seen) = channel();
    let (running, address) = Running::serve(move || Timed(sender.clone()));
    let _client = client(address);
    running.wait_until(|stats| stats.connections_closed == 1);
    running.stop();
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), ["close"]);
}

#[test]
fn a_handler_that_panics_when_it_is_dropped_does_not_stop_its_server() {
    hush();
    struct Bomb;
    impl Handler for Bomb {
        fn on_connect(&mut self, connection: &mut Connection<'_>) {
            connection.abort();
        }

        fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {}
    }
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic_any(ON_PURPOSE);
        }
    }
    let mut engine = Engine::new().unwrap();
    let server = engine.listen(ANY_PORT, |_peer| Bomb).unwrap();
    let address = engine.context().server_address(server).unwrap().socket_address().unwrap();
    let _clients: Vec<_> = (0..5).map(|_| client(address)).collect();
    turn_until(&mut engine, |engine| engine.context().stats().connections_accepted == 5);
}

#[test]
fn a_write_does_not_put_off_the_connect_timeout() {
    struct Late(Sender<Instant>);
    impl Handler for Late {
        fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {}

        fn on_connect_error(&mut self, context: &mut Context, _error: &Error) {
            self.0.send(Instant::now()).unwrap();
            context.stop();
        }
    }
    // A listener whose queue is full: attempts to connect hang.
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let _filling: Vec<_> = (0..3)
        .map(|_| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&address.into());
            socket
        })
        .collect();
    let mut engine = Engine::new().unwrap();
    let (sender, failures) = channel();
    let timeout = Duration::from_secs(1);
    let options = ConnectionOptions { connect_timeout: Some(timeout), ..ConnectionOptions::default() };
    let key = engine.context().connect_with(address, options, Late(sender)).unwrap();
    let (told, written) = channel();
    engine.context().defer(timeout * 9 / 10, move |context| {
        context.connection(key).unwrap().write(b"x");
        told.send(Instant::now()).unwrap();
    });
    engine.start().unwrap();
    // Put off, it would come a whole timeout after the write.
    assert!(failures.recv().unwrap() < written.recv().unwrap() + timeout);
}
