//! Sockets that were made elsewhere: adopted connections and servers, and what is refused.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::sync::mpsc::channel;
use std::time::Duration;

use pants_engine::{
    CloseReason, Connection, ConnectionOptions, Endpoint, Engine, Error, Handler, Keepalive, ServerKey, ServerOptions,
};
use socket2::{Domain, SockRef, Socket, Type};
use support::*;

/// Starts an engine that has adopted `socket` as a connection.
fn adopt(socket: impl Into<OwnedFd>, handler: impl Fn() -> Recorder + Send + 'static) -> Running {
    let socket = socket.into();
    let options = ConnectionOptions::default();
    Running::start(move |engine| engine.context().adopt_connection(socket, options, handler()).unwrap()).0
}

/// Starts an engine that has adopted `socket` as an echo server.
fn adopt_server(socket: impl Into<OwnedFd>) -> (Running, ServerKey) {
    let socket = socket.into();
    let options = ServerOptions::default();
    Running::start(move |engine| engine.context().adopt_server(socket, options, |_peer| Echo).unwrap())
}

/// Why a socket is not adopted as a connection.
fn refusal(socket: impl Into<OwnedFd>) -> ErrorKind {
    let (handler, seen) = recorder(|_, _| {});
    let mut engine = Engine::new().unwrap();
    let result = engine.context().adopt_connection(socket.into(), ConnectionOptions::default(), handler());
    let Err(Error::Adopt(source)) = result else { panic!("it was adopted") };
    assert_eq!(engine.context().stats().connections_open, 0);
    drop(handler);
    assert_eq!(seen.iter().count(), 0, "its handler is dropped without a callback");
    source.kind()
}

fn echo_then_close(connection: &mut Connection<'_>, event: &Event) {
    match event {
        Event::Connect => drop(connection.write(b"welcome ")),
        Event::Read(data) => drop(connection.write(data)),
        _ => close_when_asked(connection, event),
    }
}

fn assert_served(mut theirs: impl Read + Write, seen: &std::sync::mpsc::Receiver<Event>) {
    theirs.write_all(b"friend").unwrap();
    let mut answer = [0; 14];
    theirs.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"welcome friend");
    drop(theirs);
    assert_eq!(next(seen), Event::Connect);
    assert_eq!(close_reason(seen), CloseReason::Finished);
}

#[test]
fn one_end_of_a_pair_is_served_as_a_connection() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_read_timeout(Some(PATIENCE)).unwrap();
    let (handler, seen) = recorder(echo_then_close);
    let running = adopt(ours, handler);
    assert_served(theirs, &seen);
    let stats = running.stop();
    assert_eq!((stats.connections_started, stats.connections_closed), (1, 1));
}

#[test]
fn a_tcp_stream_of_the_standard_library_is_served_as_a_connection() {
    let listener = TcpListener::bind(ANY_PORT).unwrap();
    let theirs = client(listener.local_addr().unwrap());
    let (ours, _) = listener.accept().unwrap();
    let (handler, seen) = recorder(echo_then_close);
    let _running = adopt(ours, handler);
    assert_served(theirs, &seen);
}

#[test]
fn what_the_peer_sent_before_the_adoption_is_read_and_its_end_is_heard() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(b"last words").unwrap();
    drop(theirs);
    let (handler, seen) = recorder(close_when_asked);
    let _running = adopt(ours, handler);
    let events = up_to(&seen, |event| matches!(event, Event::Close(_)));
    let read = Event::Read(b"last words".to_vec());
    assert_eq!(events, [Event::Connect, read, Event::End, Event::Close(CloseReason::Finished)]);
}

#[test]
fn an_adopted_socket_is_made_non_blocking_and_gets_the_options() {
    let listener = TcpListener::bind(ANY_PORT).unwrap();
    let ours = client(listener.local_addr().unwrap());
    let watch = Socket::from(ours.try_clone().unwrap());
    let keepalive = Keepalive { idle: Duration::from_secs(9), interval: Duration::from_secs(3), count: 2 };
    let options = ConnectionOptions { keepalive: Some(keepalive), dscp: Some(10), ..ConnectionOptions::default() };
    let mut engine = Engine::new().unwrap();
    engine.context().adopt_connection(ours.into(), options, Silent).unwrap();
    assert!(watch.nonblocking().unwrap());
    assert_eq!((watch.tcp_keepalive_time().unwrap(), watch.tos_v4().unwrap()), (keepalive.idle, 10 << 2));
}

#[test]
fn a_listening_socket_is_no_connection() {
    assert_eq!(refusal(TcpListener::bind(ANY_PORT).unwrap()), ErrorKind::NotConnected);
}

