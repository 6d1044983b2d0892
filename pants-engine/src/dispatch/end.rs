//! The dispatcher's part for ends: a connection's deadlines, its last callbacks, and what goes with it.

use std::io;
use std::mem;
use std::os::fd::AsFd;

use crate::channel::state::{CloseReason, Expiry, Flags};
use crate::context::Running;
use crate::dispatch::Dispatcher;
use crate::error::Error;
use crate::key::Key;
use crate::slots::Channel;

impl Dispatcher {
    pub(super) fn doom(&mut self, key: Key, reason: CloseReason) {
        if let Some(slot) = self.context.connection_slot(key) {
            slot.stream.doom(reason);
        }
    }

    /// A connection's timer has fired: ends the connection if it has waited too long, or sets the timer anew.
    pub(crate) fn check_deadline(&mut self, key: Key) {
        let now = self.context.clock.tick();
        let Some(slot) = self.context.connection_slot(key) else { return };
        let expired = slot.stream.next_deadline().filter(|(tick, _)| *tick <= now);
        let Some((_, expiry)) = expired else { return self.context.rearm(key) };
        self.context.enter(Running::Connection(key));
        match expiry {
            Expiry::Connect => {
                let error = self.context.connect_timed_out(key);
                return self.fail_to_connect(key, error);
            }
            Expiry::Read => self.doom(key, CloseReason::ReadTimeout),
            Expiry::Idle => self.doom(key, CloseReason::IdleTimeout),
            Expiry::WriteStall => self.doom(key, CloseReason::WriteStalled),
            Expiry::Linger => self.doom(key, CloseReason::Finished),
        }
        self.settle(key);
    }

    /// The last callbacks of a doomed connection; then it is gone.
    pub(super) fn end(&mut self, key: Key) {
        let Some(slot) = self.context.connection_slot(key) else { return };
        let reason = slot.stream.doomed().unwrap_or(CloseReason::Finished);
        if slot.stream.flags.any(Flags::CONNECTING) {
            let errno = slot.stream.errno.map(io::Error::from);
            let error = self.context.dials.get_mut(&key).and_then(|dial| dial.error.take()).or(errno);
            // One that was given up may have failed at some address before; that is not why it ends.
            let error = error.filter(|_| matches!(reason, CloseReason::Failed(_)));
            return self.fail_to_connect(key, error.unwrap_or_else(|| io::ErrorKind::ConnectionAborted.into()));
        }
        if let Some(source) = slot.stream.take_failure(reason) {
            let error = Error::Connection { peer: slot.stream.peer.clone(), source };
            self.call(key, |handler, connection| handler.on_error(connection, &error));
        }
        if let Some(slot) = self.context.connection_slot(key).filter(|slot| !slot.ended) {
            slot.ended = true;
            self.call(key, |handler, connection| handler.on_close(connection, reason));
        }
        self.remove(key, Some(reason));
    }

    pub(super) fn fail_to_connect(&mut self, key: Key, source: io::Error) {
        let dial = self.context.forget_dial(key);
        let Some(slot) = self.context.connection_slot(key) else { return };
        let address = dial.map_or_else(|| slot.stream.peer.clone().into(), |dial| dial.host);
        let error = Error::Connect { address, source };
        // If the callback panics, this is what removes the connection.
        slot.stream.doom(CloseReason::Aborted);
        if !mem::replace(&mut slot.ended, true)
            && let Some(handler) = self.handlers.get(key)
        {
            handler.on_connect_error(&mut self.context, &error);
        }
        self.remove(key, None);
    }

    /// Frees a connection: its descriptor, its timers and its place at its server. One that was never made has no reason.
    fn remove(&mut self, key: Key, reason: Option<CloseReason>) {
        let context = &mut self.context;
        let Some(mut slot) = context.release(key) else { return };
        context.forget_dial(key);
        let departure = slot.stream.flags.any(Flags::LEAVING).then(|| context.departures.remove(&key));
        let resets = reason.is_none_or(CloseReason::resets) || slot.stream.queued() > 0;
        if resets {
            slot.stream.transport.socket().reset_on_close();
        }
        if slot.stream.is_shared {
            context.registrar.deregister(slot.stream.transport.socket().as_fd());
            if !resets {
                // It fails for one that the peer has reset, which needs no end.
                let _ = slot.stream.transport.shutdown_write();
            }
        }
        if !slot.attendant {
            context.stats.note_close(reason);
        }
        // Last: what they own may panic when it is dropped.
        drop((self.handlers.remove(key), departure));
    }

    /// Closes everything at once. What callbacks begin meanwhile is refused, or there would be no end to it.
    pub(crate) fn close_all(&mut self) {
        self.context.closing_all = true;
        self.take_new_handlers();
        let keys: Vec<Key> = self.context.channels.iter().map(|(key, _)| key).collect();
        for key in keys {
            match self.context.channels.get(key) {
                Some(Channel::Connection(_)) => {
                    self.context.enter(Running::Connection(key));
                    self.doom(key, CloseReason::Stopped);
                    self.settle(key);
                    self.context.running = Running::Nobody;
                }
                Some(Channel::Datagram(_)) => self.close_datagrams(key, CloseReason::Stopped),
                _ => self.close_server(key),
            }
        }
        self.context.closing_all = false;
        self.context.drain = None;
    }
}
