//! What a channel's end is called, and what has become of its two directions.

use std::io;

use rustix::io::Errno;

/// Why a connection has closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// In good order: everything written was handed to the kernel, followed by FIN.
    Finished,
    /// This side asked for it with [`Connection::abort`](crate::Connection::abort).
    Aborted,
    /// The peer reset the connection.
    Reset,
    /// No byte passed for longer than the idle timeout.
    IdleTimeout,
    /// The peer took none of the queued bytes for longer than the write-stall timeout.
    WriteStalled,
    /// More was written than the write queue may hold.
    Overflow,
    /// A callback of its handler panicked.
    Panicked,
    /// The engine stopped, or its drain met the deadline.
    Stopped,
    /// The connection failed for another reason, which
    /// [`on_error`](crate::Handler::on_error) was told.
    Failed(io::ErrorKind),
}

impl CloseReason {
    /// What an error on a call means: a peer's reset shows on `send` as `EPIPE` when another call has seen it first.
    pub(crate) fn from_errno(errno: Errno) -> Self {
        match errno {
            Errno::CONNRESET | Errno::PIPE => Self::Reset,
            other => Self::Failed(io::Error::from(other).kind()),
        }
    }

    /// Whether the peer is told by RST: whenever what it has received is not the whole.
    pub(crate) fn resets(self) -> bool {
        matches!(self, Self::Aborted | Self::WriteStalled | Self::Overflow | Self::Panicked)
    }
}

/// What has become of the outgoing direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fin {
    /// Open for writing.
    No,
    /// FIN follows the queue; nothing more is written.
    Wanted,
    Sent,
}

/// What a stream is waiting for longest, when it has waited too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    Connect,
    Idle,
    WriteStall,
    Linger,
}
