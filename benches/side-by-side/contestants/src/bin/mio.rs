//! Bare mio: an edge-triggered loop over one poll, and one buffer for all connections.
//!
//! It reads until a read is short, which on epoll says that nothing is left (epoll(7)), as tokio does over the same mio.

#![forbid(unsafe_code)]

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::AsRawFd as _;

use clap::Parser as _;
use contestants::{Arguments, Work};
use mio::event::Event;
use mio::net::{TcpListener, TcpStream, UdpSocket};
use mio::{Events, Interest, Poll, Token};

/// No descriptor has this number.
const LISTENER: Token = Token(usize::MAX);

/// As many events are taken from the kernel at once.
const EVENTS: usize = 1024;

/// As much is read at once; it holds every datagram.
const BUFFER: usize = 64 * 1024;

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    match (arguments.work, arguments.variant.as_deref()) {
        (Work::Echo, None) => echo(),
        (Work::Udp, None) => udp(),
        _ => contestants::refuse("mio", &arguments),
    }
}

fn echo() -> io::Result<()> {
    let (listener, address) = contestants::listener();
    let mut listener = TcpListener::from_std(listener);
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut events = Events::with_capacity(EVENTS);
    let mut buffer = vec![0; BUFFER];
    contestants::announce(address);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                accept(&listener, &poll, &mut connections)?;
                continue;
            }
            let slot = event.token().0;
            let Some(connection) = &mut connections[slot] else { continue };
            if !connection.is_alive_after(event, &mut buffer).unwrap_or(false) {
                connections[slot] = None;
            }
        }
    }
}

/// Takes every connection that waits. Each is registered once, for both ways.
fn accept(listener: &TcpListener, poll: &Poll, connections: &mut Vec<Option<Connection>>) -> io::Result<()> {
    while let Ok((mut stream, _)) = listener.accept() {
        stream.set_nodelay(true)?;
        let slot = stream.as_raw_fd() as usize;
        poll.registry().register(&mut stream, Token(slot), Interest::READABLE | Interest::WRITABLE)?;
        connections.resize_with(connections.len().max(slot + 1), || None);
        connections[slot] = Some(Connection { stream, unsent: Vec::new() });
    }
    Ok(())
}

struct Connection {
    stream: TcpStream,
    /// What the kernel has not taken. Nothing is read meanwhile.
    unsent: Vec<u8>,
}

impl Connection {
    /// Whether more is to come after what `event` tells of is read and sent back.
    fn is_alive_after(&mut self, event: &Event, buffer: &mut [u8]) -> io::Result<bool> {
        if !self.unsent.is_empty() {
            let unsent = std::mem::take(&mut self.unsent);
            self.send(&unsent)?;
        }
        while self.unsent.is_empty() {
            match self.stream.read(buffer) {
                Ok(0) => return Ok(false),
                Ok(count) => {
                    self.send(&buffer[..count])?;
                    // The end has no edge of its own when it came together with what was read.
                    if count < buffer.len() && !event.is_read_closed() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Sends `data`, and keeps what the kernel does not take: an edge tells when it takes more.
    fn send(&mut self, data: &[u8]) -> io::Result<()> {
        let sent = match self.stream.write(data) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            result => result?,
        };
        if sent < data.len() {
            self.unsent.extend_from_slice(&data[sent..]);
        }
        Ok(())
    }
}

fn udp() -> io::Result<()> {
    let (socket, address) = contestants::datagram_socket();
    let mut socket = UdpSocket::from_std(socket);
    let mut poll = Poll::new()?;
    poll.registry().register(&mut socket, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(EVENTS);
    let mut buffer = vec![0; BUFFER];
    contestants::announce(address);
    loop {
        poll.poll(&mut events, None)?;
        while let Ok((count, from)) = socket.recv_from(&mut buffer) {
            // What finds no room is lost, as datagrams are.
            let _ = socket.send_to(&buffer[..count], from);
        }
    }
}
