//! What a channel's end is called, and what has become of its two directions.

use std::fmt;
use std::io;

use rustix::io::Errno;

use crate::poll::Readiness;

/// Why a connection or a datagram channel has closed.
///
/// Where it is said that a connection ends with RST, that is TCP's. A Unix socket knows none: its peer sees an end as any
/// other, or ECONNRESET if it has sent what was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// In good order: everything written was handed to the kernel, followed by FIN. A datagram channel: this side closed it.
    Finished,
    /// This side asked for it with [`Connection::abort`](crate::Connection::abort).
    Aborted,
    /// The peer reset the connection.
    Reset,
    /// No byte passed for longer than the idle timeout.
    IdleTimeout,
    /// No byte came from the peer for longer than the read timeout.
    ReadTimeout,
    /// The peer took none of the queued bytes for longer than the write-stall timeout.
    WriteStalled,
    /// More was written than the write queue may hold, or a frame came that is longer than the limit.
    Overflow,
    /// A callback of its handler panicked.
    Panicked,
    /// The engine stopped, or its drain met the deadline.
    Stopped,
    /// The connection failed for another reason, which
    /// [`on_error`](crate::Handler::on_error) was told.
    Failed(io::ErrorKind),
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished => f.write_str("finished"),
            Self::Aborted => f.write_str("aborted"),
            Self::Reset => f.write_str("reset by peer"),
            Self::IdleTimeout => f.write_str("idle timeout"),
            Self::ReadTimeout => f.write_str("read timeout"),
            Self::WriteStalled => f.write_str("write stalled"),
            Self::Overflow => f.write_str("overflow"),
            Self::Panicked => f.write_str("handler panicked"),
            Self::Stopped => f.write_str("engine stopped"),
            Self::Failed(kind) => write!(f, "failed: {kind}"),
        }
    }
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

/// A stream's state, one bit a fact, so that a message's path tests many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flags(u32);

impl Flags {
    /// The kernel may hold input: an edge has come, and no read has come up short since.
    pub(crate) const READABLE: Self = Self(Readiness::READABLE.bits());
    /// The kernel may take output: the last send was not cut short, or an edge has come since.
    pub(crate) const WRITABLE: Self = Self(Readiness::WRITABLE.bits());
    /// A short read does not show that the input is used up: the peer has closed, or sent urgent data (epoll(7), tcp(7)).
    pub(crate) const READ_UNTIL_BLOCKED: Self = Self(Readiness::SPECIAL.bits());
    /// An event told of an error that no call has returned yet.
    pub(crate) const ERROR_PENDING: Self = Self(Readiness::ERROR.bits());
    /// `recv` has said 0.
    pub(crate) const PEER_ENDED: Self = Self(1 << 4);
    pub(crate) const PAUSED_BY_USER: Self = Self(1 << 5);
    /// The write queue is congested, and the engine reads nothing meanwhile.
    pub(crate) const PAUSED_BY_ENGINE: Self = Self(1 << 6);
    pub(crate) const CONNECTING: Self = Self(1 << 7);
    /// `close` was called: input is discarded, and the connection ends when both directions have.
    pub(crate) const CLOSING: Self = Self(1 << 8);
    /// FIN follows the queue; nothing more is written.
    pub(crate) const FIN_WANTED: Self = Self(1 << 9);
    pub(crate) const FIN_SENT: Self = Self(1 << 10);
    /// Everything written has left, and `on_write` has not been told.
    pub(crate) const ON_WRITE_DUE: Self = Self(1 << 11);
    /// A write was refused because the queue is full, and `on_overflow_error` has not been told.
    pub(crate) const OVERFLOWED: Self = Self(1 << 12);
    /// The deadline may have moved forward, and the timer has not been told.
    pub(crate) const REARM_DUE: Self = Self(1 << 13);
    /// There is a reason to close.
    pub(crate) const DOOMED: Self = Self(1 << 14);
    /// The engine drains, and the handler has not been told.
    pub(crate) const SHUTDOWN_DUE: Self = Self(1 << 15);
    /// There are written bytes that the kernel has not taken.
    pub(crate) const QUEUED: Self = Self(1 << 16);
    /// The handler has no `on_write` of its own.
    pub(crate) const ON_WRITE_UNHEARD: Self = Self(1 << 17);

    /// The write queue has passed the high-water mark, and has not come down to the low one.
    pub(crate) const CONGESTED: Self = Self(1 << 18);
    /// The queue has passed the high-water mark, and `on_congested` has not been told.
    pub(crate) const ON_CONGESTED_DUE: Self = Self(1 << 19);
    /// It has come down again, and `on_drained` has not been told.
    pub(crate) const ON_DRAINED_DUE: Self = Self(1 << 20);
    /// There may be whole frames in what is kept of the input: delivering them was stopped.
    pub(crate) const FRAMES_KEPT: Self = Self(1 << 21);

    /// A send has said that the peer has reset: nothing more leaves, and the connection ends behind what had come before.
    pub(crate) const OUTPUT_LOST: Self = Self(1 << 22);

    /// The connection leaves this engine after the callback at hand.
    pub(crate) const LEAVING: Self = Self(1 << 23);
    /// It has come from another engine, and the handler has not been told.
    pub(crate) const ARRIVED: Self = Self(1 << 24);

    /// Input is cut into frames.
    pub(crate) const FRAMED: Self = Self(1 << 25);

    /// The outbox holds bytes of it.
    pub(crate) const HELD: Self = Self(1 << 26);

    /// What says of a connection at rest that something is going on.
    pub(crate) const STIR: Self = Self(!(Self::WRITABLE.0 | Self::ON_WRITE_UNHEARD.0 | Self::FRAMED.0));
    /// A connection between two messages, if its handler has no `on_write` and has its input as it comes.
    pub(crate) const AT_REST: Self = Self::WRITABLE.or(Self::ON_WRITE_UNHEARD);

    pub(crate) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// These if `condition` holds, otherwise none.
    pub(crate) const fn when(self, condition: bool) -> Self {
        Self(self.0 * condition as u32)
    }

    /// Those of `mask` that are set.
    pub(crate) const fn of(self, mask: Self) -> Self {
        Self(self.0 & mask.0)
    }

    /// Whether any of `mask` is set.
    pub(crate) const fn any(self, mask: Self) -> bool {
        self.0 & mask.0 != 0
    }

    /// Takes note of an event: its bits have their places here.
    pub(crate) const fn set_readiness(&mut self, readiness: Readiness) {
        self.0 |= readiness.bits();
    }

    pub(crate) const fn set(&mut self, mask: Self) {
        self.0 |= mask.0;
    }

    pub(crate) const fn clear(&mut self, mask: Self) {
        self.0 &= !mask.0;
    }
}

/// What a stream is waiting for longest, when it has waited too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    Connect,
    Idle,
    Read,
    WriteStall,
    Linger,
}
