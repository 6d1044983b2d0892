//! The lanes: a bounded queue for every ordered pair of shards, so that senders do not meet; and what waits for room in one.
//!
//! crossbeam's bounded channel is not wait-free: a receive can spin for as long as its sender is preempted between claiming
//! a slot and filling it. With a thread per core that is rare; with more shards than cores it costs a time slice.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use pants_engine::{Context, Doorbell, Source};

use super::SendError;
use super::room::{BothFences, RoomFlag};
use super::traffic::{BusStats, Traffic};
use crate::shard::{Local, Shard};
use crate::shard_id::ShardId;

/// Messages that all the lanes into one shard hold together, in about these proportions.
const INTO_ONE_SHARD: usize = 8192;

/// The bounds of a single lane.
const LANE_MIN: usize = 16;
const LANE_MAX: usize = 1024;

/// Messages that a lane delivers before it is the next one's turn.
const BATCH: usize = 32;

/// Both ends of one shard's lanes, before its thread takes them.
pub(crate) struct LaneEnds<T> {
    /// To each shard.
    senders: Vec<(Sender<T>, Arc<RoomFlag<BothFences>>)>,
    /// From each shard, and at the end from all other threads if they have one.
    receivers: Vec<(Receiver<T>, Arc<RoomFlag<BothFences>>)>,
}

/// The lanes between `shards` shards, by shard.
pub(crate) fn make_lanes<T>(shards: usize) -> Vec<LaneEnds<T>> {
    let mut ends: Vec<LaneEnds<T>> =
        (0..shards).map(|_| LaneEnds { senders: Vec::new(), receivers: Vec::new() }).collect();
    for from in 0..shards {
        for to in 0..shards {
            let ((sender, receiver), room) = (bounded(capacity(shards)), Arc::<RoomFlag<_>>::default());
            ends[from].senders.push((sender, Arc::clone(&room)));
            ends[to].receivers.push((receiver, room));
        }
    }
    ends
}

/// Adds a lane into each shard for the threads that are none.
pub(crate) fn make_lanes_from_outside<T>(ends: &mut [LaneEnds<T>]) -> Vec<Sender<T>> {
    let capacity = capacity(ends.len());
    let lanes = ends.iter_mut().map(|ends| {
        let (sender, receiver) = bounded(capacity);
        ends.receivers.push((receiver, Arc::default()));
        sender
    });
    lanes.collect()
}

fn capacity(shards: usize) -> usize {
    (INTO_ONE_SHARD / shards).clamp(LANE_MIN, LANE_MAX)
}

/// The sending end of a lane, with the doorbell of the shard at its other end.
pub(crate) struct Lane<T> {
    pub(crate) sender: Sender<T>,
    pub(crate) doorbell: Doorbell,
}

impl<T> Lane<T> {
    /// Sends a message. Returns whether that woke the shard.
    pub(crate) fn push(&self, message: T) -> Result<bool, SendError<T>> {
        self.sender.try_send(message).map_err(|error| match error {
            TrySendError::Full(message) => SendError::Full(message),
            TrySendError::Disconnected(message) => SendError::Stopped(message),
        })?;
        Ok(self.doorbell.ring())
    }
}

/// One shard's ends of the lanes of one kind of message.
pub(crate) struct Lanes<T> {
    /// To each shard.
    outgoing: Vec<Outgoing<T>>,
    /// From each shard, and at the end from all other threads if they have one.
    incoming: Vec<Incoming<T>>,
    /// Messages that wait for room, in all the outgoing lanes.
    waiting: Cell<usize>,
    traffic: Traffic,
}

struct Outgoing<T> {
    lane: Lane<T>,
    /// What met a full lane. While it holds something, nothing goes into the lane but from here.
    waiting: RefCell<VecDeque<T>>,
    room: Arc<RoomFlag<BothFences>>,
}

struct Incoming<T> {
    receiver: Receiver<T>,
    /// Who is told of room in the lane: its sender, unless that is no shard.
    sender: Option<Doorbell>,
    room: Arc<RoomFlag<BothFences>>,
}

