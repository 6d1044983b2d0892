//! Clients: connecting, failing to, and what was written before it was known.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use pants_engine::{CloseReason, Connection, ConnectionOptions, Context, Endpoint, Engine, Error, Handler};
use support::*;

/// A server of this thread's own.
fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(ANY_PORT).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// An address of this machine at which nobody listens.
fn nobody() -> SocketAddr {
    listener().1
}

/// A server whose queue is full: what is sent to open a connection to it is dropped, and so it stays silent.
fn deaf() -> (SocketAddr, impl Sized) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        waiting.push(stream);
        assert!(waiting.len() < 10, "the queue does not fill");
    }
    (address, (socket, waiting))
}

#[test]
fn a_client_connects_exchanges_and_closes() {
    let (handler, seen) = recorder(|connection, event| match event {
        Event::Connect => assert!(connection.write(b"ping")),
        Event::Read(_) => connection.close(),
        _ => {}
    });
    let (listener, address) = listener();
    let (running, _) = Running::start(move |engine| engine.connect(address, handler()).unwrap());
    let mut server = accept(&listener);
    assert_eq!(receive(&mut server, 4), b"ping");
    server.write_all(b"pong").unwrap();
    assert_eq!(receive_all(&mut server), b"");
    drop(server);
    let events = up_to(&seen, |event| matches!(event, Event::Close(_)));
    let pong = Event::Read(b"pong".to_vec());
    assert_eq!(events, [Event::Connect, Event::Write, pong, Event::Close(CloseReason::Finished)]);
    let stats = running.stop();
    assert_eq!((stats.connections_started, stats.connections_closed, stats.connections_accepted), (1, 1, 0));
}

#[test]
fn a_client_knows_its_addresses_and_has_no_server() {
    struct Knows(std::sync::mpsc::Sender<(Endpoint, Option<Endpoint>, bool)>);
    impl Handler for Knows {
        fn on_connect(&mut self, connection: &mut Connection<'_>) {
            let known = (connection.peer_address().clone(), connection.local_address(), connection.server().is_none());
            self.0.send(known).unwrap();
        }
        fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {}
    }
    let (listener, address) = listener();
    let (tell, told) = channel();
    let (_running, _) = Running::start(move |engine| engine.connect(address, Knows(tell)).unwrap());
    let server = accept(&listener);
    assert_eq!(next(&told), (address.into(), Some(server.peer_addr().unwrap().into()), true));
}

#[test]
fn a_refused_connection_is_told_by_on_connect_error_alone() {
    let (handler, seen) = recorder(|_, _| {});
    let address = nobody();
    let (running, _) = Running::start(move |engine| engine.connect(address, handler()).unwrap());
    assert_eq!(next(&seen), Event::ConnectFailure(ErrorKind::ConnectionRefused));
    let stats = running.stop();
    assert_eq!((stats.connections_open, stats.connections_closed), (0, 1));
    assert_eq!(seen.iter().count(), 0, "nothing comes after it");
}

#[test]
fn the_error_names_the_address() {
    struct Names(std::sync::mpsc::Sender<String>);
    impl Handler for Names {
        fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {}
        fn on_connect_error(&mut self, _context: &mut Context, error: &Error) {
            self.0.send(error.to_string()).unwrap();
        }
    }
    let address = nobody();
    let (tell, told) = channel();
    let (_running, _) = Running::start(move |engine| engine.connect(address, Names(tell)).unwrap());
    assert!(next(&told).starts_with(&format!("cannot connect to {address}: ")));
}

#[test]
fn a_server_that_does_not_answer_is_given_up_after_the_connect_timeout() {
    let (address, _deaf) = deaf();
    let (handler, seen) = recorder(|_, _| {});
    let timeout = Duration::from_millis(150);
    let options = ConnectionOptions { connect_timeout: Some(timeout), ..ConnectionOptions::default() };
    let begun = Instant::now();
    let (running, _) =
        Running::start(move |engine| engine.context().connect_with(address, options, handler()).unwrap());
    assert_eq!(next(&seen), Event::ConnectFailure(ErrorKind::TimedOut));
    // The engine counts in ticks of a millisecond, so a timeout may be early by less than one.
    assert!(begun.elapsed() >= timeout - Duration::from_millis(1));
    assert_eq!(running.stop().timers_pending, 0);
    assert_eq!(seen.iter().count(), 0);
}

