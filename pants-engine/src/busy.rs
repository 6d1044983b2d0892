//! Whether to poll busily before a sleep: an estimate from how the last polls and sleeps ended. Pure.
//!
//! The question is the one of renting skis: a poll that finds nothing costs its whole time, a sleep that an event ends at
//! once costs a wake. As in Karlin, Li, Manasse and Owicki, "Empirical Studies of Competitive Spinning for a Shared-Memory
//! Multiprocessor" (SOSP 1991), the past answers for the future: a few polls in vain turn polling off, and a sleep so short
//! that a poll would have met its end turns it on again.

use std::time::Duration;

use crate::limits;

#[derive(Debug)]
pub(crate) struct Busy {
    /// How long a poll may last; zero turns all of this off.
    longest: Duration,
    /// Polls in a row that have found nothing.
    misses: u32,
}

impl Busy {
    pub(crate) fn new(longest: Duration) -> Self {
        Self { longest, misses: 0 }
    }

    /// Whether anything here is in use at all.
    #[inline]
    pub(crate) fn is_enabled(&self) -> bool {
        !self.longest.is_zero()
    }

    /// Whether the next sleep is to be put off by a poll.
    #[inline]
    pub(crate) fn is_worth_it(&self) -> bool {
        self.is_enabled() && self.misses < limits::BUSY_POLL_MISSES_MAX
    }

    /// When a poll that begins `now` ends, if nothing is found and the engine could sleep for `sleep`.
    pub(crate) fn end(&self, now: Duration, sleep: Duration) -> Duration {
        now.saturating_add(self.longest.min(sleep))
    }

    pub(crate) fn handle_poll(&mut self, found: bool) {
        self.misses = if found { 0 } else { self.misses.saturating_add(1) };
    }

    /// A sleep has lasted from `begun` to `ended`, and `by_event` says whether it was an event that ended it.
    pub(crate) fn handle_sleep(&mut self, begun: Duration, ended: Duration, by_event: bool) {
        if by_event && ended.saturating_sub(begun) <= self.longest {
            self.misses = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(count: u64) -> Duration {
        Duration::from_micros(count)
    }

    fn tired() -> Busy {
        let mut busy = Busy::new(micros(50));
        (0..limits::BUSY_POLL_MISSES_MAX).for_each(|_| busy.handle_poll(false));
        busy
    }

    #[test]
    fn zero_turns_it_off_for_good() {
        let mut busy = Busy::new(Duration::ZERO);
        assert!(!busy.is_enabled() && !busy.is_worth_it());
        busy.handle_sleep(micros(1), micros(1), true);
        busy.handle_poll(true);
        assert!(!busy.is_worth_it());
    }

    #[test]
    fn a_few_polls_in_vain_end_it_and_one_that_finds_something_starts_the_count_anew() {
        let mut busy = Busy::new(micros(50));
        for _ in 0..3 {
            for _ in 1..limits::BUSY_POLL_MISSES_MAX {
                busy.handle_poll(false);
                assert!(busy.is_worth_it());
            }
            busy.handle_poll(true);
        }
        assert!(busy.is_worth_it());
        assert!(!tired().is_worth_it());
    }

    #[test]
    fn only_an_event_soon_after_the_sleep_began_brings_it_back() {
        for (slept, by_event, worth_it) in [(0, true, true), (50, true, true), (51, true, false), (10, false, false)] {
            let mut busy = tired();
            busy.handle_sleep(micros(1000), micros(1000 + slept), by_event);
            assert_eq!(busy.is_worth_it(), worth_it, "{slept} µs, by an event: {by_event}");
        }
    }

    #[test]
    fn a_poll_ends_with_the_sleep_it_stands_for() {
        let busy = Busy::new(micros(50));
        assert_eq!(busy.end(micros(7), micros(20)), micros(27));
        assert_eq!(busy.end(micros(7), Duration::MAX), micros(57));
        assert_eq!(busy.end(Duration::MAX, micros(1)), Duration::MAX);
    }
}
