//! One connection, as a callback sees it.

mod input;
mod output;

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use crate::context::{Context, Running};
use crate::handler::Handler;
use crate::key::{ConnectionKey, Key, ServerKey, TimerKey};
use crate::net::endpoint::Endpoint;
use crate::options::ConnectionOptions;
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

    /// The other end, as it was when the connection was made.
    pub fn peer_address(&self) -> &Endpoint {
        &self.look().stream.peer
    }

    /// Has the connection known by another peer, for one that comes through a proxy which says who is behind it.
    pub fn set_peer_address(&mut self, peer: impl Into<Endpoint>) {
        self.slot().stream.peer = peer.into();
    }

    /// This end; `None` when the system does not know it any more.
    pub fn local_address(&self) -> Option<Endpoint> {
        self.look().stream.transport.socket().local_address().ok()
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