impl<T> Lanes<T> {
    pub(crate) fn new(ends: LaneEnds<T>, doorbells: &[Doorbell]) -> Self {
        let outgoing = ends.senders.into_iter().zip(doorbells).map(|((sender, room), doorbell)| Outgoing {
            lane: Lane { sender, doorbell: doorbell.clone() },
            waiting: RefCell::default(),
            room,
        });
        let incoming = ends.receivers.into_iter().enumerate().map(|(from, (receiver, room))| Incoming {
            receiver,
            sender: doorbells.get(from).cloned(),
            room,
        });
        Self {
            outgoing: outgoing.collect(),
            incoming: incoming.collect(),
            waiting: Cell::new(0),
            traffic: Traffic::new(doorbells.len()),
        }
    }

    /// How many shards there are.
    pub(crate) fn shards(&self) -> usize {
        self.outgoing.len()
    }

    pub(crate) fn doorbell(&self, shard: ShardId) -> &Doorbell {
        &self.outgoing[shard.index()].lane.doorbell
    }

    /// Sends to `shard`. With a full lane the message waits here, unless as many as `overflow` do already.
    pub(crate) fn push(&self, shard: ShardId, message: T, overflow: usize) -> Result<(), SendError<T>> {
        let Some(outgoing) = self.outgoing.get(shard.index()) else { return Err(SendError::NoSuchShard(message)) };
        let mut waiting = outgoing.waiting.borrow_mut();
        let message = if waiting.is_empty() {
            match outgoing.lane.push(message) {
                Ok(woke) => {
                    self.traffic.note_sent(shard, woke);
                    return Ok(());
                }
                Err(SendError::Full(message)) => message,
                Err(error) => return Err(error),
            }
        } else {
            message
        };
        if waiting.len() >= overflow {
            self.traffic.note_full(shard);
            return Err(SendError::Full(message));
        }
        waiting.push_back(message);
        self.waiting.set(self.waiting.get() + 1);
        self.traffic.note_overflowed(shard);
        if waiting.len() == 1 {
            drop(waiting);
            outgoing.room.want();
            // For room that was made before that nobody rings.
            if outgoing.has_room() {
                self.flush();
            }
        }
        Ok(())
    }

    /// Whether a message for `shard` would be refused now, or has to wait. Nobody else sends there from here, so that what would
    /// not be is taken, if it is the next.
    pub(crate) fn is_full(&self, shard: ShardId) -> bool {
        self.outgoing.get(shard.index()).is_none_or(|to| to.lane.sender.is_full() || !to.waiting.borrow().is_empty())
    }

    pub(crate) fn overflowed(&self) -> u64 {
        self.traffic.overflowed()
    }

    /// Whether something that waits could go into its lane.
    fn has_room(&self) -> bool {
        self.waiting.get() > 0 && self.outgoing.iter().any(Outgoing::has_room)
    }

    /// Puts what waits into its lanes, as far as it goes.
    fn flush(&self) {
        if self.waiting.get() > 0 {
            let flush =
                |(to, lane): (usize, &Outgoing<T>)| lane.flush(|woke| self.traffic.note_sent(ShardId::new(to), woke));
            let flushed: usize = self.outgoing.iter().enumerate().map(flush).sum();
            self.waiting.set(self.waiting.get() - flushed);
        }
    }
}

impl<T> Outgoing<T> {
    fn has_room(&self) -> bool {
        !self.waiting.borrow().is_empty() && !self.lane.sender.is_full()
    }

    fn flush(&self, sent: impl Fn(bool)) -> usize {
        let mut waiting = self.waiting.borrow_mut();
        let before = waiting.len();
        while let Some(message) = waiting.pop_front() {
            match self.lane.push(message) {
                Ok(woke) => sent(woke),
                Err(error) => {
                    waiting.push_front(error.into_inner());
                    break;
                }
            }
        }
        if before > 0 && waiting.is_empty() {
            self.room.want_no_more();
        }
        before - waiting.len()
    }
}

