//! The pace of an open loop: which message is due, whose turn it is to send it, and how late the generator is. Pure.

use std::collections::VecDeque;

use crate::plan::Span;
use crate::plan::schedule::Schedule;

/// How long before a message is due the shard stops sleeping, in nanoseconds, and goes on turn by turn instead: a wake-up can be
/// this late. On a virtual machine with two cores, both busy, half of the sleeps of 400 µs ended 67 to 84 µs late, and one in a
/// hundred 95 to 165 µs.
pub const MARGIN_NS: u64 = 150_000;

/// A turn without work that takes longer than this, in nanoseconds, was none: the thread was not on its CPU.
const IDLE_TURN_MAX_NS: u64 = 50_000;

/// How often the shard looks at the schedule while every connection is busy, in nanoseconds: what it does not notice of its own
/// absence is shorter.
const BEAT_NS: u64 = 500_000;

/// A look that comes this much later than it was to come, in nanoseconds, is remembered: the generator was away.
const STALL_MIN_NS: u64 = 100_000;

/// The most absences that are remembered, of those that the cursor has not come to. Those that find no room are left out.
const STALLS_MAX: usize = 1_024;

/// The cursor over a shard's schedule. Messages that wait need no memory: they are those between the cursor and now.
///
/// All times are nanoseconds from the load's beginning.
#[derive(Debug)]
pub struct Pacer {
    schedule: Schedule,
    span: Span,
    /// Until when connections are still being opened.
    ramp: u64,
    /// Messages that are still to be sent.
    left: u64,
    /// Since when there has been a connection for the message at the cursor.
    free_since: u64,
    /// When the generator last looked at the schedule.
    looked: u64,
    /// When it is to look next: `u64::MAX` if a connection has to become free first.
    promised: u64,
    /// When it is to look next while every connection is busy: `u64::MAX` if it is not to.
    beat: u64,
    /// When it was away; in order.
    stalls: VecDeque<Stall>,
    /// Whether nothing more is sent.
    is_stopped: bool,
    spin: Spin,
}

/// A message that is due, and sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// When it was to be sent.
    pub due: u64,
    /// How late the generator itself was: what the message waited for a connection that was free for does not count.
    pub lag: u64,
    /// Whether it is measured.
    pub measured: bool,
}

/// When to look at the schedule next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// At this time; until then there is time to sleep.
    At(u64),
    /// In the next turn, without a sleep.
    NextTurn,
    /// When a connection is free, or never.
    Never,
}

/// A time in which the generator was to look at the schedule, and did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stall {
    from: u64,
    to: u64,
}

/// How long the shard has spun without anything to do.
#[derive(Clone, Copy, Debug, Default)]
struct Spin {
    /// When the turn began that may turn out to be one.
    since: Option<u64>,
    idle: u64,
}

impl Pacer {
    /// The pace of a shard that sends `quota` messages at most, and has all its connections after `ramp`.
    pub fn new(schedule: Schedule, quota: u64, span: Span, ramp: u64) -> Self {
        Self {
            schedule,
            span,
            ramp,
            left: quota,
            free_since: 0,
            looked: 0,
            promised: u64::MAX,
            beat: u64::MAX,
            stalls: VecDeque::new(),
            is_stopped: false,
            spin: Spin::default(),
        }
    }

    /// When the message at the cursor is due: `u64::MAX` if there is none.
    #[inline]
    pub fn due(&self) -> u64 {
        if self.is_stopped { u64::MAX } else { self.next_due() }
    }

    fn next_due(&self) -> u64 {
        let due = self.schedule.next();
        if self.left > 0 && due < self.span.stop { due } else { u64::MAX }
    }

    /// Whether no message is left.
    pub fn is_over(&self) -> bool {
        self.due() == u64::MAX
    }

    /// There is a connection again, after there was none. While connections are still being opened there may be too few: then
    /// what was due meanwhile is left out.
    pub fn handle_free(&mut self, now: u64) {
        self.free_since = now;
        while now < self.ramp && self.due() <= now {
            self.schedule.advance();
        }
    }

    /// Measuring begins: what is left from before is not sent any more, since in an overload it would keep what is measured from
    /// being sent.
    pub fn begin_measuring(&mut self) {
        while self.due() < self.span.from {
            self.schedule.advance();
        }
    }

    /// The generator looks at the schedule. `is_free` is whether there was a connection for a message before that: then it was to
    /// look when the next one was due.
    #[inline]
    pub fn handle_look(&mut self, now: u64, is_free: bool) {
        let due = self.due();
        let promised = if is_free { due } else { self.promised.min(self.beat) };
        let from = promised.max(self.looked);
        self.looked = now;
        if due < now && now.saturating_sub(from) >= STALL_MIN_NS && self.stalls.len() < STALLS_MAX {
            self.stalls.push_back(Stall { from, to: now });
        }
    }

