//! What the shards of a run and the thread that waits for them have in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::Instant;

use crate::count::tally::{Slice, Tally, Usage};
use crate::plan::{Plan, Window};

/// What the shards of a run and the thread that waits for them have in common.
#[derive(Debug)]
pub struct Control {
    /// What is to be done.
    pub plan: Plan,
    /// Set when the user has had enough.
    interrupted: Arc<AtomicBool>,
    /// Shards whose connections are open, as far as they can be.
    ready: AtomicUsize,
    /// One for each shard.
    gauges: Vec<Gauge>,
    events: Sender<Event>,
}

/// What a shard tells while it runs, a few times a second.
#[derive(Debug, Default)]
struct Gauge {
    connected: AtomicU64,
    replied: AtomicU64,
    failed: AtomicU64,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Connections that were made.
    pub connected: u64,
    /// Messages that came back.
    pub replied: u64,
    /// Messages and connections that failed.
    pub failed: u64,
    /// The median of the response times of the last second, in nanoseconds; `None` if there is none yet.
    pub p50_ns: Option<u64>,
    /// What one in a hundred of them is above.
    pub p99_ns: Option<u64>,
}

/// What a run tells of its course.
#[derive(Debug)]
pub enum Event {
    /// All connections are open, and the load begins.
    Began(Window),
    /// What a shard has seen in a second of the measured time.
    Interval {
        /// Which shard.
        shard: usize,
        /// Which second.
        second: u64,
        /// What came back in it.
        slice: Box<Slice>,
    },
    /// A shard has nothing more to do.
    Finished(Box<Outcome>),
}

/// What a shard leaves behind.
#[derive(Debug)]
pub struct Outcome {
    /// Which shard.
    pub shard: usize,
    /// What it has counted, but for the response times of the intervals that it has told of.
    pub tally: Tally,
    /// What it took of its CPU in the window.
    pub usage: Usage,
    /// When it was done: at the end of the window, or before.
    pub ended: Instant,
}

impl Control {
    /// For a run of this many shards, which tells of its course by `events`.
    pub fn new(plan: Plan, shards: usize, interrupted: Arc<AtomicBool>, events: Sender<Event>) -> Self {
        let gauges = (0..shards).map(|_| Gauge::default()).collect();
        Self { plan, interrupted, ready: AtomicUsize::new(0), gauges, events }
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.gauges.len()
    }

    /// Whether the user has had enough.
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Acquire)
    }

    /// A shard is ready; returns whether all are.
    pub fn arrive(&self) -> bool {
        self.ready.fetch_add(1, Ordering::AcqRel) + 1 == self.gauges.len()
    }

    /// Tells the thread that waits. If it has gone, nobody wants to know.
    pub fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }

    /// Shows how far one shard has come.
    pub fn publish(&self, shard: usize, tally: &Tally) {
        let Some(gauge) = self.gauges.get(shard) else { return };
        gauge.connected.store(tally.connected, Ordering::Relaxed);
        gauge.replied.store(tally.replied, Ordering::Relaxed);
        gauge.failed.store(tally.failures.events(), Ordering::Relaxed);
    }

    /// How far all have come.
    pub fn snapshot(&self) -> Snapshot {
        let sum = |gauge: fn(&Gauge) -> &AtomicU64| self.gauges.iter().map(|g| gauge(g).load(Ordering::Relaxed)).sum();
        Snapshot {
            connected: sum(|gauge| &gauge.connected),
            replied: sum(|gauge| &gauge.replied),
            failed: sum(|gauge| &gauge.failed),
            ..Snapshot::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Extent, tests::plan};

    #[test]
    fn the_last_shard_to_arrive_knows_it_and_the_gauges_add_up() {
        let (events, _told) = std::sync::mpsc::channel();
        let control = Control::new(plan(1, Extent::Count(1)), 3, Arc::default(), events);
        assert_eq!([control.arrive(), control.arrive(), control.arrive()], [false, false, true]);
        for shard in 0..3 {
            control.publish(shard, &Tally { connected: 1, replied: 10, ..Tally::default() });
        }
        assert_eq!(control.snapshot(), Snapshot { connected: 3, replied: 30, ..Snapshot::default() });
    }
}
