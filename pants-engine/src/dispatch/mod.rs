//! The dispatcher: drives connections, and is the only place from which callbacks are called.
//!
//! Handlers are kept apart from the [`Context`], so that a callback can have both. What a callback leaves to be done, its
//! connection's flags say; `settle` does it.

mod accept;
mod contain;
mod deliver;
mod end;
mod fire;
mod hand_off;
mod mail;
mod message;

use std::fmt;

use crate::buffer::input::ReadBuffer;
use crate::channel::state::{CloseReason, Flags};
use crate::channel::stream::Received;
use crate::connection::Connection;
use crate::context::{Context, Running};
use crate::datagram::handler::DatagramHandler;
use crate::handler::{AnyAcceptor, Handler, Overflow};
use crate::handlers::Handlers;
use crate::key::Key;
use crate::limits;
use crate::net::batch::Batch;
use crate::poll::{Event, Poller, Readiness};
use crate::pulse::Activity;
use crate::slots::Channel;

pub(crate) struct Dispatcher {
    pub(crate) context: Context,
    /// What every channel reads into.
    pub(crate) read_buffer: Box<ReadBuffer>,
    /// What UDP channels read into, from the first such read on.
    pub(crate) batch: Option<Box<Batch>>,
    pub(crate) handlers: Handlers<dyn Handler>,
    pub(crate) datagram_handlers: Handlers<dyn DatagramHandler>,
    /// The acceptor whose callback runs, out of its slot for as long.
    pub(crate) acceptor: Option<Box<dyn AnyAcceptor>>,
    /// How many of the present turn's events have been acted on.
    pub(crate) events_handled: usize,
}

impl Dispatcher {
    pub(crate) fn new(context: Context) -> Self {
        let read_buffer = ReadBuffer::new();
        let (handlers, datagram_handlers) = (Handlers::new(), Handlers::new());
        Self { context, read_buffer, batch: None, handlers, datagram_handlers, acceptor: None, events_handled: 0 }
    }

    /// Takes over the handlers of channels that callbacks have begun. Needed before their channels are driven.
    #[inline]
    pub(crate) fn take_new_handlers(&mut self) {
        if !(self.context.new_handlers.is_empty() && self.context.new_datagram_handlers.is_empty()) {
            self.take_all_new_handlers();
        }
    }

    #[inline(never)]
    fn take_all_new_handlers(&mut self) {
        for (key, handler) in self.context.new_handlers.drain(..) {
            self.context.heart.name(key, Activity::Handler((*handler).type_name()));
            self.handlers.insert(key, handler);
        }
        for (key, handler) in self.context.new_datagram_handlers.drain(..) {
            self.context.heart.name(key, Activity::Handler((*handler).type_name()));
            self.datagram_handlers.insert(key, handler);
        }
    }

    /// Acts on the events of the present turn, behind those that were before a callback panicked.
    ///
    /// Not inlined, so that the path of a message has the registers to itself.
    #[inline(never)]
    pub(crate) fn handle_events(&mut self, poller: &Poller) {
        for event in poller.events_from(self.events_handled) {
            self.events_handled += 1;
            if !self.pass_message(event) {
                self.handle_event(event);
            }
        }
    }

    /// Acts on an event that is no usual message. A wake names no channel; and one for a channel that is gone, even since this
    /// batch was fetched, reaches nobody.
    #[inline(never)]
    pub(crate) fn handle_event(&mut self, event: Event<'_>) {
        if !self.pass_framed_message(event) {
            self.handle_other_event(event);
        }
    }

    #[inline(never)]
    fn handle_other_event(&mut self, event: Event<'_>) {
        if let Some(key) = Key::from_token(event.token()) {
            self.handle_readiness(key, event.readiness());
        }
    }

    fn handle_readiness(&mut self, key: Key, readiness: Readiness) {
        let Context { channels, clock, stats, heart, .. } = &mut self.context;
        heart.enter_channel(key);
        match channels.get_mut(key) {
            Some(Channel::Connection(slot)) => {
                slot.stream.flags.set_readiness(readiness);
                if slot.stream.has_only_input() {
                    let received = slot.stream.recv(&mut **self.read_buffer, clock, stats);
                    return self.handle_input(key, received);
                }
                self.drive(key);
            }
            Some(Channel::Server(slot)) => {
                slot.server.handle_event(stats.turns);
                self.accept(key);
            }
            Some(Channel::Datagram(slot)) => {
                slot.mailbox.handle_readiness(readiness);
                self.drive_datagrams(key);
            }
            Some(Channel::Attempt(_)) => self.context.handle_attempt(key),
            None => {}
        }
    }