    /// How the next look comes about.
    pub fn promise(&mut self, look: Look, now: u64) {
        self.promised = match look {
            Look::At(time) => time + MARGIN_NS,
            Look::NextTurn => now + MARGIN_NS,
            Look::Never => u64::MAX,
        };
    }

    /// Every connection is busy: when to look all the same, unless that is settled.
    pub fn begin_beat(&mut self) -> Option<u64> {
        let is_wanted = self.beat == u64::MAX && !self.is_over();
        is_wanted.then(|| {
            // From the last look on, in case it has been away since.
            self.beat = self.looked + BEAT_NS;
            self.beat
        })
    }

    /// What was settled has been done.
    pub fn end_beat(&mut self) {
        self.beat = u64::MAX;
    }

    /// The message at the cursor is sent: it is due, and there is a connection for it.
    pub fn take(&mut self, now: u64) -> Due {
        let due = self.schedule.next();
        self.schedule.advance();
        self.left = self.left.saturating_sub(1);
        while self.stalls.front().is_some_and(|stall| stall.to <= due) {
            self.stalls.pop_front();
        }
        // A message that was due while the generator was away was seen late by its fault, whichever connection it waits for
        // before or afterwards.
        let unseen = self.stalls.front().filter(|stall| stall.from <= due).map_or(0, |stall| stall.to - due);
        let lag = unseen.max(now.saturating_sub(due.max(self.free_since)));
        Due { due, lag, measured: self.span.measures(due) }
    }

    /// Nothing more is sent.
    pub fn stop(&mut self) {
        self.is_stopped = true;
    }

    /// Ends the schedule at `end`; `on_unsent` is told of each measured message that was due before and was not sent.
    pub fn end(&mut self, end: u64, mut on_unsent: impl FnMut(u64)) {
        while self.next_due() < end {
            let due = self.take(end);
            if due.measured {
                on_unsent(due.due);
            }
        }
        self.left = 0;
    }

    /// When to look at the schedule next.
    pub fn next_look(&self, now: u64, is_free: bool) -> Look {
        let due = self.due();
        if due == u64::MAX || !is_free {
            Look::Never
        } else if due > now + MARGIN_NS {
            Look::At(due - MARGIN_NS)
        } else {
            Look::NextTurn
        }
    }

    /// The next turn comes without a sleep, and may have nothing to do.
    pub fn begin_spin(&mut self, now: u64) {
        self.spin.since = Some(now);
    }

    /// There was something to do in this turn.
    #[inline]
    pub fn handle_work(&mut self) {
        self.spin.since = None;
    }

    /// The turn is over.
    pub fn end_spin(&mut self, now: u64) {
        let took = self.spin.since.take().map(|since| now.saturating_sub(since));
        self.spin.idle += took.filter(|took| *took <= IDLE_TURN_MAX_NS).unwrap_or(0);
    }

    /// How long turns without anything to do have taken.
    pub fn idle(&self) -> u64 {
        self.spin.idle
    }
}

/// The connections that are free, in the order in which their turns come.
#[derive(Debug, Default)]
pub struct Turns {
    queue: VecDeque<u32>,
    /// Whether a connection is in the queue, by its number.
    queued: Vec<bool>,
}

impl Turns {
    /// For this many connections, of which none is free.
    pub fn new(connections: usize) -> Self {
        Self { queue: VecDeque::with_capacity(connections), queued: vec![false; connections] }
    }

    /// A connection is free. Returns whether it is the only one.
    #[inline]
    pub fn offer(&mut self, connection: u32) -> bool {
        if std::mem::replace(&mut self.queued[connection as usize], true) {
            return false;
        }
        self.queue.push_back(connection);
        self.queue.len() == 1
    }

    /// The connection whose turn it is.
    #[inline]
    pub fn take(&mut self) -> Option<u32> {
        let connection = self.queue.pop_front()?;
        self.queued[connection as usize] = false;
        Some(connection)
    }

    /// Whether none is free.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Arrivals;

    const SECOND: u64 = 1_000_000_000;

    /// One message each millisecond, the first at the beginning.
    fn pacer(quota: u64, span: Span) -> Pacer {
        Pacer::new(Schedule::new(1_000.0, Arrivals::Constant, 1, 0, 1), quota, span, 0)
    }

    fn span(from: u64, until: u64, stop: u64) -> Span {
        Span { from, until, stop }
    }

