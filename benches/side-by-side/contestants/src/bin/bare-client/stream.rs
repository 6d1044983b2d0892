//! One TCP connection of the client: what it has yet to send, and how far the message is that it receives.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::socket::sockopt::IpBindAddressNoPort;
use rustix::event::epoll::EventFlags;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send};
use rustix::time::Timespec;

use crate::message::Message;
use crate::slice::{PATIENCE, TICK};

/// What one `recv` may bring.
pub(crate) type Buffer = [u8; BUFFER];
const BUFFER: usize = 64 * 1024;

/// What is listened to: bytes to read, and room to write after a short write.
pub(crate) const READ_WRITE: EventFlags = EventFlags::IN.union(EventFlags::OUT);

/// A connection.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: OwnedFd,
    /// How many bytes have come of a message that is not whole yet.
    partial: u32,
    /// How many bytes the socket has not taken yet; it says when it does.
    unsent: u32,
}

impl Stream {
    /// Begins to connect. The connections are spread over addresses from 127.0.0.1 on, because one has but so many
    /// ports.
    pub(crate) fn connect(to: SocketAddr, source: u8) -> io::Result<Self> {
        let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        if matches!(to.ip(), IpAddr::V4(ip) if ip.is_loopback()) {
            // The port is chosen by `connect`, which may take one that another connection has to another server.
            nix::sys::socket::setsockopt(&socket, IpBindAddressNoPort, &true)?;
            rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::new(127, 0, 0, 1 + source), 0)))?;
        }
        match rustix::net::connect(&socket, &to) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(Self { socket, partial: 0, unsent: 0 }),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends one message and waits until it is back.
    pub(crate) fn echo_once(&mut self, message: &mut Message, buffer: &mut Buffer) -> io::Result<()> {
        rustix::net::sockopt::set_tcp_nodelay(&self.socket, true)?;
        self.send(message, 1)?;
        self.wait_for_one(message, buffer)
    }

    /// Waits until a message is there at least, and all that was to be sent is sent.
    pub(crate) fn wait_for_one(&mut self, message: &mut Message, buffer: &mut Buffer) -> io::Result<()> {
        let time = Timespec { tv_sec: (TICK * PATIENCE).as_secs() as i64, tv_nsec: 0 };
        let mut messages = 0;
        while messages == 0 || self.unsent > 0 {
            let room = if self.unsent > 0 { PollFlags::OUT } else { PollFlags::empty() };
            if poll(&mut [PollFd::new(&self.socket, PollFlags::IN | room)], Some(&time))? == 0 {
                return Err(io::Error::new(io::ErrorKind::TimedOut, format!("no message for {:?}", TICK * PATIENCE)));
            }
            self.send_rest(message)?;
            messages += self.receive(message, buffer)?;
        }
        Ok(())
    }

    /// Whether the kernel says that there is something to read: bytes, the end or an error.
    #[inline]
    pub(crate) fn is_readable(flags: EventFlags) -> bool {
        flags.intersects(EventFlags::IN.union(EventFlags::HUP).union(EventFlags::ERR))
    }

    /// Receives what is there, and returns how many messages that completes.
    #[inline]
    pub(crate) fn receive(&mut self, message: &mut Message, buffer: &mut Buffer) -> io::Result<usize> {
        let (count, mut messages) = self.receive_part(message, buffer)?;
        // After a short read the socket is empty, and says when it is not.
        if count == BUFFER {
            messages += self.receive_more(message, buffer)?;
        }
        Ok(messages)
    }

    #[cold]
    fn receive_more(&mut self, message: &mut Message, buffer: &mut Buffer) -> io::Result<usize> {
        let mut all = 0;
        loop {
            let (count, messages) = self.receive_part(message, buffer)?;
            all += messages;
            if count < BUFFER {
                return Ok(all);
            }
        }
    }

    /// Receives once, and returns how many bytes came and how many messages they complete.
    #[inline(always)]
    fn receive_part(&mut self, message: &mut Message, buffer: &mut Buffer) -> io::Result<(usize, usize)> {
        let count = match recv(&self.socket, &mut buffer[..], RecvFlags::empty()) {
            Ok((_, count)) if count > 0 => count,
            Ok(_) => return Err(closed()),
            Err(Errno::AGAIN) => return Ok((0, 0)),
            Err(error) => return Err(error.into()),
        };
        message.look_at(self.partial as usize, &buffer[..count]);
        let (have, size) = (self.partial as usize + count, message.size());
        // A division costs as much as all the rest.
        if have == size {
            self.partial = 0;
            return Ok((count, 1));
        }
        self.partial = (have % size) as u32;
        Ok((count, have / size))
    }

    /// Sends so many messages, and keeps what the socket does not take at once.
    #[inline]
    pub(crate) fn send(&mut self, message: &Message, messages: usize) -> io::Result<()> {
        let bytes = message.whole(messages);
        if self.unsent > 0 {
            self.unsent += bytes.len() as u32;
            return Ok(());
        }
        self.unsent = (bytes.len() - taken(send(&self.socket, bytes, SendFlags::NOSIGNAL))?) as u32;
        Ok(())
    }

    /// Sends more of what the socket has not taken, if there is any.
    #[inline]
    pub(crate) fn send_rest(&mut self, message: &Message) -> io::Result<()> {
        if self.unsent > 0 {
            let bytes = message.rest(self.unsent as usize);
            self.unsent -= taken(send(&self.socket, bytes, SendFlags::NOSIGNAL))? as u32;
        }
        Ok(())
    }

    /// Whether all that was to be sent has been sent.
    pub(crate) fn has_sent_all(&self) -> bool {
        self.unsent == 0
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cold]
fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the server has closed")
}

/// How many bytes a socket has taken; a full one takes none, and says when it has room.
#[inline]
fn taken(sent: rustix::io::Result<usize>) -> io::Result<usize> {
    match sent {
        Err(Errno::AGAIN) => Ok(0),
        sent => Ok(sent?),
    }
}
