//! The clock of the load: nanoseconds since it began.

use std::time::Instant;

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::plan::nanos_between;

/// The clock of [`Instant`] (`CLOCK_MONOTONIC`, clock_gettime(2)), as one number: reading it and taking a difference is some 50
/// instructions less than with an `Instant`, on a path that has a few hundred.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// What the system's clock said when the load began.
    begin: u64,
}

impl Clock {
    /// Counts from `begin`.
    pub(super) fn since(begin: Instant) -> Self {
        let (system, now) = (system_ns(), Instant::now());
        // One of the two is nothing.
        Self { begin: (system + nanos_between(now, begin)).saturating_sub(nanos_between(begin, now)) }
    }

    /// Nanoseconds since the load began; 0 before.
    #[inline]
    pub(super) fn now(self) -> u64 {
        system_ns().saturating_sub(self.begin)
    }
}

#[inline]
fn system_ns() -> u64 {
    // Since the machine was started: neither is negative.
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Monotonic);
    tv_sec as u64 * 1_000_000_000 + tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_goes_as_the_instants_do() {
        let second = Duration::from_secs(1);
        let begin = Instant::now() - 5 * second;
        let now = Duration::from_nanos(Clock::since(begin).now());
        // The two clocks were not read at the same moment.
        assert!(now > 4 * second && now < begin.elapsed() + second, "{now:?}");
        assert_eq!(Clock::since(Instant::now() + 60 * second).now(), 0, "it has not begun");
    }
}
