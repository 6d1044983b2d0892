//! The lanes: a bounded queue for every ordered pair of shards, so that senders do not meet.
//!
//! crossbeam's bounded channel is not wait-free: a receive can spin for as long as its sender is preempted between claiming
//! a slot and filling it. With a thread per core that is rare; with more shards than cores it costs a time slice.

use std::any::Any;
use std::fmt;
use std::rc::Rc;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use pants_engine::{Context, Doorbell, Source};

use super::SendError;
use crate::shard::{Local, Shard};

/// Messages that all the lanes into one shard hold together, in about these proportions.
const INTO_ONE_SHARD: usize = 8192;

/// The bounds of a single lane.
const LANE_MIN: usize = 16;
const LANE_MAX: usize = 1024;

/// A message on its way.
pub(crate) trait Message: Send {
    fn run(self: Box<Self>, shard: &mut Shard<'_>);
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

impl<F: FnOnce(&mut Shard<'_>) + Send + 'static> Message for F {
    fn run(self: Box<Self>, shard: &mut Shard<'_>) {
        self(shard);
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// Both ends of one shard's lanes, before its thread takes them.
pub(crate) struct LaneEnds {
    /// To each shard.
    pub(crate) senders: Vec<Sender<Box<dyn Message>>>,
    /// From each shard, and at the end from all other threads.
    pub(crate) receivers: Vec<Receiver<Box<dyn Message>>>,
}

/// The lanes between `shards` shards, by shard, and those from all other threads.
pub(crate) fn make_lanes(shards: usize) -> (Vec<LaneEnds>, Vec<Sender<Box<dyn Message>>>) {
    let capacity = (INTO_ONE_SHARD / shards).clamp(LANE_MIN, LANE_MAX);
    let mut ends: Vec<LaneEnds> =
        (0..shards).map(|_| LaneEnds { senders: Vec::new(), receivers: Vec::new() }).collect();
    for from in 0..shards {
        for to in 0..shards {
            let (sender, receiver) = bounded(capacity);
            ends[from].senders.push(sender);
            ends[to].receivers.push(receiver);
        }
    }
    let from_outside = ends.iter_mut().map(|ends| {
        let (sender, receiver) = bounded(capacity);
        ends.receivers.push(receiver);
        sender
    });
    let from_outside = from_outside.collect();
    (ends, from_outside)
}

/// The sending end of a lane, with the doorbell of the shard at its other end.
pub(crate) struct Outgoing {
    pub(crate) sender: Sender<Box<dyn Message>>,
    pub(crate) doorbell: Doorbell,
}

impl Outgoing {
    /// Whether a push would be refused now. Nobody else pushes here, so that one that would not be stays so until the next.
    pub(crate) fn is_full(&self) -> bool {
        self.sender.is_full()
    }

    /// Sends a message. Returns whether that woke the shard.
    pub(crate) fn push<M: Message + 'static>(&self, message: M) -> Result<bool, SendError<M>> {
        let unwrap = |message: Box<dyn Message>| *message.into_any().downcast::<M>().expect("it is what was sent");
        self.sender.try_send(Box::new(message)).map_err(|error| match error {
            TrySendError::Full(message) => SendError::Full(unwrap(message)),
            TrySendError::Disconnected(message) => SendError::Stopped(unwrap(message)),
        })?;
        Ok(self.doorbell.ring())
    }
}

/// The lanes into one shard: a source of its engine.
pub(crate) struct Incoming {
    lanes: Vec<Receiver<Box<dyn Message>>>,
    /// Where the next round begins, so that a full lane cannot keep the others waiting.
    first: usize,
    local: Rc<Local>,
}

impl Incoming {
    pub(crate) fn new(lanes: Vec<Receiver<Box<dyn Message>>>, local: Rc<Local>) -> Self {
        Self { lanes, first: 0, local }
    }
}

impl Source for Incoming {
    fn is_empty(&self) -> bool {
        self.lanes.iter().all(Receiver::is_empty)
    }

    fn drain(&mut self, context: &mut Context, budget: usize) -> usize {
        let lanes = self.lanes.len();
        let share = (budget / lanes).max(1);
        let mut delivered = 0;
        for step in 0..lanes {
            let lane = (self.first + step) % lanes;
            for message in self.lanes[lane].try_iter().take(share) {
                delivered += 1;
                self.local.bus.traffic().note_received(lane);
                message.run(&mut Shard::new(context, &self.local));
            }
        }
        self.first = (self.first + 1) % lanes;
        delivered
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("lanes", &self.lanes.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ordered_pair_has_its_own_bounded_lane() {
        for shards in [1, 2, 3, 64] {
            let (ends, from_outside) = make_lanes(shards);
            assert_eq!((ends.len(), from_outside.len()), (shards, shards));
            for end in &ends {
                assert_eq!((end.senders.len(), end.receivers.len()), (shards, shards + 1));
                let capacity = end.senders[0].capacity().unwrap();
                assert!((LANE_MIN..=LANE_MAX).contains(&capacity));
            }
        }
        let (ends, _) = make_lanes(2);
        assert!(ends[0].senders[1].try_send(Box::new(|_: &mut Shard<'_>| {})).is_ok());
        assert_eq!((ends[1].receivers[0].len(), ends[1].receivers[1].len(), ends[0].receivers[1].len()), (1, 0, 0));
    }
}