impl<T> Incoming<T> {
    /// Delivers at most `limit` messages, and returns how many there were.
    fn deliver(&self, limit: usize, mut deliver: impl FnMut(T)) -> usize {
        let Ok(mut message) = self.receiver.try_recv() else { return 0 };
        let _told = TellOfRoom(self);
        for delivered in 1..limit {
            deliver(message);
            message = match self.receiver.try_recv() {
                Ok(message) => message,
                Err(_) => return delivered,
            };
        }
        deliver(message);
        limit
    }
}

/// Tells the sender of a lane that there is room in it, when messages have been taken out, even if one of them panics.
struct TellOfRoom<'a, T>(&'a Incoming<T>);

impl<T> Drop for TellOfRoom<'_, T> {
    fn drop(&mut self) {
        if let Some(sender) = &self.0.sender
            && self.0.room.is_wanted()
        {
            sender.ring();
        }
    }
}

/// What is on its way into a shard and out of it, of any kind of message.
pub(crate) trait Backlog {
    /// Messages that have come and have not been delivered.
    fn undelivered(&self) -> usize;

    /// Messages that wait for room in their lanes.
    fn waiting(&self) -> usize;

    /// Adds what was carried so far.
    fn add_to(&self, stats: &mut BusStats);
}

impl<T> Backlog for Lanes<T> {
    fn undelivered(&self) -> usize {
        self.incoming.iter().map(|lane| lane.receiver.len()).sum()
    }

    fn waiting(&self) -> usize {
        self.waiting.get()
    }

    fn add_to(&self, stats: &mut BusStats) {
        self.traffic.add_to(stats);
    }
}

impl<T> fmt::Debug for Lanes<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lanes").field("shards", &self.shards()).field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

/// One kind of message, as a source of a shard's engine.
pub(crate) struct Delivery<T, F> {
    lanes: Rc<Lanes<T>>,
    /// What is done with a message from a shard.
    deliver: F,
    /// Where the next round begins, so that a full lane cannot keep the others waiting.
    first: usize,
    local: Rc<Local>,
}

impl<T, F: FnMut(&mut Shard<'_>, ShardId, T)> Delivery<T, F> {
    pub(crate) fn new(lanes: Rc<Lanes<T>>, local: Rc<Local>, deliver: F) -> Self {
        Self { lanes, deliver, first: 0, local }
    }
}

impl<T, F: FnMut(&mut Shard<'_>, ShardId, T)> Source for Delivery<T, F> {
    fn is_empty(&self) -> bool {
        self.lanes.incoming.iter().all(|lane| lane.receiver.is_empty()) && !self.lanes.has_room()
    }

    fn drain(&mut self, context: &mut Context, budget: usize) -> usize {
        self.lanes.flush();
        let lanes = &self.lanes.incoming;
        let (mut delivered, mut idle) = (0, 0);
        while delivered < budget && idle < lanes.len() {
            let from = self.first;
            self.first = (from + 1) % lanes.len();
            let batch = lanes[from].deliver(BATCH.min(budget - delivered), |message| {
                self.lanes.traffic.note_received(from);
                (self.deliver)(&mut Shard::new(context, &self.local), ShardId::new(from), message);
            });
            delivered += batch;
            idle = if batch == 0 { idle + 1 } else { 0 };
        }
        delivered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ordered_pair_has_its_own_bounded_lane() {
        for shards in [1, 2, 3, 64] {
            let mut ends = make_lanes::<u8>(shards);
            let from_outside = make_lanes_from_outside(&mut ends);
            assert_eq!((ends.len(), from_outside.len()), (shards, shards));
            for end in &ends {
                assert_eq!((end.senders.len(), end.receivers.len()), (shards, shards + 1));
                let capacity = end.senders[0].0.capacity().unwrap();
                assert!((LANE_MIN..=LANE_MAX).contains(&capacity));
            }
        }
        let mut ends = make_lanes(2);
        make_lanes_from_outside(&mut ends);
        assert!(ends[0].senders[1].0.try_send(1).is_ok());
        let held = |to: usize, from: usize| ends[to].receivers[from].0.len();
        assert_eq!((held(1, 0), held(1, 1), held(0, 1)), (1, 0, 0));
    }
}