    #[test]
    fn a_message_is_measured_if_it_is_due_in_the_window_and_lag_is_the_generator_s_own() {
        let mut pacer = pacer(u64::MAX, span(1_000_000, 3_000_000, 4_000_000));
        assert_eq!(pacer.take(5), Due { due: 0, lag: 5, measured: false });
        assert_eq!(pacer.take(1_000_007), Due { due: 1_000_000, lag: 7, measured: true });
        // Every connection was busy until then.
        pacer.handle_free(2_500_000);
        assert_eq!(pacer.take(2_500_001), Due { due: 2_000_000, lag: 1, measured: true });
        assert_eq!(pacer.take(3_000_000), Due { due: 3_000_000, lag: 0, measured: false });
        assert!(pacer.is_over(), "the load ends");
    }

    #[test]
    fn all_that_was_due_while_the_generator_was_away_is_late_by_its_fault() {
        let mut pacer = pacer(u64::MAX, span(0, 9_000_000, 9_000_000));
        assert_eq!(pacer.take(0).lag, 0);
        pacer.handle_look(3_500_000, true);
        assert_eq!(pacer.take(3_500_000).lag, 2_500_000);
        // The one connection has to answer first: that is not the generator's fault, and what came before is.
        pacer.handle_free(4_200_000);
        assert_eq!(pacer.take(4_200_000).lag, 1_500_000);
        pacer.handle_free(4_300_000);
        assert_eq!(pacer.take(4_300_000).lag, 500_000);
        pacer.handle_free(4_400_000);
        assert_eq!(pacer.take(4_400_000).lag, 0);
    }

    #[test]
    fn an_absence_that_begins_while_every_connection_is_busy_is_the_generator_s_too() {
        let mut pacer = pacer(u64::MAX, span(0, 99_000_000, 99_000_000));
        assert_eq!(pacer.take(0).lag, 0);
        // The server takes its time, and the generator looks when it is to: that is no lag.
        let mut now = 0;
        while now < 3_000_000 {
            now = pacer.begin_beat().unwrap();
            assert_eq!(pacer.begin_beat(), None, "one is enough");
            now += 20_000;
            pacer.handle_look(now, false);
            pacer.end_beat();
        }
        let beat = pacer.begin_beat().unwrap();
        // Then it is away, and the reply, which came at some time meanwhile, is what it sees first.
        pacer.handle_look(8_000_000, false);
        pacer.handle_free(8_000_000);
        let lags: Vec<u64> = (0..7).map(|_| pacer.take(8_000_000).lag).collect();
        assert!((3_000_000..4_000_000).contains(&beat), "{beat}");
        assert_eq!(lags, [0, 0, 0, 4_000_000, 3_000_000, 2_000_000, 1_000_000]);
    }

    #[test]
    fn an_absence_that_begins_while_messages_are_sent_is_the_generator_s_too() {
        let mut pacer = pacer(u64::MAX, span(0, 99_000_000, 99_000_000));
        assert_eq!(pacer.take(0).lag, 0);
        pacer.handle_look(1_000_000, true);
        assert_eq!(pacer.take(1_000_000).lag, 0);
        // It was stopped behind that, and every connection is busy when it goes on.
        pacer.handle_look(4_500_000, true);
        assert_eq!(pacer.take(4_500_000).lag, 2_500_000);
        assert_eq!(pacer.begin_beat(), Some(5_000_000));
        // Once more, before it has even said when it is to look.
        pacer.handle_look(7_500_000, false);
        pacer.handle_free(7_500_000);
        let lags: Vec<u64> = (0..5).map(|_| pacer.take(7_500_000).lag).collect();
        assert_eq!(lags, [1_500_000, 500_000, 2_500_000, 1_500_000, 500_000]);
    }

    #[test]
    fn no_more_absences_are_remembered_than_there_is_room_for() {
        let mut pacer = pacer(u64::MAX, span(0, u64::MAX, u64::MAX));
        for look in 1..5_000 {
            pacer.handle_look(look * 2_000_000, true);
        }
        assert_eq!(pacer.stalls.len(), STALLS_MAX);
        while pacer.due() < 10 * SECOND {
            pacer.take(10 * SECOND);
        }
        assert!(pacer.stalls.is_empty(), "the cursor has passed them");
    }

    #[test]
    fn what_is_left_over_when_sending_stops_is_counted_later() {
        let mut pacer = pacer(u64::MAX, span(0, 3_000_000, 3_000_000));
        pacer.take(0);
        pacer.stop();
        assert!(pacer.is_over() && pacer.next_look(0, true) == Look::Never && pacer.due() == u64::MAX);
        let mut unsent = Vec::new();
        pacer.end(3_000_000, |due| unsent.push(due));
        assert_eq!(unsent, [1_000_000, 2_000_000]);
    }

