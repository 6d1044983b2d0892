//! One datagram channel: its socket, its queue and its state. It makes system calls and no callbacks.
//!
//! As with a stream, nothing here closes the channel: `doom` records why it must be, and the dispatcher carries it out.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;

use crate::buffer::datagrams::DatagramQueue;
use crate::channel::state::{CloseReason, Flags};
use crate::error::Error;
use crate::net::datagram::DatagramSocket;
use crate::net::endpoint::Endpoint;
use crate::poll::Readiness;
use crate::stats::Stats;

#[derive(Debug)]
pub(crate) struct Mailbox {
    socket: DatagramSocket,
    pub(crate) flags: Flags,
    pub(crate) local: Endpoint,
    /// The one peer of a connected socket.
    pub(crate) peer: Option<Endpoint>,
    /// What the kernel would not take.
    queue: DatagramQueue,
    queue_cap: usize,
    /// The first error that the handler has not been told.
    failure: Option<Error>,
    /// Why the channel must close; the first reason stays, but for a panic's. Invariant: `Some` exactly while `DOOMED` is set.
    doom: Option<CloseReason>,
}

/// What a `recvfrom` brought.
#[derive(Debug)]
pub(crate) enum Delivery {
    Datagram(usize, Endpoint),
    Nothing,
}

impl Mailbox {
    /// # Errors
    ///
    /// If the kernel does not say what the socket is called.
    pub(crate) fn new(socket: DatagramSocket, queue_cap: usize) -> io::Result<Self> {
        let (local, peer) = (socket.local_address()?, socket.peer_address());
        let (flags, queue) = (Flags::WRITABLE, DatagramQueue::default());
        Ok(Self { socket, flags, local, peer, queue, queue_cap, failure: None, doom: None })
    }

    /// Takes note of an event. An error is read as datagrams are.
    pub(crate) fn handle_readiness(&mut self, readiness: Readiness) {
        self.flags.set_readiness(readiness);
        let failed = self.flags.any(Flags::ERROR_PENDING);
        self.flags.set(Flags::READABLE.when(failed));
        self.flags.clear(Flags::ERROR_PENDING.or(Flags::READ_UNTIL_BLOCKED));
    }

    #[inline]
    pub(crate) fn wants_read(&self) -> bool {
        const ASKED: Flags = Flags::READABLE.or(Flags::PAUSED_BY_USER).or(Flags::DOOMED);
        self.flags.of(ASKED) == Flags::READABLE
    }

    /// One `recvfrom`. Only an `EAGAIN` shows that no more is there.
    #[inline]
    pub(crate) fn recv(&mut self, buffer: &mut [u8], stats: &mut Stats) -> Delivery {
        match self.socket.recv_from(buffer) {
            Ok((length, from)) if length <= buffer.len() => {
                stats.datagrams_in += 1;
                stats.bytes_in += length as u64;
                return Delivery::Datagram(length, from);
            }
            Ok((length, from)) => {
                stats.datagrams_dropped += 1;
                self.fail(Error::Truncated { from, length });
            }
            Err(Errno::AGAIN) => self.flags.clear(Flags::READABLE),
            Err(Errno::INTR) => {}
            Err(errno) => self.fail(Error::Receive { local: self.local.clone(), source: errno.into() }),
        }
        Delivery::Nothing
    }

    /// Sends one datagram, or queues it behind the others. Returns whether it did either.
    pub(crate) fn send(&mut self, data: &[u8], to: Option<&Endpoint>, stats: &mut Stats) -> bool {
        if self.doom.is_some() {
            return false;
        }
        if self.queue.bytes().is_none() {
            match self.socket.send_to(data, to) {
                Ok(()) => {
                    note_sent(data.len(), stats);
                    return true;
                }
                Err(Errno::AGAIN) if self.socket.tells_of_room(to) => self.flags.clear(Flags::WRITABLE),
                Err(errno) => {
                    stats.datagrams_dropped += 1;
                    if errno != Errno::AGAIN {
                        self.fail_to_send(to, errno);
                    }
                    return false;
                }
            }
        }
        let queued = self.queue.push(data, to, self.queue_cap);
        stats.datagrams_dropped += u64::from(!queued);
        queued
    }

    #[inline]
    pub(crate) fn wants_flush(&self) -> bool {
        self.queue.bytes().is_some() && self.flags.any(Flags::WRITABLE)
    }

    /// Sends the datagram that has waited longest, if the kernel takes it.
    pub(crate) fn flush_one(&mut self, stats: &mut Stats) {
        let Some((data, to)) = self.queue.front() else { return };
        match self.socket.send_to(data, to) {
            Ok(()) => {
                note_sent(data.len(), stats);
                self.queue.pop();
            }
            Err(Errno::AGAIN) if self.socket.tells_of_room(to) => return self.flags.clear(Flags::WRITABLE),
            Err(errno) => {
                stats.datagrams_dropped += 1;
                let to = self.queue.pop().flatten();
                if errno != Errno::AGAIN {
                    self.fail_to_send(to.as_ref(), errno);
                }
            }
        }
        self.flags.set(Flags::ON_WRITE_DUE.when(self.queue.bytes().is_none()));
    }

    /// The last attempt at what is queued, of which nobody is told.
    pub(crate) fn flush_last(&mut self, stats: &mut Stats) {
        self.flags.set(Flags::WRITABLE);
        while self.wants_flush() {
            self.flush_one(stats);
        }
        stats.datagrams_dropped += self.queue.len() as u64;
        self.queue = DatagramQueue::default();
    }

    /// Bytes in the queue; `None` if no datagram is there.
    pub(crate) fn queued_bytes(&self) -> Option<usize> {
        self.queue.bytes()
    }

    /// Records why the channel must close.
    pub(crate) fn doom(&mut self, reason: CloseReason) {
        self.doom.get_or_insert(reason);
        self.flags.set(Flags::DOOMED);
    }

    /// Its handler has panicked, which outweighs every other reason.
    pub(crate) fn doom_panicked(&mut self) {
        self.doom = Some(CloseReason::Panicked);
        self.flags.set(Flags::DOOMED);
    }

    pub(crate) fn doomed(&self) -> Option<CloseReason> {
        self.doom
    }

    /// The error that the handler must be told next.
    pub(crate) fn take_failure(&mut self) -> Option<Error> {
        self.failure.take()
    }

    /// Whether something must be told to the handler or carried out.
    #[inline]
    pub(crate) fn needs_settling(&self) -> bool {
        self.failure.is_some() || self.flags.any(Flags::DOOMED.or(Flags::ON_WRITE_DUE))
    }

    /// Whether nothing is on its way in either direction, as far as this side can tell.
    pub(crate) fn is_quiet(&self) -> bool {
        self.queue.bytes().is_none() && !self.wants_read()
    }

    fn fail_to_send(&mut self, to: Option<&Endpoint>, errno: Errno) {
        let to = to.or(self.peer.as_ref()).cloned().unwrap_or(Endpoint::Unnamed);
        self.fail(Error::Send { to, source: errno.into() });
    }

    fn fail(&mut self, error: Error) {
        self.failure.get_or_insert(error);
    }
}

impl AsFd for Mailbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn note_sent(length: usize, stats: &mut Stats) {
    stats.datagrams_out += 1;
    stats.bytes_out += length as u64;
}
