//! The bus for threads that are no shards.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::SendError;
use super::lanes::Lane;
use super::message::{Message, unbox};
use crate::shard::Shard;
use crate::shard_id::ShardId;
use crate::shutdown::Shutdown;

/// Sends work to the shards of a runtime from any thread; cheap to clone. [`Running::remote`](crate::Running::remote) gives one.
///
/// All these threads share one lane into each shard, which holds as many messages as one between two shards. What one of them
/// sends arrives in order; what was accepted runs, even if the runtime stops meanwhile.
///
/// # Examples
///
/// ```
/// use pants_shard::{Config, Runtime, ShardId};
/// use std::sync::mpsc::channel;
///
/// let running = Runtime::new(Config::default())?.start(|_shard| Ok(()))?;
/// let remote = running.remote();
/// let (tell, told) = channel();
/// let _ = remote.send(ShardId::new(0), move |shard| tell.send(shard.id().index()).unwrap());
/// assert_eq!(told.recv()?, 0);
/// running.stop();
/// running.join()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct RemoteBus {
    lanes: Arc<[Lane<Box<dyn Message>>]>,
    shutdown: Arc<Shutdown>,
    started: Instant,
}

impl RemoteBus {
    pub(crate) fn new(lanes: Vec<Lane<Box<dyn Message>>>, shutdown: Arc<Shutdown>, started: Instant) -> Self {
        Self { lanes: lanes.into(), shutdown, started }
    }

    /// When the runtime was started.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.lanes.len()
    }

    /// Has `work` run on `shard`, in one of its next turns. Never blocks.
    ///
    /// # Errors
    ///
    /// If the lane is full, the runtime has stopped or has no such shard; `work` comes back.
    pub fn send<F>(&self, shard: ShardId, work: F) -> Result<(), SendError<F>>
    where
        F: FnOnce(&mut Shard<'_>) + Send + 'static,
    {
        let Some(lane) = self.lanes.get(shard.index()) else { return Err(SendError::NoSuchShard(work)) };
        // While this is held, no shard leaves.
        let Some(_visit) = self.shutdown.visit() else { return Err(SendError::Stopped(work)) };
        lane.push(Box::new(work)).map(drop).map_err(|error| error.map(unbox))
    }

    /// Has a copy of `work` run on every shard. Returns the shards that it did not reach.
    pub fn broadcast<F>(&self, work: F) -> Vec<ShardId>
    where
        F: FnOnce(&mut Shard<'_>) + Clone + Send + 'static,
    {
        let all = (0..self.lanes.len()).map(ShardId::new);
        all.filter(|&shard| self.send(shard, work.clone()).is_err()).collect()
    }
}

impl fmt::Debug for RemoteBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteBus").field("shards", &self.lanes.len()).finish()
    }
}
