//! The bus: work from one shard for another. It never blocks the sender.

pub(crate) mod lanes;

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use self::lanes::Outgoing;
use crate::shard::Shard;
use crate::shard_id::ShardId;

/// Sends work to the shards of a runtime; each shard has its own. Cheap to clone, for handlers to keep.
///
/// Messages of one shard to another arrive in the order of their sending. Each pair of shards has a lane of its own, which
/// holds 1,024 messages with up to 8 shards and fewer with more, 16 at the least; a full one gives the message back. What was accepted runs, even if the runtime stops meanwhile.
///
/// # Examples
///
/// Counting on shard 0 what happens on all:
///
/// ```
/// use pants_shard::{Config, Runtime, ShardId, Shards};
/// use std::cell::Cell;
///
/// let config = Config::builder().shards("2".parse::<Shards>()?).build()?;
/// Runtime::new(config)?.run(|shard| {
///     let bus = shard.bus();
///     let _ = bus.send(ShardId::new(0), |zero| {
///         let count = zero.state::<Cell<u32>>();
///         count.set(count.get() + 1);
///         if count.get() == zero.shards() as u32 {
///             zero.stop();
///         }
///     });
///     Ok(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Bus(Rc<Inner>);

struct Inner {
    shard: ShardId,
    lanes: Vec<Outgoing>,
    sealed: Cell<bool>,
}

/// Why a message was not taken. Each gives it back.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum SendError<T> {
    /// The lane to that shard is full: it is behind. Try again later, or drop something.
    #[error("the lane to the shard is full")]
    Full(T),
    /// The runtime has stopped, or that shard has.
    #[error("the runtime has stopped")]
    Stopped(T),
    /// The runtime has no such shard.
    #[error("there is no such shard")]
    NoSuchShard(T),
}

impl<T> SendError<T> {
    /// The message.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(message) | Self::Stopped(message) | Self::NoSuchShard(message) => message,
        }
    }
}

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Stopped(_) => "Stopped(..)",
            Self::NoSuchShard(_) => "NoSuchShard(..)",
        })
    }
}

impl Bus {
    pub(crate) fn new(shard: ShardId, lanes: Vec<Outgoing>) -> Self {
        Self(Rc::new(Inner { shard, lanes, sealed: Cell::new(false) }))
    }

    /// The shard whose bus this is.
    pub fn shard(&self) -> ShardId {
        self.0.shard
    }

    /// Has `work` run on `shard`, which may be this one, in one of its next turns.
    ///
    /// # Errors
    ///
    /// If the lane is full, the runtime has stopped or has no such shard; `work` comes back.
    pub fn send<F>(&self, shard: ShardId, work: F) -> Result<(), SendError<F>>
    where
        F: FnOnce(&mut Shard<'_>) + Send + 'static,
    {
        let Some(lane) = self.0.lanes.get(shard.index()) else { return Err(SendError::NoSuchShard(work)) };
        if self.0.sealed.get() {
            return Err(SendError::Stopped(work));
        }
        lane.push(work)
    }

    /// Has a copy of `work` run on every shard, this one included. Returns the shards that it did not reach: their lanes are
    /// full, or the runtime has stopped. To try again keep a clone, and [`send`](Self::send) it, which also says which.
    pub fn broadcast<F>(&self, work: F) -> Vec<ShardId>
    where
        F: FnOnce(&mut Shard<'_>) + Clone + Send + 'static,
    {
        let all = (0..self.0.lanes.len()).map(ShardId::new);
        all.filter(|&shard| self.send(shard, work.clone()).is_err()).collect()
    }

    /// Refuses everything from now on.
    pub(crate) fn seal(&self) {
        self.0.sealed.set(true);
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus").field("shard", &self.0.shard).field("shards", &self.0.lanes.len()).finish()
    }
}
