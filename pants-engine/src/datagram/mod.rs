//! One datagram channel, as a callback sees it.

pub(crate) mod handler;
pub(crate) mod options;

use std::fmt;

use crate::channel::mailbox::Mailbox;
use crate::channel::state::{CloseReason, Flags};
use crate::context::{Context, Running};
use crate::key::{DatagramKey, Key};
use crate::net::endpoint::Endpoint;
use crate::slots::Channel;

/// A datagram channel (UDP or Unix) within a callback: what can be asked of it, and the way to its engine.
///
/// It is there for as long as it is borrowed; to reach the channel later keep its [`key`](Self::key). A timer of its own is
/// a [`Context::defer`] that looks the key up.
pub struct Datagram<'a> {
    context: &'a mut Context,
    /// Invariant: names a datagram channel that is in `context`.
    key: Key,
}

impl<'a> Datagram<'a> {
    pub(crate) fn new(context: &'a mut Context, key: Key) -> Self {
        Self { context, key }
    }

    fn mailbox(&mut self) -> &mut Mailbox {
        match self.context.channels.get_mut(self.key) {
            Some(Channel::Datagram(slot)) => &mut slot.mailbox,
            _ => unreachable!("a channel outlives the callbacks it is lent to"),
        }
    }

    /// To look at.
    fn look(&self) -> &Mailbox {
        match self.context.channels.get(self.key) {
            Some(Channel::Datagram(slot)) => &slot.mailbox,
            _ => unreachable!("a channel outlives the callbacks it is lent to"),
        }
    }

    /// Sends `data` as one datagram to `to`. It goes straight to the kernel; when that takes no more, it is copied to a
    /// queue, which leaves in order as soon as the kernel will take it. Within [`on_read`](crate::DatagramHandler::on_read) of a
    /// UDP channel it may be gathered, to leave in order and in one system call with others when the callback, or the last of
    /// those for what was read together, has returned.
    ///
    /// Returns whether it was sent, gathered or queued. It is dropped, and counted in
    /// [`Stats::datagrams_dropped`](crate::Stats::datagrams_dropped), if the queue would pass
    /// [`send_queue_cap`](crate::DatagramOptions::send_queue_cap); or if the kernel refuses it, which
    /// [`on_error`](crate::DatagramHandler::on_error) is told and which closes nothing; and after [`close`](Self::close). As
    /// always with UDP, one that was sent may still be lost.
    ///
    /// A Unix peer that does not read fills its own queue (`net.unix.max_dgram_qlen`, unix(7)), and the kernel does not say
    /// when there is room again. Lest it hold up those to others, a datagram to it is dropped at once. On a channel that is
    /// connected to it, [`send`](Self::send) queues.
    pub fn send_to(&mut self, data: &[u8], to: &Endpoint) -> bool {
        self.post(data, Some(to))
    }

    /// Sends `data` as one datagram to the peer of a connected channel, on the terms of [`send_to`](Self::send_to). On one
    /// that is not connected it is dropped, and [`on_error`](crate::DatagramHandler::on_error) is told.
    pub fn send(&mut self, data: &[u8]) -> bool {
        self.post(data, None)
    }

    fn post(&mut self, data: &[u8], to: Option<&Endpoint>) -> bool {
        let Context { channels, registrar, stats, trains, .. } = &mut *self.context;
        let Some(Channel::Datagram(slot)) = channels.get_mut(self.key) else { return false };
        let mailbox = &mut slot.mailbox;
        let was_queued = mailbox.queued_bytes().is_some();
        if trains.takes_from(self.key) && mailbox.gather(data, to, trains, stats) {
            return true;
        }
        let accepted = mailbox.send(data, to, stats);
        if !was_queued {
            mailbox.watch_output(registrar, self.key);
        }
        if mailbox.needs_settling() {
            self.touch();
        }
        accepted
    }

    /// Closes when the present callback has returned: what is queued is tried once more and then dropped, and
    /// [`on_close`](crate::DatagramHandler::on_close) comes with [`CloseReason::Finished`].
    pub fn close(&mut self) {
        self.mailbox().doom(CloseReason::Finished);
        self.touch();
    }

    /// Stops reading: not even the datagrams at hand are followed by more. Those that were read with the present one are kept
    /// for [`resume_reading`](Self::resume_reading); those that arrive fill the kernel's buffer, and
    /// when that is full the kernel drops them (UDP) or has their senders wait (Unix).
    pub fn pause_reading(&mut self) {
        self.mailbox().flags.set(Flags::PAUSED_BY_USER);
    }

    /// Goes on reading, from this turn or the next.
    pub fn resume_reading(&mut self) {
        self.mailbox().flags.clear(Flags::PAUSED_BY_USER);
        self.touch();
    }

    /// Bytes in the queue of what the kernel has not taken yet, without what is [gathered](Self::send_to).
    pub fn queued_bytes(&self) -> usize {
        self.look().queued_bytes().unwrap_or(0)
    }

    /// This end.
    pub fn local_address(&self) -> &Endpoint {
        &self.look().local
    }

    /// The other end of a connected channel; `None` if it is not connected.
    pub fn peer_address(&self) -> Option<&Endpoint> {
        self.look().peer.as_ref()
    }

    /// The key by which [`Context::datagram`] finds this channel again.
    pub fn key(&self) -> DatagramKey {
        DatagramKey(self.key)
    }

    /// The engine: its timers and its other channels.
    pub fn context(&mut self) -> &mut Context {
        self.context
    }

    /// Has the channel driven after this, if its own callback is not what runs.
    fn touch(&mut self) {
        if self.context.running != Running::Datagram(self.key) {
            self.context.schedule(self.key);
        }
    }
}

impl fmt::Debug for Datagram<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datagram").field("key", &self.key).finish_non_exhaustive()
    }
}
