//! What one shard has counted, and what all have together.

use std::time::{Duration, Instant};

use crate::count::buckets::Buckets;
use crate::count::failure::{Failures, Kind};
use crate::count::histogram::Latencies;
use crate::load::conversation::{Reply, Stamp};
use crate::plan::Span;
use crate::protocol::Verdict;
use crate::report::outcome::Scheduled;

/// What one shard has counted.
///
/// A message is measured if it was *due* in the window; in a closed loop it is due when it is sent. So those that are in flight
/// when the warm-up ends are left out, those in flight when measuring ends are waited for, and no slow reply is lost at either
/// edge. Failures and bytes count from the first connection on: a connection that failed in the warm-up is missing later.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Connections that were made.
    pub connected: u64,
    /// Messages sent, the warm-up's included.
    pub sent: u64,
    /// Messages that came back, the warm-up's and the corrupt ones included.
    pub replied: u64,
    /// Messages that came back right while it was measured, whenever they were due.
    pub completed: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Bytes that came back.
    pub bytes_in: u64,
    /// Measured messages: from when they were due to their last byte's coming back. [`finish`](Self::finish)
    /// brings them together.
    pub response: Latencies,
    /// Measured messages: from when they were sent to their last byte's coming back.
    pub service: Latencies,
    /// In an open loop, how late the generator itself was with the measured messages.
    pub lag: Latencies,
    /// How long connections took to be made.
    pub connect: Latencies,
    /// In an open loop, whether the schedule was kept.
    pub schedule: Option<Scheduled>,
    /// What went wrong.
    pub failures: Failures,
    /// The interval at hand.
    pub(crate) interval: OpenInterval,
}

/// What one shard has counted in an interval that has ended.
#[derive(Clone, Debug, Default)]
pub struct Slice {
    /// Messages and connections that failed.
    pub failed: u64,
    /// The response times, given-up messages included.
    pub response: Buckets,
}

/// What is counted of an interval that has not ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct OpenInterval {
    response: Buckets,
    /// What had failed when it began.
    failed_before: u64,
}

impl Tally {
    /// From now on it is of an open loop, which has a schedule; or it is not.
    pub fn set_paced(&mut self, is_paced: bool) {
        self.schedule = is_paced.then(Scheduled::default);
    }

    /// Counts a message that came back at `now`. Inlined, so that the reply stays in registers.
    #[inline(always)]
    pub fn record(&mut self, reply: Reply, now: u64, span: &Span) {
        self.replied += 1;
        let Reply { stamp, verdict } = reply;
        if verdict.wrong_bytes > 0 || verdict.status.is_some() {
            self.record_wrong(verdict);
            return;
        }
        self.completed += u64::from(span.measures(now));
        if span.measures(stamp.due) {
            self.interval.response.record_ns(now - stamp.due);
            // In a closed loop it is the same.
            if self.schedule.is_some() {
                self.service.record_ns(now - stamp.sent);
            }
        }
    }

    #[cold]
    fn record_wrong(&mut self, verdict: Verdict) {
        if verdict.wrong_bytes > 0 {
            self.failures.wrong_bytes += verdict.wrong_bytes;
            self.failures.add(Kind::Corrupt, 1, 0, || Some(format!("{} wrong bytes", verdict.wrong_bytes)));
        } else if let Some(status) = verdict.status {
            self.failures.add(Kind::Status, 1, 0, || Some(format!("status {status}")));
        }
    }

    /// Counts a message of an open loop that is sent, which was due in the window, with the generator this late.
    #[inline]
    pub fn record_due(&mut self, lag: u64) {
        self.lag.record_ns(lag);
        if let Some(schedule) = &mut self.schedule {
            schedule.scheduled += 1;
            schedule.sent += 1;
        }
    }

    /// Counts a message of an open loop that was due in the window and that is not sent any more at `now`.
    pub fn record_unsent(&mut self, due: u64, now: u64) {
        self.interval.response.record_censored_ns(now.saturating_sub(due));
        if let Some(schedule) = &mut self.schedule {
            schedule.scheduled += 1;
        }
    }

    /// Counts a message that was given up at `now`: it took at least until then.
    pub fn record_given_up(&mut self, stamp: Stamp, now: u64, span: &Span) {
        if span.measures(stamp.due) {
            self.interval.response.record_censored_ns(now.saturating_sub(stamp.due));
            if self.schedule.is_some() {
                self.service.record_censored_ns(now.saturating_sub(stamp.sent));
            }
        }
    }

    /// The first interval begins: what has failed before is of none.
    pub fn begin_intervals(&mut self) {
        self.interval.failed_before = self.failures.events();
    }

    /// Ends the interval at hand, and begins the next one. Nothing is summed up or packed here: that would keep the shard from
    /// its schedule for longer than a message may be late.
    pub fn end_interval(&mut self) -> Slice {
        let OpenInterval { response, failed_before } = &mut self.interval;
        let response = std::mem::take(response);
        let failed = self.failures.events();
        Slice { failed: failed - std::mem::replace(failed_before, failed), response }
    }

