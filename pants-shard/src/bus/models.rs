//! Loom models of a lane between two shards that both sleep when they can: no message stays behind, in the lane or before it.
//!
//! The queue is two counters with release and acquire; a mutex would order the flags by itself and hide a missing fence. The
//! bell is `pants-engine`'s doorbell told once more, since that wakes an engine and not a thread of a model.

use std::marker::PhantomData;
use std::sync::Arc;

use loom::sync::atomic::{AtomicUsize, Ordering, fence};
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

impl BellFences for NoReceiversFence {}

#[derive(Default)]
struct NoSendersFence;

impl Fences for NoSendersFence {
    fn of_sender() {}
}

impl BellFences for NoSendersFence {}

/// The doorbell's fences.
trait BellFences {
    fn of_ringer() {
        fence(Ordering::SeqCst);
    }

    fn of_engine() {
        fence(Ordering::SeqCst);
    }
}

impl BellFences for BothFences {}

#[derive(Default)]
struct NoRingersFence;

impl Fences for NoRingersFence {}

impl BellFences for NoRingersFence {
    fn of_ringer() {}
}

#[derive(Default)]
struct NoEnginesFence;

impl Fences for NoEnginesFence {}

impl BellFences for NoEnginesFence {
    fn of_engine() {}
}

const AWAKE: usize = 0;
const ASLEEP: usize = 1;
const RUNG: usize = 2;

struct Bell<F> {
    word: AtomicUsize,
    fences: PhantomData<F>,
}

impl<F: BellFences> Bell<F> {
    fn new() -> Self {
        Self { word: AtomicUsize::new(AWAKE), fences: PhantomData }
    }

    fn ring(&self, sleeper: &Thread) {
        F::of_ringer();
        if self.word.load(Ordering::Relaxed) != RUNG && self.word.swap(RUNG, Ordering::Relaxed) == ASLEEP {
            sleeper.unpark();
        }
    }

    /// Sleeps until somebody has rung, if nobody has, and takes the ring.
    fn sleep(&self) {
        if self.word.compare_exchange(AWAKE, ASLEEP, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            thread::park();
        }
        assert_eq!(self.word.swap(AWAKE, Ordering::Relaxed), RUNG);
        F::of_engine();
    }
}

/// A lane, and the bells of the two at its ends.
struct Pair<F> {
    pushed: AtomicUsize,
    popped: AtomicUsize,
    room: RoomFlag<F>,
    sender: Bell<F>,
    receiver: Bell<F>,
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
fn deliver<F: Fences + BellFences + Default + Send + Sync + 'static>() {
    loom::model(|| {
        let pair = Arc::new(Pair::<F> {
            pushed: AtomicUsize::new(0),
            popped: AtomicUsize::new(0),
            room: RoomFlag::default(),
            sender: Bell::new(),
            receiver: Bell::new(),
        });
        let (copy, sender) = (Arc::clone(&pair), thread::current());
        let receiver = thread::spawn(move || receive(&copy, &sender));
        send(&pair, receiver.thread());
        receiver.join().unwrap();
    });
}

/// As `Lanes::push` and the engine's sleep.
fn send<F: Fences + BellFences>(pair: &Pair<F>, receiver: &Thread) {
    let mut waiting = 0;
    for _ in 0..MESSAGES {
        if waiting == 0 && pair.has_room() {
            pair.pushed.fetch_add(1, Ordering::Release);
            pair.receiver.ring(receiver);
            continue;
        }
        waiting += 1;
        if waiting == 1 {
            pair.room.want();
            flush(pair, receiver, &mut waiting);
        }
    }
    while waiting > 0 {
        pair.sender.sleep();
        flush(pair, receiver, &mut waiting);
    }
}

/// As `Lanes::flush`.
fn flush<F: Fences + BellFences>(pair: &Pair<F>, receiver: &Thread, waiting: &mut usize) {
    while *waiting > 0 && pair.has_room() {
        pair.pushed.fetch_add(1, Ordering::Release);
        pair.receiver.ring(receiver);
        *waiting -= 1;
    }
    if *waiting == 0 {
        pair.room.want_no_more();
    }
}

/// As `Incoming::deliver` and the engine's sleep. The lane is looked at only when somebody has rung.
fn receive<F: Fences + BellFences>(pair: &Pair<F>, sender: &Thread) {
    let mut left = MESSAGES;
    while left > 0 {
        pair.receiver.sleep();
        while !pair.is_empty() {
            pair.popped.fetch_add(1, Ordering::Release);
            left -= 1;
            if pair.room.is_wanted() {
                pair.sender.ring(sender);
            }
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
fn a_message_is_left_behind_without_the_engines_fence() {
    deliver::<NoEnginesFence>();
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_message_waits_for_ever_without_the_senders_fence() {
    deliver::<NoSendersFence>();
}
