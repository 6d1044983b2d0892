//! How a shard whose messages wait for room in a lane learns of it, while it may sleep.
//!
//! Dekker's pattern over the lane and a flag:
//!
//! * the sender sets the flag, fences, and looks for room in the lane once more; from then on it waits for a ring;
//! * the receiver takes messages out, fences, and reads the flag; if it is set, it rings the sender.
//!
//! So at least one of them sees what the other wrote. `models.rs` checks it under loom together with the lane and both shards'
//! sleep, and that it fails with either fence removed.

use std::marker::PhantomData;

use crate::sync::{AtomicBool, Ordering, fence};

/// The fences between each side's write and its read; the models take one away.
pub(crate) trait Fences {
    fn of_sender() {
        fence(Ordering::SeqCst);
    }

    fn of_receiver() {
        fence(Ordering::SeqCst);
    }
}

#[derive(Debug, Default)]
pub(crate) struct BothFences;

impl Fences for BothFences {}

/// Whether the sender of a lane waits for room in it. Written by the sender alone, when its waiting begins and ends.
#[derive(Debug, Default)]
pub(crate) struct RoomFlag<F> {
    wanted: AtomicBool,
    fences: PhantomData<F>,
}

impl<F: Fences> RoomFlag<F> {
    /// The sender has something that waits. It must look for room once more after this.
    pub(crate) fn want(&self) {
        self.wanted.store(true, Ordering::Relaxed);
        F::of_sender();
    }

    pub(crate) fn want_no_more(&self) {
        self.wanted.store(false, Ordering::Relaxed);
    }

    /// Whether the sender is to be rung, asked by the receiver when it has made room.
    pub(crate) fn is_wanted(&self) -> bool {
        F::of_receiver();
        self.wanted.load(Ordering::Relaxed)
    }
}
