//! One shard, as its set-up, its timers and the messages to it see it.

use std::any::{Any, TypeId, type_name};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pants_engine::{Acceptor, Context, Engine, ServerKey, ServerOptions, TimerKey, ToAddress};

use crate::balance::leveller::{Leveller, Movable};
use crate::bus::Bus;
use crate::bus::lanes::{Backlog, Delivery, Lanes};
use crate::bus::mailbox::Mailbox;
use crate::bus::request::Unanswered;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::listener::builder::ListenerBuilder;
use crate::listener::changes::{Changes, Listeners};
use crate::listener::servers::Servers;
use crate::listener::{GroupId, ListenerGroups};
use crate::offload::{OffloadError, Offloader};
use crate::placement::CpuId;
use crate::shard_id::ShardId;
use crate::shutdown::{Shutdown, Stage};
use crate::startup::Startup;

/// A shard: its engine, its place among the others, and what the program keeps there.
///
/// It is there for as long as it is borrowed, and on its own thread only.
pub struct Shard<'a> {
    context: &'a mut Context,
    local: &'a Rc<Local>,
}

/// What belongs to one shard beside its engine.
pub(crate) struct Local {
    pub(crate) id: ShardId,
    pub(crate) cpu: Option<CpuId>,
    /// When the runtime was started.
    pub(crate) started: Instant,
    pub(crate) shards: usize,
    pub(crate) bus: Bus,
    pub(crate) offloader: Offloader,
    /// Until when a drain waits for what is offloaded.
    pub(crate) awaits_offloaded_until: Cell<Option<Instant>>,
    pub(crate) config: Arc<Config>,
    pub(crate) shutdown: Arc<Shutdown>,
    pub(crate) groups: Arc<ListenerGroups>,
    pub(crate) changes: Arc<Changes>,
    pub(crate) servers: Rc<RefCell<Servers>>,
    pub(crate) states: RefCell<HashMap<TypeId, Rc<dyn Any>>>,
    pub(crate) startup: Arc<Startup>,
    /// The lanes of the bus and of every mailbox.
    pub(crate) backlogs: RefCell<Vec<Rc<dyn Backlog>>>,
    /// What gives the engine the mailboxes that set-up declares; `None` once that is over.
    pub(crate) mailboxes: RefCell<Option<Vec<AddMailbox>>>,
}

/// Makes a mailbox a source of its shard's engine.
pub(crate) type AddMailbox = Box<dyn FnOnce(&mut Engine, &Rc<Local>)>;

impl Local {
    /// Messages that have come to this shard and have not been delivered.
    pub(crate) fn undelivered(&self) -> usize {
        self.backlogs.borrow().iter().map(|lanes| lanes.undelivered()).sum()
    }

    /// Messages of this shard that wait for room in their lanes.
    pub(crate) fn waiting(&self) -> usize {
        self.backlogs.borrow().iter().map(|lanes| lanes.waiting()).sum()
    }
}

impl<'a> Shard<'a> {
    pub(crate) fn new(context: &'a mut Context, local: &'a Rc<Local>) -> Self {
        Self { context, local }
    }

