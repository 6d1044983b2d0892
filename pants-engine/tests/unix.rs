//! Unix stream sockets: by path and by abstract name, their files, full queues, and who is at the other end.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use pants_engine::{
    Address, CloseReason, Connection, ConnectionOptions, Credentials, Endpoint, Engine, Error, Handler, ServerKey,
    ServerOptions,
};
use socket2::{Domain, SockAddr, Socket, Type};
use support::*;

/// A directory of one test's own, which goes with it.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("pants-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("socket")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// An abstract name of one test's own.
fn name(test: &str) -> Vec<u8> {
    format!("pants-{}-{test}", std::process::id()).into_bytes()
}

/// Starts an engine with a server of `handler`s.
fn serve<H: Handler>(address: Address, handler: impl Fn() -> H + Send + 'static) -> (Running, ServerKey) {
    Running::start(move |engine| engine.listen(address, move |_peer| handler()).unwrap())
}

fn patient(stream: UnixStream) -> UnixStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn client(path: &PathBuf) -> UnixStream {
    patient(UnixStream::connect(path).unwrap())
}

/// A listening socket in whose queue there is no room, with what fills it.
fn full(path: &PathBuf) -> (Socket, Vec<Socket>) {
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    let address = SockAddr::unix(path).unwrap();
    listener.bind(&address).unwrap();
    listener.listen(0).unwrap();
    let mut waiting = Vec::new();
    loop {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        if socket.connect(&address).is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
            return (listener, waiting);
        }
        waiting.push(socket);
    }
}

/// Tells what it knows of its ends, and then sends back what it is sent.
struct Knows(std::sync::mpsc::Sender<Ends>);

type Ends = (Endpoint, Option<Endpoint>, Option<Credentials>);

impl Handler for Knows {
    fn on_connect(&mut self, connection: &mut Connection<'_>) {
        let ends = (connection.peer_address().clone(), connection.local_address(), connection.peer_credentials());
        self.0.send(ends).unwrap();
    }

    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        connection.write(data);
    }
}

fn knowing_server(address: Address) -> (Running, Receiver<Ends>) {
    let (tell, told) = channel();
    (serve(address, move || Knows(tell.clone())).0, told)
}

fn path_of(path: PathBuf) -> Endpoint {
    Endpoint::Path(path.as_path().into())
}

