//! Listeners that are added and removed while the shards run: all bind, then all listen, in the order of the shards, or none.
//!
//! One change is made after the other. Each is a row of steps, and a step is one shard's; what the next step is and whose is
//! shared by all, and every shard looks at it when it is told that there is news.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pants_engine::{Acceptor, Address, Endpoint, ServerOptions, ToAddress};

use super::{GroupId, ListenerGroups, servers};
use crate::error::{Error, Result};
use crate::seat::guarded;
use crate::shard::Shard;
use crate::shard_id::ShardId;
use crate::shutdown::{Shutdown, Stage};
use crate::startup::Startup;

/// Changes that may wait for one another.
const WAITING_MAX: usize = 64;

/// How often a shard looks whether a server that is full has closed, once it was not gone in the next turn.
const CLOSED_CHECK: Duration = Duration::from_millis(10);

/// Adds and removes listeners of all shards while they run; from any thread, cheap to clone.
///
/// [`Shard::listeners`](crate::Shard::listeners) gives one, and [`Running::listeners`](crate::Running::listeners). Neither
/// method blocks; [`Running::listen`](crate::Running::listen) and [`Running::unlisten`](crate::Running::unlisten) wait for
/// the result. Changes are made one after the other; 64 may wait.
///
/// # Examples
///
/// ```
/// use pants_shard::{Config, Connection, Handler, Runtime};
///
/// struct Echo;
///
/// impl Handler for Echo {
///     fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
///         connection.write(data);
///     }
/// }
///
/// Runtime::new(Config::default())?.run(|shard| {
///     let listeners = shard.listeners();
///     if shard.id().index() == 0 {
///         listeners.listen("127.0.0.1:0", |_shard| |_peer| Echo, |shard, listening| {
///             println!("listening on {}", listening.unwrap());
///             shard.stop();
///         })?;
///     }
///     Ok(())
/// })?;
/// # Ok::<(), pants_shard::Error>(())
/// ```
#[derive(Clone)]
pub struct Listeners {
    changes: Arc<Changes>,
    /// Which shard is told of the result.
    asker: ShardId,
}

/// The changes of a runtime.
pub(crate) struct Changes {
    shards: usize,
    shutdown: Arc<Shutdown>,
    startup: Arc<Startup>,
    groups: Arc<ListenerGroups>,
    /// The first one is under way.
    queue: Mutex<VecDeque<Change>>,
}

struct Change {
    /// Makes and binds one shard's servers; `None` if it is a removal.
    bind: Option<Bind>,
    address: Address,
    told: Told,
    asker: ShardId,
    group: Option<GroupId>,
    result: Option<Result<Endpoint>>,
    phase: Phase,
    /// Whose step is next.
    turn: ShardId,
    /// The step has begun; it may take longer.
    has_begun: bool,
}

