//! What a callback may ask of its engine: timers, other channels, listening, connecting, stopping.

mod clients;
mod datagrams;
mod hand_off;
mod servers;
mod timers;
mod upkeep;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use crate::buffer::outbox::Outbox;
use crate::buffer::trains::Trains;
use crate::channel::state::Flags;
use crate::clock::{Clock, Tick};
use crate::connection::Connection;
use crate::datagram::handler::DatagramHandler;
use crate::dial::{Dial, Lookups};
use crate::hand_off::{Departure, HandOffError};
use crate::handler::Handler;
use crate::key::{ConnectionKey, Key, TimerKey};
use crate::options::EngineOptions;
use crate::poll::Registrar;
use crate::pulse::Heart;
use crate::remote::Remote;
use crate::slab::Slab;
use crate::slots::{Channel, Drain, Task};
use crate::stats::Stats;
use crate::timers::Timers;
use crate::timers::alarm::Alarm;

/// An engine, as its callbacks see it.
///
/// Nothing here runs a callback: what is asked for happens after the present callback has returned.
pub struct Context {
    pub(crate) registrar: Registrar,
    pub(crate) channels: Slab<Channel>,
    pub(crate) timers: Timers<Task>,
    /// Wakes the engine for the precise ones.
    pub(crate) alarm: Alarm,
    pub(crate) clock: Clock,
    pub(crate) stats: Stats,
    pub(crate) outbox: Outbox,
    /// The outbox of datagrams.
    pub(crate) trains: Trains,
    /// Channels that have work left though no event will say so. Each is here at most once.
    pub(crate) ready: VecDeque<Key>,
    /// The handlers of connections that callbacks have begun, on their way to the dispatcher.
    pub(crate) new_handlers: Vec<(Key, Box<dyn Handler>)>,
    pub(crate) new_datagram_handlers: Vec<(Key, Box<dyn DatagramHandler>)>,
    /// Connections on their way to a host.
    pub(crate) dials: HashMap<Key, Dial>,
    pub(crate) lookups: Lookups,
    /// What happens to the connections that leave after the callback at hand.
    pub(crate) departures: HashMap<Key, Departure>,
    /// Why connections are back, until their handlers have heard of it.
    pub(crate) hand_off_errors: HashMap<Key, HandOffError>,
    /// Whose callback runs. On the way of the usual message it is `Nobody`: then it is whose channel the heart has entered, and
    /// whom the outbox is open to once the callback has asked for more than an echo.
    pub(crate) running: Running,
    /// Shows other threads what runs.
    pub(crate) heart: Heart,
    pub(crate) stopping: bool,
    /// Every channel is being closed: no new ones.
    pub(crate) closing_all: bool,
    pub(crate) drain: Option<Drain>,
    /// How many of the channels are attendants, which a drain does not wait for.
    pub(crate) attendants: usize,
    pub(crate) options: EngineOptions,
    pub(crate) remote: Remote,
}

/// Whose callback runs: whom a panic is charged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Running {
    Nobody,
    Connection(Key),
    Server(Key),
    Datagram(Key),
    Timer(TimerKey),
}

impl Context {
    pub(crate) fn new(registrar: Registrar, options: EngineOptions, remote: Remote, lookups: Lookups) -> Self {
        Self {
            registrar,
            channels: Slab::new(),
            timers: Timers::new(),
            alarm: Alarm::default(),
            clock: Clock::new(),
            stats: Stats::default(),
            outbox: Outbox::new(),
            trains: Trains::default(),
            ready: VecDeque::new(),
            new_handlers: Vec::new(),
            new_datagram_handlers: Vec::new(),
            dials: HashMap::new(),
            lookups,
            departures: HashMap::new(),
            hand_off_errors: HashMap::new(),
            running: Running::Nobody,
            heart: Heart::new(),
            stopping: false,
            closing_all: false,
            drain: None,
            attendants: 0,
            options,
            remote,
        }
    }

