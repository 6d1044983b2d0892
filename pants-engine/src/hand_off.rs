//! A connection on its way from one engine to another: what travels, and what stays behind until it has arrived.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use crate::buffer::write::WriteQueue;
use crate::channel::state::Flags;
use crate::clock::{Clock, Tick};
use crate::context::Context;
use crate::framing::driver::Framing;
use crate::handler::Handler;
use crate::key::ServerKey;
use crate::net::endpoint::Endpoint;
use crate::options::ConnectionOptions;
use crate::transport::Transport;

/// A connection without an engine: its socket, the bytes that were not read or not written yet, its delimiter, options and
/// timeouts. It can be sent to another thread, whose engine [attaches](Context::attach) it.
///
/// Dropped, it closes the socket; what was queued is lost.
pub struct Detached(pub(crate) Box<Luggage>);

/// What a [`Detached`] holds.
pub(crate) struct Luggage {
    pub(crate) transport: Transport,
    pub(crate) flags: Flags,
    pub(crate) peer: Endpoint,
    pub(crate) options: ConnectionOptions,
    pub(crate) queue: Option<Box<WriteQueue>>,
    pub(crate) framing: Option<Box<Framing>>,
    pub(crate) heard: Age,
    pub(crate) spoke: Age,
    pub(crate) since: Age,
    pub(crate) is_shared: bool,
}

/// How long ago something was, whatever engine's clock it was read from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Age {
    age: Duration,
    read: Instant,
}

/// What stays of a [detached](crate::Connection::detach) connection: its handler, and which server it belongs to. Dropped when
/// the connection has arrived elsewhere, it drops the handler, whose [`on_close`](Handler::on_close) does not come.
pub struct LeftBehind {
    pub(crate) handler: Box<dyn Handler>,
    pub(crate) server: Option<ServerKey>,
}

/// What runs between callbacks when a connection has left its engine.
pub(crate) type Departure = Box<dyn FnOnce(&mut Context, Detached, LeftBehind)>;

/// Why a connection was not taken over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandOffError {
    /// The server there has as many connections as it may have, or the way there was full.
    #[error("it has no room there")]
    Full,
    /// The engine there is stopping, or has stopped.
    #[error("it is stopping there")]
    Stopping,
    /// The new handler could not be made: that panicked.
    #[error("making its handler panicked there")]
    Panicked,
    /// The operating system refused to watch the socket there.
    #[error("it cannot be watched there: {0}")]
    Failed(io::ErrorKind),
}

/// A connection that was refused, and why. Boxed by what it holds, so that it is cheap to return.
#[derive(Debug)]
pub struct Refused {
    /// The connection, as it was.
    pub connection: Detached,
    /// Why.
    pub error: HandOffError,
}

impl Age {
    pub(crate) fn of(tick: Tick, clock: &Clock) -> Self {
        Self { age: clock.now().saturating_sub(tick.begins()), read: clock.instant() }
    }

    /// The tick of `clock` at which it was; at the earliest the clock's origin.
    pub(crate) fn to_tick(self, clock: &Clock) -> Tick {
        let past = clock.at(self.read).saturating_sub(self.age).min(clock.now());
        Tick(u64::try_from(past.as_millis()).unwrap_or(u64::MAX))
    }
}

impl Detached {
    /// The other end.
    pub fn peer_address(&self) -> &Endpoint {
        &self.0.peer
    }
}

impl LeftBehind {
    /// The server whose connection it was; `None` for a client's.
    pub fn server(&self) -> Option<ServerKey> {
        self.server
    }
}

impl fmt::Debug for Detached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Detached").field("peer", &self.0.peer).finish_non_exhaustive()
    }
}

impl fmt::Debug for LeftBehind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeftBehind").field("handler", &self.handler.type_name()).finish_non_exhaustive()
    }
}

/// That it can be sent is what it is for.
const _: fn() = || {
    fn assert_send<T: Send>() {}
    assert_send::<Detached>();
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_the_same_by_any_clock() {
        let (from, mut to) = (Clock::new(), Clock::new());
        to.read();
        let at = |read, age| Age { age: Duration::from_millis(age), read }.to_tick(&to);
        assert_eq!(at(to.instant(), 0), to.tick());
        assert_eq!(at(to.instant(), 1_000), Tick(0), "before the clock began it is its beginning");
        // What was on the way for longer was longer ago, and nothing comes from the future.
        assert_eq!(at(to.instant() + Duration::from_secs(1), 0), to.tick());
        assert!(at(from.instant(), 0) <= to.tick());
        let age = Age::of(from.tick(), &from);
        assert_eq!((age.age, age.read), (from.now(), from.instant()));
    }
}
