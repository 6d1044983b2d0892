//! The life of one shard's thread: it sets up, serves, and leaves when all do.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pants_engine::{Context, Engine, Stats};

use crate::affinity;
use crate::bus::Bus;
use crate::bus::hand_off::Moves;
use crate::bus::lanes::{Backlog, Delivery, LaneEnds};
use crate::bus::message::Message;
use crate::bus::request::Answers;
use crate::config::Config;
use crate::error::{Error, Result, panic_message};
use crate::handover;
use crate::listener::ListenerGroups;
use crate::listener::changes::Changes;
use crate::listener::servers::{self, Servers};
use crate::offload::{Offloader, Pool};
use crate::placement::CpuId;
use crate::shard::{Local, Shard};
use crate::shard_id::ShardId;
use crate::shutdown::{News, Shutdown, Stage};
use crate::startup::{Abandoned, Startup};

/// What a shard's thread is given.
pub(crate) struct Seat {
    pub(crate) id: ShardId,
    pub(crate) cpu: Option<CpuId>,
    /// When the runtime was started.
    pub(crate) started: Instant,
    pub(crate) lanes: LaneEnds<Box<dyn Message>>,
    pub(crate) config: Arc<Config>,
    pub(crate) startup: Arc<Startup>,
    pub(crate) shutdown: Arc<Shutdown>,
    pub(crate) groups: Arc<ListenerGroups>,
    pub(crate) changes: Arc<Changes>,
    pub(crate) pool: Arc<Pool>,
    /// Where a successor asks for the listening sockets.
    pub(crate) handover: Option<PathBuf>,
}

/// Why a shard does not come to serve.
enum Unseated {
    /// Another one has failed.
    Abandoned,
    Failed(Error),
}

/// How far a shard is on its way out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Progress {
    Serving,
    Draining,
    Stopping,
    Drained,
    Sealed,
    Emptied,
}

