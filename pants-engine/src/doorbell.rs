//! How other threads get an engine's attention: the sleep flag, and the sources it drains when awake.
//!
//! Ringing costs a system call only when the engine sleeps. The two sides run Dekker's pattern over the queue and the flag:
//!
//! * the sender pushes, fences, and reads the flag;
//! * the engine sets the flag, fences, and looks at the queues once more before it sleeps.
//!
//! With both fences sequentially consistent, at least one side sees what the other wrote, so no wake is lost. The loom
//! models at the end of this file check that, and that it fails with either fence removed.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::context::Context;
use crate::poll::PollWaker;
use crate::sync::{AtomicBool, Ordering, fence};

/// Work for an engine that comes from other threads: a queue's receiving end.
///
/// A source is polled by its engine alone. Whoever fills it rings the engine's [`Doorbell`] after each push.
pub trait Source {
    /// Whether nothing is waiting. Called after the engine has announced that it goes to sleep, and over and over while it
    /// [polls busily](crate::EngineOptions::busy_poll).
    fn is_empty(&self) -> bool;

    /// Delivers at most `budget` items and returns how many there were.
    ///
    /// Returning `budget` makes the engine come back in the next turn; so does a later `is_empty() == false`. An item that
    /// panics is gone; the engine calls again for the rest.
    fn drain(&mut self, context: &mut Context, budget: usize) -> usize;
}

/// Rings one engine from any thread; cheap to clone.
///
/// Ringing never blocks, and costs a system call only when the engine sleeps and nobody has rung since it lay down.
///
/// # Examples
///
/// ```
/// let engine = pants_engine::Engine::new()?;
/// let doorbell = engine.doorbell();
/// std::thread::spawn(move || doorbell.ring()).join().unwrap();
/// # Ok::<(), pants_engine::Error>(())
/// ```
#[derive(Clone)]
pub struct Doorbell(Arc<SleepFlag<PollWaker, BothFences>>);

impl Doorbell {
    pub(crate) fn new(waker: PollWaker) -> Self {
        Self(Arc::new(SleepFlag::new(waker)))
    }

    /// Wakes the engine if it sleeps. Call it after pushing to one of the engine's sources. Returns whether it was this ring
    /// that woke it, which costs a system call.
    pub fn ring(&self) -> bool {
        self.0.ring()
    }

    pub(crate) fn lie_down(&self) {
        self.0.lie_down();
    }

    pub(crate) fn get_up(&self) {
        self.0.get_up();
    }
}

impl fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doorbell").finish_non_exhaustive()
    }
}

/// What ends the sleep: an eventfd, or a model's stand-in.
pub(crate) trait Wake {
    fn wake(&self);
}

/// The fences between each side's write and its read; the models take one away.
pub(crate) trait Fences {
    fn of_sender() {
        fence(Ordering::SeqCst);
    }

    fn of_sleeper() {
        fence(Ordering::SeqCst);
    }
}

#[derive(Debug)]
pub(crate) struct BothFences;

impl Fences for BothFences {}

/// The protocol itself. Alone on its cache lines, since the engine writes the flag around every sleep (128 bytes: the
/// prefetcher of recent x86 processors fetches lines in pairs, as crossbeam's `CachePadded` notes).
#[repr(align(128))]
struct SleepFlag<W, F> {
    asleep: AtomicBool,
    waker: W,
    fences: PhantomData<F>,
}

impl<W: Wake, F: Fences> SleepFlag<W, F> {
    /// Asleep from the beginning: the first sleep may come before the first turn, in somebody else's loop.
    fn new(waker: W) -> Self {
        Self { asleep: AtomicBool::new(true), waker, fences: PhantomData }
    }

    /// After a push: wakes the sleeper, if it sleeps and nobody else has woken it.
    fn ring(&self) -> bool {
        F::of_sender();
        let wakes = self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed);
        if wakes {
            self.waker.wake();
        }
        wakes
    }

    /// Announces a sleep. Every source must be looked at after this, and before the sleep.
    fn lie_down(&self) {
        // A swap, not a store: it stands in one order with the senders' swaps, so that a late one cannot be taken for news.
        self.asleep.swap(true, Ordering::Relaxed);
        F::of_sleeper();
    }

    fn get_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use loom::sync::atomic::AtomicUsize;
    use loom::thread;

    struct Unpark(thread::Thread);

    impl Wake for Unpark {
        fn wake(&self) {
            self.0.unpark();
        }
    }

    struct NoSenderFence;

    impl Fences for NoSenderFence {
        fn of_sender() {}
    }

    struct NoSleeperFence;

    impl Fences for NoSleeperFence {
        fn of_sleeper() {}
    }

    /// `senders` threads push one item each; the sleeper must see them all. A lost wake is a deadlock, which loom reports.
    /// Before it lies down the sleeper looks at the queue `looks` times, as one that polls busily does.
    fn deliver<F: Fences + 'static>(senders: usize, looks: usize) {
        loom::model(move || {
            let flag = Arc::new(SleepFlag::<Unpark, F>::new(Unpark(thread::current())));
            flag.get_up();
            // The queue as a release/acquire counter: a mutex would order the flag by itself and hide a missing fence.
            let queue = Arc::new(AtomicUsize::new(0));
            let threads: Vec<_> = (0..senders)
                .map(|_| {
                    let (flag, queue) = (Arc::clone(&flag), Arc::clone(&queue));
                    thread::spawn(move || {
                        queue.fetch_add(1, Ordering::Release);
                        flag.ring();
                    })
                })
                .collect();
            let mut taken = 0;
            while taken < senders {
                if (0..looks).any(|_| queue.load(Ordering::Acquire) != taken) {
                    taken = queue.load(Ordering::Acquire);
                    continue;
                }
                flag.lie_down();
                if queue.load(Ordering::Acquire) == taken {
                    thread::park();
                }
                flag.get_up();
                taken = queue.load(Ordering::Acquire);
            }
            for thread in threads {
                thread.join().unwrap();
            }
        });
    }

    #[test]
    fn no_wake_is_lost_with_one_sender() {
        deliver::<BothFences>(1, 0);
    }

    #[test]
    fn no_wake_is_lost_with_two_senders() {
        deliver::<BothFences>(2, 0);
    }

    #[test]
    fn no_wake_is_lost_behind_a_busy_poll() {
        deliver::<BothFences>(1, 2);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn a_wake_is_lost_without_the_senders_fence() {
        deliver::<NoSenderFence>(1, 0);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn a_wake_is_lost_without_the_sleepers_fence() {
        deliver::<NoSleeperFence>(1, 0);
    }
}
