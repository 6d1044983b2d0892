//! The engine: the loop, its turn, and the phases of a turn.

use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::busy::Busy;
use crate::context::Context;
use crate::datagram::handler::DatagramHandler;
use crate::dial::Lookups;
use crate::dispatch::Dispatcher;
use crate::doorbell::{Doorbell, Source};
use crate::error::{Error, Result};
use crate::handler::{Acceptor, Handler};
use crate::key::{ConnectionKey, DatagramKey, ServerKey};
use crate::limits;
use crate::net::address::ToAddress;
use crate::options::EngineOptions;
use crate::poll::Poller;
use crate::remote::Remote;

/// A single-threaded event loop with its channels and timers.
///
/// An engine stays on the thread that made it; [`Remote`] reaches it from others. Dropping it closes everything without a
/// callback; [`close_all`](Self::close_all) is the way with.
///
/// # Examples
///
/// ```
/// use pants_engine::{Connection, Engine, Handler};
///
/// struct Echo;
///
/// impl Handler for Echo {
///     fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
///         connection.write(data);
///     }
/// }
///
/// let mut engine = Engine::new()?;
/// let server = engine.listen("127.0.0.1:0", |_peer| Echo)?;
/// println!("listening on {}", engine.context().server_address(server).unwrap());
/// # engine.context().stop();
/// engine.start()?;
/// # Ok::<(), pants_engine::Error>(())
/// ```
#[derive(Debug)]
pub struct Engine {
    poller: Poller,
    dispatcher: Dispatcher,
    sources: Sources,
    doorbell: Doorbell,
    busy: Busy,
    turn: Turn,
}

/// Where other threads' work comes from; the engine's own inbox is the first.
struct Sources(Vec<Box<dyn Source>>);

/// How far the present turn has come, so that it goes on behind a callback that panicked.
#[derive(Debug, Default)]
struct Turn {
    /// The sources held something before the sleep, or somebody has rung.
    sources_due: bool,
    source: usize,
    /// How often the present source was asked.
    source_calls: usize,
    precise_budget: usize,
    timer_budget: usize,
    event: usize,
    next_turn_left: usize,
    every_turn: usize,
    ready_left: Option<usize>,
}

impl Engine {
    /// An engine with default options.
    ///
    /// # Errors
    ///
    /// If the operating system refuses its epoll instance or its eventfd, or an option is not valid.
    pub fn new() -> Result<Self> {
        Self::with_options(EngineOptions::default())
    }

