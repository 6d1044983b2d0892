//! The dispatcher's part for framed input: cutting what was read into frames, and passing them on.

use std::ops::Range;

use crate::channel::state::{CloseReason, Flags};
use crate::connection::Connection;
use crate::dispatch::Dispatcher;
use crate::error::Error;
use crate::framing::driver::{Framing, Input, Next};
use crate::framing::framer::FrameError;
use crate::framing::pattern::Match;
use crate::handler::{Handler, Overflow};
use crate::key::Key;
use crate::slots::Channel;

/// Why the cutting has come to an end.
enum End {
    /// There is no more.
    UsedUp,
    /// The handler wants no more, for now or at all.
    Stopped,
    TooLong,
    Failed(FrameError),
}

impl Dispatcher {
    /// The path of the usual event, as [`pass_message`](Self::pass_message), where input is cut into frames. What is
    /// written on all of a read's frames leaves together.
    #[inline(always)]
    pub(crate) fn handle_framed_input(&mut self, key: Key, count: usize) {
        let Self { context, read_buffer, handlers, .. } = self;
        let Some(handler) = handlers.get(key) else { return };
        context.outbox.open_to(key);
        let mut rest = &read_buffer[..count];
        let mut alone;
        let all_passed = loop {
            let Some(Channel::Connection(slot)) = context.channels.at_mut(key.index()) else { return };
            alone = slot.stream.is_at_rest();
            let Some((length, consumed)) = slot.stream.next_whole(rest) else { break false };
            let (bytes, behind) = rest.split_at(consumed);
            rest = behind;
            handler.on_match(&mut Connection::new(context, key), &Match::new(bytes, 0..length, None));
            if !context.outbox.is_open_to(key) {
                break false;
            }
            if rest.is_empty() {
                break true;
            }
        };
        let left = count - rest.len()..count;
        if !((all_passed || self.pass_rest(key, left)) && self.send_open(key) && alone) {
            self.drive(key);
        }
    }

    /// Goes on behind the frames of the short way.
    #[inline(never)]
    fn pass_rest(&mut self, key: Key, bytes: Range<usize>) -> bool {
        let framing = self.context.connection_slot(key).and_then(|slot| slot.stream.take_framing());
        framing.is_some_and(|framing| self.pass_frames(key, framing, bytes))
    }

    /// Passes on the frames in what `framing` keeps and in these bytes of the read buffer, until the handler wants no more.
    /// Returns whether nothing else happened than that frames were passed on and answered: the outbox was, and is, open to the
    /// connection.
    ///
    /// The framing is out of its slot meanwhile, so that the handler can have the connection and the frame. Should it panic,
    /// the framing is lost, and so is the connection.
    pub(crate) fn pass_frames(&mut self, key: Key, mut framing: Box<Framing>, bytes: Range<usize>) -> bool {
        let Self { context, read_buffer, handlers, .. } = self;
        let Some(handler) = handlers.get(key) else { return false };
        let mut input = Input::new(&read_buffer[bytes]);
        let end = loop {
            if !context.outbox.is_open_to(key) {
                let Some(slot) = context.connection_slot(key) else { return false };
                if slot.stream.stops_delivery() {
                    framing.keep(&mut input);
                    break End::Stopped;
                }
                slot.stream.take_over_delimiter(&mut framing);
            }
            match framing.next(&mut input) {
                Next::Frame(frame) => handler.on_match(&mut Connection::new(context, key), &frame),
                Next::More => break End::UsedUp,
                Next::Overflow => break End::TooLong,
                Next::Failed(FrameError::TooLong { .. }) => break End::TooLong,
                Next::Failed(error) => break End::Failed(error),
            }
        };
        let open = context.outbox.is_open_to(key);
        if let Some(Channel::Connection(slot)) = context.channels.at_mut(key.index()) {
            let kept = matches!(end, End::Stopped) && !framing.bytes().is_empty();
            slot.stream.flags.set(Flags::FRAMES_KEPT.when(kept));
            slot.stream.put_back_framing(framing);
        }
        match end {
            End::UsedUp => open,
            End::Stopped => false,
            End::TooLong => {
                self.fail_framing(key, CloseReason::Overflow, |handler, connection, _| {
                    handler.on_overflow_error(connection, Overflow::Read);
                });
                false
            }
            End::Failed(source) => {
                self.fail_framing(
                    key,
                    CloseReason::Failed(std::io::ErrorKind::InvalidData),
                    |handler, connection, peer| {
                        handler.on_error(connection, &Error::Frame { peer, source });
                    },
                );
                false
            }
        }
    }

    /// Tells the handler that no more frames can come, and ends the connection unless it does.
    fn fail_framing(
        &mut self,
        key: Key,
        reason: CloseReason,
        tell: impl FnOnce(&mut dyn Handler, &mut Connection<'_>, crate::net::endpoint::Endpoint),
    ) {
        self.context.disturb();
        let Some(slot) = self.context.connection_slot(key) else { return };
        let peer = slot.stream.peer.clone();
        self.call(key, |handler, connection| tell(handler, connection, peer));
        if let Some(slot) = self.context.connection_slot(key).filter(|slot| !slot.stream.flags.any(Flags::CLOSING)) {
            slot.stream.doom(reason);
        }
    }
}