    /// Drives the channel that has waited longest, if it is still there.
    pub(crate) fn drive_next_ready(&mut self) {
        let Some(key) = self.context.ready.pop_front() else { return };
        match self.context.channels.get_mut(key) {
            Some(Channel::Connection(slot)) => {
                slot.scheduled = false;
                self.drive(key);
            }
            Some(Channel::Server(slot)) => {
                slot.scheduled = false;
                self.accept(key);
            }
            Some(Channel::Datagram(slot)) => {
                slot.scheduled = false;
                self.drive_datagrams(key);
            }
            Some(Channel::Attempt(_)) | None => {}
        }
    }

    /// Does for a connection all that its state allows: arrives or connects, writes, reads, closes.
    #[inline(never)]
    pub(crate) fn drive(&mut self, key: Key) {
        self.context.outbox.shut();
        self.context.enter(Running::Connection(key));
        self.context.flush_outbox();
        if self.finish_connecting(key) && self.flush(key) && self.read(key) {
            self.after_read(key);
            self.look_again(key);
        }
        // What the last callbacks wrote to other connections.
        self.context.flush_outbox();
        self.context.running = Running::Nobody;
    }

    // The steps of a drive. Each returns whether the next one makes sense.

    fn finish_connecting(&mut self, key: Key) -> bool {
        match self.context.connection_slot(key) {
            Some(slot) if slot.stream.flags.any(Flags::CONNECTING) => self.try_finish_connecting(key),
            // Before anything else of it.
            Some(slot) if slot.stream.flags.any(Flags::ARRIVED) => self.settle(key),
            Some(_) => true,
            None => false,
        }
    }

    fn try_finish_connecting(&mut self, key: Key) -> bool {
        let now = self.context.clock.tick();
        let Some(slot) = self.context.connection_slot(key) else { return false };
        if slot.stream.doomed().is_some() {
            return self.settle(key);
        }
        match slot.stream.take_connected(now) {
            None => false,
            Some(Ok(())) => {
                self.call(key, Handler::on_connect);
                self.settle(key)
            }
            Some(Err(error)) => {
                self.fail_to_connect(key, error);
                false
            }
        }
    }

    fn flush(&mut self, key: Key) -> bool {
        let Context { channels, clock, stats, .. } = &mut self.context;
        let Some(Channel::Connection(slot)) = channels.get_mut(key) else { return false };
        if !slot.stream.wants_flush() {
            return true;
        }
        slot.stream.flush(clock.tick(), stats);
        if slot.stream.wants_flush() {
            self.context.schedule(key);
        }
        self.settle(key)
    }

    /// Reads until the kernel has no more, reading is paused, or the budget is used up. Returns whether something is left
    /// to be looked at after that.
    fn read(&mut self, key: Key) -> bool {
        let mut budget = limits::READ_BUDGET_BYTES;
        loop {
            let Context { channels, clock, stats, .. } = &mut self.context;
            let Some(Channel::Connection(slot)) = channels.get_mut(key) else { return false };
            if slot.stream.wants_frames() {
                slot.stream.flags.clear(Flags::FRAMES_KEPT);
                if let Some(framing) = slot.stream.take_framing() {
                    self.pass_frames(key, framing, 0..0);
                }
                if !self.settle(key) {
                    return false;
                }
                continue;
            }
            if !slot.stream.wants_read() {
                return slot.stream.needs_settling();
            }
            if budget == 0 {
                self.context.schedule(key);
                return true;
            }
            let discard = slot.stream.flags.any(Flags::CLOSING);
            let received = slot.stream.recv(&mut **self.read_buffer, clock, stats);
            if let Received::Bytes(count) = received {
                budget = budget.saturating_sub(count.max(limits::READ_COST_MIN_BYTES));
            }
            match received {
                Received::Bytes(count) if !discard && slot.stream.is_framed() => {
                    if let Some(framing) = slot.stream.take_framing() {
                        self.pass_frames(key, framing, 0..count);
                    }
                }
                Received::Bytes(count) if !discard => {
                    let Self { context, read_buffer, handlers, .. } = self;
                    if let Some(handler) = handlers.get(key) {
                        handler.on_read(&mut Connection::new(context, key), &read_buffer[..count]);
                    }
                }
                Received::End if !discard => self.end_input(key),
                _ => {}
            }
            if !self.settle(key) {
                return false;
            }
        }
    }

