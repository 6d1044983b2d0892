//! What one connection says, and where each reply to it ends. Pure: bytes in, bytes out.

pub mod echo;
pub mod pattern;

use crate::count::failure::Kind;

/// One connection's side of a protocol: the bytes of its requests, and what the bytes that come back are.
///
/// Requests have numbers from 0 on, and are answered in their order.
pub trait Protocol: 'static {
    /// The bytes of the request of this number; they are asked for once, in order.
    fn request(&mut self, number: u64) -> &[u8];

    /// Takes bytes that have come back for the request of this number; `data` is not empty.
    ///
    /// # Errors
    ///
    /// If they cannot be any reply, so that nothing after them can be understood.
    fn take(&mut self, number: u64, data: &[u8]) -> Result<Taken, Fault>;
}

/// What became of some bytes that have come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// How many of them belong to this reply. All of them if it is not complete; none only if it is complete without them.
    pub used: usize,
    /// What the reply was, if it is complete now.
    pub reply: Option<Verdict>,
}

/// What a complete reply was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// How many of its bytes are wrong.
    pub wrong_bytes: u64,
    /// What the server says went wrong, such as [`Kind::Status`].
    pub kind: Option<Kind>,
    /// Whether the server has said that it closes the connection behind this reply.
    pub last: bool,
}

/// Bytes that are no reply: the connection is of no more use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// How it counts.
    pub kind: Kind,
    /// What was wrong, for people.
    pub detail: String,
}
