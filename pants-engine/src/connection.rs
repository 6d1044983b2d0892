//! One connection, as a callback sees it.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::Duration;

use crate::channel::state::{CloseReason, Flags};
use crate::context::{Context, Running};
use crate::handler::Handler;
use crate::key::{ConnectionKey, Key, ServerKey, TimerKey};
use crate::net::credentials::Credentials;
use crate::net::endpoint::Endpoint;
use crate::slots::{Channel, ConnectionSlot, HandlerTask, Task};

/// A connection within a callback: what can be asked of it, and the way to its engine.
///
/// It is there for as long as it is borrowed; to reach the connection later keep its [`key`](Self::key).
pub struct Connection<'a> {
    context: &'a mut Context,
    /// Invariant: names a connection that is in `context`.
    key: Key,
}

impl<'a> Connection<'a> {
    pub(crate) fn new(context: &'a mut Context, key: Key) -> Self {
        Self { context, key }
    }

    fn slot(&mut self) -> &mut ConnectionSlot {
        // What is changed here the dispatcher must look at.
        self.context.disturb();
        self.context.connection_slot(self.key).expect("a connection outlives the callbacks it is lent to")
    }

    /// To look at, which disturbs nothing.
    fn look(&self) -> &ConnectionSlot {
        match self.context.channels.get(self.key) {
            Some(Channel::Connection(slot)) => slot,
            _ => unreachable!("a connection outlives the callbacks it is lent to"),
        }
    }

    /// Writes `data` behind everything written before; it is copied or sent before this returns.
    ///
    /// Small writes of one callback leave together when it returns. What the kernel will not take is queued, and leaves as
    /// soon as it will; [`on_write`](Handler::on_write) says when all has left.
    ///
    /// Returns whether `data` was taken. It is not after [`close`](Self::close), [`shutdown_write`](Self::shutdown_write)
    /// or the connection's end; nor when it is longer than [`write_cap`](crate::ConnectionOptions::write_cap) or the queue would
    /// be, which ends the connection.
    pub fn write(&mut self, data: &[u8]) -> bool {
        self.context.outbox.push_if_open(self.key, data) || self.write_past_outbox(data)
    }

    /// The outbox is full or another's, or the connection must be looked at before it may be written to.
    #[inline(never)]
    fn write_past_outbox(&mut self, data: &[u8]) -> bool {
        let stream = &mut self.slot().stream;
        if data.is_empty() || !stream.accepts_output() {
            return stream.accepts_output();
        }
        if stream.can_send() && self.context.outbox.push(self.key, data) {
            return true;
        }
        // Its own bytes before these, and another's out of the way.
        self.context.flush_outbox();
        self.touch();
        let Context { channels, outbox, clock, stats, .. } = &mut *self.context;
        let Some(Channel::Connection(slot)) = channels.get_mut(self.key) else { return false };
        let stream = &mut slot.stream;
        if stream.queued().saturating_add(data.len()) > stream.options.write_cap {
            stream.flags.set(Flags::OVERFLOWED);
        } else if !stream.can_send() || !outbox.push(self.key, data) {
            stream.send(data, clock, stats);
        }
        !stream.flags.any(Flags::OVERFLOWED.or(Flags::DOOMED))
    }

    /// Closes in good order: what was written leaves, then FIN; nothing more is read. When the peer's FIN has come too, or
    /// 5 s later, [`on_close`](Handler::on_close) comes with [`CloseReason::Finished`].
    ///
    /// Input that arrives meanwhile is discarded: closing the descriptor over unread input would send RST, and RST
    /// destroys a reply that is still on its way (RFC 9112, section 9.6).
    pub fn close(&mut self) {
        let now = self.context.clock.tick();
        self.slot().stream.want_close(now);
        self.touch();
    }

    /// Closes at once with RST; what is queued is lost. [`on_close`](Handler::on_close) comes with
    /// [`CloseReason::Aborted`] after the present callback.
    pub fn abort(&mut self) {
        self.slot().stream.doom(CloseReason::Aborted);
        self.touch();
    }

