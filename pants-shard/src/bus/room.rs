//! How a shard whose messages wait for room in a lane learns of it, while it may sleep.
//!
//! The sleep flag's protocol the other way round, and like that one Dekker's pattern:
//!
//! * the sender sets the flag, announces its sleep, whose fence stands in between, and looks for room in the lane;
//! * the receiver takes messages out, fences, and reads the flag; if it is set, it rings the sender.
//!
//! `models.rs` checks it under loom together with the lane and both shards' sleep, and that it fails without the fence.

use std::marker::PhantomData;

use crate::sync::{AtomicBool, Ordering, fence};

/// The fence between the receiver's write and its read; a model takes it away.
pub(crate) trait Fences {
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
    /// The sender has something that waits. It looks for room once more when it has announced its sleep.
    pub(crate) fn want(&self) {
        self.wanted.store(true, Ordering::Relaxed);
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