type Bind = Arc<dyn Fn(&mut Shard<'_>, Option<GroupId>) -> Result<GroupId> + Send + Sync>;
pub(crate) type Told = Box<dyn FnOnce(&mut Shard<'_>, Result<Endpoint>) + Send>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Bind,
    Open,
    /// Servers accept what is queued, and close.
    Retire,
    Tell,
}

impl Listeners {
    pub(crate) fn new(changes: Arc<Changes>, asker: ShardId) -> Self {
        Self { changes, asker }
    }

    /// Has every shard listen at `address`, with the configuration's options and the acceptor that `make` gives for it. All
    /// bind, then all listen, in the order of the shards, or none does. Port 0 is resolved once. Then `told` runs, with the
    /// address, on the shard whose handle this is; on shard 0 for that of [`Running`](crate::Running). It does not run if the
    /// runtime ends before.
    ///
    /// # Errors
    ///
    /// If the address is not understood, too many changes wait, or the runtime drains. `told` is given the rest: that the address
    /// is taken or listened at already, or that a shard failed, which is named.
    pub fn listen<A: Acceptor>(
        &self,
        address: impl ToAddress,
        make: impl Fn(&mut Shard<'_>) -> A + Send + Sync + 'static,
        told: impl FnOnce(&mut Shard<'_>, Result<Endpoint>) + Send + 'static,
    ) -> Result<()> {
        self.add(address, None, make, told)
    }

    /// As [`listen`](Self::listen), with these options in place of the configuration's.
    ///
    /// # Errors
    ///
    /// As [`listen`](Self::listen).
    pub fn listen_with<A: Acceptor>(
        &self,
        address: impl ToAddress,
        options: ServerOptions,
        make: impl Fn(&mut Shard<'_>) -> A + Send + Sync + 'static,
        told: impl FnOnce(&mut Shard<'_>, Result<Endpoint>) + Send + 'static,
    ) -> Result<()> {
        self.add(address, Some(options), make, told)
    }

    fn add<A: Acceptor>(
        &self,
        address: impl ToAddress,
        options: Option<ServerOptions>,
        make: impl Fn(&mut Shard<'_>) -> A + Send + Sync + 'static,
        told: impl FnOnce(&mut Shard<'_>, Result<Endpoint>) + Send + 'static,
    ) -> Result<()> {
        let address = address.to_address().map_err(pants_engine::Error::from)?;
        let place = address.clone();
        let bind = move |shard: &mut Shard<'_>, group| {
            let options = options.clone().unwrap_or_else(|| shard.config().server_options());
            let acceptor = make(shard);
            servers::bind_late(shard, group, place.clone(), options, acceptor)
        };
        self.push(Some(Arc::new(bind)), address, Box::new(told))
    }

    /// Has every shard accept what is queued at `address` and close its listening socket, one shard after the other.
    /// Connections stay. The address may be given as it was declared, or as it was resolved; of several declarations of port
    /// 0 the last one goes. `told` runs when the sockets have closed, which waits for places where
    /// `max_connections` is reached.
    ///
    /// A connection that has not finished its handshake when a socket closes, or that comes just then, is reset, unless
    /// `net.ipv4.tcp_migrate_req` is set (ip-sysctl) and another shard still listens.
    ///
    /// # Errors
    ///
    /// If the address is not understood, or too many changes wait. `told` is given [`Error::NotListening`] if no shard listens
    /// there.
    pub fn unlisten(
        &self,
        address: impl ToAddress,
        told: impl FnOnce(&mut Shard<'_>, Result<Endpoint>) + Send + 'static,
    ) -> Result<()> {
        let address = address.to_address().map_err(pants_engine::Error::from)?;
        self.push(None, address, Box::new(told))
    }

    fn push(&self, bind: Option<Bind>, address: Address, told: Told) -> Result<()> {
        let phase = if bind.is_some() { Phase::Bind } else { Phase::Retire };
        let (asker, turn) = (self.asker, ShardId::new(0));
        self.changes.push(Change {
            bind,
            address,
            told,
            asker,
            group: None,
            result: None,
            phase,
            turn,
            has_begun: false,
        })
    }
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listeners").field("told", &self.asker).finish_non_exhaustive()
    }
}

impl Changes {
    pub(crate) fn new(
        shards: usize,
        shutdown: Arc<Shutdown>,
        startup: Arc<Startup>,
        groups: Arc<ListenerGroups>,
    ) -> Self {
        Self { shards, shutdown, startup, groups, queue: Mutex::default() }
    }

    fn push(&self, change: Change) -> Result<()> {
        // What was added to a runtime that drains would close at once.
        let end = if change.bind.is_some() { Stage::Draining } else { Stage::Sealing };
        let mut queue = self.lock();
        // Under the lock: either this is seen, or the change is seen by those who leave.
        if self.shutdown.stage() >= end {
            return Err(Error::Stopped);
        }
        if queue.len() > WAITING_MAX {
            return Err(Error::TooManyChanges);
        }
        queue.push_back(change);
        drop(queue);
        self.shutdown.announce();
        Ok(())
    }

    /// The runtime has ended: whoever waits for a change learns it by losing what would have told.
    pub(crate) fn abandon(&self) {
        // Whoever keeps a handle does not keep the addresses with it, not even after a failure.
        self.groups.release_claims();
        // Not under the lock: what is dropped is the program's own.
        let abandoned = std::mem::take(&mut *self.lock());
        drop(abandoned);
    }

    /// Takes one shard's steps, as long as they are its.
    pub(crate) fn take_turns(self: &Arc<Self>, shard: &mut Shard<'_>) {
        while let Some(wait) = self.take_turn(shard) {
            if wait {
                return;
            }
        }
    }

    /// Takes one step, if it is the shard's. Gives whether its end is to be waited for.
    fn take_turn(self: &Arc<Self>, shard: &mut Shard<'_>) -> Option<bool> {
        let mut queue = self.lock();
        let change = queue.front_mut().filter(|change| change.turn == shard.id() && !change.has_begun)?;
        change.has_begun = true;
        let (phase, group, bind) = (change.phase, change.group, change.bind.clone());
        if phase == Phase::Tell {
            let change = queue.pop_front()?;
            drop(queue);
            // The next change may begin.
            self.shutdown.announce();
            (change.told)(shard, change.result.unwrap_or(Err(Error::Stopped)));
            return Some(false);
        }
        drop(queue);
        match (phase, bind) {
            (Phase::Bind, Some(bind)) => self.finish_step(shard.id(), guarded(|| bind(shard, group)).map(Some)),
            (Phase::Open, _) => {
                let opened = group.map_or(Ok(()), |group| servers::open(shard, group));
                self.finish_step(shard.id(), opened.map(|()| group));
            }
            _ => return Some(self.retire(shard)),
        }
        Some(false)
    }

    /// Retires one shard's servers of a group; gives whether that takes longer.
    fn retire(self: &Arc<Self>, shard: &mut Shard<'_>) -> bool {
        if shard.id().index() == 0 {
            self.begin_to_retire();
        }
        let Some(group) = self.lock().front().and_then(|change| change.group) else {
            self.finish_step(shard.id(), Ok(None));
            return false;
        };
        servers::retire(shard, group);
        self.wait_until_retired(shard, group, Duration::ZERO);
        true
    }

    /// The group is nobody's any more: neither a successor's nor a newcomer's. What it is that goes is found now and not when
    /// it was asked for, since other changes came between.
    fn begin_to_retire(&self) {
        let mut queue = self.lock();
        let Some(change) = queue.front_mut() else { return };
        if change.bind.is_none() {
            let found = self.groups.find(&change.address);
            change.group = found.as_ref().map(|(group, _)| *group);
            let endpoint = found.map(|(_, endpoint)| endpoint);
            endpoint.iter().for_each(|endpoint| self.startup.forget_address(endpoint));
            change.result = Some(endpoint.ok_or_else(|| Error::NotListening(change.address.clone())));
        }
        change.group.into_iter().for_each(|group| self.groups.remove(group));
    }

    fn wait_until_retired(self: &Arc<Self>, shard: &mut Shard<'_>, group: GroupId, delay: Duration) {
        let changes = Arc::clone(self);
        shard.defer(delay, move |shard| {
            if servers::has_retired(shard, group) {
                changes.finish_step(shard.id(), Ok(Some(group)));
                changes.take_turns(shard);
            } else {
                servers::retire(shard, group);
                changes.wait_until_retired(shard, group, CLOSED_CHECK);
            }
        });
    }

    /// A step is done: whose is the next one?
    fn finish_step(&self, shard: ShardId, done: Result<Option<GroupId>>) {
        let mut queue = self.lock();
        let Some(change) = queue.front_mut() else { return };
        change.has_begun = false;
        match done {
            Ok(group) => {
                change.group = group.or(change.group);
                change.advance(self.shards);
                if change.phase == Phase::Tell && change.result.is_none() {
                    let endpoint = change.group.and_then(|group| self.groups.endpoint(group));
                    endpoint.iter().for_each(|endpoint| self.startup.note_address(endpoint.clone()));
                    change.result = endpoint.map(Ok);
                }
            }
            Err(error) => {
                change.result = Some(Err(Error::Shard { shard, source: Box::new(error) }));
                (change.phase, change.turn) = (Phase::Retire, ShardId::new(0));
            }
        }
        drop(queue);
        self.shutdown.announce();
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Change>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Change {
    fn advance(&mut self, shards: usize) {
        let next = self.turn.index() + 1;
        if next < shards {
            self.turn = ShardId::new(next);
            return;
        }
        self.turn = ShardId::new(0);
        self.phase = match self.phase {
            Phase::Bind => Phase::Open,
            Phase::Open | Phase::Retire | Phase::Tell => Phase::Tell,
        };
        if self.phase == Phase::Tell {
            self.turn = self.asker;
        }
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("waiting", &self.lock().len()).finish_non_exhaustive()
    }
}
