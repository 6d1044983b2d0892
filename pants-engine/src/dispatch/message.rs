//! The dispatcher's part for messages: the short ways from a read to its answer.

use rustix::io::Errno;

use crate::channel::state::Flags;
use crate::channel::stream::Received;
use crate::connection::{Connection, Outcome};
use crate::context::Context;
use crate::dispatch::Dispatcher;
use crate::key::Key;
use crate::limits;
use crate::poll::Event;
use crate::slots::Channel;

impl Dispatcher {
    /// The path of the usual event, in one pass: a message on a connection that has rested. Returns whether it was one; if
    /// not, nothing was done.
    #[inline(always)]
    pub(crate) fn pass_message(&mut self, event: Event<'_>) -> bool {
        let Self { context, read_buffer, handlers, .. } = self;
        let Context { channels, clock, stats, heart, .. } = context;
        let Some((key, Channel::Connection(slot))) = channels.find(event.token()) else { return false };
        if !event.is_usual() || !slot.stream.rests() {
            return false;
        }
        heart.enter_channel(key);
        let count = match slot.stream.transport.recv(&mut ***read_buffer) {
            Ok(count @ 1..=limits::OUTBOX_BYTES) => count,
            Ok(count) => return self.handle_unusual_input(key, Ok(count)),
            Err(errno) => return self.handle_unusual_input(key, Err(errno)),
        };
        slot.stream.note_input(count, clock, stats);
        let Some(handler) = handlers.get(key) else { return true };
        let input = &read_buffer[..count];
        let mut connection = Connection::with_input(context, key, input);
        handler.on_read(&mut connection, input);
        match connection.outcome() {
            Outcome::Echo => self.send_echo(key, count),
            Outcome::Relay => self.hold_input(),
            outcome => self.finish_message(key, outcome),
        }
    }

    /// As [`pass_message`](Self::pass_message), where input is cut into frames.
    #[inline(never)]
    pub(super) fn pass_framed_message(&mut self, event: Event<'_>) -> bool {
        let Self { context, read_buffer, .. } = self;
        let Context { channels, clock, stats, heart, .. } = context;
        let Some((key, Channel::Connection(slot))) = channels.find(event.token()) else { return false };
        if !event.is_usual() || !slot.stream.rests_framed() {
            return false;
        }
        heart.enter_channel(key);
        let count = match slot.stream.transport.recv(&mut ***read_buffer) {
            Ok(count @ 1..=limits::OUTBOX_BYTES) => count,
            Ok(count) => return self.handle_unusual_input(key, Ok(count)),
            Err(errno) => return self.handle_unusual_input(key, Err(errno)),
        };
        slot.stream.note_input(count, clock, stats);
        self.handle_framed_input(key, count);
        true
    }

    /// Ends the way of a message that was not answered by itself: with another answer, with none, or because its handler has
    /// asked for more.
    #[inline(never)]
    fn finish_message(&mut self, key: Key, outcome: Outcome) -> bool {
        if outcome == Outcome::Nothing {
            return true;
        }
        // First what is usual: it is open to nobody while anybody relays.
        if self.context.outbox.is_open_to(key) {
            if !self.send_open(key) {
                self.drive(key);
            }
        } else if self.context.outbox.is_relayed_by(key) {
            self.hold_gathered();
        } else {
            self.drive(key);
        }
        true
    }

    /// What a `recv` has brought on the path of the usual message, but for one.
    #[inline(never)]
    fn handle_unusual_input(&mut self, key: Key, received: Result<usize, Errno>) -> bool {
        let Context { channels, clock, stats, .. } = &mut self.context;
        let Some(Channel::Connection(slot)) = channels.get_mut(key) else { return true };
        slot.stream.flags.set(Flags::READABLE);
        let received = slot.stream.handle_recv(received, self.read_buffer.len(), clock, stats);
        self.handle_input(key, received);
        true
    }

    /// What a `recv` has brought on a connection where nothing else was going on.
    pub(super) fn handle_input(&mut self, key: Key, received: Received) {
        let Some(Channel::Connection(slot)) = self.context.channels.get_mut(key) else { return };
        match received {
            Received::Bytes(count) if slot.stream.is_framed() => return self.handle_framed_input(key, count),
            Received::Bytes(count) => {
                let alone = slot.stream.is_at_rest();
                if self.pass_input(key, count) && alone {
                    return;
                }
            }
            Received::End => self.end_input(key),
            Received::Nothing => {}
        }
        self.drive(key);
    }