    /// An engine with these options.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_options(options: EngineOptions) -> Result<Self> {
        options.check()?;
        let busy = Busy::new(options.busy_poll);
        let (poller, registrar, waker) = Poller::new().map_err(Error::Create)?;
        let doorbell = Doorbell::new(waker);
        let (remote, inbox) = Remote::new(doorbell.clone());
        let (lookups, answers) = Lookups::new(doorbell.clone());
        let dispatcher = Dispatcher::new(Context::new(registrar, options, remote, lookups));
        let sources = Sources(vec![Box::new(inbox), Box::new(answers)]);
        Ok(Self { poller, dispatcher, sources, doorbell, busy, turn: Turn::default() })
    }

    /// What callbacks see of this engine, to set it up before it starts.
    pub fn context(&mut self) -> &mut Context {
        // The last turn may be long ago.
        self.dispatcher.context.clock.read();
        &mut self.dispatcher.context
    }

    /// Starts a server; see [`Context::listen_with`].
    ///
    /// # Errors
    ///
    /// As [`Context::listen_with`].
    pub fn listen(&mut self, address: impl ToAddress, acceptor: impl Acceptor) -> Result<ServerKey> {
        self.context().listen(address, acceptor)
    }

    /// Begins to connect; see [`Context::connect_with`].
    ///
    /// # Errors
    ///
    /// As [`Context::connect_with`].
    pub fn connect(&mut self, address: impl ToAddress, handler: impl Handler) -> Result<ConnectionKey> {
        self.context().connect(address, handler)
    }

    /// Opens a datagram channel; see [`Context::open_datagram_with`].
    ///
    /// # Errors
    ///
    /// As [`Context::open_datagram_with`].
    pub fn open_datagram(&mut self, address: impl ToAddress, handler: impl DatagramHandler) -> Result<DatagramKey> {
        self.context().open_datagram(address, handler)
    }

    /// A handle to this engine that other threads can use.
    pub fn remote(&self) -> Remote {
        self.dispatcher.context.remote()
    }

    /// What wakes this engine when a [`Source`] has been filled.
    pub fn doorbell(&self) -> Doorbell {
        self.doorbell.clone()
    }

    /// Adds a source of work. It is drained in every turn, and looked at before every sleep.
    pub fn add_source(&mut self, source: impl Source + 'static) {
        self.sources.0.push(Box::new(source));
    }

    /// Runs until [`Context::stop`], or until a [drain](Context::drain) has ended. Then every connection and server that
    /// is left is closed. The engine may be started again.
    ///
    /// # Errors
    ///
    /// If waiting for events fails, which leaves the engine as it is.
    pub fn start(&mut self) -> Result<()> {
        self.run_while(|context| !context.stopping && !context.is_drained())?;
        self.close_all();
        Ok(())
    }

    /// Runs for as long as `goes_on` says so; it is asked before every turn. Closes nothing at the end.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn run_while(&mut self, mut goes_on: impl FnMut(&mut Context) -> bool) -> Result<()> {
        while goes_on(&mut self.dispatcher.context) {
            self.turn(None)?;
        }
        Ok(())
    }

    /// One turn: sleeps until there is something to do, at most for `timeout` (`None`: for as long as it takes), and does
    /// it. Returns whether the engine is to go on; `false` after [`Context::stop`] or at the end of a drain.
    ///
    /// For a loop of one's own, which sleeps elsewhere: it waits until [`as_fd`](AsFd::as_fd) is readable or
    /// [`next_deadline`](Self::next_deadline) has come, and polls with a timeout of zero.
    ///
    /// # Errors
    ///
    /// If waiting for events fails.
    pub fn poll(&mut self, timeout: Option<Duration>) -> Result<bool> {
        self.turn(timeout)?;
        // The caller may sleep now: whoever rings from here on must wake it.
        self.doorbell.lie_down();
        self.dispatcher.context.set_alarm();
        Ok(!self.dispatcher.context.stopping && !self.dispatcher.context.is_drained())
    }

    /// When to [`poll`](Self::poll) next though no event has come; `None` for not before one. It is in the past, or now,
    /// when work is left over.
    pub fn next_deadline(&self) -> Option<Instant> {
        if !self.sources.are_empty() {
            return Some(Instant::now());
        }
        let context = &self.dispatcher.context;
        // Both counted from the turn's reading of the clock, so that the answer does not move with the time of asking.
        context.has_deadline().then(|| context.now() + context.next_due())
    }

    /// Closes everything at once: connections and datagram channels with
    /// [`CloseReason::Stopped`](crate::CloseReason::Stopped), and servers.
    pub fn close_all(&mut self) {
        if let Some(drain) = self.dispatcher.context.drain {
            self.dispatcher.context.timers.remove(drain.timer);
        }
        while let Err(payload) = catch_unwind(AssertUnwindSafe(|| self.dispatcher.close_all())) {
            self.dispatcher.contain(&*payload);
        }
        self.dispatcher.context.stopping = false;
    }

    /// One turn of the loop. A callback that panics ends its phase; the turn goes on behind it.
    fn turn(&mut self, timeout: Option<Duration>) -> Result<()> {
        // What was written between turns.
        self.dispatcher.context.flush_outbox();
        let sources_due = self.sleep(timeout).map_err(Error::Poll)?;
        self.dispatcher.take_new_handlers();
        let context = &mut self.dispatcher.context;
        context.clock.read();
        context.stats.turns += 1;
        context.timers.begin_turn();
        self.turn = Turn {
            sources_due,
            precise_budget: limits::TIMER_BUDGET,
            timer_budget: limits::TIMER_BUDGET,
            next_turn_left: context.timers.next_turn_len(),
            ..Turn::default()
        };
        while let Err(payload) = catch_unwind(AssertUnwindSafe(|| self.phases())) {
            self.dispatcher.contain(&*payload);
        }
        Ok(())
    }

    fn phases(&mut self) {
        self.run_precise_timers();
        self.run_expired_timers();
        self.handle_events();
        self.drain_sources();
        self.run_next_turn_timers();
        self.run_every_turn_timers();
        self.drive_leftovers();
    }

    /// Waits for events, unless there is work. Returns whether the sources hold some of it.
    fn sleep(&mut self, timeout: Option<Duration>) -> std::io::Result<bool> {
        let own = self.dispatcher.context.time_to_sleep();
        let mut sleep = timeout.map_or(own, |timeout| timeout.min(own));
        if !sleep.is_zero() {
            if self.busy.is_worth_it() && self.poll_busily(&mut sleep)? {
                return Ok(!self.sources.are_empty());
            }
            self.doorbell.lie_down();
        }
        let sources_due = !self.sources.are_empty();
        if sources_due {
            sleep = Duration::ZERO;
        }
        let result = if sleep.is_zero() { self.poller.wait(Some(sleep)) } else { self.sleep_for(sleep) };
        self.doorbell.get_up();
        result.map(|()| sources_due)
    }

    fn sleep_for(&mut self, sleep: Duration) -> std::io::Result<()> {
        let context = &mut self.dispatcher.context;
        context.stats.sleeps += 1;
        context.set_alarm();
        let begun = self.busy.is_enabled().then(|| context.clock.fresh());
        self.poller.wait(Some(sleep))?;
        if let Some(begun) = begun {
            self.busy.handle_sleep(begun, context.clock.fresh(), self.poller.has_events());
        }
        Ok(())
    }

    /// Looks for work instead of sleeping, for as long as the options say but no longer than `sleep`, which is the shorter
    /// for it. Returns whether there is some.
    fn poll_busily(&mut self, sleep: &mut Duration) -> std::io::Result<bool> {
        // Nobody need ring: the sources are watched. Between polls by a foreign loop the flag was set.
        self.doorbell.get_up();
        // Of an engine with much to do, this is all it takes, with the one system call of any turn.
        if self.finds_work()? {
            return Ok(true);
        }
        self.dispatcher.context.stats.busy_polls += 1;
        let begun = self.dispatcher.context.clock.fresh();
        let end = self.busy.end(begun, *sleep);
        let (mut now, mut found) = (begun, false);
        while !found && now < end {
            found = self.finds_work()?;
            now = self.dispatcher.context.clock.fresh();
        }
        self.busy.handle_poll(found);
        self.dispatcher.context.stats.busy_poll_hits += u64::from(found);
        *sleep = sleep.saturating_sub(now - begun);
        Ok(found)
    }

    /// Asks the kernel once and then the sources for a microsecond or so.
    fn finds_work(&mut self) -> std::io::Result<bool> {
        self.poller.wait(Some(Duration::ZERO))?;
        if self.poller.has_events() {
            return Ok(true);
        }
        for _ in 0..limits::BUSY_POLL_LOOKS {
            if !self.sources.are_empty() {
                return Ok(true);
            }
            std::hint::spin_loop();
        }
        Ok(false)
    }

    fn drain_sources(&mut self) {
        if !self.turn.sources_due {
            return;
        }
        while let Some(source) = self.sources.0.get_mut(self.turn.source) {
            // More than one call means that a message has panicked; that must not let the source past its budget.
            self.turn.source_calls += 1;
            if self.turn.source_calls <= limits::SOURCE_BUDGET {
                let delivered = source.drain(&mut self.dispatcher.context, limits::SOURCE_BUDGET);
                self.dispatcher.context.stats.messages += delivered as u64;
            }
            self.turn.source += 1;
            self.turn.source_calls = 0;
        }
        self.dispatcher.context.flush_outbox();
    }

    fn run_expired_timers(&mut self) {
        while self.turn.timer_budget > 0 {
            let now = self.dispatcher.context.clock.tick();
            let Some((timer, due)) = self.dispatcher.context.timers.pop(now) else { return };
            self.turn.timer_budget -= 1;
            self.dispatcher.run_due_timer(timer, due.begins());
        }
    }

    fn run_precise_timers(&mut self) {
        while self.turn.precise_budget > 0 {
            let now = self.dispatcher.context.clock.now();
            let Some((timer, due)) = self.dispatcher.context.timers.pop_precise(now) else { return };
            self.turn.precise_budget -= 1;
            self.dispatcher.run_due_timer(timer, due);
        }
    }

    /// Not inlined, so that the path of a message has the registers to itself.
    #[inline(never)]
    fn handle_events(&mut self) {
        for (key, readiness) in self.poller.events_from(self.turn.event) {
            self.turn.event += 1;
            match key {
                Some(key) => self.dispatcher.handle_event(key, readiness),
                None => self.turn.sources_due = true,
            }
        }
    }

    fn run_next_turn_timers(&mut self) {
        while self.turn.next_turn_left > 0 {
            self.turn.next_turn_left -= 1;
            if let Some(timer) = self.dispatcher.context.timers.pop_next_turn() {
                self.dispatcher.run_timer(timer);
            }
        }
    }

    fn run_every_turn_timers(&mut self) {
        while let Some(timer) = self.dispatcher.context.timers.every_turn_at(self.turn.every_turn) {
            self.turn.every_turn += 1;
            self.dispatcher.run_timer(timer);
        }
    }

    fn drive_leftovers(&mut self) {
        self.dispatcher.take_new_handlers();
        let ready = self.dispatcher.context.ready.len();
        let left = self.turn.ready_left.get_or_insert(ready);
        while *left > 0 {
            *left -= 1;
            self.dispatcher.drive_next_ready();
        }
    }
}

impl AsFd for Engine {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }
}

impl Sources {
    fn are_empty(&self) -> bool {
        self.0.iter().all(|source| source.is_empty())
    }
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Sources").field(&self.0.len()).finish()
    }
}
