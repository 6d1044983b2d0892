//! What the load needs to know of a connection, whatever is said on it and whatever carries that.

use std::rc::Rc;

use pants_shard::{Context, EngineError};

use crate::load::conversation::Stamp;
use crate::load::worker::Worker;

/// What is said on one connection: which message is next, and which are in flight. Pure.
pub trait Talk {
    /// The next message, if there is to be one now; it is in flight from now on.
    fn take_next(&mut self, stamp: Stamp) -> Option<&[u8]>;

    /// The latest message was refused on this side.
    fn take_back(&mut self) {}

    /// Whether a message may be sent: fewer are in flight than may be, and not all that are to be sent now have been.
    fn may_send(&self) -> bool;

    /// How many messages may be in flight.
    fn depth(&self) -> usize;

    /// How many messages are in flight.
    fn in_flight(&self) -> usize;

    /// The stamp of the message in flight that was sent first.
    fn oldest(&self) -> Option<Stamp>;

    /// When each message in flight was due and sent.
    fn waiting(&self) -> impl Iterator<Item = Stamp>;

    /// Whether the socket has carried its share, or every message has been sent.
    fn is_spent(&self) -> bool;

    /// Whether every message has been sent.
    fn is_complete(&self) -> bool;

    /// The socket is gone, and with it what was in flight.
    fn lose(&mut self);

    /// Goes on over a new socket, on which nothing has been said, as `fresh` would. What was in flight on the old one is lost.
    fn renew(&mut self, fresh: Self);
}

/// A talk with what carries it.
pub trait Carried: Talk + Sized + 'static {
    /// What finds the socket again.
    type Key: Copy + std::fmt::Debug;

    /// The socket.
    type Socket<'a>;

    /// Begins to make the connection at this place of the worker's pool, or one that is only held.
    ///
    /// # Errors
    ///
    /// If it cannot be begun.
    fn connect(worker: &Rc<Worker<Self>>, context: &mut Context, index: Option<u32>) -> Result<(), EngineError>;

    /// The socket, if it is still there.
    fn find(context: &mut Context, key: Self::Key) -> Option<Self::Socket<'_>>;

    /// The socket's engine.
    fn context<'s>(socket: &'s mut Self::Socket<'_>) -> &'s mut Context;

    /// Sends a message, or queues it. Returns whether it did, or will tell of a failure on its own.
    fn send(socket: &mut Self::Socket<'_>, message: &[u8]) -> bool;
}