    /// Nothing more is counted: adds the response times of the intervals that have ended. In a closed loop, service times are
    /// the response times.
    pub fn finish(&mut self, response: &Latencies) {
        self.response.merge(response);
        if self.schedule.is_none() {
            self.service = self.response.clone();
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
        self.completed += other.completed;
        self.bytes_out += other.bytes_out;
        self.bytes_in += other.bytes_in;
        self.response.merge(&other.response);
        self.service.merge(&other.service);
        self.lag.merge(&other.lag);
        self.connect.merge(&other.connect);
        self.schedule = match (self.schedule, other.schedule) {
            (Some(own), Some(other)) => {
                Some(Scheduled { scheduled: own.scheduled + other.scheduled, sent: own.sent + other.sent })
            }
            (own, other) => own.or(other),
        };
        self.failures.merge(&other.failures);
    }
}

/// What a thread's clocks show at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// When.
    pub at: Instant,
    /// How long it had worked by then.
    pub busy: Duration,
    /// How long it had waited for a CPU on which others ran.
    pub waited: Duration,
}

/// The processor time of a thread within a stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// How long it ran.
    pub busy: Duration,
    /// How long it waited for a CPU on which others ran.
    pub waited: Duration,
    /// Out of how long.
    pub elapsed: Duration,
}

impl Usage {
    /// From one reading of the thread's clocks to a later one.
    pub fn between(from: Reading, to: Reading) -> Self {
        Self {
            busy: to.busy.saturating_sub(from.busy),
            waited: to.waited.saturating_sub(from.waited),
            elapsed: to.at.saturating_duration_since(from.at),
        }
    }

    /// How much of the time it ran: 0 to 1.
    pub fn share(self) -> f64 {
        self.share_of(self.busy)
    }

    /// How much of the time it waited for a CPU: 0 to 1.
    pub fn waited_share(self) -> f64 {
        self.share_of(self.waited)
    }

    fn share_of(self, time: Duration) -> f64 {
        if self.elapsed.is_zero() {
            return 0.0;
        }
        // The clocks are not read at the same moment.
        (time.as_secs_f64() / self.elapsed.as_secs_f64()).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::count::series::Piece;

    const MILLI: Duration = Duration::from_millis(1);
    const SPAN: Span = Span { from: 10, until: 20, stop: 30 };

    fn reply(stamp: Stamp, wrong_bytes: u64) -> Reply {
        Reply { stamp, verdict: Verdict { wrong_bytes, ..Verdict::default() } }
    }

    /// The interval at hand was the last.
    fn end(tally: &mut Tally) -> Piece {
        let slice = tally.end_interval();
        let response = slice.response.latencies();
        tally.finish(&response);
        Piece::new(slice.failed, &response)
    }

    #[test]
    fn only_what_was_due_in_the_window_is_measured() {
        let mut tally = Tally::default();
        for (sent, received) in [(0, 5), (5, 15), (10, 12), (15, 25), (20, 22)] {
            tally.sent += 1;
            tally.record(reply(Stamp::at(sent), 0), received, &SPAN);
        }
        let piece = end(&mut tally);
        assert_eq!((tally.replied, tally.response.count(), piece.messages), (5, 2, 2));
        assert_eq!(tally.completed, 2, "the rate is of what came back in the window");
        assert_eq!(tally.service, tally.response, "in a closed loop they are the same");
        assert!(tally.failures.is_empty());
    }

    #[test]
    fn in_an_open_loop_response_counts_from_when_a_message_was_due_and_service_from_when_it_was_sent() {
        let mut tally = Tally::default();
        tally.set_paced(true);
        tally.record_due(3);
        tally.record(reply(Stamp { due: 12, sent: 16 }, 0), 25, &SPAN);
        tally.record_unsent(14, 20);
        end(&mut tally);
        assert_eq!((tally.response.max(), tally.response.count(), tally.response.censored()), (13, 2, 1));
        assert_eq!((tally.service.max(), tally.service.count(), tally.lag.max()), (9, 1, 3));
        let mut twice = tally.clone();
        twice.merge(&tally);
        assert_eq!(twice.schedule, Some(Scheduled { scheduled: 4, sent: 2 }));
    }

    #[test]
    fn a_message_that_is_given_up_is_counted_for_as_long_as_it_was_waited_for() {
        let mut tally = Tally::default();
        tally.record_given_up(Stamp::at(12), 1_012, &SPAN);
        tally.record_given_up(Stamp::at(5), 1_012, &SPAN);
        let piece = end(&mut tally);
        assert_eq!((tally.response.count(), tally.response.censored(), tally.response.max()), (1, 1, 1_000));
        assert_eq!(piece.messages, 0);
    }

    #[test]
    fn intervals_part_what_is_counted_and_their_sum_is_the_whole() {
        let mut tally = Tally::default();
        tally.fail(Kind::Timeout, 5, None);
        tally.begin_intervals();
        tally.record(reply(Stamp::at(10), 0), 11, &SPAN);
        tally.fail(Kind::Reset, 2, None);
        let first = end(&mut tally);
        tally.record(reply(Stamp::at(12), 0), 17, &SPAN);
        let second = end(&mut tally);
        assert_eq!((first.messages, first.failed, first.response.unpack().max()), (1, 2, 1));
        assert_eq!((second.messages, second.failed, second.response.unpack().max()), (1, 0, 5));
        assert_eq!((tally.response.count(), tally.response.max()), (2, 5));
    }

    #[test]
    fn a_corrupt_message_is_one_failure_without_a_latency_even_in_the_warm_up() {
        let mut tally = Tally { sent: 1, ..Tally::default() };
        tally.record(reply(Stamp::at(0), 3), 15, &SPAN);
        end(&mut tally);
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
        assert_eq!(Usage { busy: MILLI, elapsed: 2 * MILLI, ..Usage::default() }.share(), 0.5);
        assert_eq!(Usage { busy: 3 * MILLI, elapsed: 2 * MILLI, ..Usage::default() }.share(), 1.0);
    }
}