fn assert_is_this_process(credentials: Option<Credentials>) {
    let Some(Credentials { pid, uid, gid, .. }) = credentials else { panic!("it is a Unix connection") };
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    // Of the real, effective, saved and file system's number the kernel gives the effective one.
    let effective = |field: &str| -> u32 {
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    assert_eq!((pid, uid, gid), (std::process::id(), effective("Uid:"), effective("Gid:")));
}

#[test]
fn a_server_and_a_client_at_a_path_know_both_ends() {
    let directory = Directory::new();
    let path = directory.socket();
    let (_server, of_server) = knowing_server(Address::Path(path.clone()));
    let (tell, of_client) = channel();
    let to = Address::Path(path.clone());
    let (_client, _) = Running::start(move |engine| engine.connect(to, Knows(tell)).unwrap());
    let (peer, local, credentials) = next(&of_server);
    assert_eq!((peer, local), (Endpoint::Unnamed, Some(path_of(path.clone()))));
    assert_is_this_process(credentials);
    let (peer, local, credentials) = next(&of_client);
    assert_eq!((peer, local), (path_of(path), Some(Endpoint::Unnamed)));
    assert_is_this_process(credentials);
}

#[test]
fn a_peer_that_is_bound_is_known_by_its_name() {
    let directory = Directory::new();
    let (path, own) = (directory.socket(), directory.0.join("client"));
    let (_running, told) = knowing_server(Address::Path(path.clone()));
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    socket.bind(&SockAddr::unix(&own).unwrap()).unwrap();
    socket.connect(&SockAddr::unix(&path).unwrap()).unwrap();
    assert_eq!(next(&told).0, path_of(own));
}

#[test]
fn a_megabyte_comes_back_over_an_abstract_name() {
    let name = name("echo");
    let (running, told) = knowing_server(Address::Abstract(name.clone()));
    let mut client = patient(UnixStream::connect_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap());
    let sent = Noise::bytes(1024 * 1024);
    let mut writer = client.try_clone().unwrap();
    let data = sent.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(&data).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut received = Vec::new();
    client.read_to_end(&mut received).unwrap();
    writing.join().unwrap();
    assert!(received == sent);
    assert_eq!(next(&told).1, Some(Endpoint::Abstract(name.into())));
    assert_eq!(running.stop().bytes_out, 1024 * 1024);
}

#[test]
fn an_abstract_name_is_free_when_its_server_has_closed() {
    let mut engine = Engine::new().unwrap();
    let address = Address::Abstract(name("free"));
    let server = engine.listen(&address, |_| Silent).unwrap();
    let error = engine.listen(&address, |_| Silent).unwrap_err();
    assert!(matches!(&error, Error::Listen { source, .. } if source.kind() == ErrorKind::AddrInUse), "{error}");
    engine.context().close_server(server);
    engine.poll(Some(Duration::ZERO)).unwrap();
    engine.listen(&address, |_| Silent).unwrap();
}

#[test]
fn a_file_is_removed_by_whom_it_was_left_to() {
    let directory = Directory::new();
    let path = directory.socket();
    let mut engine = Engine::new().unwrap();
    let first = engine.listen(Address::Path(path.clone()), |_| Silent).unwrap();
    let context = engine.context();
    let socket = context.server_socket(first).unwrap().try_clone_to_owned().unwrap();
    let second = context.adopt_server(socket, ServerOptions::default(), |_| Silent).unwrap();
    context.remove_file_on_close(first, false).unwrap();
    context.remove_file_on_close(second, true).unwrap();
    context.close_server(first);
    engine.poll(Some(Duration::ZERO)).unwrap();
    UnixStream::connect(&path).expect("the second goes on with it");
    engine.context().close_server(second);
    engine.poll(Some(Duration::ZERO)).unwrap();
    assert!(!path.exists());
    let gone = engine.context().remove_file_on_close(second, true).unwrap_err();
    assert!(matches!(gone, Error::NoServer), "{gone}");
}

#[test]
fn a_server_answers_a_peer_that_has_ended() {
    let (handler, seen) = recorder(|connection, event| {
        if *event == Event::End {
            connection.write(b"late answer");
            connection.close();
        }
    });
    let directory = Directory::new();
    let (_running, _) = serve(Address::Path(directory.socket()), handler);
    let mut client = client(&directory.socket());
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "late answer");
    assert_eq!(close_reason(&seen), CloseReason::Finished);
}

#[test]
fn a_server_hears_a_peer_after_its_own_end() {
    let (handler, seen) = recorder(|connection, event| match event {
        Event::Connect => connection.shutdown_write(),
        _ => close_when_asked(connection, event),
    });
    let directory = Directory::new();
    let (_running, _) = serve(Address::Path(directory.socket()), handler);
    let mut client = client(&directory.socket());
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    client.write_all(b"still here").unwrap();
    drop(client);
    let events = up_to(&seen, |event| matches!(event, Event::Close(_)));
    let read = Event::Read(b"still here".to_vec());
    assert_eq!(events, [Event::Connect, read, Event::End, Event::Close(CloseReason::Finished)]);
}

#[test]
fn a_peer_that_closes_over_unread_input_has_reset() {
    let (handler, seen) = recorder(|connection, event| match event {
        Event::Connect => assert!(connection.write(b"not wanted")),
        _ => close_when_asked(connection, event),
    });
    let directory = Directory::new();
    let (_running, _) = serve(Address::Path(directory.socket()), handler);
    let client = client(&directory.socket());
    up_to(&seen, |event| *event == Event::Write);
    drop(client);
    assert_eq!(close_reason(&seen), CloseReason::Reset);
}

#[test]
fn a_dead_servers_file_is_replaced_and_a_living_ones_is_an_error() {
    let directory = Directory::new();
    let path = directory.socket();
    let living = UnixListener::bind(&path).unwrap();
    let mut engine = Engine::new().unwrap();
    let error = engine.listen(Address::Path(path.clone()), |_| Silent).unwrap_err();
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    assert!(matches!(&error, Error::Listen { source, .. } if source.kind() == ErrorKind::AddrInUse), "{error}");
    drop(living);
    engine.listen(Address::Path(path.clone()), |_| Silent).unwrap();
    client(&path);
}

