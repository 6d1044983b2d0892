//! What an engine has done since it was made: plain integers of its own thread.

use std::time::Duration;

use crate::channel::state::CloseReason;

/// Counters of one engine. They only grow, but for those that say "open" or "pending".
///
/// # Examples
///
/// ```
/// let mut engine = pants_engine::Engine::new()?;
/// let server = engine.listen("127.0.0.1:0", |_peer| Echo)?;
/// let address = engine.context().server_address(server).and_then(|at| at.socket_address()).unwrap();
/// let _client = std::net::TcpStream::connect(address)?;
/// while engine.context().stats().connections_accepted == 0 {
///     engine.poll(None)?;
/// }
/// let stats = engine.context().stats();
/// assert_eq!((stats.connections_accepted, stats.connections_open, stats.bytes_in), (1, 1, 0));
/// # struct Echo;
/// # impl pants_engine::Handler for Echo {
/// #     fn on_read(&mut self, _: &mut pants_engine::Connection<'_>, _: &[u8]) {}
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Turns of the loop.
    pub turns: u64,
    /// Waits for events that were free to last, though some met their event at once.
    pub sleeps: u64,
    /// Busy polls begun; see [`EngineOptions::busy_poll`](crate::EngineOptions::busy_poll).
    pub busy_polls: u64,
    /// Busy polls that work has ended.
    pub busy_poll_hits: u64,
    /// Connections accepted by servers.
    pub connections_accepted: u64,
    /// Connections refused by an acceptor, or turned away for want of descriptors.
    pub connections_refused: u64,
    /// Connections that clients began.
    pub connections_started: u64,
    /// Connections that have closed, for whatever reason.
    pub connections_closed: u64,
    /// The same by reason.
    pub closed: Closings,
    /// Connections that have come from other engines.
    pub connections_handed_in: u64,
    /// Connections that have left for other engines, and were not refused there.
    pub connections_handed_out: u64,
    /// Connections open now, those still connecting included.
    pub connections_open: u64,
    /// Failed calls of `accept`.
    pub accept_errors: u64,
    /// Calls of `recv` that brought bytes.
    pub reads: u64,
    /// Calls of `send` that took bytes.
    pub writes: u64,
    /// Datagrams received and passed on.
    pub datagrams_in: u64,
    /// Datagrams the kernel took for sending.
    pub datagrams_out: u64,
    /// Datagrams that were not sent because the queue was full, the kernel refused them or their channel closed; those that were
    /// read with others and not passed on, because the channel closed meanwhile; and those that were too long to be received.
    pub datagrams_dropped: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes the kernel took for sending.
    pub bytes_out: u64,
    /// Timers that have fired, of every kind, those of connections' timeouts included.
    pub timers_fired: u64,
    /// Of these, the program's own that had a deadline: those that the lateness is of.
    pub timer_lateness_count: u64,
    /// How late those were in all, in nanoseconds: from the moment they were due to the beginning of the turn they ran in.
    /// A timer on the millisecond wheel is due at the first whole millisecond that is not before what was asked for.
    pub timer_lateness_total_ns: u64,
    /// How late the latest of them was, in nanoseconds.
    pub timer_lateness_max_ns: u64,
    /// Runs of [`cycle`](crate::Context::cycle)s that were skipped because an earlier one came too late.
    pub cycle_ticks_skipped: u64,
    /// Timers pending now, those of connections' timeouts included.
    pub timers_pending: u64,
    /// Items delivered from other threads, but for the batches in which one panicked.
    pub messages: u64,
    /// Callbacks that have panicked.
    pub panics: u64,
    /// Stalls that a watcher has [noted](crate::Pulse::note_stall): turns that took too long in its eyes.
    pub stalls: u64,
}

/// How many connections have closed for each [`CloseReason`]. Together they are [`Stats::connections_closed`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Closings {
    /// [`CloseReason::Finished`].
    pub finished: u64,
    /// [`CloseReason::Aborted`].
    pub aborted: u64,
    /// [`CloseReason::Reset`].
    pub reset: u64,
    /// [`CloseReason::IdleTimeout`].
    pub idle_timeout: u64,
    /// [`CloseReason::ReadTimeout`].
    pub read_timeout: u64,
    /// [`CloseReason::WriteStalled`].
    pub write_stalled: u64,
    /// [`CloseReason::Overflow`].
    pub overflow: u64,
    /// [`CloseReason::Panicked`].
    pub panicked: u64,
    /// [`CloseReason::Stopped`].
    pub stopped: u64,
    /// [`CloseReason::Failed`], of every kind.
    pub failed: u64,
    /// Clients' connections that were never made: their handlers had
    /// [`on_connect_error`](crate::Handler::on_connect_error), and no `on_close`.
    pub unconnected: u64,
}

impl Closings {
    /// Each reason by its name, such as `idle_timeout`, with its count.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let reasons = [
            ("finished", self.finished),
            ("aborted", self.aborted),
            ("reset", self.reset),
            ("idle_timeout", self.idle_timeout),
            ("read_timeout", self.read_timeout),
            ("write_stalled", self.write_stalled),
            ("overflow", self.overflow),
            ("panicked", self.panicked),
            ("stopped", self.stopped),
            ("failed", self.failed),
            ("unconnected", self.unconnected),
        ];
        reasons.into_iter()
    }

    fn of(&mut self, reason: Option<CloseReason>) -> &mut u64 {
        match reason {
            Some(CloseReason::Finished) => &mut self.finished,
            Some(CloseReason::Aborted) => &mut self.aborted,
            Some(CloseReason::Reset) => &mut self.reset,
            Some(CloseReason::IdleTimeout) => &mut self.idle_timeout,
            Some(CloseReason::ReadTimeout) => &mut self.read_timeout,
            Some(CloseReason::WriteStalled) => &mut self.write_stalled,
            Some(CloseReason::Overflow) => &mut self.overflow,
            Some(CloseReason::Panicked) => &mut self.panicked,
            Some(CloseReason::Stopped) => &mut self.stopped,
            Some(CloseReason::Failed(_)) => &mut self.failed,
            None => &mut self.unconnected,
        }
    }
}

impl Stats {
    /// Counts a `recv` that has brought so many bytes.
    #[inline(always)]
    pub(crate) fn note_read(&mut self, bytes: usize) {
        self.reads += 1;
        self.bytes_in += bytes as u64;
    }

    /// Counts a `send` that has taken so many bytes.
    #[inline(always)]
    pub(crate) fn note_write(&mut self, bytes: usize) {
        self.writes += 1;
        self.bytes_out += bytes as u64;
    }

    /// A connection has closed; one that was never made has no reason.
    pub(crate) fn note_close(&mut self, reason: Option<CloseReason>) {
        self.connections_closed += 1;
        *self.closed.of(reason) += 1;
    }

    #[inline]
    pub(crate) fn note_datagram_in(&mut self, length: usize) {
        self.datagrams_in += 1;
        self.bytes_in += length as u64;
    }

    pub(crate) fn note_lateness(&mut self, lateness: Duration) {
        let nanos = u64::try_from(lateness.as_nanos()).unwrap_or(u64::MAX);
        self.timer_lateness_count += 1;
        self.timer_lateness_total_ns = self.timer_lateness_total_ns.saturating_add(nanos);
        self.timer_lateness_max_ns = self.timer_lateness_max_ns.max(nanos);
    }
}
