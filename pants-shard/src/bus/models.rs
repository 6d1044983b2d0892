//! Loom models of a lane between two shards that both sleep when they can: no message stays behind, in the lane or before it.
//!
//! The queue is two counters with release and acquire; a mutex would order the flags by itself and hide a missing fence. The
//! sleep flag is `pants-engine`'s doorbell told once more, since that wakes an engine and not a thread of a model.

use std::marker::PhantomData;
use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use loom::thread::{self, Thread};

use super::room::{BothFences, Fences, RoomFlag};

/// What the lane holds.
const CAPACITY: usize = 1;

/// Messages that are sent through it: one more waits for room.
const MESSAGES: usize = 2;

#[derive(Default)]
struct NoReceiversFence;

impl Fences for NoReceiversFence {
    fn of_receiver() {}
}

impl SleepFences for NoReceiversFence {}

/// The doorbell's fences.
trait SleepFences {
    fn of_ringer() {
        fence(Ordering::SeqCst);
    }

    fn of_sleeper() {
        fence(Ordering::SeqCst);
    }
}

impl SleepFences for BothFences {}

#[derive(Default)]
struct NoRingersFence;

impl Fences for NoRingersFence {}

impl SleepFences for NoRingersFence {
    fn of_ringer() {}
}

#[derive(Default)]
struct NoSleepersFence;

impl Fences for NoSleepersFence {}

impl SleepFences for NoSleepersFence {
    fn of_sleeper() {}
}

struct SleepFlag<F> {
    asleep: AtomicBool,
    fences: PhantomData<F>,
}

impl<F: SleepFences> SleepFlag<F> {
    fn new() -> Self {
        Self { asleep: AtomicBool::new(false), fences: PhantomData }
    }

    fn ring(&self, sleeper: &Thread) {
        F::of_ringer();
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed) {
            sleeper.unpark();
        }
    }

    fn sleep_unless(&self, due: impl FnOnce() -> bool) {
        self.asleep.swap(true, Ordering::Relaxed);
        F::of_sleeper();
        if !due() {
            thread::park();
        }
        self.asleep.store(false, Ordering::Relaxed);
    }
}

/// A lane, and the flags of the two at its ends.
struct Pair<F> {
    pushed: AtomicUsize,
    popped: AtomicUsize,
    room: RoomFlag<F>,
    sender: SleepFlag<F>,
    receiver: SleepFlag<F>,
}

impl<F> Pair<F> {
    fn has_room(&self) -> bool {
        self.pushed.load(Ordering::Relaxed) - self.popped.load(Ordering::Acquire) < CAPACITY
    }

    fn is_empty(&self) -> bool {
        self.pushed.load(Ordering::Acquire) == self.popped.load(Ordering::Relaxed)
    }
}

/// Sends through a lane that is too small from one shard to another. Whoever sleeps for ever is a deadlock, which loom
/// reports.
fn deliver<F: Fences + SleepFences + Default + Send + Sync + 'static>() {
    loom::model(|| {
        let pair = Arc::new(Pair::<F> {
            pushed: AtomicUsize::new(0),
            popped: AtomicUsize::new(0),
            room: RoomFlag::default(),
            sender: SleepFlag::new(),
            receiver: SleepFlag::new(),
        });
        let (copy, sender) = (Arc::clone(&pair), thread::current());
        let receiver = thread::spawn(move || receive(&copy, &sender));
        send(&pair, receiver.thread());
        receiver.join().unwrap();
    });
}

/// As `Lanes::push`, `Lanes::flush` and the engine's sleep.
fn send<F: Fences + SleepFences>(pair: &Pair<F>, receiver: &Thread) {
    let mut waiting = 0;
    for _ in 0..MESSAGES {
        if waiting == 0 && pair.has_room() {
            pair.pushed.fetch_add(1, Ordering::Release);
            pair.receiver.ring(receiver);
        } else {
            waiting += 1;
            pair.room.want();
        }
    }
    while waiting > 0 {
        pair.sender.sleep_unless(|| pair.has_room());
        while waiting > 0 && pair.has_room() {
            pair.pushed.fetch_add(1, Ordering::Release);
            pair.receiver.ring(receiver);
            waiting -= 1;
        }
        if waiting == 0 {
            pair.room.want_no_more();
        }
    }
}

/// As `Incoming::deliver` and the engine's sleep.
fn receive<F: Fences + SleepFences>(pair: &Pair<F>, sender: &Thread) {
    for _ in 0..MESSAGES {
        while pair.is_empty() {
            pair.receiver.sleep_unless(|| !pair.is_empty());
        }
        pair.popped.fetch_add(1, Ordering::Release);
        if pair.room.is_wanted() {
            pair.sender.ring(sender);
        }
    }
}

#[test]
fn no_message_is_left_behind_in_a_lane_or_before_it() {
    deliver::<BothFences>();
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_message_waits_for_ever_without_the_receivers_fence() {
    deliver::<NoReceiversFence>();
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_message_stays_in_its_lane_without_the_ringers_fence() {
    deliver::<NoRingersFence>();
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_message_is_left_behind_without_the_sleepers_fence() {
    deliver::<NoSleepersFence>();
}
