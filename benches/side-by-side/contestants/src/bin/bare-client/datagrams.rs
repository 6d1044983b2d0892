//! `udp`: every socket sends its next datagrams when the last are back, and sends again those that are lost.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use nix::sys::socket::sockopt::{UdpGroSegment, UdpGsoSegment};
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::message::Message;
use crate::slice::{Load, PATIENCE, Slice, Slices, TICK};
use crate::stream::Buffer;

/// All the sockets.
#[derive(Debug)]
pub(crate) struct Datagrams {
    sockets: Vec<Socket>,
    message: Message,
    /// Whether one call sends, and one call receives, all that is due.
    bursts: bool,
    buffer: Box<Buffer>,
}

#[derive(Debug)]
struct Socket {
    socket: UdpSocket,
    /// How many datagrams have not come back.
    in_flight: u32,
    /// Whether one has come since the last tick.
    is_alive: bool,
}

/// What the kernel takes in one burst: `UDP_MAX_SEGMENTS` of older kernels, and the longest datagram.
const BURST: usize = 64;
const LONGEST: usize = 65_507;

impl Datagrams {
    /// Connects the sockets, and has one datagram echoed on each.
    pub(crate) fn connect(
        to: SocketAddr,
        count: usize,
        mut message: Message,
        bursts: bool,
        slices: &Slices,
    ) -> io::Result<Self> {
        let (size, depth) = (message.size(), message.depth());
        if size > LONGEST || bursts && (depth > BURST || size * depth > LONGEST) {
            return Err(io::Error::other(format!(
                "{depth} datagrams of {size} bytes are more than the kernel takes at once"
            )));
        }
        let (mut sockets, mut buffer) = (Vec::with_capacity(count), Box::new([0; _]));
        for slot in 0..count {
            let socket = UdpSocket::bind((if to.is_ipv4() { "127.0.0.1" } else { "::1" }, 0))?;
            socket.connect(to)?;
            let mut socket = Socket { socket, in_flight: 0, is_alive: false };
            socket.echo_once(&mut message, &mut buffer)?;
            if bursts {
                nix::sys::socket::setsockopt(&socket.socket, UdpGsoSegment, &(size as i32))?;
                nix::sys::socket::setsockopt(&socket.socket, UdpGroSegment, &true)?;
            }
            // Not for writing: the kernel would report room for every datagram that it has passed on.
            slices.watch(&socket.socket, slot, EventFlags::IN)?;
            sockets.push(socket);
        }
        Ok(Self { sockets, message, bursts, buffer })
    }
}

impl Socket {
    /// Sends one datagram until one is back, on a socket that blocks; then it blocks no more.
    fn echo_once(&mut self, message: &mut Message, buffer: &mut Buffer) -> io::Result<()> {
        self.socket.set_read_timeout(Some(TICK))?;
        for _ in 0..PATIENCE {
            self.send(message, 1, false)?;
            match self.socket.recv(buffer) {
                Ok(count) => {
                    message.look_at(0, &buffer[..count]);
                    return self.socket.set_nonblocking(true);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("no datagram for {:?}", TICK * PATIENCE)))
    }

    fn send(&self, message: &Message, messages: usize, bursts: bool) -> io::Result<()> {
        if bursts {
            return sent(send(&self.socket, message.whole(messages), SendFlags::empty()));
        }
        for _ in 0..messages {
            sent(send(&self.socket, message.whole(1), SendFlags::empty()))?;
        }
        Ok(())
    }

    /// Receives until nothing more is on its way, and returns how many datagrams that were.
    fn receive(&mut self, message: &mut Message, buffer: &mut Buffer) -> io::Result<usize> {
        let due = self.in_flight;
        while self.in_flight > 0 {
            match recv(&self.socket, &mut buffer[..], RecvFlags::empty()) {
                Ok((_, count)) => {
                    message.look_at(0, &buffer[..count]);
                    let datagrams = if count == message.size() { 1 } else { count / message.size() };
                    self.in_flight = self.in_flight.saturating_sub(datagrams as u32);
                }
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok((due - self.in_flight) as usize)
    }
}

/// A datagram that the kernel has no room for is lost like any other.
fn sent(result: rustix::io::Result<usize>) -> io::Result<()> {
    match result {
        Ok(_) | Err(Errno::AGAIN) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Load for Datagrams {
    fn begin(&mut self, slice: &mut Slice, _slices: &Slices) -> io::Result<()> {
        for socket in &mut self.sockets {
            let messages = slice.take(self.message.depth());
            socket.in_flight = messages as u32;
            if messages > 0 {
                socket.send(&self.message, messages, self.bursts)?;
            }
        }
        Ok(())
    }

    #[inline]
    fn handle(&mut self, slot: usize, _flags: EventFlags, slice: &mut Slice, _slices: &Slices) -> io::Result<()> {
        let socket = &mut self.sockets[slot];
        let messages = socket.receive(&mut self.message, &mut self.buffer)?;
        slice.give_back(messages);
        socket.is_alive = true;
        let next = slice.take(messages);
        if next > 0 {
            socket.in_flight += next as u32;
            socket.send(&self.message, next, self.bursts)?;
        }
        Ok(())
    }

    /// What a silent socket has in flight is lost: it is sent again.
    fn handle_tick(&mut self, slice: &mut Slice) -> io::Result<()> {
        for socket in &mut self.sockets {
            if !std::mem::take(&mut socket.is_alive) && socket.in_flight > 0 {
                slice.lost += u64::from(socket.in_flight);
                socket.send(&self.message, socket.in_flight as usize, self.bursts)?;
            }
        }
        Ok(())
    }

    fn wrong(&self) -> u64 {
        self.message.wrong
    }
}