    /// A connection by its key, to write to it or close it; `None` when it has closed.
    ///
    /// # Examples
    ///
    /// ```
    /// use pants_engine::{Connection, ConnectionOptions, Engine, Handler};
    /// use std::io::Read;
    /// use std::os::unix::net::UnixStream;
    /// use std::time::Duration;
    ///
    /// struct Listener;
    ///
    /// impl Handler for Listener {
    ///     fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {}
    /// }
    ///
    /// let (ours, mut theirs) = UnixStream::pair()?;
    /// let mut engine = Engine::new()?;
    /// let key = engine.context().adopt_connection(ours.into(), ConnectionOptions::default(), Listener)?;
    /// engine.context().defer(Duration::from_millis(1), move |context| {
    ///     if let Some(mut connection) = context.connection(key) {
    ///         connection.write(b"news\n");
    ///     }
    ///     context.stop();
    /// });
    /// engine.start()?;
    /// assert!(engine.context().connection(key).is_none());
    /// let mut heard = String::new();
    /// theirs.read_to_string(&mut heard)?;
    /// assert_eq!(heard, "news\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn connection(&mut self, key: ConnectionKey) -> Option<Connection<'_>> {
        match self.channels.get(key.0) {
            Some(Channel::Connection(slot)) if !slot.ended => Some(Connection::new(self, key.0)),
            _ => None,
        }
    }

    /// When the present turn began, by the monotonic clock. All callbacks of a turn see the same time.
    pub fn now(&self) -> Instant {
        self.clock.instant()
    }

    /// What the engine has done so far.
    pub fn stats(&self) -> Stats {
        Stats { timers_pending: self.timers.len() as u64, stalls: self.heart.stalls(), ..self.stats }
    }

    /// A handle to this engine that other threads can use.
    pub fn remote(&self) -> Remote {
        self.remote.clone()
    }

    /// Stops the engine after this turn: every connection is closed with
    /// [`CloseReason::Stopped`](crate::CloseReason::Stopped), queued bytes or not.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Ends service in good order, within `deadline`.
    ///
    /// Servers accept what waits in their queues and close. Each connection is served until nothing more waits to be read
    /// and is then told by [`Handler::on_shutdown`], which by default sends what is queued and then FIN; a datagram channel
    /// likewise, by [`DatagramHandler::on_shutdown`]. From half of the deadline on those that are still busy are told too;
    /// what remains at the deadline is closed. ([Attendants](crate::ServerOptions::attendant) are left alone.) Then [`Engine::start`](crate::Engine::start) returns. A second call can only
    /// bring the deadline forward.
    pub fn drain(&mut self, deadline: Duration) {
        let now = self.clock.fresh();
        let last = Tick::at_or_after(now.saturating_add(deadline));
        let half = Tick::at_or_after(now.saturating_add(deadline / 2));
        if let Some(drain) = &mut self.drain {
            (drain.half, drain.deadline) = (drain.half.min(half), drain.deadline.min(last));
            self.timers.arm(drain.timer, if drain.impatient { drain.deadline } else { drain.half });
        } else {
            let timer = self.timers.insert(half, Task::DrainDeadline);
            self.drain = Some(Drain { impatient: false, half, deadline: last, timer });
            let keys: Vec<Key> = self.channels.iter().map(|(key, _)| key).collect();
            for key in keys {
                match self.channels.get_mut(key).filter(|channel| !channel.is_attendant()) {
                    Some(Channel::Connection(slot)) => {
                        slot.stream.flags.set(Flags::SHUTDOWN_DUE.or(Flags::READABLE));
                    }
                    Some(Channel::Server(slot)) => slot.server.ready = true,
                    Some(Channel::Datagram(slot)) => {
                        slot.mailbox.flags.set(Flags::SHUTDOWN_DUE.or(Flags::READABLE));
                    }
                    Some(Channel::Attempt(_)) | None => {}
                }
                self.schedule(key);
            }
        }
    }

    /// Whether [`stop`](Self::stop) was called since this was last asked. For those that drive an engine by
    /// [`run_while`](crate::Engine::run_while) and stop it in a way of their own.
    pub fn take_stop(&mut self) -> bool {
        std::mem::take(&mut self.stopping)
    }

    /// Whether the engine drains.
    pub fn is_draining(&self) -> bool {
        self.drain.is_some()
    }

    /// Whether the engine drains and no channel is left, but for those of [attendants](crate::ServerOptions::attendant).
    pub fn is_drained(&self) -> bool {
        self.drain.is_some() && self.channels.len() == self.attendants
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("channels", &self.channels.len()).field("stats", &self.stats()).finish()
    }
}