    /// The peer has sent FIN.
    #[inline(never)]
    fn end_input(&mut self, key: Key) {
        self.context.enter(Running::Connection(key));
        self.call(key, Handler::on_end);
    }

    /// What is looked at when nothing more is to be read for now: errors that no call has returned, and a drain.
    fn after_read(&mut self, key: Key) {
        let Some(slot) = self.context.connection_slot(key) else { return };
        slot.stream.take_pending_error();
        if slot.stream.flags.any(Flags::SHUTDOWN_DUE) {
            self.tell_of_shutdown(key);
        }
        self.settle(key);
    }

    /// The last callback may have set reading going again.
    fn look_again(&mut self, key: Key) {
        let Some(slot) = self.context.connection_slot(key) else { return };
        if slot.stream.wants_frames() || slot.stream.wants_read() {
            self.context.schedule(key);
        }
    }

    fn tell_of_shutdown(&mut self, key: Key) {
        let impatient = self.context.drain.is_some_and(|drain| drain.impatient);
        let Some(slot) = self.context.connection_slot(key) else { return };
        if slot.stream.flags.any(Flags::CLOSING.or(Flags::DOOMED)) {
            return;
        }
        if impatient || slot.stream.is_quiet() {
            slot.stream.flags.clear(Flags::SHUTDOWN_DUE);
            self.call(key, Handler::on_shutdown);
        }
    }

    /// Carries out what the last callback, or the last call, left to be done. Returns whether the connection is still there.
    pub(crate) fn settle(&mut self, key: Key) -> bool {
        for _ in 0..limits::ON_WRITE_ROUNDS_MAX {
            self.context.flush_outbox();
            let now = self.context.clock.tick();
            let Some(slot) = self.context.connection_slot(key) else { return false };
            let stream = &mut slot.stream;
            stream.handle_close(now);
            if stream.is_settled() {
                return true;
            }
            if stream.flags.any(Flags::ARRIVED) {
                self.welcome(key);
                continue;
            }
            if stream.doomed().is_some() {
                self.end(key);
                return false;
            }
            if stream.flags.any(Flags::CONNECTING) {
                // What there is to tell the handler waits until the connection is made.
                self.context.rearm(key);
                return true;
            }
            if stream.flags.any(Flags::OVERFLOWED) {
                self.call(key, |handler, connection| handler.on_overflow_error(connection, Overflow::Write));
                self.doom(key, CloseReason::Overflow);
            } else if stream.flags.any(Flags::LEAVING) {
                self.depart(key);
                return false;
            } else if stream.flags.any(Flags::ON_CONGESTED_DUE) {
                stream.flags.clear(Flags::ON_CONGESTED_DUE);
                self.call(key, Handler::on_congested);
            } else if stream.flags.any(Flags::ON_DRAINED_DUE) {
                stream.flags.clear(Flags::ON_DRAINED_DUE);
                self.call(key, Handler::on_drained);
            } else if stream.flags.any(Flags::REARM_DUE) {
                self.context.rearm(key);
            } else {
                stream.flags.clear(Flags::ON_WRITE_DUE);
                self.call(key, Handler::on_write);
            }
        }
        // It writes and writes: the others have their turn first.
        self.context.flush_outbox();
        self.context.schedule(key);
        true
    }

    #[inline]
    pub(crate) fn call(&mut self, key: Key, f: impl FnOnce(&mut dyn Handler, &mut Connection<'_>)) {
        if let Some(handler) = self.handlers.get(key) {
            f(handler, &mut Connection::new(&mut self.context, key));
        }
    }
}

impl fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatcher").field("context", &self.context).finish_non_exhaustive()
    }
}