#[test]
fn what_is_written_before_the_connection_is_made_is_delivered_in_order() {
    let (listener, address) = listener();
    let (handler, seen) = recorder(|connection, event| {
        if *event == Event::Connect {
            connection.write(b" last");
        }
    });
    let large = Noise::bytes(3_000_000);
    let expected = [b"first ", &large[..], b" last"].concat();
    let (_running, taken) = Running::start(move |engine| {
        let key = engine.connect(address, handler()).unwrap();
        let mut connection = engine.context().connection(key).unwrap();
        (connection.write(b"first "), connection.write(&large), connection.queued_bytes())
    });
    assert_eq!(taken, (true, true, 3_000_006));
    let mut server = accept(&listener);
    assert!(receive(&mut server, expected.len()) == expected);
    assert_eq!(up_to(&seen, |event| *event == Event::Write), [Event::Connect, Event::Write]);
}

#[test]
fn a_client_closed_before_it_is_connected_still_delivers_what_it_wrote() {
    let (listener, address) = listener();
    let (handler, seen) = recorder(|_, _| {});
    let (_running, _) = Running::start(move |engine| {
        let key = engine.connect(address, handler()).unwrap();
        let mut connection = engine.context().connection(key).unwrap();
        connection.write(b"note");
        connection.close();
    });
    let mut server = accept(&listener);
    assert_eq!(receive_all(&mut server), b"note");
    drop(server);
    assert_eq!(close_reason(&seen), CloseReason::Finished);
}

#[test]
fn an_abort_while_connecting_is_told_by_on_connect_error_alone() {
    let (address, _deaf) = deaf();
    let (handler, seen) = recorder(|_, _| {});
    let (running, key) = Running::start(move |engine| engine.connect(address, handler()).unwrap());
    running.ask(move |context| context.connection(key).unwrap().abort());
    assert_eq!(next(&seen), Event::ConnectFailure(ErrorKind::ConnectionAborted));
    assert!(running.ask(move |context| context.connection(key).is_none()));
    assert_eq!(running.stop().timers_pending, 0);
    assert_eq!(seen.iter().count(), 0);
}

#[test]
fn a_stop_while_connecting_is_told_by_on_connect_error_alone() {
    let (address, _deaf) = deaf();
    let (handler, seen) = recorder(|_, _| {});
    let (running, _) = Running::start(move |engine| engine.connect(address, handler()).unwrap());
    running.stop();
    assert_eq!(seen.iter().collect::<Vec<_>>(), [Event::ConnectFailure(ErrorKind::ConnectionAborted)]);
}

#[test]
fn a_client_may_try_again_from_on_connect_error() {
    /// Tries the addresses in turn, as a program with several servers does.
    struct Tries(Vec<SocketAddr>, std::sync::mpsc::Sender<usize>);
    impl Handler for Tries {
        fn on_connect(&mut self, connection: &mut Connection<'_>) {
            connection.write(b"found");
            self.1.send(self.0.len()).unwrap();
        }
        fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {}
        fn on_connect_error(&mut self, context: &mut Context, _error: &Error) {
            let next = self.0.pop().unwrap();
            context.connect(next, Tries(std::mem::take(&mut self.0), self.1.clone())).unwrap();
        }
    }
    let (listener, address) = listener();
    let (tell, told) = channel();
    let others = vec![nobody(), address, nobody(), nobody()];
    let first = nobody();
    let (running, _) = Running::start(move |engine| engine.connect(first, Tries(others, tell)).unwrap());
    assert_eq!(next(&told), 1);
    assert_eq!(receive(&mut accept(&listener), 5), b"found");
    assert_eq!(running.stats().connections_started, 4);
}

