//! The dispatcher's part for datagram channels: reading, flushing, closing.

use std::os::fd::AsFd;

use crate::channel::mailbox::{Delivery, Mailbox};
use crate::channel::state::{CloseReason, Flags};
use crate::context::{Context, Running};
use crate::datagram::Datagram;
use crate::datagram::handler::DatagramHandler;
use crate::dispatch::Dispatcher;
use crate::key::Key;
use crate::limits;
use crate::net::batch::{Batch, ReadBudget};
use crate::net::endpoint::Endpoint;
use crate::slots::Channel;

impl Dispatcher {
    /// Does for a datagram channel all that its state allows: closes, flushes, reads.
    pub(crate) fn drive_datagrams(&mut self, key: Key) {
        self.context.enter(Running::Datagram(key));
        if self.settle_datagrams(key) && self.flush_datagrams(key) && self.read_datagrams(key) {
            self.tell_datagrams_of_shutdown(key);
        }
        // What the callbacks wrote to connections.
        self.context.flush_outbox();
        self.context.running = Running::Nobody;
    }

    /// Closes a datagram channel, because of `reason` or of an earlier one.
    pub(crate) fn close_datagrams(&mut self, key: Key, reason: CloseReason) {
        if let Some(mailbox) = self.context.mailbox(key) {
            mailbox.doom(reason);
            self.drive_datagrams(key);
        }
    }

    // The steps of a drive. Each returns whether the channel is still there.

    fn flush_datagrams(&mut self, key: Key) -> bool {
        for _ in 0..limits::DATAGRAM_BUDGET {
            let Context { channels, registrar, stats, .. } = &mut self.context;
            let Some(Channel::Datagram(slot)) = channels.get_mut(key) else { return false };
            let mailbox = &mut slot.mailbox;
            if !mailbox.wants_flush() {
                return true;
            }
            mailbox.flush_one(stats);
            if mailbox.queued_bytes().is_none() {
                registrar.watch_output(mailbox.as_fd(), key, false);
            }
            if !self.settle_datagrams(key) {
                return false;
            }
        }
        self.context.schedule(key);
        true
    }

    /// Reads until the kernel has no more, reading is paused, or the budget is used up.
    fn read_datagrams(&mut self, key: Key) -> bool {
        let mut budget = ReadBudget { datagrams: limits::DATAGRAM_BUDGET, bytes: limits::READ_BUDGET_BYTES };
        while budget.datagrams > 0 && budget.bytes > 0 {
            let Some(mailbox) = self.context.mailbox(key) else { return false };
            if !mailbox.wants_read() {
                return true;
            }
            if mailbox.has_kept() {
                self.read_kept(key, &mut budget);
            } else if mailbox.wants_batch() {
                self.read_batch(key, &mut budget);
            } else {
                self.read_one(key, &mut budget);
            }
            if !self.settle_datagrams(key) {
                return false;
            }
        }
        // No edge will tell of what is left.
        if self.context.mailbox(key).is_some_and(|mailbox| mailbox.wants_read()) {
            self.context.schedule(key);
        }
        true
    }

    /// The datagrams of one `recvmmsg`. What the handler sends meanwhile leaves when it has had them all.
    fn read_batch(&mut self, key: Key, budget: &mut ReadBudget) {
        let Self { context, batch, datagram_handlers, .. } = self;
        let (Some(mailbox), Some(handler)) = (context.mailbox(key), datagram_handlers.get(key)) else { return };
        let batch = batch.get_or_insert_with(Batch::new);
        if !mailbox.recv_batch(batch, *budget) {
            return budget.take(0);
        }
        context.trains.open_to(key, false);
        while let Some((data, from)) = batch.next() {
            budget.take(data.len());
            context.stats.note_datagram_in(data.len());
            handler.on_read(&mut Datagram::new(context, key), data, &Endpoint::from_ip(from));
            if !context.mailbox(key).is_some_and(|mailbox| mailbox.may_read()) {
                break;
            }
        }
        context.finish_batch(key, batch);
    }

    fn read_one(&mut self, key: Key, budget: &mut ReadBudget) {
        let Self { context, read_buffer, datagram_handlers, .. } = self;
        let Context { channels, stats, .. } = &mut *context;
        let Some(Channel::Datagram(slot)) = channels.get_mut(key) else { return };
        let Delivery::Datagram(length, from) = slot.mailbox.recv(&mut ***read_buffer, stats) else {
            return budget.take(0);
        };
        budget.take(length);
        stats.note_datagram_in(length);
        if slot.mailbox.has_batches() {
            // Most often one answer is all there is, which need not be copied.
            context.trains.open_to(key, true);
        }
        if let Some(handler) = datagram_handlers.get(key) {
            handler.on_read(&mut Datagram::new(context, key), &read_buffer[..length], &from);
        }
        context.send_trains(key);
    }

