//! Mailboxes: messages of one type between shards, without a box each.

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::lanes::{LaneEnds, Lanes, make_lanes};
use super::{Bus, SendError};
use crate::error::{Error, Result};
use crate::shard_id::ShardId;

/// Sends messages of type `T` to the shards of a runtime; [`Shard::mailbox`](crate::Shard::mailbox) makes one. Each shard has
/// its own. Cheap to clone, for handlers to keep.
///
/// A message costs no allocation: it is moved into its lane and out again. Each pair of shards has a lane for each type of
/// message, as large as one of the [`Bus`], and its memory is taken when the first shard declares the mailbox. Messages of one
/// shard to another through it arrive in the order of their sending; they may pass, or be passed by, what goes
/// through the bus or another mailbox. What was accepted is delivered, even if the runtime stops meanwhile.
///
/// # Examples
///
/// ```
/// use pants_shard::{Config, Runtime, ShardId, Shards};
///
/// struct Score(u32);
///
/// let config = Config::builder().shards("2".parse::<Shards>()?).build()?;
/// Runtime::new(config)?.run(|shard| {
///     let scores = shard.mailbox(|shard, from, Score(points)| {
///         assert_eq!((from, points), (ShardId::new(1), 21));
///         shard.stop();
///     })?;
///     if shard.id() == ShardId::new(1) {
///         let sent = scores.send(ShardId::new(0), Score(21));
///         assert!(sent.is_ok());
///     }
///     Ok(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Mailbox<T> {
    bus: Bus,
    lanes: Rc<Lanes<T>>,
    overflow: usize,
}

impl<T> Mailbox<T> {
    pub(crate) fn new(bus: Bus, lanes: Rc<Lanes<T>>) -> Self {
        Self { bus, lanes, overflow: 0 }
    }

    /// The shard whose mailbox this is.
    pub fn shard(&self) -> ShardId {
        self.bus.shard()
    }

    /// Has `message` given to the mailbox of `shard`, which may be this one, in one of its next turns.
    ///
    /// # Errors
    ///
    /// If the lane is full, the runtime has stopped or has no such shard; `message` comes back.
    pub fn send(&self, shard: ShardId, message: T) -> Result<(), SendError<T>> {
        if self.bus.is_sealed() {
            return Err(SendError::Stopped(message));
        }
        self.lanes.push(shard, message, self.overflow)
    }

    /// Has a copy of `message` given to the mailbox of every shard, this one included. Returns the shards that it did not
    /// reach: their lanes are full, or the runtime has stopped.
    pub fn broadcast(&self, message: &T) -> Vec<ShardId>
    where
        T: Clone,
    {
        let all = (0..self.lanes.shards()).map(ShardId::new);
        all.filter(|&shard| self.send(shard, message.clone()).is_err()).collect()
    }

    /// The same mailbox, with what meets a full lane waiting on this shard, on the terms of [`Bus::with_overflow`].
    #[must_use = "the mailbox itself stays as it is"]
    pub fn with_overflow(&self, capacity: usize) -> Self {
        Self { overflow: capacity, ..self.clone() }
    }

    /// How many messages of this shard's mailbox have met a full lane and waited, since the start.
    pub fn overflowed(&self) -> u64 {
        self.lanes.overflowed()
    }
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Self { bus: self.bus.clone(), lanes: Rc::clone(&self.lanes), overflow: self.overflow }
    }
}

impl<T> fmt::Debug for Mailbox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").field("message", &type_name::<T>()).field("bus", &self.bus).finish_non_exhaustive()
    }
}

/// Where the lanes of all mailboxes wait for their shards, in set-up.
#[derive(Default)]
pub(crate) struct Mailroom(Mutex<HashMap<TypeId, Shelf>>);

/// The lanes for one type of message.
struct Shelf {
    message: &'static str,
    /// A `Vec<Option<LaneEnds<T>>>`, by shard; `None` is taken.
    ends: Box<dyn Any + Send>,
    left: usize,
}

impl Mailroom {
    /// Takes the ends of one of `shards` shards; the first to come has the lanes made for all.
    pub(crate) fn take<T: Send + 'static>(&self, shard: ShardId, shards: usize) -> Result<LaneEnds<T>> {
        let mut shelves = self.lock();
        let shelf = shelves.entry(TypeId::of::<T>()).or_insert_with(|| {
            let ends: Vec<_> = make_lanes::<T>(shards).into_iter().map(Some).collect();
            Shelf { message: type_name::<T>(), ends: Box::new(ends), left: shards }
        });
        let ends: &mut Vec<Option<LaneEnds<T>>> =
            shelf.ends.downcast_mut().expect("it is of the type it is kept under");
        let ends = ends[shard.index()].take().ok_or(Error::MailboxTwice(shelf.message))?;
        shelf.left -= 1;
        Ok(ends)
    }

    /// When all have set up: whether every mailbox has been declared on every shard.
    pub(crate) fn check(&self) -> Result<()> {
        match self.lock().values().find(|shelf| shelf.left > 0) {
            Some(shelf) => Err(Error::MailboxMissing(shelf.message)),
            None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TypeId, Shelf>> {
        // What it holds is valid at every moment, whoever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Mailroom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lock().values().map(|shelf| shelf.message)).finish()
    }
}