#[test]
fn a_server_that_speaks_first_and_leaves_at_once_is_heard() {
    let (listener, address) = listener();
    let (handler, seen) = recorder(close_when_asked);
    let server = std::thread::spawn(move || {
        let mut server = accept(&listener);
        server.write_all(b"busy, go away").unwrap();
        server.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
    });
    let (_running, _) = Running::start(move |engine| engine.connect(address, handler()).unwrap());
    let events = up_to(&seen, |event| matches!(event, Event::Close(_)));
    let read = Event::Read(b"busy, go away".to_vec());
    assert_eq!(events, [Event::Connect, read, Event::End, Event::Close(CloseReason::Finished)]);
    server.join().unwrap();
}

#[test]
fn options_that_contradict_each_other_drop_the_handler_without_a_callback() {
    let (handler, seen) = recorder(|_, _| {});
    let (_listener, address) = listener();
    let mut engine = Engine::new().unwrap();
    let options = ConnectionOptions { write_low_water: usize::MAX, ..ConnectionOptions::default() };
    let result = engine.context().connect_with(address, options, handler());
    assert!(matches!(result, Err(Error::Options(_))));
    drop(handler);
    assert_eq!(seen.iter().count(), 0);
    assert_eq!(engine.context().stats().connections_open, 0);
}

/// What a client of this local address is told at once.
fn from_local(ip: &str, address: impl pants_engine::ToAddress) -> Result<(), Error> {
    let options = ConnectionOptions { local_address: Some(ip.parse().unwrap()), ..ConnectionOptions::default() };
    let (handler, _seen) = recorder(|_, _| {});
    Engine::new().unwrap().context().connect_with(address, options, handler()).map(drop)
}

#[test]
fn a_client_comes_from_the_local_address_that_it_is_given() {
    for (ip, listener) in [("127.0.0.7", "127.0.0.1:0"), ("::1", "[::1]:0")] {
        let ip: IpAddr = ip.parse().unwrap();
        let listener = TcpListener::bind(listener).unwrap();
        let address = listener.local_addr().unwrap();
        let options = ConnectionOptions { local_address: Some(ip), ..ConnectionOptions::default() };
        let (handler, seen) = recorder(|_, _| {});
        let (_running, _) =
            Running::start(move |engine| engine.context().connect_with(address, options, handler()).unwrap());
        let peer = accept(&listener).peer_addr().unwrap();
        assert_eq!(peer.ip(), ip);
        assert_ne!(peer.port(), 0);
        assert_eq!(next(&seen), Event::Connect);
    }
}

#[test]
fn a_local_address_of_another_family_or_machine_is_told_at_once() {
    let address: SocketAddr = "[::1]:9".parse().unwrap();
    let error = from_local("127.0.0.2", address).unwrap_err();
    let expected = "cannot connect to [::1]:9: the local address 127.0.0.2 is not of the family of ::1";
    assert_eq!(error.to_string(), expected);
    // RFC 5737 keeps it for documentation: no machine has it.
    let Err(Error::Connect { source, .. }) = from_local("192.0.2.1", nobody()) else { panic!("it cannot be bound") };
    assert_eq!(source.kind(), ErrorKind::AddrNotAvailable);
}

#[test]
fn connections_that_share_their_options_part_when_one_s_are_changed() {
    let (_listener, address) = listener();
    let mut engine = Engine::new().unwrap();
    let shared = Rc::new(ConnectionOptions::default());
    let (handler, _seen) = recorder(|_, _| {});
    let keys = [(); 2].map(|()| engine.context().connect_with(address, Rc::clone(&shared), handler()).unwrap());
    assert_eq!(Rc::strong_count(&shared), 3);
    engine.context().connection(keys[0]).unwrap().set_buffer_limit(7);
    assert_eq!(Rc::strong_count(&shared), 2);
    assert_eq!(*shared, ConnectionOptions::default());
}
