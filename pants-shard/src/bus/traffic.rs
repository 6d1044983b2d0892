//! What a shard's bus has carried: plain integers of its own thread.

use std::cell::Cell;

use crate::shard_id::ShardId;

/// The messages of one shard's bus and mailboxes, by the shard at the other end; this one is among them. Requests, timers and
/// what the library itself sends count, answers do not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BusStats {
    /// Messages to each shard that its lane took.
    pub sent: Vec<u64>,
    /// Messages to each shard that came back because its lane was full.
    pub full: Vec<u64>,
    /// Messages to each shard that met a full lane and waited for room; see [`Bus::with_overflow`](crate::Bus::with_overflow).
    pub overflowed: Vec<u64>,
    /// Messages from each shard that have run, or were about to when they panicked.
    pub received: Vec<u64>,
    /// The same from threads that are no shards.
    pub received_from_outside: u64,
    /// How often a message has woken its shard from sleep, which costs a system call.
    pub wakes: u64,
}

/// One shard's counters of one kind of message.
#[derive(Debug)]
pub(crate) struct Traffic {
    sent: Box<[Cell<u64>]>,
    full: Box<[Cell<u64>]>,
    overflowed: Box<[Cell<u64>]>,
    /// By lane: those from shards, and at the end the one from all other threads.
    received: Box<[Cell<u64>]>,
    wakes: Cell<u64>,
}

impl Traffic {
    pub(crate) fn new(shards: usize) -> Self {
        let counters = |count| vec![Cell::new(0); count].into_boxed_slice();
        Self {
            sent: counters(shards),
            full: counters(shards),
            overflowed: counters(shards),
            received: counters(shards + 1),
            wakes: Cell::new(0),
        }
    }

    /// A lane took a message, and that woke the shard or not.
    pub(crate) fn note_sent(&self, shard: ShardId, woke: bool) {
        increment(&self.sent[shard.index()]);
        self.wakes.set(self.wakes.get() + u64::from(woke));
    }

    pub(crate) fn note_full(&self, shard: ShardId) {
        increment(&self.full[shard.index()]);
    }

    pub(crate) fn note_overflowed(&self, shard: ShardId) {
        increment(&self.overflowed[shard.index()]);
    }

    pub(crate) fn overflowed(&self) -> u64 {
        self.overflowed.iter().map(Cell::get).sum()
    }

    pub(crate) fn note_received(&self, lane: usize) {
        increment(&self.received[lane]);
    }

    /// Adds these to what `stats` has.
    pub(crate) fn add_to(&self, stats: &mut BusStats) {
        let (outside, received) = self.received.split_last().expect("there is a lane from outside");
        add(&mut stats.sent, &self.sent);
        add(&mut stats.full, &self.full);
        add(&mut stats.overflowed, &self.overflowed);
        add(&mut stats.received, received);
        stats.received_from_outside += outside.get();
        stats.wakes += self.wakes.get();
    }
}

fn add(sums: &mut Vec<u64>, counters: &[Cell<u64>]) {
    sums.resize(counters.len(), 0);
    sums.iter_mut().zip(counters).for_each(|(sum, counter)| *sum += counter.get());
}

fn increment(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}
