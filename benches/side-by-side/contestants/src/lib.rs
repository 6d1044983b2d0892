//! What the contestants share: their command line, their listening sockets, and how they say where they listen.
//!
//! A contestant is a program that does one kind of [`Work`] on one thread until SIGTERM ends it. It binds port 0 of
//! 127.0.0.1, and prints one line once it serves, as pants' own programs do: `listening on ADDRESS`.

#![forbid(unsafe_code)]

pub mod timers;

use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};

use clap::{Parser, ValueEnum};

/// What a contestant is asked to do.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub struct Arguments {
    /// The work.
    pub work: Work,
    /// Which of its ways to do it, where a contestant has several: `io_uring` or `epoll`, `current-thread` or `multi-thread`,
    /// `batched` or `gso`.
    #[arg(long)]
    pub variant: Option<String>,
    /// Where a proxy connects to.
    #[arg(long)]
    pub to: Option<SocketAddr>,
}

/// The kinds of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Work {
    /// Sends back what comes, over TCP.
    Echo,
    /// Sends back every line when it is whole, over TCP: the line reaches the program's own code without its end, `\n`.
    Lines,
    /// Sends back every datagram, over UDP.
    Udp,
    /// Connects to `--to` for every connection, and passes on what comes either way, half-closes included.
    Proxy,
    /// Sends what comes from one connection to all connections.
    Broadcast,
}

/// As many connections may wait to be accepted; the kernel's bound is lower or the same (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// A listener on a free port of the loopback interface, non-blocking, and its address.
///
/// # Panics
///
/// If there is none.
pub fn listener() -> (TcpListener, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM.nonblocking(), None)
        .and_then(|socket| socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).map(|()| socket))
        .and_then(|socket| socket.listen(BACKLOG).map(|()| socket))
        .expect("a free port");
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().expect("a bound socket");
    (listener, address)
}

/// A UDP socket on a free port of the loopback interface, non-blocking, and its address.
///
/// # Panics
///
/// If there is none.
pub fn datagram_socket() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.set_nonblocking(true).expect("a socket");
    let address = socket.local_addr().expect("a bound socket");
    (socket, address)
}

/// Says that it serves, and where.
///
/// # Panics
///
/// If standard output is closed.
pub fn announce(address: SocketAddr) {
    let mut out = io::stdout().lock();
    writeln!(out, "listening on {address}").and_then(|()| out.flush()).expect("somebody reads");
}

/// Ends the program because it does not do this work.
pub fn refuse(name: &str, arguments: &Arguments) -> ! {
    eprintln!("{name}: it does not do {:?} {}", arguments.work, arguments.variant.as_deref().unwrap_or_default());
    std::process::exit(2)
}
