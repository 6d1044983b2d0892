//! One connection, as a callback sees it.

mod end;
mod input;
mod output;

use std::any::{Any, type_name};
use std::fmt;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::Duration;

use crate::context::{Context, Running};
use crate::handler::Handler;
use crate::key::{ConnectionKey, Key, ServerKey, TimerKey};
use crate::net::credentials::Credentials;
use crate::net::endpoint::Endpoint;
use crate::net::socket::Socket;
use crate::options::ConnectionOptions;
use crate::slots::{Channel, ConnectionSlot, HandlerTask, Task};

/// A connection within a callback: what can be asked of it, and the way to its engine.
///
/// It is there for as long as it is borrowed; to reach the connection later keep its [`key`](Self::key).
pub struct Connection<'a> {
    context: &'a mut Context,
    /// Invariant: names a connection that is in `context`.
    key: Key,
    /// The input at hand, if its callback was called on the way of the usual message.
    input: &'a [u8],
    /// Invariant: `true` exactly while `outcome` is `Nothing`; apart from that, so that whether a write can be an echo is one
    /// comparison.
    is_fresh: bool,
    outcome: Outcome,
}

/// What a callback on the way of the usual message has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It has written its input, and asked for nothing else: that is sent from where it was read, without a copy.
    Echo,
    /// It has relayed its input to another connection, and asked for nothing else: that is held without a copy, if it is long.
    Relay,
    /// It has asked for nothing.
    Nothing,
    /// The outbox is open to the connection, or its state must be looked at. So it is in every other callback.
    Other,
}

impl<'a> Connection<'a> {
    pub(crate) fn new(context: &'a mut Context, key: Key) -> Self {
        Self { context, key, input: &[], is_fresh: false, outcome: Outcome::Other }
    }

    /// A connection within the callback for `input`, where nothing else is going on. It is no more than the outbox holds.
    #[inline(always)]
    pub(crate) fn with_input(context: &'a mut Context, key: Key, input: &'a [u8]) -> Self {
        Self { context, key, input, is_fresh: true, outcome: Outcome::Nothing }
    }

    #[inline(always)]
    pub(crate) fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Leaves the way of the usual message: from here on the outbox is open to the connection instead, and has what was
    /// written so far, where everybody looks for it.
    #[inline]
    fn leave_usual_way(&mut self) {
        if self.outcome != Outcome::Other {
            self.open_outbox();
        }
    }

    #[inline]
    fn open_outbox(&mut self) {
        self.context.outbox.open_to(self.key);
        self.is_fresh = false;
        match mem::replace(&mut self.outcome, Outcome::Other) {
            Outcome::Echo => self.copy_echo(),
            Outcome::Relay => self.write_relayed(),
            Outcome::Nothing | Outcome::Other => {}
        }
    }

    #[cold]
    fn copy_echo(&mut self) {
        // So that there is room.
        self.context.send_held();
        self.context.outbox.push(self.key, self.input);
    }

    #[cold]
    fn write_relayed(&mut self) {
        if let Some((key, _)) = self.context.outbox.take_relaying() {
            Connection::new(self.context, key).write(self.input);
        }
    }

    fn slot(&mut self) -> &mut ConnectionSlot {
        self.leave_usual_way();
        // What is changed here the dispatcher must look at.
        self.context.disturb();
        if self.context.outbox.is_holding() {
            self.context.send_held();
        }
        self.context.connection_slot(self.key).expect("a connection outlives the callbacks it is lent to")
    }

    /// To look at, which disturbs nothing.
    fn look(&self) -> &ConnectionSlot {
        match self.context.channels.get(self.key) {
            Some(Channel::Connection(slot)) => slot,
            _ => unreachable!("a connection outlives the callbacks it is lent to"),
        }
    }

    /// The other end, as it was when the connection was made. One on its way to a host has none yet: it is
    /// [unnamed](Endpoint::Unnamed).
    pub fn peer_address(&self) -> &Endpoint {
        &self.look().stream.peer
    }

    /// Has the connection known by another peer, for one that comes through a proxy which says who is behind it.
    pub fn set_peer_address(&mut self, peer: impl Into<Endpoint>) {
        self.slot().stream.peer = peer.into();
    }

    /// This end; `None` when the system does not know it any more.
    pub fn local_address(&self) -> Option<Endpoint> {
        self.made_socket()?.local_address().ok()
    }

