//! The engine's error: which operation failed, on what address, and why.

use std::fmt;
use std::io;

use crate::framing::framer::FrameError;
use crate::net::address::{Address, AddressError};
use crate::net::endpoint::Endpoint;

/// The result of the engine's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong in an engine.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An address could not be understood.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// An option has a value that cannot be, or two contradict each other.
    #[error("options: {0}")]
    Options(&'static str),
    /// The operating system refused the engine's poller or its waker.
    #[error("cannot create the engine: {0}")]
    Create(#[source] io::Error),
    /// Waiting for events failed.
    #[error("cannot wait for events: {0}")]
    Poll(#[source] io::Error),
    /// A server could not be bound to its address or could not listen there.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where it was to listen.
        address: Address,
        /// What the operating system said.
        source: io::Error,
    },
    /// A server failed to accept a connection; the server goes on.
    #[error("cannot accept on {address}: {source}")]
    Accept {
        /// Where the server listens.
        address: Address,
        /// What the operating system said.
        source: io::Error,
    },
    /// A connection could not be made.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// What it was to reach.
        address: Address,
        /// What the operating system said; [`io::ErrorKind::TimedOut`] when the connect timeout passed.
        source: io::Error,
    },
    /// A datagram channel could not be bound to its address.
    #[error("cannot bind a datagram channel to {address}: {source}")]
    Bind {
        /// What it was to be bound to.
        address: Address,
        /// What the operating system said.
        source: io::Error,
    },
    /// A datagram could not be sent, and was dropped; the channel goes on.
    #[error("cannot send a datagram to {to}: {source}")]
    Send {
        /// Whom it was for; [`Endpoint::Unnamed`] if nobody was named, on a channel that is not connected.
        to: Endpoint,
        /// What the operating system said.
        source: io::Error,
    },
    /// Reading a datagram channel failed, which on a connected one says that an earlier datagram was refused; the channel
    /// goes on.
    #[error("cannot receive datagrams at {local}: {source}")]
    Receive {
        /// This end.
        local: Endpoint,
        /// What the operating system said.
        source: io::Error,
    },
    /// A Unix datagram was too long for the read buffer, and was dropped; the channel goes on.
    #[error("a datagram of {length} bytes from {from} is longer than the read buffer")]
    Truncated {
        /// Who sent it.
        from: Endpoint,
        /// Its length in bytes.
        length: usize,
    },
    /// A socket that was made elsewhere could not be taken over.
    #[error("cannot adopt the socket: {0}")]
    Adopt(#[source] io::Error),
    /// An established connection failed.
    #[error("connection with {peer}: {source}")]
    Connection {
        /// The other end.
        peer: Endpoint,
        /// What the operating system said.
        source: io::Error,
    },
    /// What the peer has sent cannot be cut into frames by the connection's delimiter.
    #[error("input from {peer}: {source}")]
    Frame {
        /// The other end.
        peer: Endpoint,
        /// What is wrong with it.
        source: FrameError,
    },
    /// The engine is closing every channel, and begins no new one.
    #[error("the engine is stopping")]
    Stopping,
    /// A cycle was asked for with an interval of zero.
    #[error("a cycle's interval must be longer than zero")]
    ZeroInterval,
    /// A server's key that names no server that waits to be opened.
    #[error("there is no such server, or it is open already")]
    NoServer,
}

/// As its display: what a `main` that returns it prints.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
