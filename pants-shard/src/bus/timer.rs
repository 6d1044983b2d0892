//! Timers on other shards, and cancelling them from here.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pants_engine::TimerKey;

use super::Bus;
use super::message::Message;
use crate::shard::Shard;
use crate::shard_id::ShardId;

/// A timer on another shard, or on this one, set by [`Bus::defer`] or [`Bus::cycle`]. Dropping it leaves the timer as it is.
pub struct BusTimer {
    bus: Bus,
    shard: ShardId,
    timer: TimerId,
    cancelled: Arc<AtomicBool>,
}

/// Which of the timers that shards have set on one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TimerId {
    setter: usize,
    number: u64,
}

/// The timers that other shards have set on this one, and the numbers for those that it sets.
#[derive(Default)]
pub(crate) struct BusTimers {
    set_here: RefCell<HashMap<TimerId, TimerKey>>,
    next: Cell<u64>,
}

/// Takes a timer out of the notes of its shard when its work goes: it has run, has panicked, or was cancelled.
struct Noted {
    bus: Bus,
    timer: TimerId,
}

impl Drop for Noted {
    fn drop(&mut self) {
        self.bus.timers().forget(self.timer);
    }
}

/// What a timer on its way to its shard carries beside its work.
pub(crate) struct Timing {
    timer: TimerId,
    /// When it was set, so that its way does not count, and for how long.
    set: Instant,
    delay: Duration,
    cancelled: Arc<AtomicBool>,
}

/// A timer that runs once.
pub(crate) struct Defer<F> {
    pub(crate) timing: Timing,
    pub(crate) work: F,
}

/// A timer that runs again and again.
pub(crate) struct Cycle<F> {
    pub(crate) timing: Timing,
    pub(crate) work: F,
}

impl BusTimers {
    pub(crate) fn next_id(&self, setter: ShardId) -> TimerId {
        let number = self.next.get();
        self.next.set(number + 1);
        TimerId { setter: setter.index(), number }
    }

    fn note(&self, timer: TimerId, key: TimerKey) {
        self.set_here.borrow_mut().insert(timer, key);
    }

    fn forget(&self, timer: TimerId) -> Option<TimerKey> {
        self.set_here.borrow_mut().remove(&timer)
    }
}

impl Timing {
    pub(crate) fn new(timer: TimerId, delay: Duration) -> Self {
        Self { timer, set: Instant::now(), delay, cancelled: Arc::default() }
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// What is left of the delay.
    fn left(&self) -> Duration {
        self.delay.saturating_sub(self.set.elapsed())
    }
}

impl<F> AsRef<Timing> for Defer<F> {
    fn as_ref(&self) -> &Timing {
        &self.timing
    }
}

impl<F> AsRef<Timing> for Cycle<F> {
    fn as_ref(&self) -> &Timing {
        &self.timing
    }
}

impl<F: FnOnce(&mut Shard<'_>) + Send + 'static> Message for Defer<F> {
    fn run(self: Box<Self>, shard: &mut Shard<'_>) {
        let Self { timing, work } = *self;
        if timing.is_cancelled() {
            return;
        }
        let (timer, left) = (timing.timer, timing.left());
        let noted = Noted { bus: shard.bus(), timer };
        let key = shard.defer(left, move |shard| {
            let _noted = noted;
            if !timing.is_cancelled() {
                work(shard);
            }
        });
        shard.bus().timers().note(timer, key);
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

impl<F: FnMut(&mut Shard<'_>) + Send + 'static> Message for Cycle<F> {
    fn run(self: Box<Self>, shard: &mut Shard<'_>) {
        let Self { timing, mut work } = *self;
        if timing.is_cancelled() {
            return;
        }
        let (timer, set, interval) = (timing.timer, timing.set, timing.delay);
        let noted = Noted { bus: shard.bus(), timer };
        let cycle = shard.cycle_from(set, interval, move |shard| {
            if !timing.is_cancelled() {
                work(shard);
            } else if let Some(key) = noted.bus.timers().forget(noted.timer) {
                // Its cancellation met a full lane.
                shard.context().cancel(key);
            }
        });
        if let Ok(key) = cycle {
            shard.bus().timers().note(timer, key);
        }
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

impl BusTimer {
    pub(crate) fn new(bus: Bus, shard: ShardId, timing: &Timing) -> Self {
        Self { bus, shard, timer: timing.timer, cancelled: Arc::clone(&timing.cancelled) }
    }

    /// The shard that the timer is on.
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// Cancels the timer: unless it runs at this very moment, it does not run any more. Cancelling a finished one does
    /// nothing.
    ///
    /// The other shard looks at a flag before it runs the timer, so that this cannot fail. It is told besides, to free what
    /// the timer holds; if its lane is full, that is freed when the timer would have run.
    pub fn cancel(&self) {
        if self.cancelled.swap(true, Ordering::AcqRel) {
            return;
        }
        let timer = self.timer;
        let _ = self.bus.send(self.shard, move |shard| {
            if let Some(key) = shard.bus().timers().forget(timer) {
                shard.context().cancel(key);
            }
        });
    }
}

impl fmt::Debug for BusTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusTimer").field("shard", &self.shard).field("timer", &self.timer).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::resume_unwind;
    use std::sync::mpsc::channel;

    use crate::config::Config;
    use crate::runtime::Runtime;

    use super::*;

    #[test]
    fn timers_whose_work_panics_are_forgotten() {
        let config = Config::builder().shards("1".parse::<crate::Shards>().unwrap()).pin(false).build().unwrap();
        let (tell, told) = channel();
        let running = Runtime::new(config).unwrap().start(move |shard| {
            let (bus, tell) = (shard.bus(), tell.clone());
            let interval = Duration::from_millis(1);
            bus.cycle(shard.id(), interval, |_| resume_unwind(Box::new("on purpose"))).unwrap();
            bus.defer(shard.id(), interval, |_| resume_unwind(Box::new("on purpose"))).unwrap();
            shard.every_turn(move |shard| {
                if shard.context().stats().panics == 2 {
                    tell.send(bus.timers().set_here.borrow().len()).unwrap();
                    shard.stop();
                }
            });
            Ok(())
        });
        running.unwrap().join().unwrap();
        assert_eq!(told.recv(), Ok(0));
    }
}
