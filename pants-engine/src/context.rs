//! What a callback may ask of its engine: timers, other channels, listening, connecting, stopping.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::buffer::outbox::Outbox;
use crate::channel::server::Server;
use crate::channel::state::Flags;
use crate::channel::stream::Stream;
use crate::clock::{Clock, Tick};
use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::handler::{Acceptor, Handler};
use crate::key::{ConnectionKey, Key, ServerKey, TimerKey};
use crate::limits;
use crate::net::address::{Address, ToAddress};
use crate::net::socket::Socket;
use crate::options::{ConnectionOptions, EngineOptions, ServerOptions};
use crate::poll::Registrar;
use crate::remote::Remote;
use crate::slab::Slab;
use crate::slots::{Channel, ConnectionSlot, Cycle, Drain, ServerSlot, Task};
use crate::stats::Stats;
use crate::timers::Timers;

/// An engine, as its callbacks see it.
///
/// Nothing here runs a callback: what is asked for happens after the present callback has returned.
pub struct Context {
    pub(crate) registrar: Registrar,
    pub(crate) channels: Slab<Channel>,
    pub(crate) timers: Timers<Task>,
    pub(crate) clock: Clock,
    pub(crate) stats: Stats,
    pub(crate) outbox: Outbox,
    /// Channels that have work left though no event will say so. Each is here at most once.
    pub(crate) ready: VecDeque<Key>,
    /// The handlers of connections that callbacks have begun, on their way to the dispatcher.
    pub(crate) new_handlers: Vec<(Key, Box<dyn Handler>)>,
    /// Whose callback runs, unless the outbox is open to a connection: then it is that.
    pub(crate) running: Running,
    pub(crate) stopping: bool,
    pub(crate) drain: Option<Drain>,
    pub(crate) options: EngineOptions,
    pub(crate) remote: Remote,
}

/// Whose callback runs: whom a panic is charged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Running {
    Nobody,
    Connection(Key),
    Server(Key),
    Timer(TimerKey),
}

impl Context {
    pub(crate) fn new(registrar: Registrar, options: EngineOptions, remote: Remote) -> Self {
        Self {
            registrar,
            channels: Slab::new(),
            timers: Timers::new(),
            clock: Clock::new(),
            stats: Stats::default(),
            outbox: Outbox::new(),
            ready: VecDeque::new(),
            new_handlers: Vec::new(),
            running: Running::Nobody,
            stopping: false,
            drain: None,
            options,
            remote,
        }
    }

    /// Starts a server at `address` with default options; see [`listen_with`](Self::listen_with).
    pub fn listen(&mut self, address: impl ToAddress, acceptor: impl Acceptor) -> Result<ServerKey> {
        self.listen_with(address, ServerOptions::default(), acceptor)
    }

    /// Starts a server: binds, listens, and accepts from the next turn on.
    ///
    /// # Errors
    ///
    /// If the address is not understood, the options contradict each other, or the operating system refuses, for example
    /// because the port is in use.
    pub fn listen_with(
        &mut self,
        address: impl ToAddress,
        options: ServerOptions,
        acceptor: impl Acceptor,
    ) -> Result<ServerKey> {
        let key = self.bind(address, options, acceptor)?;
        self.open(key).inspect_err(|_| drop(self.channels.remove(key.0)))?;
        Ok(key)
    }

    /// Makes a server that is bound to its address but does not listen; [`open`](Self::open) makes it.
    ///
    /// In between, other sockets can be bound to the same address before any of them accepts.
    ///
    /// # Errors
    ///
    /// As [`listen_with`](Self::listen_with).
    pub fn bind(
        &mut self,
        address: impl ToAddress,
        options: ServerOptions,
        acceptor: impl Acceptor,
    ) -> Result<ServerKey> {
        options.check()?;
        let address: Address = address.to_address()?;
        let (socket, address) = Socket::bind_address(&address, options.reuse_port)
            .map_err(|(address, source)| Error::Listen { address, source })?;
        // Accepted sockets inherit it, which saves a system call each.
        socket.set_nodelay(options.connection.nodelay).map_err(|source| Error::Listen { address, source })?;
        let server = Server::new(socket, address, options);
        let slot = ServerSlot { server, acceptor: Some(Box::new(acceptor)), scheduled: false };
        Ok(ServerKey(self.channels.insert(Channel::Server(Box::new(slot)))))
    }