    #[test]
    fn what_was_due_and_was_not_sent_is_told_once() {
        let mut pacer = pacer(u64::MAX, span(1_000_000, 9_000_000, 9_000_000));
        pacer.take(0);
        pacer.take(1_000_000);
        let mut unsent = Vec::new();
        pacer.end(4_000_000, |due| unsent.push(due));
        assert_eq!(unsent, [2_000_000, 3_000_000]);
        pacer.end(9_000_000, |_| panic!("it has ended"));
        assert!(pacer.is_over() && pacer.next_look(0, true) == Look::Never);
    }

    #[test]
    fn what_the_warm_up_has_left_is_not_sent() {
        let mut pacer = pacer(5, span(5_000_000, u64::MAX, u64::MAX));
        pacer.take(0);
        pacer.begin_measuring();
        assert_eq!((pacer.due(), pacer.left), (5_000_000, 4));
    }

    #[test]
    fn a_quota_ends_the_schedule() {
        let mut pacer = pacer(2, span(0, u64::MAX, u64::MAX));
        assert_eq!((pacer.take(0).due, pacer.is_over()), (0, false));
        assert_eq!((pacer.take(SECOND).due, pacer.is_over()), (1_000_000, true));
    }

    #[test]
    fn it_sleeps_while_there_is_time_and_then_goes_turn_by_turn() {
        let mut pacer = pacer(u64::MAX, span(0, u64::MAX, u64::MAX));
        pacer.take(0);
        assert_eq!(pacer.next_look(0, true), Look::At(1_000_000 - MARGIN_NS));
        assert_eq!(pacer.next_look(1_000_000 - MARGIN_NS, true), Look::NextTurn);
        assert_eq!(pacer.next_look(2_000_000, true), Look::NextTurn);
        assert_eq!(pacer.next_look(2_000_000, false), Look::Never, "a connection that becomes free has it look again");
    }

    #[test]
    fn no_message_is_late_by_more_than_a_turn_where_sleeps_end_late_by_up_to_the_margin() {
        const TURN_NS: u64 = 2_000;
        for rate in [100.0, 1_000.0, 10_000.0, 50_000.0] {
            let schedule = Schedule::new(rate, Arrivals::Poisson, 7, 0, 1);
            let mut pacer = Pacer::new(schedule, 10_000, span(0, u64::MAX, u64::MAX), 0);
            let (mut now, mut sleeps) = (0, 0);
            while !pacer.is_over() {
                pacer.handle_look(now, true);
                while pacer.due() <= now {
                    let due = pacer.take(now);
                    assert!(due.due <= now && due.lag <= TURN_NS, "{due:?} at {now}, {rate} a second");
                }
                let look = pacer.next_look(now, true);
                pacer.promise(look, now);
                now = match look {
                    Look::At(time) => {
                        sleeps += 1;
                        time + sleeps * 7_919 % MARGIN_NS
                    }
                    Look::NextTurn | Look::Never => now + TURN_NS,
                };
            }
            assert!(sleeps > 0 && pacer.stalls.is_empty(), "{sleeps} sleeps, {rate} a second");
        }
    }

    #[test]
    fn in_the_ramp_nothing_is_sent_late_for_want_of_connections() {
        let schedule = Schedule::new(1_000.0, Arrivals::Constant, 1, 0, 1);
        let mut pacer = Pacer::new(schedule, u64::MAX, span(SECOND, 2 * SECOND, 2 * SECOND), 10_000_000);
        pacer.handle_free(2_000_000);
        assert_eq!(pacer.due(), 3_000_000);
        pacer.handle_free(10_000_000);
        assert_eq!(pacer.due(), 3_000_000, "afterwards everything is");
    }

    #[test]
    fn only_turns_without_work_are_idle() {
        let mut pacer = pacer(1, span(0, SECOND, SECOND));
        for (work, took) in [(false, 1_000), (true, 1_000), (false, 300), (false, IDLE_TURN_MAX_NS + 1)] {
            pacer.begin_spin(5_000);
            if work {
                pacer.handle_work();
            }
            pacer.end_spin(5_000 + took);
            pacer.end_spin(900_000);
        }
        assert_eq!(pacer.idle(), 1_300);
    }

    #[test]
    fn free_connections_have_their_turns_one_after_another_and_no_connection_two() {
        let mut turns = Turns::new(3);
        assert!(turns.offer(1), "it is the only one");
        assert!(!turns.offer(0) && !turns.offer(1) && !turns.offer(2));
        assert_eq!(turns.take(), Some(1));
        assert!(!turns.offer(1));
        assert_eq!([turns.take(), turns.take(), turns.take(), turns.take()], [Some(0), Some(2), Some(1), None]);
        assert!(turns.is_empty());
    }
}