    pub(crate) fn local(&self) -> &'a Rc<Local> {
        self.local
    }

    /// What keeps the connections of this group spread over the shards.
    pub(crate) fn leveller(&self, group: GroupId) -> Option<Rc<Leveller>> {
        self.local.servers.borrow().leveller(group)
    }

    /// Which shard this is.
    pub fn id(&self) -> ShardId {
        self.local.id
    }

    /// How many shards the runtime has.
    pub fn shards(&self) -> usize {
        self.local.shards
    }

    /// The way to the other shards, for handlers to keep.
    pub fn bus(&self) -> Bus {
        self.local.bus.clone()
    }

    /// The way to the helper threads, for handlers to keep.
    pub fn offloader(&self) -> Offloader {
        self.local.offloader.clone()
    }

    /// Runs `work`, which may block, on a helper thread, and gives what it returns to `then` on this shard; see
    /// [`Offloader::offload`].
    ///
    /// # Errors
    ///
    /// As [`Offloader::offload`].
    ///
    /// # Examples
    ///
    /// ```
    /// use pants_shard::{Config, Runtime, Shards};
    ///
    /// let config = Config::builder().shards("1".parse::<Shards>()?).build()?;
    /// Runtime::new(config)?.run(|shard| {
    ///     let asked = shard.offload(|| std::fs::read_to_string("Cargo.toml"), |shard, answer| {
    ///         let text = answer.expect("the work does not panic").expect("the file is there");
    ///         assert!(text.starts_with("[package]"));
    ///         shard.stop();
    ///     });
    ///     assert!(asked.is_ok());
    ///     Ok(())
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn offload<T, W, R>(&self, work: W, then: R) -> Result<(), OffloadError<(W, R)>>
    where
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static,
        R: FnOnce(&mut Shard<'_>, Result<T, Unanswered>) + 'static,
    {
        self.local.offloader.offload(work, then)
    }

    /// Declares this shard's mailbox for messages of type `T`, in set-up: `deliver` is called on this shard with each message
    /// that comes, and with the shard that sent it. Returns the way to the mailboxes of all shards, for handlers to keep.
    ///
    /// Every shard declares the same mailboxes. What is sent in set-up already is delivered when all serve.
    ///
    /// # Errors
    ///
    /// If this shard has a mailbox for `T`, or set-up is over. A runtime in which only some shards have one does not start.
    pub fn mailbox<T: Send + 'static>(
        &mut self,
        deliver: impl FnMut(&mut Shard<'_>, ShardId, T) + 'static,
    ) -> Result<Mailbox<T>> {
        let local = self.local;
        let mut mailboxes = local.mailboxes.borrow_mut();
        let mailboxes = mailboxes.as_mut().ok_or(Error::LateMailbox(type_name::<T>()))?;
        let ends = local.startup.mailroom.take::<T>(local.id, local.shards)?;
        let lanes = Rc::new(Lanes::new(ends, local.shutdown.doorbells()));
        local.backlogs.borrow_mut().push(Rc::clone(&lanes) as _);
        let mailbox = Mailbox::new(local.bus.clone(), Rc::clone(&lanes));
        mailboxes.push(Box::new(move |engine, local| {
            engine.add_source(Delivery::new(lanes, Rc::clone(local), deliver));
        }));
        Ok(mailbox)
    }

    /// The runtime's configuration.
    pub fn config(&self) -> &Config {
        &self.local.config
    }

    /// This shard's engine.
    pub fn context(&mut self) -> &mut Context {
        self.context
    }

    /// Declares a server at `address` with the configuration's options; see [`listen_with`](Self::listen_with).
    ///
    /// # Errors
    ///
    /// As [`listen_with`](Self::listen_with).
    pub fn listen(&mut self, address: impl ToAddress, acceptor: impl Acceptor) -> Result<ServerKey> {
        let options = self.config().server_options();
        self.listen_with(address, options, acceptor)
    }

    /// Declares a server, in set-up: its socket is bound now, and listens when every shard has set up.
    ///
    /// Shards that declare the same address share it (`SO_REUSEPORT`), and the kernel spreads the connections over them by
    /// a hash of their addresses and ports. Port 0 is resolved once, for all. With `share_port` off, an address at which
    /// another program listens is refused.
    ///
    /// # Errors
    ///
    /// If the address is not understood or taken, the options contradict each other, or set-up is over: then
    /// [`listeners`](Self::listeners) adds servers, on all shards.
    pub fn listen_with(
        &mut self,
        address: impl ToAddress,
        options: ServerOptions,
        acceptor: impl Acceptor,
    ) -> Result<ServerKey> {
        self.listener(address).options(options).listen(acceptor)
    }

    /// As [`listen_with`](Self::listen_with) with the configuration's options, for handlers that can move to other shards.
    ///
    /// # Errors
    ///
    /// As [`listen_with`](Self::listen_with).
    pub fn listen_movable<A>(&mut self, address: impl ToAddress, acceptor: A) -> Result<ServerKey>
    where
        A: Acceptor,
        A::Handler: Movable,
    {
        self.listener(address).listen_movable(acceptor)
    }

    /// Begins to declare a server of which more is to be said.
    pub fn listener(&mut self, address: impl ToAddress) -> ListenerBuilder<'_, 'a> {
        let address = address.to_address().map_err(pants_engine::Error::from);
        ListenerBuilder::new(self, address)
    }

    /// Whether the runtime drains, or has stopped.
    pub fn is_draining(&self) -> bool {
        self.local.shutdown.stage() >= Stage::Draining
    }

    /// Adds and removes listeners of all shards after set-up. What it is told, it is told on this shard.
    pub fn listeners(&self) -> Listeners {
        Listeners::new(Arc::clone(&self.local.changes), self.local.id)
    }

    /// The program's own state of type `T` on this shard, made by `T::default()` when first asked for. Work that comes from
    /// other shards finds it here; a handler is given it by the acceptor:
    ///
    /// ```
    /// use pants_shard::{Config, Connection, Handler, Runtime};
    /// use std::{cell::Cell, rc::Rc};
    ///
    /// /// Says which of the shard's connections this is.
    /// struct Number(Rc<Cell<u64>>);
    ///
    /// impl Handler for Number {
    ///     fn on_connect(&mut self, connection: &mut Connection<'_>) {
    ///         self.0.set(self.0.get() + 1);
    ///         connection.write(format!("{}\n", self.0.get()).as_bytes());
    ///     }
    ///
    ///     fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {}
    /// }
    ///
    /// let running = Runtime::new(Config::default())?.start(|shard| {
    ///     let count = shard.state::<Cell<u64>>();
    ///     shard.listen("127.0.0.1:0", move |_peer| Number(Rc::clone(&count)))?;
    ///     Ok(())
    /// })?;
    /// # running.stop();
    /// # running.join()?;
    /// # Ok::<(), pants_shard::Error>(())
    /// ```
    pub fn state<T: Default + 'static>(&self) -> Rc<T> {
        if let Some(state) = self.local.states.borrow().get(&TypeId::of::<T>())
            && let Ok(state) = Rc::clone(state).downcast()
        {
            return state;
        }
        // Not under the borrow: `default` is the program's own code.
        let state = Rc::new(T::default());
        self.set_state(Rc::clone(&state));
        state
    }

    /// Puts the program's own state of type `T` in place of what was there. Whoever has asked before keeps the old one.
    pub fn set_state<T: 'static>(&self, state: Rc<T>) {
        self.local.states.borrow_mut().insert(TypeId::of::<T>(), state);
    }

    /// Ends service of the whole runtime in good order, within the configuration's `drain_timeout`.
    pub fn drain(&mut self) {
        self.local.shutdown.advance(Stage::Draining);
    }

    /// Stops the whole runtime; connections are closed as they are. Messages that were sent still run.
    pub fn stop(&mut self) {
        self.local.shutdown.advance(Stage::Stopping);
    }

    /// As [`Context::callback`], with the shard.
    pub fn callback(&mut self, f: impl FnOnce(&mut Shard<'_>) + 'static) -> TimerKey {
        let local = Rc::clone(self.local);
        self.context.callback(move |context| f(&mut Shard::new(context, &local)))
    }

    /// As [`Context::every_turn`], with the shard.
    pub fn every_turn(&mut self, mut f: impl FnMut(&mut Shard<'_>) + 'static) -> TimerKey {
        let local = Rc::clone(self.local);
        self.context.every_turn(move |context| f(&mut Shard::new(context, &local)))
    }

    /// As [`Context::defer`], with the shard.
    pub fn defer(&mut self, delay: Duration, f: impl FnOnce(&mut Shard<'_>) + 'static) -> TimerKey {
        let local = Rc::clone(self.local);
        self.context.defer(delay, move |context| f(&mut Shard::new(context, &local)))
    }

    /// As [`Context::defer_until`], with the shard.
    pub fn defer_until(&mut self, instant: Instant, f: impl FnOnce(&mut Shard<'_>) + 'static) -> TimerKey {
        let local = Rc::clone(self.local);
        self.context.defer_until(instant, move |context| f(&mut Shard::new(context, &local)))
    }

    /// As [`Context::cycle`], with the shard.
    ///
    /// # Errors
    ///
    /// As [`Context::cycle`].
    pub fn cycle(&mut self, interval: Duration, mut f: impl FnMut(&mut Shard<'_>) + 'static) -> Result<TimerKey> {
        let local = Rc::clone(self.local);
        Ok(self.context.cycle(interval, move |context| f(&mut Shard::new(context, &local)))?)
    }

    /// As [`Context::cycle_from`], with the shard.
    ///
    /// # Errors
    ///
    /// As [`Context::cycle_from`].
    pub fn cycle_from(
        &mut self,
        start: Instant,
        interval: Duration,
        mut f: impl FnMut(&mut Shard<'_>) + 'static,
    ) -> Result<TimerKey> {
        let local = Rc::clone(self.local);
        Ok(self.context.cycle_from(start, interval, move |context| f(&mut Shard::new(context, &local)))?)
    }
}

impl fmt::Debug for Shard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard").field("id", &self.local.id).field("context", &self.context).finish_non_exhaustive()
    }
}
