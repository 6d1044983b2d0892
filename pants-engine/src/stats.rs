//! What an engine has done since it was made: plain integers of its own thread.

use std::time::Duration;

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
    /// Datagrams that were not sent because the queue was full, the kernel refused them or their channel closed, and those
    /// that were too long to be received.
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

impl Stats {
    pub(crate) fn note_lateness(&mut self, lateness: Duration) {
        let nanos = u64::try_from(lateness.as_nanos()).unwrap_or(u64::MAX);
        self.timer_lateness_count += 1;
        self.timer_lateness_total_ns = self.timer_lateness_total_ns.saturating_add(nanos);
        self.timer_lateness_max_ns = self.timer_lateness_max_ns.max(nanos);
    }
}
