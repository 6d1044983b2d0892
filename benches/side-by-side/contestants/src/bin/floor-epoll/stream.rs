//! One accepted connection: its socket, and what the socket has not taken yet.

use std::os::fd::OwnedFd;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

/// What one `recv` may bring.
pub(crate) const BUFFER: usize = 64 * 1024;

/// A connection, watched edge-triggered. While the socket is full nothing is read.
pub(crate) struct Stream {
    socket: OwnedFd,
    /// What the socket has not taken.
    unsent: Vec<u8>,
    /// The line that has begun; only where lines are the work.
    pub(crate) line: Vec<u8>,
}

impl Stream {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self { socket, unsent: Vec::new(), line: Vec::new() }
    }

    /// Whether an event has something to do: there is something to read, or room for what is unsent.
    #[inline]
    pub(crate) fn is_ready(&self, flags: EventFlags) -> bool {
        flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) || !self.unsent.is_empty()
    }

    /// Receives once, and returns how many bytes; 0 if there are none yet, none if the peer has closed or an error has.
    #[inline]
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Option<usize> {
        match recv(&self.socket, buffer, RecvFlags::empty()) {
            Ok((_, 0)) => None,
            Ok((_, count)) => Some(count),
            Err(Errno::AGAIN) => Some(0),
            Err(_) => None,
        }
    }

    /// Sends, and keeps what the socket does not take; returns whether it took all, or none for an error.
    #[inline]
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Option<bool> {
        let count = taken(send(&self.socket, bytes, SendFlags::NOSIGNAL))?;
        if count < bytes.len() {
            self.unsent.extend_from_slice(&bytes[count..]);
        }
        Some(count == bytes.len())
    }

    /// Sends what the socket had not taken; returns whether it has taken all now, or none for an error.
    #[inline]
    pub(crate) fn send_unsent(&mut self) -> Option<bool> {
        if !self.unsent.is_empty() {
            let count = taken(send(&self.socket, &self.unsent, SendFlags::NOSIGNAL))?;
            self.unsent.drain(..count);
        }
        Some(self.unsent.is_empty())
    }
}

#[inline]
fn taken(sent: rustix::io::Result<usize>) -> Option<usize> {
    match sent {
        Ok(count) => Some(count),
        Err(Errno::AGAIN) => Some(0),
        Err(_) => None,
    }
}
