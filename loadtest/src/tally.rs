//! What one shard has counted, and what all have together.

use std::time::{Duration, Instant};

use crate::conversation::Reply;
use crate::failure::{Count, Failures, Kind};
use crate::histogram::Latencies;
use crate::plan::Window;

/// What one shard has counted.
///
/// A message is measured if it was *sent* in the window. So those that are in flight when the warm-up ends are left out, those
/// in flight when sending ends are waited for, and no slow reply is lost at either edge. Failures and bytes count from the
/// first connection on: a connection that failed in the warm-up is missing later.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Connections that were made.
    pub connected: u64,
    /// Messages sent, the warm-up's included.
    pub sent: u64,
    /// Messages that came back, the warm-up's and the corrupt ones included.
    pub replied: u64,
    /// Bytes that came back.
    pub bytes_in: u64,
    /// Measured messages that came back as they were sent.
    pub latencies: Latencies,
    /// What went wrong.
    pub failures: Failures,
}

impl Tally {
    /// Counts a message that came back at `now`.
    #[inline]
    pub fn record(&mut self, reply: Reply, now: Instant, window: Window) {
        self.replied += 1;
        if reply.wrong_bytes > 0 {
            self.failures.wrong_bytes += reply.wrong_bytes;
            self.failures.add(Kind::Corrupt, Count { messages: 1, connections: 0 });
        } else if reply.sent_at >= window.from {
            self.latencies.record(now - reply.sent_at);
        }
    }

    /// Counts a connection that has failed with this many messages in flight.
    pub fn fail(&mut self, kind: Kind, in_flight: usize, detail: Option<String>) {
        self.failures.add(kind, Count { messages: in_flight as u64, connections: 1 });
        if kind == Kind::Other && self.failures.first_other.is_none() {
            self.failures.first_other = detail;
        }
    }

    /// Messages that were neither answered nor lost: those in flight when the user ended the run.
    pub fn unfinished(&self) -> u64 {
        // A corrupt message has come back, so that it is not among the lost.
        let lost = self.failures.total().messages - self.failures.of(Kind::Corrupt).messages;
        self.sent.saturating_sub(self.replied + lost)
    }

    /// Adds what another shard has counted.
    pub fn merge(&mut self, other: &Self) {
        self.connected += other.connected;
        self.sent += other.sent;
        self.replied += other.replied;
        self.bytes_in += other.bytes_in;
        self.latencies.merge(&other.latencies);
        self.failures.merge(&other.failures);
    }
}

/// The processor time of a thread within a stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// How long it ran.
    pub busy: Duration,
    /// Out of how long.
    pub elapsed: Duration,
}

impl Usage {
    /// From one reading of the thread's clock to a later one.
    pub fn between(from: (Instant, Duration), to: (Instant, Duration)) -> Self {
        Self { busy: to.1.saturating_sub(from.1), elapsed: to.0.saturating_duration_since(from.0) }
    }

    /// How much of the time it ran: 0 to 1.
    pub fn share(self) -> f64 {
        if self.elapsed.is_zero() {
            return 0.0;
        }
        // The two clocks are not read at the same moment.
        (self.busy.as_secs_f64() / self.elapsed.as_secs_f64()).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn only_what_was_sent_in_the_window_is_measured() {
        let start = Instant::now();
        let window = Window { from: start + 10 * MILLI, until: Some(start + 20 * MILLI) };
        let mut tally = Tally::default();
        for (sent, received) in [(0, 5), (5, 15), (10, 12), (15, 25)] {
            tally.sent += 1;
            let reply = Reply { sent_at: start + sent * MILLI, wrong_bytes: 0 };
            tally.record(reply, start + received * MILLI, window);
        }
        assert_eq!((tally.replied, tally.latencies.count()), (4, 2));
        assert!(tally.failures.is_empty());
    }

    #[test]
    fn a_corrupt_message_is_one_failure_without_a_latency_even_in_the_warm_up() {
        let start = Instant::now();
        let window = Window { from: start + MILLI, until: None };
        let mut tally = Tally { sent: 1, ..Tally::default() };
        tally.record(Reply { sent_at: start, wrong_bytes: 3 }, start + MILLI, window);
        assert_eq!(tally.failures.of(Kind::Corrupt), Count { messages: 1, connections: 0 });
        assert_eq!((tally.failures.wrong_bytes, tally.latencies.count(), tally.unfinished()), (3, 0, 0));
    }

    #[test]
    fn what_is_neither_answered_nor_lost_is_unfinished() {
        let mut tally = Tally { sent: 10, replied: 4, ..Tally::default() };
        tally.fail(Kind::Reset, 2, None);
        tally.fail(Kind::Other, 1, Some("first".to_owned()));
        tally.fail(Kind::Other, 0, Some("second".to_owned()));
        assert_eq!(tally.unfinished(), 3);
        assert_eq!(tally.failures.first_other.as_deref(), Some("first"));
        let mut twice = tally.clone();
        twice.merge(&tally);
        assert_eq!((twice.unfinished(), twice.failures.total().connections), (6, 6));
    }

    #[test]
    fn a_share_is_never_more_than_the_whole() {
        assert_eq!(Usage::default().share(), 0.0);
        assert_eq!(Usage { busy: MILLI, elapsed: 2 * MILLI }.share(), 0.5);
        assert_eq!(Usage { busy: 3 * MILLI, elapsed: 2 * MILLI }.share(), 1.0);
    }
}
