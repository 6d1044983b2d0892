//! What one shard has counted, and what all have together.

use std::time::{Duration, Instant};

use crate::count::failure::{Failures, Kind};
use crate::count::histogram::Latencies;
use crate::load::conversation::Reply;
use crate::plan::Window;

/// What one shard has counted.
///
/// A message is measured if it was *due* in the window. So those that are in flight when the warm-up ends are left out, those
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
    /// Bytes sent.
    pub bytes_out: u64,
    /// Bytes that came back.
    pub bytes_in: u64,
    /// Measured messages: from when they were due to their last byte's coming back.
    pub response: Latencies,
    /// Measured messages: from when they were sent to their last byte's coming back.
    pub service: Latencies,
    /// How long connections took to be made.
    pub connect: Latencies,
    /// What went wrong.
    pub failures: Failures,
}

impl Tally {
    /// Counts a message that came back at `now`.
    #[inline]
    pub fn record(&mut self, reply: Reply, now: Instant, window: Window) {
        self.replied += 1;
        let Reply { stamp, verdict } = reply;
        if verdict.wrong_bytes > 0 {
            self.failures.wrong_bytes += verdict.wrong_bytes;
            self.failures.add(Kind::Corrupt, 1, 0, || Some(format!("{} wrong bytes", verdict.wrong_bytes)));
        } else if let Some(kind) = verdict.kind {
            self.failures.add(kind, 1, 0, || None);
        } else if stamp.intended >= window.from {
            self.response.record(now - stamp.intended);
            self.service.record(now - stamp.sent);
        }
    }

    /// Counts a connection that has failed with this many messages in flight.
    pub fn fail(&mut self, kind: Kind, in_flight: usize, detail: Option<String>) {
        self.failures.add(kind, in_flight as u64, 1, || detail);
    }

    /// Messages that were neither answered nor lost: those in flight when the user ended the run.
    pub fn unfinished(&self) -> u64 {
        self.sent.saturating_sub(self.replied + self.failures.lost())
    }

    /// Adds what another shard has counted.
    pub fn merge(&mut self, other: &Self) {
        self.connected += other.connected;
        self.sent += other.sent;
        self.replied += other.replied;
        self.bytes_out += other.bytes_out;
        self.bytes_in += other.bytes_in;
        self.response.merge(&other.response);
        self.service.merge(&other.service);
        self.connect.merge(&other.connect);
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
    use crate::load::conversation::Stamp;
    use crate::protocol::Verdict;

    const MILLI: Duration = Duration::from_millis(1);

    fn reply(sent: Instant, wrong_bytes: u64) -> Reply {
        Reply { stamp: Stamp::at(sent), verdict: Verdict { wrong_bytes, ..Verdict::default() } }
    }

    #[test]
    fn only_what_was_due_in_the_window_is_measured() {
        let start = Instant::now();
        let window = Window { from: start + 10 * MILLI, until: Some(start + 20 * MILLI) };
        let mut tally = Tally::default();
        for (sent, received) in [(0, 5), (5, 15), (10, 12), (15, 25)] {
            tally.sent += 1;
            tally.record(reply(start + sent * MILLI, 0), start + received * MILLI, window);
        }
        assert_eq!((tally.replied, tally.response.count()), (4, 2));
        assert!(tally.failures.is_empty());
    }

    #[test]
    fn a_corrupt_message_is_one_failure_without_a_latency_even_in_the_warm_up() {
        let start = Instant::now();
        let window = Window { from: start + MILLI, until: None };
        let mut tally = Tally { sent: 1, ..Tally::default() };
        tally.record(reply(start, 3), start + MILLI, window);
        let corrupt = tally.failures.of(Kind::Corrupt);
        assert_eq!((corrupt.messages, corrupt.connections), (1, 0));
        assert_eq!((tally.failures.wrong_bytes, tally.response.count(), tally.unfinished()), (3, 0, 0));
    }

    #[test]
    fn what_is_neither_answered_nor_lost_is_unfinished() {
        let mut tally = Tally { sent: 10, replied: 4, ..Tally::default() };
        tally.fail(Kind::Reset, 2, None);
        tally.fail(Kind::Other, 1, Some("first".to_owned()));
        tally.fail(Kind::Other, 0, Some("second".to_owned()));
        assert_eq!(tally.unfinished(), 3);
        assert_eq!(tally.failures.of(Kind::Other).first.as_deref(), Some("first"));
        let mut twice = tally.clone();
        twice.merge(&tally);
        assert_eq!((twice.unfinished(), twice.failures.connections()), (6, 6));
    }

    #[test]
    fn a_share_is_never_more_than_the_whole() {
        assert_eq!(Usage::default().share(), 0.0);
        assert_eq!(Usage { busy: MILLI, elapsed: 2 * MILLI }.share(), 0.5);
        assert_eq!(Usage { busy: 3 * MILLI, elapsed: 2 * MILLI }.share(), 1.0);
    }
}
