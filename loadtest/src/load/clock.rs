//! The clocks of the load: nanoseconds since it began, and how long a thread has worked.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use crate::plan::nanos_between;

/// The clock of [`Instant`] (`CLOCK_MONOTONIC`, clock_gettime(2)), as one number: reading it and taking a difference is some 50
/// instructions less than with an `Instant`, on a path that has a few hundred. It is the C library's, which asks the kernel where
/// the vDSO is not to be used, as under valgrind.
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
    fn it_goes_as_the_instants_do() {
        let second = Duration::from_secs(1);
        let begin = Instant::now() - 5 * second;
        let now = Duration::from_nanos(Clock::since(begin).now());
        // The two clocks were not read at the same moment.
        assert!(now > 4 * second && now < begin.elapsed() + second, "{now:?}");
        assert_eq!(Clock::since(Instant::now() + 60 * second).now(), 0, "it has not begun");
    }
}