impl Seat {
    /// Runs the shard from its first step to its last. A failure before it serves is told to `startup`.
    pub(crate) fn occupy<F>(self, set_up: &F) -> Result<Stats>
    where
        F: Fn(&mut Shard<'_>) -> Result<()>,
    {
        let (id, startup, shutdown) = (self.id, Arc::clone(&self.startup), Arc::clone(&self.shutdown));
        let begun = guarded(|| match self.begin(set_up) {
            Ok(begun) => Ok(Some(begun)),
            Err(Unseated::Abandoned) => Ok(None),
            Err(Unseated::Failed(error)) => Err(error),
        });
        let (mut engine, local) = match begun {
            Ok(Some(begun)) => begun,
            Ok(None) => return Ok(Stats::default()),
            Err(error) => {
                startup.fail(id, error);
                return Ok(Stats::default());
            }
        };
        let served = guarded(|| serve(&mut engine, &local));
        if served.is_err() {
            // The others must not wait for one that has gone.
            shutdown.advance(Stage::Leaving);
        }
        // After a failure it is still open, and nobody would run what is sent, or deliver what is answered.
        local.bus.seal();
        engine.close_all();
        local.changes.abandon();
        // Those that still wait for an answer learn that there will be none.
        local.bus.pending().abandon(&mut Shard::new(engine.context(), &local));
        // Connections that were under way are back.
        engine.close_all();
        let undelivered = local.undelivered() + local.waiting();
        if undelivered > 0 {
            tracing::error!(shard = %id, undelivered, "messages were accepted and did not run, since a shard has failed");
        }
        served.map(|()| engine.context().stats())
    }

    /// Everything before the first connection.
    fn begin<F>(self, set_up: &F) -> Result<(Engine, Rc<Local>), Unseated>
    where
        F: Fn(&mut Shard<'_>) -> Result<()>,
    {
        if let Some(cpu) = self.cpu {
            // First of all, so that the shard's memory is near its CPU.
            affinity::pin(cpu).map_err(|source| Error::Pin { cpu, source })?;
        }
        let mut engine = Engine::with_options(self.config.engine_options())?;
        self.startup.note_pulse(self.id, engine.pulse());
        let doorbells = self.startup.exchange_doorbells(self.id, engine.doorbell())?;
        self.shutdown.set_doorbells(doorbells.clone());
        let servers = Rc::new(RefCell::new(Servers::default()));
        let moves = Moves::new(Arc::clone(&self.shutdown), Rc::downgrade(&servers));
        let bus = Bus::new(self.id, self.lanes, &doorbells, moves);
        let backlogs: Vec<Rc<dyn Backlog>> = vec![Rc::clone(bus.lanes()) as _];
        let local = Rc::new(Local {
            id: self.id,
            cpu: self.cpu,
            started: self.started,
            shards: self.config.placement().len(),
            offloader: Offloader::new(bus.clone(), self.pool),
            awaits_offloaded_until: Cell::new(None),
            bus,
            config: self.config,
            shutdown: Arc::clone(&self.shutdown),
            groups: self.groups,
            changes: self.changes,
            servers,
            states: RefCell::new(HashMap::new()),
            startup: Arc::clone(&self.startup),
            backlogs: RefCell::new(backlogs),
            mailboxes: RefCell::new(Some(Vec::new())),
        });
        let seated = Rc::clone(&local);
        let take_turn = move |context: &mut Context| {
            servers::yield_to_successor(context, &seated);
            seated.changes.take_turns(&mut Shard::new(context, &seated));
        };
        engine.add_source(News::new(self.shutdown, take_turn));
        let work = Rc::clone(local.bus.lanes());
        engine
            .add_source(Delivery::new(work, Rc::clone(&local), |shard, _from, work: Box<dyn Message>| work.run(shard)));
        engine.add_source(Answers(Rc::clone(&local)));

        self.startup.wait_to_set_up(self.id)?;
        serve_admin(&mut engine, &local, &self.startup)?;
        set_up(&mut Shard::new(engine.context(), &local))?;
        for add_mailbox in local.mailboxes.take().unwrap_or_default() {
            add_mailbox(&mut engine, &local);
        }
        if let Some(path) = self.handover.filter(|_| local.id.index() == 0) {
            handover::offer(&mut Shard::new(engine.context(), &local), &path)?;
        }
        self.startup.step();

        self.startup.wait_to_open(self.id)?;
        self.startup.mailroom.check()?;
        local.servers.borrow_mut().is_set_up = true;
        let groups = local.servers.borrow().groups();
        for group in groups {
            servers::open(&mut Shard::new(engine.context(), &local), group)?;
        }
        for served in local.servers.borrow().all() {
            let address = engine.context().server_address(served.keys[0]).filter(|_| served.is_public);
            address.into_iter().for_each(|address| self.startup.note_address(address));
        }
        self.startup.step();
        self.startup.wait_until_open()?;
        servers::take_files(&mut Shard::new(engine.context(), &local));
        Ok((engine, local))
    }
}

/// Serves the admin endpoint, if there is to be one: on the first shard.
fn serve_admin(engine: &mut Engine, local: &Rc<Local>, startup: &Startup) -> Result<()> {
    let Some(address) = local.config.admin_listen().filter(|_| local.id.index() == 0) else { return Ok(()) };
    let server = Shard::new(engine.context(), local).serve_admin(address)?;
    if let Some(address) = engine.context().server_address(server) {
        startup.note_admin(address);
    }
    Ok(())
}

/// Runs the engine until the runtime has ended.
fn serve(engine: &mut Engine, local: &Rc<Local>) -> Result<()> {
    let mut progress = Progress::Serving;
    engine.run_while(|context| {
        advance(&mut progress, context, local);
        let leaves = progress == Progress::Emptied && local.shutdown.stage() == Stage::Leaving;
        !(leaves && local.undelivered() == 0 && !local.bus.pending().has_answers())
    })?;
    Ok(())
}

/// Follows the runtime's stage, as far as this shard can.
fn advance(progress: &mut Progress, context: &mut Context, local: &Rc<Local>) {
    let shutdown = &local.shutdown;
    // What is asked of one engine is meant for the runtime: a shard does not leave alone.
    if context.take_stop() {
        shutdown.advance(Stage::Stopping);
    }
    if *progress == Progress::Serving && context.is_draining() {
        shutdown.advance(Stage::Draining);
    }
    // Connections on their way to other shards may come back; nothing leaves any more. A stop cuts off what comes back, too.
    let complete = !local.bus.moves().any_under_way() || shutdown.stage() == Stage::Leaving;
    let begins = shutdown.stage() >= Stage::Stopping || (shutdown.stage() == Stage::Draining && complete);
    if *progress == Progress::Serving && begins {
        *progress = Progress::Draining;
        // The end may have come right after the successor's word.
        servers::yield_to_successor(context, local);
        if local.groups.is_offered() {
            servers::leave_files(context, local);
        }
        local.groups.release_claims();
        context.drain(local.config.drain_timeout());
        // The drain's own timer wakes the shard then.
        local.awaits_offloaded_until.set(Some(context.now() + local.config.drain_timeout()));
    }
    if *progress == Progress::Draining && shutdown.stage() >= Stage::Stopping {
        *progress = Progress::Stopping;
        local.awaits_offloaded_until.set(None);
        context.drain(Duration::ZERO);
    }
    let in_time = local.awaits_offloaded_until.get().is_some_and(|until| context.now() < until);
    let awaits_offloaded = in_time && local.bus.has_offloaded();
    let drained = context.is_drained() && complete && !awaits_offloaded;
    if matches!(*progress, Progress::Draining | Progress::Stopping) && drained {
        *progress = Progress::Drained;
        shutdown.arrive_drained();
    }
    if *progress == Progress::Drained && shutdown.stage() >= Stage::Sealing {
        local.bus.seal();
        // At the last stage a shard has failed, and may never make room.
        if local.waiting() == 0 || shutdown.stage() == Stage::Leaving {
            *progress = Progress::Sealed;
            shutdown.arrive_sealed();
        }
    }
    let emptied = || !shutdown.has_visitors() && local.undelivered() == 0;
    if *progress == Progress::Sealed && shutdown.stage() >= Stage::Emptying && emptied() {
        *progress = Progress::Emptied;
        shutdown.arrive_emptied();
    }
}

/// Runs `f`, and makes an error of its panic.
pub(crate) fn guarded<R>(f: impl FnOnce() -> Result<R>) -> Result<R> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|payload| Err(Error::Panicked(panic_message(&*payload))))
}

impl From<Abandoned> for Unseated {
    fn from(_: Abandoned) -> Self {
        Self::Abandoned
    }
}

impl From<Error> for Unseated {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<pants_engine::Error> for Unseated {
    fn from(error: pants_engine::Error) -> Self {
        Self::Failed(error.into())
    }
}
