//! The clocks of the load: nanoseconds since it began, and how long a thread has worked.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use crate::plan::nanos_between;

/// How often both clocks are read for one pair of readings that are close: a thread may lose its CPU between the two.
const READINGS: usize = 8;

/// The clock of [`Instant`] (`CLOCK_MONOTONIC`, clock_gettime(2)), as one number: reading it and taking a difference is some 50
/// instructions less than with an `Instant`, on a path that has a few hundred. It is the C library's, which asks the kernel where
/// the vDSO is not to be used, as under valgrind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// What the system's clock said when the load began.
    begin: u64,
}

impl Clock {
    /// Counts from `begin`. It is never ahead of the instants, by which the load's end is known: else the last message would seem
    /// to have come at the end, and the load to have ended before it. How far it is behind is what two readings in a row take,
    /// the closest of some.
    pub(super) fn since(begin: Instant) -> Self {
        let readings = (0..READINGS).map(|_| {
            let now = Instant::now();
            let system = system_ns();
            (now.elapsed(), now, system)
        });
        let (_, now, system) = readings.min().expect("there are some");
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
    read(ClockId::CLOCK_MONOTONIC)
}

/// How long this thread has run.
pub(super) fn thread_time() -> Duration {
    Duration::from_nanos(read(ClockId::CLOCK_THREAD_CPUTIME_ID))
}

#[inline]
fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock).expect("Linux has this clock");
    // Since the machine or the thread was started: neither is negative.
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_never_ahead_of_the_instants() {
        for _ in 0..100_000 {
            let begin = Instant::now();
            let now = Clock::since(begin).now();
            assert!(u128::from(now) <= begin.elapsed().as_nanos());
        }
    }

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
