//! The work of those that measure timers: how many, when each is due, and what is told of it.
//!
//! A contestant sets [`PENDING`] timers that stay, and then measures, on one thread and in that thread's CPU time: setting a
//! timer and cancelling it at once; giving one of the pending ones a new deadline, one after the other as [`scattered`] says;
//! and, last, the firing of [`FIRING`] timers, from when all are set until the last has fired, with the sleeps between.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};
use serde::Serialize;

/// So many timers are pending throughout.
pub const PENDING: usize = 1_000_000;

/// So many timers are set to fire.
pub const FIRING: usize = 100_000;

/// How long before the first of those is due; long enough to set them all.
const FIRING_AFTER: Duration = Duration::from_millis(500);

/// So many are due in every millisecond.
const FIRING_PER_MILLISECOND: usize = 500;

/// What a contestant prints, in nanoseconds of CPU time for one timer.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Findings {
    /// A timer is set and cancelled.
    pub insert_cancel_ns: f64,
    /// A pending timer is given another deadline.
    pub reset_ns: f64,
    /// A timer fires.
    pub fire_ns: f64,
    /// Timers pending meanwhile.
    pub pending: usize,
}

/// The delay of pending timer `index`: from ten minutes to seventy, in no order.
pub fn delay(index: usize) -> Duration {
    Duration::from_millis(600_000 + (index as u64 * 7_919) % 3_600_000)
}

/// The delay of firing timer `index`; the earlier ones have the lower indices.
pub fn firing_delay(index: usize) -> Duration {
    FIRING_AFTER + Duration::from_millis((index / FIRING_PER_MILLISECOND) as u64)
}

/// Every index below [`PENDING`] once, for `turn` from 0, far from each other in memory.
pub fn scattered(turn: usize) -> usize {
    // Prime, and no divisor of the number: so it comes by all of them.
    turn * 611_953 % PENDING
}

/// The CPU time of a piece of work on this thread.
#[derive(Debug)]
pub struct Stopwatch {
    begun: Timespec,
}

impl Stopwatch {
    /// Begins now.
    pub fn start() -> Self {
        Self { begun: clock_gettime(ClockId::ThreadCPUTime) }
    }

    /// What this thread has taken since then, by `count`, in nanoseconds.
    pub fn per(&self, count: usize) -> f64 {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        let nanoseconds = (now.tv_sec - self.begun.tv_sec) * 1_000_000_000 + (now.tv_nsec - self.begun.tv_nsec);
        nanoseconds as f64 / count as f64
    }
}

impl Findings {
    /// Prints them, as a line of JSON.
    ///
    /// # Panics
    ///
    /// If standard output is closed.
    pub fn print(&self) {
        println!("{}", serde_json::to_string(self).expect("numbers"));
    }
}
