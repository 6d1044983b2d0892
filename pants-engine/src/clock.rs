//! The engine's clock: monotonic, counted in ticks of a millisecond, read once a turn.

use std::time::{Duration, Instant};

/// A point in time: whole milliseconds since the engine was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(pub(crate) u64);

const TICK: Duration = Duration::from_millis(1);

impl Tick {
    /// The first tick that is not before `time`, which counts from the engine's origin.
    pub(crate) fn at_or_after(time: Duration) -> Self {
        Self(u64::try_from(time.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u64::MAX))
    }

    /// The tick `delay` after this one, rounded up; a delay past the end of time is the end of time.
    pub(crate) fn after(self, delay: Duration) -> Self {
        let ticks = delay.as_nanos().div_ceil(TICK.as_nanos());
        Self(self.0.saturating_add(u64::try_from(ticks).unwrap_or(u64::MAX)))
    }
}

/// The time of the present turn, and conversions.
#[derive(Debug)]
pub(crate) struct Clock {
    origin: Instant,
    now: Instant,
    tick: Tick,
}

impl Clock {
    pub(crate) fn new() -> Self {
        let origin = Instant::now();
        Self { origin, now: origin, tick: Tick(0) }
    }

    /// Reads the system's clock; from now on this is the turn's time.
    pub(crate) fn read(&mut self) {
        self.now = Instant::now();
        let elapsed = self.now.duration_since(self.origin);
        self.tick = Tick(elapsed.as_secs() * 1_000 + u64::from(elapsed.subsec_millis()));
    }

    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    pub(crate) fn tick(&self) -> Tick {
        self.tick
    }

    pub(crate) fn since_origin(&self, instant: Instant) -> Duration {
        instant.saturating_duration_since(self.origin)
    }

    /// The first tick that is not before `delay` has passed since `from`.
    pub(crate) fn tick_after(&self, from: Instant, delay: Duration) -> Tick {
        Tick::at_or_after(self.since_origin(from).saturating_add(delay))
    }

    /// How long it is from `from` until `tick`: zero when it has passed, and bounded so that no sleep is for ever.
    pub(crate) fn until(&self, tick: Tick, from: Instant) -> Duration {
        Duration::from_millis(tick.0).saturating_sub(self.since_origin(from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_rounded_up_to_the_next_tick() {
        let clock = Clock::new();
        let at = |nanos| clock.tick_after(clock.origin, Duration::from_nanos(nanos));
        assert_eq!(at(0), Tick(0));
        assert_eq!(at(1), Tick(1));
        assert_eq!(at(1_000_000), Tick(1));
        assert_eq!(at(1_000_001), Tick(2));
        assert_eq!(Tick(5).after(Duration::from_micros(1)), Tick(6));
    }

    #[test]
    fn the_longest_delay_is_the_end_of_time() {
        let clock = Clock::new();
        assert_eq!(clock.tick_after(clock.origin, Duration::MAX), Tick(u64::MAX));
        assert_eq!(Tick(1).after(Duration::MAX), Tick(u64::MAX));
        assert_eq!(clock.until(Tick(u64::MAX), clock.origin), Duration::from_millis(u64::MAX));
    }
}