#[test]
fn the_file_goes_when_its_server_is_closed() {
    let directory = Directory::new();
    let path = directory.socket();
    let (running, server) = serve(Address::Path(path.clone()), || Echo);
    let mut client = client(&path);
    client.write_all(b"1").unwrap();
    client.read_exact(&mut [0]).unwrap();
    running.ask(move |context| context.close_server(server));
    running.wait_until(|_| !path.exists());
    assert!(running.ask(move |context| context.server_address(server).is_none()));
    // Its connections stay.
    client.write_all(b"2").unwrap();
    client.read_exact(&mut [0]).unwrap();
}

#[test]
fn the_file_goes_when_the_engine_ends_or_is_dropped() {
    let directory = Directory::new();
    let path = directory.socket();
    let (running, _) = serve(Address::Path(path.clone()), || Silent);
    assert!(path.exists());
    running.stop();
    assert!(!path.exists());
    let mut engine = Engine::new().unwrap();
    engine.listen(Address::Path(path.clone()), |_| Silent).unwrap();
    assert!(path.exists());
    drop(engine);
    assert!(!path.exists());
}

#[test]
fn a_client_of_a_full_queue_gets_in_when_there_is_room() {
    let directory = Directory::new();
    let path = directory.socket();
    let (listener, waiting) = full(&path);
    let (handler, seen) = recorder(|connection, event| {
        if *event == Event::Connect {
            connection.write(b" and late");
        }
    });
    let to = Address::Path(path);
    let (running, _) = Running::start(move |engine| {
        let key = engine.connect(to, handler()).unwrap();
        engine.context().connection(key).unwrap().write(b"early");
    });
    // It has tried again in vain, more than once.
    running.wait_until(|stats| stats.timers_fired >= 3);
    assert!(seen.try_recv().is_err());
    // Those that filled the queue come first.
    listener.set_read_timeout(Some(PATIENCE)).unwrap();
    for _ in &waiting {
        listener.accept().unwrap();
    }
    let (mut accepted, _) = listener.accept().unwrap();
    accepted.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut served = [0; 14];
    accepted.read_exact(&mut served).unwrap();
    assert_eq!(&served, b"early and late");
    assert_eq!(next(&seen), Event::Connect);
}

#[test]
fn a_client_of_a_queue_that_stays_full_is_given_up_after_the_connect_timeout() {
    let directory = Directory::new();
    let path = directory.socket();
    let (_listener, _waiting) = full(&path);
    let (handler, seen) = recorder(|_, _| {});
    let timeout = Duration::from_millis(50);
    let options = ConnectionOptions { connect_timeout: Some(timeout), ..ConnectionOptions::default() };
    let begun = Instant::now();
    let to = Address::Path(path);
    let (running, _) = Running::start(move |engine| engine.context().connect_with(to, options, handler()).unwrap());
    assert_eq!(next(&seen), Event::ConnectFailure(ErrorKind::TimedOut));
    // Ticks are of a millisecond.
    assert!(begun.elapsed() >= timeout - Duration::from_millis(1));
    assert_eq!(running.stats().timers_pending, 0);
    assert_eq!(running.stop().connections_open, 0);
    assert_eq!(seen.iter().count(), 0);
}

#[test]
fn a_client_of_a_full_queue_whose_server_dies_is_refused() {
    let directory = Directory::new();
    let path = directory.socket();
    let (listener, _waiting) = full(&path);
    let (handler, seen) = recorder(|_, _| {});
    let to = Address::Path(path);
    let (_running, _) = Running::start(move |engine| engine.connect(to, handler()).unwrap());
    drop(listener);
    assert_eq!(next(&seen), Event::ConnectFailure(ErrorKind::ConnectionRefused));
}

#[test]
fn a_path_at_which_nobody_is_is_an_error_at_once() {
    let directory = Directory::new();
    let path = directory.socket();
    let mut engine = Engine::new().unwrap();
    let mut kind = || match engine.connect(Address::Path(path.clone()), Silent).unwrap_err() {
        Error::Connect { address: Address::Path(named), source } if named == path => source.kind(),
        error => panic!("{error}"),
    };
    assert_eq!(kind(), ErrorKind::NotFound);
    drop(UnixListener::bind(&path).unwrap());
    assert_eq!(kind(), ErrorKind::ConnectionRefused);
    assert_eq!(engine.context().stats().connections_open, 0);
}

#[test]
fn a_tcp_connection_has_no_credentials() {
    let (tell, told) = channel();
    let (_running, address) = Running::serve(move || Knows(tell.clone()));
    let _client = support::client(address);
    assert_eq!(next(&told).2, None);
}