    /// Who is at the other end of a Unix connection: its process, user and group. `None` for TCP, before the connection is
    /// made, and for a process that this one cannot see, being in another PID namespace. Takes a few
    /// system calls.
    pub fn peer_credentials(&self) -> Option<Credentials> {
        self.made_socket()?.peer_credentials()
    }

    /// The socket, to set options that pants does not offer, or to ask what the kernel knows of it. `None` while a host's
    /// name is resolved and its addresses are tried.
    ///
    /// Reading from it or writing to it gets between the engine and the peer; so does making it block. A copy of the descriptor
    /// keeps the socket open when this end closes, until it is closed too: the peer is told of the end all the same, but if it
    /// is to be told by RST, as after [`abort`](Self::abort), only then.
    pub fn socket(&mut self) -> Option<BorrowedFd<'_>> {
        self.made_socket()?;
        let stream = &mut self.slot().stream;
        stream.is_shared = true;
        Some(stream.transport.socket().as_fd())
    }

    /// The socket, but for one that only stands for it.
    fn made_socket(&self) -> Option<&Socket> {
        let dials = &self.context.dials;
        (!dials.contains_key(&self.key)).then(|| self.look().stream.transport.socket())
    }

    /// The key by which [`Context::connection`] finds this connection again.
    pub fn key(&self) -> ConnectionKey {
        ConnectionKey(self.key)
    }

    /// The server that accepted this connection; `None` for a client's.
    pub fn server(&self) -> Option<ServerKey> {
        self.look().server
    }

    /// How long no byte has come or left, as far as the [idle timeout](crate::ConnectionOptions::idle_timeout) counts it: to the
    /// millisecond, and never more than it was. For whoever judges several connections together, as a proxy does.
    ///
    /// # Examples
    ///
    /// ```
    /// use pants_engine::{Connection, ConnectionOptions, Engine, Handler};
    /// use std::time::Duration;
    ///
    /// struct Quiet;
    ///
    /// impl Handler for Quiet {
    ///     fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {}
    /// }
    ///
    /// let (ours, _theirs) = std::os::unix::net::UnixStream::pair()?;
    /// let mut engine = Engine::new()?;
    /// let key = engine.context().adopt_connection(ours.into(), ConnectionOptions::default(), Quiet)?;
    /// engine.context().defer(Duration::from_millis(10), move |context| {
    ///     let idle = context.connection(key).map(|connection| connection.idle_time());
    ///     assert!(idle >= Some(Duration::from_millis(9)));
    ///     context.stop();
    /// });
    /// engine.start()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn idle_time(&self) -> Duration {
        self.look().stream.idle_time(self.context.clock.tick())
    }

    /// Changes the idle timeout of this connection alone, from its last byte on; `None`, or zero, turns it off.
    ///
    /// # Examples
    ///
    /// ```
    /// use pants_engine::{CloseReason, Connection, Handler};
    /// use std::time::Duration;
    ///
    /// /// Wants to hear something soon, and is patient with whoever has said something.
    /// struct Impatient;
    ///
    /// impl Handler for Impatient {
    ///     fn on_connect(&mut self, connection: &mut Connection<'_>) {
    ///         connection.set_idle_timeout(Some(Duration::from_millis(10)));
    ///     }
    ///
    ///     fn on_read(&mut self, connection: &mut Connection<'_>, _data: &[u8]) {
    ///         connection.set_idle_timeout(Some(Duration::from_secs(60)));
    ///     }
    ///
    ///     fn on_close(&mut self, connection: &mut Connection<'_>, reason: CloseReason) {
    ///         println!("{reason}");
    ///         connection.context().stop();
    ///     }
    /// }
    /// # use std::io::Read;
    /// # let (ours, mut theirs) = std::os::unix::net::UnixStream::pair()?;
    /// # let begun = std::time::Instant::now();
    /// # let mut engine = pants_engine::Engine::new()?;
    /// # engine.context().adopt_connection(ours.into(), Default::default(), Impatient)?;
    /// # engine.start()?;
    /// # assert!(begun.elapsed() >= Duration::from_millis(10));
    /// # assert_eq!(theirs.read(&mut [0])?, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_idle_timeout(&mut self, timeout: Option<Duration>) {
        self.change_options(|options| options.idle_timeout = timeout.filter(|timeout| !timeout.is_zero()));
    }

    /// Changes the read timeout of this connection alone, from the last byte that came on; `None`, or zero, turns it off.
    pub fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.change_options(|options| options.read_timeout = timeout.filter(|timeout| !timeout.is_zero()));
    }

    /// Changes the write-stall timeout of this connection alone; `None`, or zero, turns it off.
    pub fn set_write_stall_timeout(&mut self, timeout: Option<Duration>) {
        self.change_options(|options| options.write_stall_timeout = timeout.filter(|timeout| !timeout.is_zero()));
    }

    /// Changes an option of this connection alone, which from now on has options of its own.
    fn change_options(&mut self, change: impl FnOnce(&mut ConnectionOptions)) {
        change(Rc::make_mut(&mut self.slot().stream.options));
        self.context.rearm(self.key);
    }

    /// Runs `f` with this connection and its handler when `delay` has passed, on the terms of [`Context::defer`]. It is
    /// cancelled when the connection closes.
    ///
    /// # Panics
    ///
    /// When it fires, if `H` is not the handler's type; that ends the connection, as every panic does.
    ///
    /// # Examples
    ///
    /// ```
    /// use pants_engine::{Connection, Handler};
    /// use std::time::Duration;
    ///
    /// struct Greeter;
    ///
    /// impl Handler for Greeter {
    ///     fn on_connect(&mut self, connection: &mut Connection<'_>) {
    ///         connection.defer(Duration::from_millis(10), |_: &mut Greeter, connection| {
    ///             connection.write(b"still there?\n");
    ///             connection.close();
    ///         });
    ///     }
    ///
    ///     fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {}
    /// #
    /// #     fn on_close(&mut self, connection: &mut Connection<'_>, _reason: pants_engine::CloseReason) {
    /// #         connection.context().stop();
    /// #     }
    /// }
    /// # use std::io::Read;
    /// # let (ours, mut theirs) = std::os::unix::net::UnixStream::pair()?;
    /// # let mut engine = pants_engine::Engine::new()?;
    /// # engine.context().adopt_connection(ours.into(), Default::default(), Greeter)?;
    /// # let peer = std::thread::spawn(move || {
    /// #     let mut heard = String::new();
    /// #     theirs.read_to_string(&mut heard).map(|_| heard)
    /// # });
    /// # engine.start()?;
    /// # assert_eq!(peer.join().unwrap()?, "still there?\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn defer<H: Handler>(
        &mut self,
        delay: Duration,
        f: impl FnOnce(&mut H, &mut Connection<'_>) + 'static,
    ) -> TimerKey {
        self.defer_any(delay, |handler, connection| {
            let actual = handler.type_name();
            match (handler as &mut dyn Any).downcast_mut::<H>() {
                Some(handler) => f(handler, connection),
                None => panic!("a timer for handler {} met {actual}", type_name::<H>()),
            }
        })
    }

    /// As [`defer`](Self::defer), for code that does not know whose connection this is: if the handler is none of type `H`,
    /// nothing comes of it.
    pub fn defer_if<H: Handler>(
        &mut self,
        delay: Duration,
        f: impl FnOnce(&mut H, &mut Connection<'_>) + 'static,
    ) -> TimerKey {
        self.defer_any(delay, |handler, connection| {
            if let Some(handler) = (handler as &mut dyn Any).downcast_mut::<H>() {
                f(handler, connection);
            }
        })
    }

    fn defer_any(
        &mut self,
        delay: Duration,
        run: impl FnOnce(&mut dyn Handler, &mut Connection<'_>) + 'static,
    ) -> TimerKey {
        let task = Task::Handler(Box::new(HandlerTask { connection: self.key, run: Box::new(run) }));
        let timer = self.context.insert_after(delay, task);
        self.slot().timers.get_or_insert_default().push(timer);
        timer
    }

    /// The engine: its timers and its other channels.
    pub fn context(&mut self) -> &mut Context {
        self.leave_usual_way();
        self.context
    }

    /// Has the connection driven after this, if its own callback is not what runs.
    fn touch(&mut self) {
        if self.context.running != Running::Connection(self.key) {
            self.context.schedule(self.key);
        }
    }
}

impl fmt::Debug for Connection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("key", &self.key).finish_non_exhaustive()
    }
}