    /// Whether `address` is free: binds a socket there that shares with nobody, and lets it go.
    ///
    /// With `SO_REUSEPORT` a second program of the same user can bind a port that is in use, and takes a part of its
    /// connections; this finds the first.
    ///
    /// # Errors
    ///
    /// If the address is not understood, or cannot be bound, with what the operating system said.
    pub fn probe(&self, address: impl ToAddress) -> Result<()> {
        let bound = Socket::bind_address(&address.to_address()?, false);
        bound.map(drop).map_err(|(address, source)| Error::Listen { address, source })
    }

    /// Lets a bound server listen and accept. Its [`on_listen`](Acceptor::on_listen) comes in the next turn.
    ///
    /// # Errors
    ///
    /// If there is no such server, it is open already, or the operating system refuses; then the server stays bound.
    pub fn open(&mut self, key: ServerKey) -> Result<()> {
        let Some(Channel::Server(slot)) = self.channels.get_mut(key.0) else { return Err(Error::NoServer) };
        let server = &mut slot.server;
        if server.open {
            return Err(Error::NoServer);
        }
        let address = server.address;
        server
            .socket
            .listen(server.options.backlog)
            .and_then(|()| self.registrar.register_listener(std::os::fd::AsFd::as_fd(&server.socket), key.0))
            .map_err(|source| Error::Listen { address, source })?;
        server.open = true;
        self.callback(move |context| context.announce(key));
        Ok(())
    }

    fn announce(&mut self, key: ServerKey) {
        if let Some(Channel::Server(slot)) = self.channels.get_mut(key.0) {
            let address = slot.server.address;
            if let Some(acceptor) = &mut slot.acceptor {
                acceptor.on_listen(address);
            }
        }
    }

    /// Closes a server; its connections stay. [`Acceptor::on_close`] comes after the present callback. A stale key does
    /// nothing.
    pub fn close_server(&mut self, key: ServerKey) {
        self.callback(move |context| {
            if let Some(Channel::Server(slot)) = context.channels.remove(key.0)
                && let Some(mut acceptor) = slot.acceptor
            {
                acceptor.on_close();
            }
        });
    }

    /// Where a server listens: the port it was given, if it asked for port 0.
    pub fn server_address(&self, key: ServerKey) -> Option<SocketAddr> {
        match self.channels.get(key.0) {
            Some(Channel::Server(slot)) => Some(slot.server.address),
            _ => None,
        }
    }

    /// The connections of a server that are open now, in no particular order. Takes time in proportion to the engine's
    /// channels.
    pub fn connections(&self, key: ServerKey) -> Vec<ConnectionKey> {
        let of_server = |channel: &Channel| matches!(channel, Channel::Connection(slot) if slot.server == Some(key));
        self.channels.iter().filter(|(_, channel)| of_server(channel)).map(|(key, _)| ConnectionKey(key)).collect()
    }

    /// Begins to connect to `address` with default options; see [`connect_with`](Self::connect_with).
    pub fn connect(&mut self, address: SocketAddr, handler: impl Handler) -> Result<ConnectionKey> {
        self.connect_with(address, ConnectionOptions::default(), handler)
    }

    /// Begins to connect to `address`; [`Handler::on_connect`] or [`Handler::on_connect_error`] says how it went. What is
    /// written before that waits.
    ///
    /// # Errors
    ///
    /// If the options contradict each other or the operating system refuses at once, for example because descriptors have
    /// run out. Then the handler is dropped and gets no callback.
    pub fn connect_with(
        &mut self,
        address: SocketAddr,
        options: ConnectionOptions,
        handler: impl Handler,
    ) -> Result<ConnectionKey> {
        options.check()?;
        let nodelay = options.nodelay;
        let started = Socket::connect(address).and_then(|socket| socket.set_nodelay(nodelay).map(|()| socket));
        let socket = started.map_err(|source| Error::Connect { address, source })?;
        let stream = Stream::connecting(socket, address, Rc::new(options), self.clock.tick());
        let key = self
            .insert_connection(ConnectionSlot::new(stream, None))
            .map_err(|source| Error::Connect { address, source })?;
        self.new_handlers.push((key, Box::new(handler)));
        self.stats.connections_started += 1;
        Ok(ConnectionKey(key))
    }

    /// Adds a connection, registers its socket and arms its timeouts.
    pub(crate) fn insert_connection(&mut self, slot: ConnectionSlot) -> std::io::Result<Key> {
        let key = self.channels.insert(Channel::Connection(slot));
        let Some(Channel::Connection(slot)) = self.channels.get_mut(key) else { unreachable!("it was just inserted") };
        slot.stream.flags.set(Flags::DRAIN_DUE.or(Flags::READABLE).when(self.drain.is_some()));
        let fd = std::os::fd::AsFd::as_fd(&slot.stream.transport);
        if let Err(error) = self.registrar.register_stream(fd, key) {
            self.channels.remove(key);
            return Err(error);
        }
        self.stats.connections_open += 1;
        self.rearm(key);
        Ok(key)
    }

