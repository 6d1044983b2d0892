//! A stream's output: sending, queueing, and the water marks.

use std::io::{self, IoSlice};
use std::sync::Arc;

use rustix::io::Errno;

use crate::buffer::write::{FilePiece, Front, WriteQueue};
use crate::channel::state::{CloseReason, Flags};
use crate::channel::stream::{MARKS_DUE, MUTE, Stream};
use crate::clock::{Clock, Tick};
use crate::limits;
use crate::stats::Stats;

impl Stream {
    /// Whether bytes may still be written.
    pub(crate) fn accepts_output(&self) -> bool {
        !self.flags.any(MUTE)
    }

    /// Whether so many bytes more in memory would be too many.
    pub(crate) fn exceeds_cap(&self, more: usize) -> bool {
        self.queued_in_memory().saturating_add(more) > self.options.write_cap
    }

    /// Whether the queue can count so much more of files.
    pub(crate) fn can_count(&self, length: u64) -> bool {
        self.queue.as_ref().is_none_or(|queue| queue.can_count(length))
    }

    /// Bytes written that the kernel has not taken, files' included.
    pub(crate) fn queued(&self) -> u64 {
        self.queue.as_ref().map_or(0, |queue| queue.len())
    }

    /// What the queue holds, in bytes of memory: pieces of files count for what a descriptor is worth.
    pub(crate) fn queued_in_memory(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.held())
    }

    /// Whether bytes can go straight to the kernel: none wait, and the connection is made. What was written before the
    /// connection closed still goes.
    #[inline]
    pub(crate) fn can_send(&self) -> bool {
        const NEVER: Flags = Flags::DOOMED.or(Flags::OUTPUT_LOST).or(Flags::QUEUED).or(Flags::CONNECTING);
        self.flags.of(NEVER.or(Flags::WRITABLE)) == Flags::WRITABLE
    }

    /// Whether bytes may be written, and can go straight to the kernel.
    #[inline]
    pub(crate) fn takes_output_at_once(&self) -> bool {
        const NEVER: Flags = MUTE.or(Flags::QUEUED).or(Flags::CONNECTING);
        self.flags.of(NEVER.or(Flags::WRITABLE)) == Flags::WRITABLE
    }

    /// Sends `bytes`, or queues them behind others.
    pub(crate) fn send(&mut self, bytes: &[u8], clock: &Clock, stats: &mut Stats) {
        self.spoke = clock.tick();
        if self.can_send() {
            self.send_now(bytes, clock, stats);
        } else if !self.takes_nothing() {
            self.enqueue(bytes, self.spoke);
        }
    }

    /// Sends `bytes` that are no immediate answer, of a stream that [can](Self::can_send); as [`send_now`](Self::send_now).
    #[inline(always)]
    pub(crate) fn send_unasked(&mut self, bytes: &[u8], clock: &Clock, stats: &mut Stats) -> bool {
        self.spoke = clock.tick();
        self.send_now(bytes, clock, stats)
    }

    /// Takes note that the outbox holds bytes of it.
    #[inline]
    pub(crate) fn note_held(&mut self, clock: &Clock) {
        self.spoke = clock.tick();
        self.flags.set(Flags::HELD);
    }

    /// Whether what is written is dropped: it would reach nobody.
    fn takes_nothing(&self) -> bool {
        self.flags.any(Flags::DOOMED.or(Flags::OUTPUT_LOST))
    }

    /// As [`send`](Self::send), for bytes in several places.
    pub(crate) fn send_vectored(&mut self, mut slices: &[IoSlice<'_>], clock: &Clock, stats: &mut Stats) {
        self.spoke = clock.tick();
        let mut sent = 0;
        while !slices.is_empty() && self.can_send() {
            let batch = &slices[..slices.len().min(limits::SLICES_MAX)];
            let offered: usize = batch.iter().map(|slice| slice.len()).sum();
            match self.transport.send_vectored(batch) {
                Ok(count) => {
                    stats.note_write(count);
                    if count < offered {
                        self.flags.clear(Flags::WRITABLE);
                        sent = count;
                        break;
                    }
                    slices = &slices[batch.len()..];
                }
                Err(Errno::AGAIN) => self.flags.clear(Flags::WRITABLE),
                Err(Errno::INTR) => {}
                Err(errno) => self.fail_to_send(errno),
            }
        }
        if self.takes_nothing() {
            return;
        }
        for slice in slices {
            let skipped = sent.min(slice.len());
            sent -= skipped;
            if skipped < slice.len() {
                self.enqueue(&slice[skipped..], self.spoke);
            }
        }
        if slices.is_empty() {
            self.note_all_left();
        }
    }

    /// As [`send`](Self::send), for bytes that other connections are sent too: they are not copied to be queued.
    pub(crate) fn send_shared(&mut self, data: &Arc<[u8]>, clock: &Clock, stats: &mut Stats) {
        self.spoke = clock.tick();
        let mut sent = 0;
        if self.can_send() {
            match self.transport.send(data) {
                Ok(count) => {
                    stats.note_write(count);
                    if count == data.len() {
                        self.note_all_left();
                        return;
                    }
                    self.flags.clear(Flags::WRITABLE);
                    sent = count;
                }
                Err(Errno::AGAIN) => self.flags.clear(Flags::WRITABLE),
                Err(Errno::INTR) => {}
                Err(errno) => self.fail_to_send(errno),
            }
        }
        if !self.takes_nothing() {
            self.open_queue(self.spoke).push_shared(data, sent);
            self.note_congestion();
        }
    }

    /// Queues a piece of a file.
    pub(crate) fn send_file(&mut self, piece: FilePiece, now: Tick) {
        self.spoke = now;
        if !self.takes_nothing() && piece.left > 0 {
            self.open_queue(now).push_file(piece);
            self.note_congestion();
        }
    }

    /// Sends `bytes`, of a stream that [can](Self::can_send), and queues what the kernel will not take. A send that is cut
    /// short has asked the kernel for the next writable edge, as one that says `EAGAIN` has. Returns whether all has left,
    /// and nobody wants to be told.
    #[inline(always)]
    pub(crate) fn send_now(&mut self, bytes: &[u8], clock: &Clock, stats: &mut Stats) -> bool {
        let sent = self.transport.send(bytes);
        self.handle_send(sent, bytes, clock, stats)
    }

    /// Takes note of what a `send` of `bytes` has come to.
    #[inline(always)]
    pub(crate) fn handle_send(
        &mut self,
        sent: Result<usize, Errno>,
        bytes: &[u8],
        clock: &Clock,
        stats: &mut Stats,
    ) -> bool {
        let count = match sent {
            Ok(count) => count,
            Err(errno) => return self.handle_send_error(errno, bytes, clock.tick()),
        };
        stats.note_write(count);
        if count < bytes.len() {
            self.flags.clear(Flags::WRITABLE);
            self.enqueue(&bytes[count..], clock.tick());
            return false;
        }
        self.note_all_left()
    }

    #[cold]
    fn handle_send_error(&mut self, errno: Errno, bytes: &[u8], now: Tick) -> bool {
        match errno {
            Errno::AGAIN => {
                self.flags.clear(Flags::WRITABLE);
                self.enqueue(bytes, now);
            }
            // A non-blocking send is not interrupted; if it were, the next flush would send what is queued here.
            Errno::INTR => self.enqueue(bytes, now),
            errno => self.fail_to_send(errno),
        }
        false
    }

    /// Records the error of a send.
    ///
    /// A peer that resets may have said something before, as a server that refuses an upload does, and that can still be
    /// read: the connection ends behind it. Not if nobody would read it.
    #[cold]
    fn fail_to_send(&mut self, errno: Errno) {
        const DEAF: Flags = Flags::CLOSING.or(Flags::PAUSED_BY_USER).or(Flags::PEER_ENDED);
        if !matches!(errno, Errno::CONNRESET | Errno::PIPE) || self.flags.any(DEAF) {
            return self.fail(errno);
        }
        self.queue = None;
        self.flags.clear(Flags::QUEUED.or(Flags::CONGESTED).or(Flags::PAUSED_BY_ENGINE).or(MARKS_DUE));
        self.flags.set(Flags::OUTPUT_LOST.or(Flags::READABLE).or(Flags::READ_UNTIL_BLOCKED));
    }

    #[cold]
    pub(super) fn enqueue(&mut self, bytes: &[u8], now: Tick) {
        self.open_queue(now).push(bytes);
        self.note_congestion();
    }

    fn note_congestion(&mut self) {
        if self.queued_in_memory() > self.options.write_high_water && !self.flags.any(Flags::CONGESTED) {
            self.flags.set(Flags::CONGESTED.or(Flags::ON_CONGESTED_DUE));
            self.flags.set(Flags::PAUSED_BY_ENGINE.when(self.options.auto_pause));
        }
    }

    /// The queue; if it was empty, the wait for the peer to take something begins `now`.
    fn open_queue(&mut self, now: Tick) -> &mut WriteQueue {
        if !self.flags.any(Flags::QUEUED) {
            self.flags.set(Flags::QUEUED.or(Flags::REARM_DUE));
            if !self.flags.any(Flags::CONNECTING) {
                self.since = now;
            }
        }
        self.queue.get_or_insert_default()
    }

    /// Whether there are queued bytes that the kernel may take.
    #[inline]
    pub(crate) fn wants_flush(&self) -> bool {
        const WANTED: Flags = Flags::QUEUED.or(Flags::WRITABLE);
        self.flags.of(WANTED.or(Flags::CONNECTING).or(Flags::DOOMED)) == WANTED
    }

    /// Hands queued bytes to the kernel until it takes no more or the budget is used up.
    pub(crate) fn flush(&mut self, now: Tick, stats: &mut Stats) {
        let mut budget = limits::WRITE_BUDGET_BYTES;
        while budget > 0 && self.wants_flush() {
            let Some(queue) = &mut self.queue else { return };
            let (sent, all) = match queue.front() {
                Front::Bytes(slices, filled) => {
                    let offered: usize = slices[..filled].iter().map(|slice| slice.len()).sum();
                    let sent = self.transport.send_vectored(&slices[..filled]);
                    (sent, sent == Ok(offered))
                }
                Front::File(piece) => match self.transport.send_file(piece, budget) {
                    // The file has been cut short: what was promised can not come any more.
                    Ok(0) => return self.doom(CloseReason::Failed(io::ErrorKind::UnexpectedEof)),
                    // It may have ended there, or the kernel takes no more: the next call says.
                    sent => (sent, true),
                },
            };
            match sent {
                Ok(count) => {
                    queue.consume(count);
                    stats.note_write(count);
                    (self.spoke, self.since) = (now, now);
                    if !all {
                        self.flags.clear(Flags::WRITABLE);
                    }
                    budget = budget.saturating_sub(count);
                    self.after_flush(now);
                }
                Err(Errno::AGAIN) => self.flags.clear(Flags::WRITABLE),
                Err(Errno::INTR) => {}
                Err(errno) => return self.fail_to_send(errno),
            }
        }
    }

    fn after_flush(&mut self, now: Tick) {
        if self.flags.any(Flags::CONGESTED) && self.queued_in_memory() <= self.options.write_low_water {
            self.wait_for_peer_again(Flags::PAUSED_BY_ENGINE, now);
            // Whoever has not heard of the congestion need not hear of its end.
            let told = !self.flags.any(Flags::ON_CONGESTED_DUE);
            self.flags.clear(Flags::CONGESTED.or(Flags::PAUSED_BY_ENGINE).or(Flags::ON_CONGESTED_DUE));
            self.flags.set(Flags::ON_DRAINED_DUE.when(told));
        }
        if self.queued() == 0 {
            // The memory goes back: an idle connection keeps no buffer.
            self.queue = None;
            self.flags.clear(Flags::QUEUED);
            self.note_all_left();
        }
    }

    /// Returns whether nobody wants to be told.
    #[inline]
    fn note_all_left(&mut self) -> bool {
        let unheard = self.flags.any(Flags::ON_WRITE_UNHEARD);
        if !unheard {
            self.flags.set(Flags::ON_WRITE_DUE);
        }
        unheard
    }
}