    /// Sends FIN after what was written, and goes on reading: a half-close. When the peer has sent its own FIN,
    /// [`on_end`](Handler::on_end) comes and the connection closes.
    pub fn shutdown_write(&mut self) {
        self.slot().stream.want_fin();
        self.touch();
    }

    /// Stops reading: not even the data at hand is followed by more. The kernel's buffer fills, and then the peer waits.
    pub fn pause_reading(&mut self) {
        self.slot().stream.flags.set(Flags::PAUSED_BY_USER);
    }

    /// Goes on reading, from this turn or the next.
    pub fn resume_reading(&mut self) {
        self.slot().stream.flags.clear(Flags::PAUSED_BY_USER);
        self.touch();
    }

    /// Says whether [`on_write`](Handler::on_write) need not be called on this connection any more. The default `on_write`
    /// says so.
    pub fn ignore_on_write(&mut self, ignore: bool) {
        let flags = &mut self.slot().stream.flags;
        flags.clear(Flags::ON_WRITE_UNHEARD);
        flags.set(Flags::ON_WRITE_UNHEARD.when(ignore));
    }

    /// Bytes written that the kernel has not taken yet.
    pub fn queued_bytes(&self) -> usize {
        self.look().stream.queued() + self.context.outbox.len_of(self.key)
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
        self.look().stream.transport.socket()?.local_address().ok()
    }

    /// Who is at the other end of a Unix connection: its process, user and group. `None` for TCP, before the connection is
    /// made, and for a process that this one cannot see, being in another PID namespace. Takes a few
    /// system calls.
    pub fn peer_credentials(&self) -> Option<Credentials> {
        self.look().stream.transport.socket()?.peer_credentials()
    }

    /// The socket, to set options that pants does not offer, or to ask what the kernel knows of it. `None` while a host's
    /// name is resolved and its addresses are tried.
    ///
    /// Reading from it or writing to it gets between the engine and the peer; so does making it block.
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        Some(self.look().stream.transport.socket()?.as_fd())
    }

    /// The key by which [`Context::connection`] finds this connection again.
    pub fn key(&self) -> ConnectionKey {
        ConnectionKey(self.key)
    }

    /// The server that accepted this connection; `None` for a client's.
    pub fn server(&self) -> Option<ServerKey> {
        self.look().server
    }

    /// Changes the idle timeout of this connection alone, from its last byte on; `None`, or zero, turns it off.
    pub fn set_idle_timeout(&mut self, timeout: Option<Duration>) {
        let timeout = timeout.filter(|timeout| !timeout.is_zero());
        let stream = &mut self.slot().stream;
        Rc::make_mut(&mut stream.options).idle_timeout = timeout;
        self.context.rearm(self.key);
    }

    /// Changes the write-stall timeout of this connection alone; `None`, or zero, turns it off.
    pub fn set_write_stall_timeout(&mut self, timeout: Option<Duration>) {
        let timeout = timeout.filter(|timeout| !timeout.is_zero());
        let stream = &mut self.slot().stream;
        Rc::make_mut(&mut stream.options).write_stall_timeout = timeout;
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
    ///         connection.defer(Duration::from_secs(1), |_: &mut Greeter, connection| {
    ///             connection.write(b"still there?\n");
    ///         });
    ///     }
    ///
    ///     fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {}
    /// }
    /// ```
    pub fn defer<H: Handler>(
        &mut self,
        delay: Duration,
        f: impl FnOnce(&mut H, &mut Connection<'_>) + 'static,
    ) -> TimerKey {
        let run = Box::new(|handler: &mut dyn Handler, connection: &mut Connection<'_>| {
            let actual = handler.type_name();
            match (handler as &mut dyn std::any::Any).downcast_mut::<H>() {
                Some(handler) => f(handler, connection),
                None => panic!("a timer for handler {} met {actual}", std::any::type_name::<H>()),
            }
        });
        let task = Task::Handler(Box::new(HandlerTask { connection: self.key, run }));
        let timer = self.context.insert_after(delay, task);
        self.slot().timers.get_or_insert_default().push(timer);
        timer
    }

    /// The engine: its timers and its other channels.
    pub fn context(&mut self) -> &mut Context {
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