#[test]
fn an_unconnected_socket_is_no_connection() {
    assert_eq!(refusal(Socket::new(Domain::IPV4, Type::STREAM, None).unwrap()), ErrorKind::NotConnected);
    assert_eq!(refusal(Socket::new(Domain::UNIX, Type::STREAM, None).unwrap()), ErrorKind::NotConnected);
}

#[test]
fn a_datagram_socket_is_no_connection() {
    assert_eq!(refusal(UdpSocket::bind(ANY_PORT).unwrap()), ErrorKind::InvalidInput);
    assert_eq!(refusal(UnixDatagram::pair().unwrap().0), ErrorKind::InvalidInput);
}

#[test]
fn a_file_is_no_socket() {
    let file = std::fs::File::open("/dev/null").unwrap();
    // ENOTSOCK has no kind of its own.
    refusal(file);
}

#[test]
fn a_listener_of_the_standard_library_serves() {
    let listener = TcpListener::bind(ANY_PORT).unwrap();
    let address = listener.local_addr().unwrap();
    // One that waits since before the adoption.
    let mut early = client(address);
    let (running, server) = adopt_server(listener);
    assert_echoes(&mut early, b"early");
    assert_echoes(&mut client(address), b"late");
    assert_eq!(running.ask(move |context| context.server_address(server)), Some(address.into()));
}

#[test]
fn a_unix_listener_serves_and_its_file_stays_its_makers() {
    let path = std::env::temp_dir().join(format!("pants-adopt-{}", std::process::id()));
    let (running, server) = adopt_server(UnixListener::bind(&path).unwrap());
    let mut client = UnixStream::connect(&path).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
    let address = running.ask(move |context| context.server_address(server));
    assert_eq!(address, Some(Endpoint::Path(path.as_path().into())));
    running.stop();
    std::fs::remove_file(path).unwrap();
}

/// A socket that is bound and does not listen.
fn bound() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

#[test]
fn a_socket_that_is_only_bound_listens_when_it_is_adopted() {
    let (socket, address) = bound();
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let (_running, _) = adopt_server(socket);
    assert_echoes(&mut client(address), b"hello");
}

#[test]
fn a_bound_socket_listens_when_it_is_opened_and_not_before() {
    let (socket, address) = bound();
    let (running, server) = Running::start(move |engine| {
        engine.context().bind_socket(socket.into(), ServerOptions::default(), |_peer| Echo).unwrap()
    });
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    running.ask(move |context| context.open(server).unwrap());
    assert_echoes(&mut client(address), b"hello");
    assert!(running.ask(move |context| matches!(context.open(server), Err(Error::NoServer))));
}

#[test]
fn what_cannot_listen_is_not_adopted_as_a_server() {
    let mut engine = Engine::new().unwrap();
    let mut adopt = |socket: OwnedFd| engine.context().adopt_server(socket, ServerOptions::default(), |_| Silent);
    let error = adopt(UdpSocket::bind(ANY_PORT).unwrap().into()).unwrap_err();
    assert!(matches!(error, Error::Adopt(_)), "{error}");
    let listener = TcpListener::bind(ANY_PORT).unwrap();
    let error = adopt(client(listener.local_addr().unwrap()).into()).unwrap_err();
    assert!(matches!(error, Error::Listen { .. }), "{error}");
}

#[test]
fn a_servers_socket_can_be_given_options_that_its_connections_inherit() {
    let (tell, told) = channel();
    /// Tells what the kernel says of its socket.
    struct Tells(std::sync::mpsc::Sender<u32>);
    impl Handler for Tells {
        fn on_connect(&mut self, connection: &mut Connection<'_>) {
            let socket = connection.socket().unwrap();
            self.0.send(SockRef::from(&socket).tcp_notsent_lowat().unwrap()).unwrap();
        }
        fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {}
    }
    let (_running, address) = Running::start(move |engine| {
        let server = engine.listen(ANY_PORT, move |_peer| Tells(tell.clone())).unwrap();
        let context = engine.context();
        let socket = context.server_socket(server).unwrap();
        SockRef::from(&socket).set_tcp_notsent_lowat(4321).unwrap();
        context.server_address(server).unwrap().socket_address().unwrap()
    });
    let _client = client(address);
    assert_eq!(next(&told), 4321);
}

#[test]
fn a_server_that_has_closed_has_no_socket() {
    let mut engine = Engine::new().unwrap();
    let server = engine.listen(ANY_PORT, |_| Silent).unwrap();
    assert!(engine.context().server_socket(server).is_some());
    engine.context().close_server(server);
    engine.poll(Some(Duration::ZERO)).unwrap();
    assert!(engine.context().server_socket(server).is_none());
}
