//! The engine's clock: monotonic, counted in ticks of a millisecond, read once a turn.

use std::time::{Duration, Instant};

/// A point in time: whole milliseconds since the engine was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(pub(crate) u64);

const TICK: Duration = Duration::from_millis(1);

impl Tick {
    /// The first tick that is not before `time`, which counts from the engine's origin.
    pub(crate) fn at_or_after(time: Duration) -> Self {
        // By its parts, since a division of 128 bits takes longer than setting a timer.
        let begun = u64::from(time.subsec_nanos().div_ceil(TICK.subsec_nanos()));
        Self(time.as_secs().saturating_mul(1_000).saturating_add(begun))
    }

    /// When this tick begins, counted from the engine's origin.
    pub(crate) fn begins(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// The first tick by which `delay` has surely passed since a moment of this one; a delay past the end of time is the end
    /// of time.
    pub(crate) fn after(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(Self::at_or_after(delay).0).saturating_add(1))
    }
}

/// The time of the present turn. Times are counted from the clock's origin, when the engine was made.
#[derive(Debug)]
pub(crate) struct Clock {
    origin: Instant,
    now: Duration,
    tick: Tick,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { origin: Instant::now(), now: Duration::ZERO, tick: Tick(0) }
    }

    /// Reads the system's clock; from now on this is the turn's time.
    pub(crate) fn read(&mut self) {
        self.now = self.fresh();
        self.tick = Tick(self.now.as_secs() * 1_000 + u64::from(self.now.subsec_millis()));
    }

    /// The system's clock at this moment.
    pub(crate) fn fresh(&self) -> Duration {
        self.origin.elapsed()
    }

    /// What this clock says at `instant`; one from before its origin is the origin.
    pub(crate) fn at(&self, instant: Instant) -> Duration {
        instant.saturating_duration_since(self.origin)
    }

    /// When the turn began.
    pub(crate) fn now(&self) -> Duration {
        self.now
    }

    /// When the turn began, as the rest of the world says it.
    pub(crate) fn instant(&self) -> Instant {
        self.origin + self.now
    }

    pub(crate) fn tick(&self) -> Tick {
        self.tick
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_rounded_up_to_the_next_tick() {
        let at = |nanos| Tick::at_or_after(Duration::from_nanos(nanos));
        assert_eq!(at(0), Tick(0));
        assert_eq!(at(1), Tick(1));
        assert_eq!(at(1_000_000), Tick(1));
        assert_eq!(at(1_000_001), Tick(2));
        assert_eq!(Tick(5).after(Duration::from_micros(1)), Tick(7));
    }

    #[test]
    fn the_longest_delay_is_the_end_of_time() {
        assert_eq!(Tick::at_or_after(Duration::MAX), Tick(u64::MAX));
        assert_eq!(Tick(1).after(Duration::MAX), Tick(u64::MAX));
        assert_eq!(Tick(u64::MAX).begins(), Duration::from_millis(u64::MAX));
    }

    #[test]
    fn a_turns_time_is_that_of_the_system() {
        let mut clock = Clock::new();
        let before = Instant::now();
        clock.read();
        let after = Instant::now();
        assert!(clock.instant() >= before && clock.instant() <= after);
        assert_eq!(clock.at(clock.instant()), clock.now());
        assert_eq!(clock.at(clock.origin - Duration::from_nanos(1)), Duration::ZERO);
    }
}