    /// A connection by its key, to write to it or close it; `None` when it has closed.
    pub fn connection(&mut self, key: ConnectionKey) -> Option<Connection<'_>> {
        match self.channels.get(key.0) {
            Some(Channel::Connection(slot)) if !slot.ended => Some(Connection::new(self, key.0)),
            _ => None,
        }
    }

    /// Runs `f` in the next turn. The original's `callback`.
    pub fn callback(&mut self, f: impl FnOnce(&mut Self) + 'static) -> TimerKey {
        self.timers.insert_next_turn(Task::Once(Box::new(f)))
    }

    /// Runs `f` in every turn, the next one first; while it exists the engine sleeps no longer than
    /// [`longest_turn`](EngineOptions::longest_turn). The original's `loop`, which is a keyword in Rust.
    pub fn every_turn(&mut self, f: impl FnMut(&mut Self) + 'static) -> TimerKey {
        self.timers.insert_every_turn(Task::EveryTurn(Box::new(f)))
    }

    /// Runs `f` when `delay` has passed since this call: never before, and as long after as the turn at hand takes, the
    /// resolution being 1 ms. No delay means the next turn; one past the end of time never ends.
    ///
    /// Reads the clock, since the turn's own reading is older than the call.
    pub fn defer(&mut self, delay: Duration, f: impl FnOnce(&mut Self) + 'static) -> TimerKey {
        self.insert_after(delay, Task::Once(Box::new(f)))
    }

    /// Runs `f` at `instant`, or in the next turn if that has passed; otherwise as [`defer`](Self::defer).
    pub fn defer_until(&mut self, instant: Instant, f: impl FnOnce(&mut Self) + 'static) -> TimerKey {
        self.defer(instant.saturating_duration_since(Instant::now()), f)
    }

    /// Runs `f` every `interval`, for the first time when one has passed. The rate is fixed: lateness does not add up, and
    /// what was missed altogether is skipped.
    ///
    /// # Errors
    ///
    /// [`Error::ZeroInterval`] if `interval` is zero.
    pub fn cycle(&mut self, interval: Duration, f: impl FnMut(&mut Self) + 'static) -> Result<TimerKey> {
        if interval.is_zero() {
            return Err(Error::ZeroInterval);
        }
        let due = self.clock.fresh().saturating_add(interval);
        let cycle = Cycle { due, interval, run: Box::new(f) };
        Ok(self.timers.insert(Tick::at_or_after(due), Task::Cycle(Box::new(cycle))))
    }

    pub(crate) fn insert_after(&mut self, delay: Duration, task: Task) -> TimerKey {
        if delay.is_zero() {
            return self.timers.insert_next_turn(task);
        }
        self.timers.insert(Tick::at_or_after(self.clock.fresh().saturating_add(delay)), task)
    }

    /// Cancels a timer and frees what it holds. Returns whether it was pending; one that has fired or was cancelled before
    /// is left alone. A repeating timer may cancel itself.
    pub fn cancel(&mut self, timer: TimerKey) -> bool {
        match self.timers.remove(timer) {
            Some(Task::Handler(task)) => {
                self.forget_handler_timer(task.connection, timer);
                true
            }
            task => task.is_some(),
        }
    }

    pub(crate) fn forget_handler_timer(&mut self, connection: Key, timer: TimerKey) {
        if let Some(slot) = self.connection_slot(connection)
            && let Some(timers) = &mut slot.timers
        {
            timers.retain(|known| *known != timer);
            if timers.is_empty() {
                slot.timers = None;
            }
        }
    }

    /// When the present turn began, by the monotonic clock. All callbacks of a turn see the same time.
    pub fn now(&self) -> Instant {
        self.clock.instant()
    }

    /// What the engine has done so far.
    pub fn stats(&self) -> Stats {
        Stats { timers_pending: self.timers.len() as u64, ..self.stats }
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
    /// and is then told by [`Handler::on_drain`], which by default sends what is queued and then FIN. From half of the
    /// deadline on connections that are still busy are told too; what remains at the deadline is closed. Then
    /// [`Engine::start`](crate::Engine::start) returns. A second call can only bring the deadline forward.
    pub fn drain(&mut self, deadline: Duration) {
        let now = self.clock.fresh();
        let last = Tick::at_or_after(now.saturating_add(deadline));
        let first = self.drain.is_none();
        let drain = self.drain.get_or_insert(Drain { impatient: false, deadline: last });
        drain.deadline = drain.deadline.min(last);
        self.timers.insert(Tick::at_or_after(now.saturating_add(deadline / 2)), Task::DrainDeadline { last: false });
        self.timers.insert(last, Task::DrainDeadline { last: true });
        if first {
            let keys: Vec<Key> = self.channels.iter().map(|(key, _)| key).collect();
            for key in keys {
                match self.channels.get_mut(key) {
                    Some(Channel::Connection(slot)) => {
                        slot.stream.flags.set(Flags::DRAIN_DUE.or(Flags::READABLE));
                    }
                    Some(Channel::Server(slot)) => slot.server.ready = true,
                    None => {}
                }
                self.schedule(key);
            }
        }
    }

    /// Whether the engine drains.
    pub fn is_draining(&self) -> bool {
        self.drain.is_some()
    }

    /// Whether the engine drains and no channel is left.
    pub fn is_drained(&self) -> bool {
        self.drain.is_some() && self.channels.len() == 0
    }

    #[inline]
    pub(crate) fn connection_slot(&mut self, key: Key) -> Option<&mut ConnectionSlot> {
        match self.channels.get_mut(key) {
            Some(Channel::Connection(slot)) => Some(slot),
            _ => None,
        }
    }

    pub(crate) fn server_slot(&mut self, key: Key) -> Option<&mut ServerSlot> {
        match self.channels.get_mut(key) {
            Some(Channel::Server(slot)) => Some(slot),
            _ => None,
        }
    }

    /// Has a channel driven once more, in this turn or the next.
    pub(crate) fn schedule(&mut self, key: Key) {
        let scheduled = match self.channels.get_mut(key) {
            Some(Channel::Connection(slot)) => &mut slot.scheduled,
            Some(Channel::Server(slot)) => &mut slot.scheduled,
            None => return,
        };
        if !std::mem::replace(scheduled, true) {
            self.ready.push_back(key);
        }
    }

    /// Ends the short way of the connection whose callback runs: from here on its state must be looked at.
    #[inline]
    pub(crate) fn disturb(&mut self) {
        if let Some(key) = self.outbox.shut() {
            self.running = Running::Connection(key);
        }
    }

    /// Sends what the outbox holds. What becomes of it is for the owner's next drive, unless that is running anyway.
    pub(crate) fn flush_outbox(&mut self) {
        let Some(owner) = self.outbox.owner() else { return };
        self.disturb();
        if let Some(Channel::Connection(slot)) = self.channels.get_mut(owner) {
            slot.stream.send(self.outbox.bytes(), &self.clock, &mut self.stats);
        }
        self.outbox.clear();
        if self.running != Running::Connection(owner) {
            self.schedule(owner);
        }
    }

    /// Sets a connection's one timer to its nearest deadline.
    pub(crate) fn rearm(&mut self, key: Key) {
        let Some(Channel::Connection(slot)) = self.channels.get_mut(key) else { return };
        slot.stream.flags.clear(Flags::REARM_DUE);
        match (slot.stream.next_deadline(), slot.deadline_timer) {
            // Deadlines that move back, as with every byte, wait until the timer fires.
            (Some((tick, _)), Some(timer)) if self.timers.deadline(timer).is_some_and(|armed| armed <= tick) => {}
            (Some((tick, _)), Some(timer)) => self.timers.arm(timer, tick),
            (Some((tick, _)), None) => {
                slot.deadline_timer = Some(self.timers.insert(tick, Task::ConnectionDeadline(key)));
            }
            (None, Some(timer)) => {
                slot.deadline_timer = None;
                self.timers.remove(timer);
            }
            (None, None) => {}
        }
    }

    /// Whether there is something to do that no event will announce.
    pub(crate) fn has_work(&self) -> bool {
        self.stopping || !self.ready.is_empty() || self.timers.next_turn_len() > 0
    }

    /// How long the engine may sleep before one of its own timers needs it.
    ///
    /// Measured from the turn's reading of the clock, which is a little old; where that would matter it is read again.
    pub(crate) fn time_to_sleep(&self) -> Duration {
        if self.has_work() {
            return Duration::ZERO;
        }
        let bound = if self.timers.has_every_turn() { self.options.longest_turn } else { limits::LONGEST_SLEEP };
        let Some(next) = self.timers.next_tick() else { return bound };
        let mut left = next.since(self.clock.now());
        if !left.is_zero() && left < limits::FRESH_CLOCK_WITHIN {
            left = next.since(self.clock.fresh());
        }
        left.min(bound)
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("channels", &self.channels.len()).field("stats", &self.stats()).finish()
    }
}