    /// The short way of input that is no usual message: the handler has an `on_write` of its own, or much has come. Returns
    /// whether it stayed at reading and writing; if not, the connection's flags say what is left to do.
    fn pass_input(&mut self, key: Key, count: usize) -> bool {
        let Self { context, read_buffer, handlers, .. } = self;
        let Some(handler) = handlers.get(key) else { return false };
        context.outbox.open_to(key);
        handler.on_read(&mut Connection::new(context, key), &read_buffer[..count]);
        if self.context.outbox.is_relayed_by(key) {
            return self.hold_gathered();
        }
        self.context.outbox.is_open_to(key) && self.send_open(key)
    }

    /// Ends the short way of a connection that has written to another one: that one's bytes are held, to leave with those of
    /// others. What becomes of them is for its own next drive; nothing is left to do for the first.
    #[inline(never)]
    fn hold_gathered(&mut self) -> bool {
        let Context { channels, clock, outbox, .. } = &mut self.context;
        outbox.shut();
        if let Some(owner) = outbox.owner()
            // Nobody leaves within a callback.
            && let Some(Channel::Connection(slot)) = channels.at_mut(owner.index())
        {
            slot.stream.note_held(clock);
            outbox.hold_gathered();
            self.send_held_if_full();
        }
        true
    }

    /// Ends the way of a message that is relayed to another connection: it is held, as [`hold_gathered`](Self::hold_gathered)
    /// does.
    #[inline(never)]
    pub(super) fn hold_input(&mut self) -> bool {
        let Self { context, read_buffer, .. } = self;
        let Context { channels, clock, outbox, .. } = context;
        if let Some((owner, count)) = outbox.take_relaying()
            && let Some(Channel::Connection(slot)) = channels.at_mut(owner.index())
        {
            slot.stream.note_held(clock);
            outbox.hold_input(owner, read_buffer, count);
            self.send_held_if_full();
        }
        true
    }

    #[inline]
    fn send_held_if_full(&mut self) {
        if self.context.outbox.is_full() {
            self.context.send_held();
        }
    }

    /// Ends the short way of a connection to which the outbox is open: sends what was written on it, and shuts the outbox.
    /// Returns whether nothing is left to do.
    #[inline(always)]
    pub(crate) fn send_open(&mut self, key: Key) -> bool {
        let Self { context, handlers, .. } = self;
        if context.outbox.owner().is_some() {
            // Nobody leaves within a callback: it is the one that was found valid.
            let Some(Channel::Connection(slot)) = context.channels.at_mut(key.index()) else { return false };
            let all_done = slot.stream.send_now(context.outbox.bytes(), &context.clock, &mut context.stats);
            context.outbox.clear();
            if !all_done {
                if !slot.stream.only_on_write_is_due() {
                    return false;
                }
                slot.stream.flags.clear(Flags::ON_WRITE_DUE);
                let Some(handler) = handlers.get(key) else { return false };
                handler.on_write(&mut Connection::new(context, key));
                if !context.outbox.is_open_to(key) || context.outbox.owner().is_some() {
                    return false;
                }
            }
        }
        context.outbox.shut_opened();
        true
    }

    /// Ends the way of a message that is its own answer, with so many bytes.
    #[inline(always)]
    fn send_echo(&mut self, key: Key, count: usize) -> bool {
        let Self { context, read_buffer, .. } = self;
        // Nobody leaves within a callback: it is the one that was found valid.
        let Some(Channel::Connection(slot)) = context.channels.at_mut(key.index()) else { return true };
        match slot.stream.transport.send(&read_buffer[..count]) {
            Ok(sent) if sent == count => {
                context.stats.note_write(count);
                true
            }
            Ok(sent) => self.queue_echo(key, count, sent),
            Err(errno) => self.handle_echo_error(key, count, errno),
        }
    }

    /// The kernel has taken so many bytes of an echo, but not all.
    #[cold]
    #[inline(never)]
    fn queue_echo(&mut self, key: Key, count: usize, sent: usize) -> bool {
        self.handle_send(key, count, Ok(sent))
    }

    /// The kernel has not taken an echo. Apart from [`queue_echo`](Self::queue_echo), so that the path of a message does not
    /// put the result of its `send` in memory for either.
    #[cold]
    #[inline(never)]
    fn handle_echo_error(&mut self, key: Key, count: usize, errno: Errno) -> bool {
        self.handle_send(key, count, Err(errno))
    }

    fn handle_send(&mut self, key: Key, count: usize, sent: Result<usize, Errno>) -> bool {
        let Context { channels, clock, stats, .. } = &mut self.context;
        if let Some(Channel::Connection(slot)) = channels.at_mut(key.index()) {
            slot.stream.handle_send(sent, &self.read_buffer[..count], clock, stats);
        }
        self.drive(key);
        true
    }
}