    /// A datagram that was read before reading was paused.
    fn read_kept(&mut self, key: Key, budget: &mut ReadBudget) {
        let Some((data, from)) = self.context.mailbox(key).and_then(Mailbox::take_kept) else { return };
        budget.take(data.len());
        self.context.stats.note_datagram_in(data.len());
        self.call_datagrams(key, |handler, datagram| handler.on_read(datagram, &data, &from));
    }

    fn tell_datagrams_of_shutdown(&mut self, key: Key) {
        let impatient = self.context.drain.is_some_and(|drain| drain.impatient);
        let Some(mailbox) = self.context.mailbox(key) else { return };
        if !mailbox.flags.any(Flags::SHUTDOWN_DUE) || !(impatient || mailbox.is_quiet()) {
            return;
        }
        mailbox.flags.clear(Flags::SHUTDOWN_DUE);
        self.call_datagrams(key, DatagramHandler::on_shutdown);
        if self.settle_datagrams(key) && self.context.mailbox(key).is_some_and(|mailbox| mailbox.wants_read()) {
            // It has resumed reading.
            self.context.schedule(key);
        }
    }

    /// Carries out what the last callback, or the last call, left to be done. Returns whether the channel is still there.
    fn settle_datagrams(&mut self, key: Key) -> bool {
        for _ in 0..limits::ON_WRITE_ROUNDS_MAX {
            let Some(mailbox) = self.context.mailbox(key) else { return false };
            if !mailbox.needs_settling() {
                return true;
            }
            if let Some(reason) = mailbox.doomed() {
                self.end_datagrams(key, reason);
                return false;
            }
            if let Some(error) = mailbox.take_failure() {
                self.call_datagrams(key, |handler, datagram| handler.on_error(datagram, &error));
            } else {
                mailbox.flags.clear(Flags::ON_WRITE_DUE);
                self.call_datagrams(key, DatagramHandler::on_write);
            }
        }
        // Each thing it is told makes it fail anew: the others have their turn first.
        self.context.schedule(key);
        true
    }

    /// The last callback of a doomed channel; then it is gone.
    fn end_datagrams(&mut self, key: Key, reason: CloseReason) {
        let Context { channels, stats, .. } = &mut self.context;
        let Some(Channel::Datagram(slot)) = channels.get_mut(key) else { return };
        if !std::mem::replace(&mut slot.ended, true) {
            slot.mailbox.flush_last(stats);
            self.call_datagrams(key, |handler, datagram| handler.on_close(datagram, reason));
        }
        if let Some(Channel::Datagram(slot)) = self.context.channels.remove(key) {
            self.context.registrar.deregister(slot.mailbox.as_fd());
        }
        // Last: what it owns may panic when it is dropped.
        drop(self.datagram_handlers.remove(key));
    }

    /// A handler has panicked: its channel is closed.
    pub(crate) fn contain_in_datagrams(&mut self, key: Key, message: &str) {
        let Some(Channel::Datagram(slot)) = self.context.channels.get_mut(key) else {
            tracing::error!("handler panicked: {message}; it was being dropped, its channel is closed");
            return;
        };
        let name = self.datagram_handlers.get(key).map_or("unknown", |handler| handler.type_name());
        let local = &slot.mailbox.local;
        tracing::error!(handler = name, %local, "handler panicked: {message}; its channel is closed");
        if !slot.ended {
            slot.mailbox.doom_panicked();
        }
        // The answers to those that came before it leave.
        match &mut self.batch {
            Some(batch) => self.context.finish_batch(key, batch),
            None => self.context.send_trains(key),
        }
        self.context.schedule(key);
    }

    fn call_datagrams(&mut self, key: Key, f: impl FnOnce(&mut dyn DatagramHandler, &mut Datagram<'_>)) {
        if let Some(handler) = self.datagram_handlers.get(key) {
            f(handler, &mut Datagram::new(&mut self.context, key));
        }
    }
}

impl Context {
    /// Ends the reading of a batch: what is left of it is kept, or lost with its channel.
    fn finish_batch(&mut self, key: Key, batch: &mut Batch) {
        let Some(mailbox) = self.mailbox(key) else { return };
        if mailbox.doomed().is_none() {
            mailbox.keep(batch);
        }
        self.stats.datagrams_dropped += batch.abandon();
        self.send_trains(key);
    }

    /// Sends what was gathered while the handler read.
    fn send_trains(&mut self, key: Key) {
        self.trains.shut();
        if self.trains.is_empty() {
            return;
        }
        let Some(Channel::Datagram(slot)) = self.channels.get_mut(key) else { return };
        let was_queued = slot.mailbox.queued_bytes().is_some();
        slot.mailbox.send_gathered(&mut self.trains, &mut self.stats);
        if !was_queued {
            slot.mailbox.watch_output(&self.registrar, key);
        }
    }

    #[inline]
    fn mailbox(&mut self, key: Key) -> Option<&mut Mailbox> {
        match self.channels.get_mut(key) {
            Some(Channel::Datagram(slot)) => Some(&mut slot.mailbox),
            _ => None,
        }
    }
}
