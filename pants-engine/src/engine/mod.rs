//! The engine, as programs see it: making one, setting it up, running it.

mod sleep;
mod turn;

use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::busy::Busy;
use crate::context::Context;
use crate::datagram::handler::DatagramHandler;
use crate::dial::Lookups;
use crate::dispatch::Dispatcher;
use crate::doorbell::{Doorbell, Source};
use crate::engine::turn::Turn;
use crate::error::{Error, Result};
use crate::handler::{Acceptor, Handler};
use crate::key::{ConnectionKey, DatagramKey, ServerKey};
use crate::limits;
use crate::net::address::ToAddress;
use crate::options::EngineOptions;
use crate::poll::Poller;
use crate::pulse::Pulse;
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
struct Sources {
    all: Vec<Box<dyn Source>>,
    /// One of them may hold something of which no ring will tell: it has not been drained yet, or not to its end.
    due: bool,
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
        let sources = Sources { all: vec![Box::new(inbox), Box::new(answers)], due: false };
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

    /// Shows other threads what this engine is at.
    pub fn pulse(&self) -> Pulse {
        self.dispatcher.context.heart.pulse()
    }

    /// Adds a source of work. It is drained in the next turn, and from then on whenever somebody has [rung](Doorbell::ring).
    pub fn add_source(&mut self, source: impl Source + 'static) {
        self.sources.all.push(Box::new(source));
        self.sources.due = true;
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
        // The caller may sleep now: whoever rings from here on must wake it. Who has rung before is in the next deadline.
        self.doorbell.lie_down();
        let context = &mut self.dispatcher.context;
        // The precise timers', which are before what a timeout of whole milliseconds can say.
        if let Some(due) = context.timers.next_precise() {
            context.set_alarm(due, context.clock.now());
        }
        Ok(!self.dispatcher.context.stopping && !self.dispatcher.context.is_drained())
    }

    /// When to [`poll`](Self::poll) next though no event has come; `None` for not before one. It is in the past, or now,
    /// when work is left over.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.sources.due || self.doorbell.is_rung() {
            return Some(Instant::now());
        }
        let context = &self.dispatcher.context;
        // By the turn's reading of the clock, so that the answer does not move with the time of asking.
        let wait = context.due()?.saturating_sub(context.clock.now());
        Some(context.now() + wait.min(limits::LONGEST_SLEEP))
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
}

impl AsFd for Engine {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Sources").field(&self.all.len()).finish()
    }
}
