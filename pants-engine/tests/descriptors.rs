//! Running out of descriptors: alone in its process, because the limit is the whole process's.

#[path = "support/scarcity.rs"]
mod scarcity;
mod support;

use std::io::Write;
use std::net::TcpStream;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use pants_engine::{Acceptor, Endpoint, Error};
use rustix::process::{Resource, getrlimit, setrlimit};
use scarcity::use_up;
use socket2::{Domain, Socket, Type};
use support::*;

const WAITING: usize = 8;

struct Tells(Sender<String>);

impl Acceptor for Tells {
    type Handler = Echo;

    fn on_accept(&mut self, _peer: Endpoint) -> Option<Echo> {
        Some(Echo)
    }

    fn on_error(&mut self, error: &Error) {
        self.0.send(error.to_string()).unwrap();
    }
}

#[test]
fn a_server_without_descriptors_neither_spins_nor_falls_silent_and_recovers() {
    let plenty = getrlimit(Resource::Nofile);
    let (tell, told) = channel();
    let (running, address) = Running::start(move |engine| {
        let server = engine.listen(ANY_PORT, Tells(tell)).unwrap();
        engine.context().server_address(server).unwrap().socket_address().unwrap()
    });
    let mut open = client(address);
    assert_echoes(&mut open, b"before");
    // The clients' sockets are made while that is possible, and connected when the server's cannot be any more.
    let sockets: Vec<Socket> = (0..WAITING).map(|_| Socket::new(Domain::IPV4, Type::STREAM, None).unwrap()).collect();
    let used = use_up();
    let mut waiting: Vec<TcpStream> = sockets
        .into_iter()
        .map(|socket| {
            socket.connect_timeout(&address.into(), PATIENCE).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.into()
        })
        .collect();
    for client in &mut waiting {
        client.write_all(b"hello").unwrap();
    }
    // A second and more of shortage. Who is in already does not notice.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1_500) {
        assert_echoes(&mut open, b"during");
    }
    let stats = running.stats();
    assert_eq!(stats.connections_open, 1);
    // Pauses of 10 ms that double up to 500 ms: about nine attempts. One that spins makes thousands.
    assert!((2..=20).contains(&stats.accept_errors), "{} attempts to accept", stats.accept_errors);
    let complaints: Vec<String> = told.try_iter().collect();
    assert!((1..=3).contains(&complaints.len()), "once a second at most: {complaints:?}");
    assert!(complaints[0].contains(&address.to_string()), "{complaints:?}");
    setrlimit(Resource::Nofile, plenty).unwrap();
    drop(used);
    // When a shortage lasts, the server lets one go now and then, rather than leave all of them waiting.
    let served = waiting.iter_mut().map(receive_or_refused).filter(|reply| reply == b"hello").count();
    let stats = running.stats();
    assert_eq!(served + stats.connections_refused as usize, WAITING);
    assert!(stats.connections_refused <= 4, "{} were turned away", stats.connections_refused);
    assert_eq!(stats.connections_accepted as usize, 1 + served);
    assert_echoes(&mut open, b"after");
    assert_echoes(&mut client(address), b"anew");
}

/// The reply of five bytes, or what there is of it if the server turns the client away.
fn receive_or_refused(client: &mut TcpStream) -> Vec<u8> {
    let mut reply = Vec::new();
    let mut piece = [0; 5];
    while reply.len() < 5 {
        match std::io::Read::read(client, &mut piece) {
            Ok(0) => break,
            Ok(count) => reply.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("neither served nor turned away: {error}"),
        }
    }
    reply
}
