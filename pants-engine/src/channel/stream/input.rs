//! A stream's input: reading, and what is kept of frames.

use std::rc::Rc;

use rustix::io::Errno;

use crate::channel::state::Flags;
use crate::channel::stream::{Received, Stream};
use crate::clock::Clock;
use crate::framing::delimiter::Delimiter;
use crate::framing::driver::Framing;
use crate::stats::Stats;

impl Stream {
    /// Whether a read should be tried now.
    #[inline]
    pub(crate) fn wants_read(&self) -> bool {
        const NEVER: Flags = Flags::PEER_ENDED.or(Flags::CONNECTING).or(Flags::DOOMED).or(Flags::LEAVING);
        const PAUSED: Flags = Flags::PAUSED_BY_USER.or(Flags::PAUSED_BY_ENGINE);
        const ASKED: Flags = Flags::READABLE.or(NEVER).or(PAUSED);
        match self.flags.of(ASKED) {
            Flags::READABLE => true,
            asked => asked.any(Flags::READABLE) && !asked.any(NEVER) && self.flags.any(Flags::CLOSING),
        }
    }

    /// One `recv`.
    #[inline(always)]
    pub(crate) fn recv(&mut self, buffer: &mut [u8], clock: &Clock, stats: &mut Stats) -> Received {
        let received = self.transport.recv(buffer);
        self.handle_recv(received, buffer.len(), clock, stats)
    }

    /// Takes note of what a `recv` of at most `most` bytes has brought.
    #[inline(always)]
    pub(crate) fn handle_recv(
        &mut self,
        received: Result<usize, Errno>,
        most: usize,
        clock: &Clock,
        stats: &mut Stats,
    ) -> Received {
        let flags = self.flags;
        match received {
            // After a reset that another call has seen, 0 is no end.
            Ok(0) if flags.any(Flags::OUTPUT_LOST) => {
                self.fail(Errno::CONNRESET);
                Received::Nothing
            }
            Ok(0) => {
                self.flags = flags.without(Flags::READABLE).or(Flags::PEER_ENDED);
                Received::End
            }
            Ok(count) => {
                // A read that does not fill the buffer has emptied the socket (epoll(7)), with the exceptions noted above.
                if count < most && !flags.any(Flags::READ_UNTIL_BLOCKED) {
                    self.flags = flags.without(Flags::READABLE);
                }
                self.note_input(count, clock, stats);
                Received::Bytes(count)
            }
            Err(errno) => {
                self.handle_recv_error(errno);
                Received::Nothing
            }
        }
    }

    /// Takes note of bytes that have come.
    #[inline(always)]
    pub(crate) fn note_input(&mut self, count: usize, clock: &Clock, stats: &mut Stats) {
        self.heard = clock.tick();
        stats.note_read(count);
    }

    #[cold]
    fn handle_recv_error(&mut self, errno: Errno) {
        match errno {
            Errno::AGAIN if self.flags.any(Flags::OUTPUT_LOST) => self.fail(Errno::CONNRESET),
            // Nothing more is there, FIN included: what comes next comes with an edge of its own.
            Errno::AGAIN => self.flags.clear(Flags::READABLE.or(Flags::READ_UNTIL_BLOCKED)),
            Errno::INTR => {}
            errno => self.fail(errno),
        }
    }

    /// Whether input is cut into frames.
    #[inline]
    pub(crate) fn is_framed(&self) -> bool {
        self.framing.is_some()
    }

    pub(crate) fn set_delimiter(&mut self, delimiter: Delimiter) {
        match &mut self.framing {
            Some(framing) => framing.set_delimiter(delimiter),
            None => self.framing = Some(Box::new(Framing::new(delimiter, self.options.buffer_limit))),
        }
        self.flags.set(Flags::FRAMED);
        // Of what is kept, something may be a frame now.
        self.flags.set(Flags::FRAMES_KEPT.when(!self.buffered().is_empty()));
    }

    pub(crate) fn set_buffer_limit(&mut self, limit: usize) {
        Rc::make_mut(&mut self.options).buffer_limit = limit;
        if let Some(framing) = &mut self.framing {
            framing.set_limit(limit);
        }
    }

    /// What is kept of the input.
    pub(crate) fn buffered(&self) -> &[u8] {
        self.framing.as_ref().map_or(&[], |framing| framing.bytes())
    }

    /// The next frame, in the usual case: see [`Framing::next_whole`].
    #[inline(always)]
    pub(crate) fn next_whole(&mut self, input: &[u8]) -> Option<(usize, usize)> {
        self.framing.as_mut()?.next_whole(input)
    }

    /// The framing, to be worked with while the handler has the connection.
    #[inline]
    pub(crate) fn take_framing(&mut self) -> Option<Box<Framing>> {
        self.framing.take()
    }

    /// Puts the framing back; what the handler has set meanwhile is taken over.
    #[inline]
    pub(crate) fn put_back_framing(&mut self, mut framing: Box<Framing>) {
        self.take_over_delimiter(&mut framing);
        if framing.is_idle() {
            self.flags.clear(Flags::FRAMED);
        } else {
            self.framing = Some(framing);
        }
    }

    /// What the handler has set while the framing was taken.
    pub(crate) fn take_over_delimiter(&mut self, framing: &mut Framing) {
        framing.set_limit(self.options.buffer_limit);
        if let Some(set) = self.framing.take() {
            framing.set_delimiter(set.into_delimiter());
        }
    }

    /// Whether the handler wants no more of what was read, now or at all.
    pub(crate) fn stops_delivery(&self) -> bool {
        const ENDS: Flags = Flags::CLOSING.or(Flags::DOOMED).or(Flags::OVERFLOWED).or(Flags::LEAVING);
        self.flags.any(ENDS.or(Flags::PAUSED_BY_USER).or(Flags::PAUSED_BY_ENGINE))
    }

    /// Whether frames that are kept should be delivered now.
    pub(crate) fn wants_frames(&self) -> bool {
        self.flags.any(Flags::FRAMES_KEPT) && self.framing.is_some() && !self.stops_delivery()
    }
}
