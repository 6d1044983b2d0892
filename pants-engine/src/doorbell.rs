//! How other threads get an engine's attention: a word that says whether it is awake, asleep or rung for, and the sources it
//! drains when it was rung for.
//!
//! Ringing costs a system call only when the engine sleeps, and nothing shared is written when it was rung for already:
//!
//! * the sender pushes, fences, and swaps the word to *rung*, unless it is that; if it was *asleep*, it wakes the engine;
//! * the engine swaps *rung* to *awake*, fences, and drains the queues. It may lie down only from *awake*.
//!
//! A sender that finds *rung* leaves it at that. Either the engine has yet to take that ring, or it has taken it and its fence
//! comes after the sender's (both are sequentially consistent): then its drain sees what was pushed. So no ring means that
//! nothing was pushed since the last drain, and an engine that was not rung for need not ask its queues. The loom models at
//! the end of this file check that no wake is lost, and that one is with either fence removed.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::context::Context;
use crate::poll::PollWaker;
use crate::sync::{AtomicU8, Ordering, fence};

/// Work for an engine that comes from other threads: a queue's receiving end.
///
/// A source belongs to its engine alone, which looks at it only when it was rung for: whoever fills it rings the engine's
/// [`Doorbell`] after each push, the engine's own callbacks included.
pub trait Source {
    /// Whether nothing is waiting. Called after each [`drain`](Self::drain): if something is left, or has come meanwhile, the
    /// engine comes back in the next turn, rung for or not.
    fn is_empty(&self) -> bool;

    /// Delivers at most `budget` items and returns how many there were.
    ///
    /// Called in the first turn after the source was [added](crate::Engine::add_source), whenever somebody has rung, for this
    /// source or another, and when something was left. An item that panics is gone; the engine calls again for the rest.
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
pub struct Doorbell(Arc<Bell<PollWaker, BothFences>>);

impl Doorbell {
    pub(crate) fn new(waker: PollWaker) -> Self {
        Self(Arc::new(Bell::new(waker)))
    }

    /// Has the engine drain its sources, and wakes it if it sleeps. Call it after pushing to one of them. Returns whether it
    /// was this ring that woke it, which costs a system call.
    pub fn ring(&self) -> bool {
        self.0.ring()
    }

    pub(crate) fn is_rung(&self) -> bool {
        self.0.is_rung()
    }

    pub(crate) fn take(&self) -> bool {
        self.0.take()
    }

    pub(crate) fn lie_down(&self) -> bool {
        self.0.lie_down()
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

    fn of_engine() {
        fence(Ordering::SeqCst);
    }
}

#[derive(Debug)]
pub(crate) struct BothFences;

impl Fences for BothFences {}

/// The engine has taken what was rung for, or is about to; it does not sleep.
const AWAKE: u8 = 0;
/// The engine sleeps, or is about to; nobody has rung since it said so.
const ASLEEP: u8 = 1;
/// Somebody has rung since the engine last took a ring.
const RUNG: u8 = 2;

/// The protocol itself. Alone on its cache lines, since the engine writes the word around every sleep (128 bytes: the
/// prefetcher of recent x86 processors fetches lines in pairs, as crossbeam's `CachePadded` notes).
///
/// The word is never stored to, only swapped: so a ring is in one order with the engine's changes, and none is overwritten
/// unseen.
#[repr(align(128))]
struct Bell<W, F> {
    word: AtomicU8,
    waker: W,
    fences: PhantomData<F>,
}

impl<W: Wake, F: Fences> Bell<W, F> {
    /// Asleep from the beginning: the first sleep may come before the first turn, in somebody else's loop.
    fn new(waker: W) -> Self {
        Self { word: AtomicU8::new(ASLEEP), waker, fences: PhantomData }
    }

    /// After a push: has it seen to, and wakes the engine if it sleeps and nobody else has woken it.
    fn ring(&self) -> bool {
        F::of_sender();
        // A load first, so that many rings in a row do not take the cache line from the engine and one another.
        let wakes = !self.is_rung() && self.word.swap(RUNG, Ordering::Relaxed) == ASLEEP;
        if wakes {
            self.waker.wake();
        }
        wakes
    }

    /// Whether somebody has rung and it was not taken yet.
    fn is_rung(&self) -> bool {
        self.word.load(Ordering::Relaxed) == RUNG
    }

    /// Takes a ring, if there was one: then every source must be drained after this.
    fn take(&self) -> bool {
        let rung = self.is_rung() && self.word.swap(AWAKE, Ordering::Relaxed) == RUNG;
        if rung {
            F::of_engine();
        }
        rung
    }

    /// Announces a sleep. Returns whether it may begin: not if somebody has rung.
    fn lie_down(&self) -> bool {
        self.word.compare_exchange(AWAKE, ASLEEP, Ordering::Relaxed, Ordering::Relaxed) != Err(RUNG)
    }

    /// The sleep is over. A ring that has ended it stays, to be taken.
    fn get_up(&self) {
        // It fails when somebody has rung, and when the engine was up.
        let _ = self.word.compare_exchange(ASLEEP, AWAKE, Ordering::Relaxed, Ordering::Relaxed);
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

    struct NoEngineFence;

    impl Fences for NoEngineFence {
        fn of_engine() {}
    }

    /// `senders` threads push and ring, each `pushes` times; the engine must see it all. A lost wake is a deadlock, which loom
    /// reports. Before it lies down the engine looks at the word `looks` times, as one that polls busily does.
    fn deliver<F: Fences + 'static>(senders: usize, pushes: usize, looks: usize) {
        loom::model(move || {
            let bell = Arc::new(Bell::<Unpark, F>::new(Unpark(thread::current())));
            bell.get_up();
            // The queue as a release/acquire counter: a mutex would order the word by itself and hide a missing fence.
            let queue = Arc::new(AtomicUsize::new(0));
            let threads: Vec<_> = (0..senders)
                .map(|_| {
                    let (bell, queue) = (Arc::clone(&bell), Arc::clone(&queue));
                    thread::spawn(move || {
                        for _ in 0..pushes {
                            queue.fetch_add(1, Ordering::Release);
                            bell.ring();
                        }
                    })
                })
                .collect();
            let mut taken = 0;
            while taken < senders * pushes {
                if !(0..looks).any(|_| bell.is_rung()) && bell.lie_down() {
                    thread::park();
                    bell.get_up();
                }
                // The queue is read only when a ring was taken: between the two another may come.
                if bell.take() {
                    taken = queue.load(Ordering::Acquire);
                }
            }
            for thread in threads {
                thread.join().unwrap();
            }
        });
    }

    #[test]
    fn no_wake_is_lost_with_one_sender() {
        deliver::<BothFences>(1, 1, 0);
    }

    #[test]
    fn no_wake_is_lost_with_two_senders() {
        deliver::<BothFences>(2, 1, 0);
    }

    #[test]
    fn no_wake_is_lost_when_one_rings_again_while_the_engine_drains() {
        deliver::<BothFences>(1, 2, 0);
    }

    #[test]
    fn no_wake_is_lost_behind_a_busy_poll() {
        deliver::<BothFences>(1, 1, 2);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn a_wake_is_lost_without_the_senders_fence() {
        deliver::<NoSenderFence>(2, 1, 0);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn a_wake_is_lost_without_the_engines_fence() {
        deliver::<NoEngineFence>(2, 1, 0);
    }
}
