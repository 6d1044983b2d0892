//! Many UDP datagrams in one system call: `recvmmsg`, each of whose messages may be a train of datagrams (GRO, udp(7)).

use std::array;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;

use quinn_udp::{RecvMeta, UdpSocketState};
use rustix::net::{AddressFamily, SocketType};

use crate::limits;

/// The datagrams that one `recvmmsg` has brought, handed out one by one.
pub(crate) struct Batch {
    /// A slot for each message, which takes whatever UDP can bring: nothing is cut off. The kernel backs with memory only those
    /// pages that have been written to.
    bytes: Box<[u8]>,
    messages: [RecvMeta; limits::DATAGRAM_BATCH],
    /// How many messages there are.
    count: usize,
    /// The next datagram: its message's number, and where it begins there.
    message: usize,
    offset: usize,
}

/// What is read of a channel at a time, from what came last.
///
/// `recvfrom` is the cheaper call while datagrams come alone; from the third on that come together it is `recvmmsg`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Appetite {
    /// Messages that are asked for if the budget allows; one is asked for by `recvfrom`.
    width: usize,
    /// Calls of `recvfrom` that have brought a datagram since one brought none.
    singles: usize,
    /// The longest message, in bytes, and its datagrams.
    longest: usize,
    datagrams: usize,
    /// How many messages were like the one before: of the same length, from the same sender.
    alike: usize,
}

/// What a channel may still read at a stretch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadBudget {
    pub(crate) datagrams: usize,
    pub(crate) bytes: usize,
}

/// What quinn-udp keeps of a socket. All that concerns receiving are options that it sets on its own account, such as time
/// stamps; a socket with other options is received from as well. So one state, of a socket that is soon closed, does for all.
static RECEIVER: OnceLock<Option<UdpSocketState>> = OnceLock::new();

/// What this kernel can do for UDP beyond one datagram a call.
///
/// # Errors
///
/// If there is no descriptor to find it out with. The next call tries again.
pub(crate) fn receiver() -> io::Result<Option<&'static UdpSocketState>> {
    if let Some(known) = RECEIVER.get() {
        return Ok(known.as_ref());
    }
    let socket = |family| rustix::net::socket(family, SocketType::DGRAM, None);
    let socket = socket(AddressFamily::INET).or_else(|_| socket(AddressFamily::INET6))?;
    let known = UdpSocketState::new((&socket).into()).ok();
    Ok(RECEIVER.get_or_init(|| known).as_ref())
}

impl Batch {
    pub(crate) fn new() -> Box<Self> {
        let bytes = vec![0; limits::DATAGRAM_BATCH * limits::DATAGRAM_SLOT_BYTES].into();
        let messages = [RecvMeta::default(); limits::DATAGRAM_BATCH];
        Box::new(Self { bytes, messages, count: 0, message: 0, offset: 0 })
    }

    /// Takes up to `width` messages from a socket. Fewer show that no more are there.
    pub(crate) fn recv(&mut self, receiver: &UdpSocketState, socket: impl AsFd, width: usize) -> io::Result<usize> {
        (self.count, self.message, self.offset) = (0, 0, 0);
        self.count = if width <= limits::DATAGRAM_BATCH_SMALL {
            self.recv_at_most::<{ limits::DATAGRAM_BATCH_SMALL }>(receiver, socket.as_fd(), width)?
        } else {
            self.recv_at_most::<{ limits::DATAGRAM_BATCH }>(receiver, socket.as_fd(), width)?
        };
        Ok(self.count)
    }

    fn recv_at_most<const MAX: usize>(
        &mut self,
        receiver: &UdpSocketState,
        socket: BorrowedFd<'_>,
        width: usize,
    ) -> io::Result<usize> {
        let mut slots = self.bytes.chunks_exact_mut(limits::DATAGRAM_SLOT_BYTES);
        let mut buffers: [_; MAX] = array::from_fn(|_| IoSliceMut::new(slots.next().unwrap_or_default()));
        receiver.recv((&socket).into(), &mut buffers[..width.min(MAX)], &mut self.messages)
    }

    /// The next datagram, and where it is from.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<(&[u8], SocketAddr)> {
        let message = self.messages[..self.count].get(self.message)?;
        let slot = self.message * limits::DATAGRAM_SLOT_BYTES;
        let begin = slot + self.offset;
        let end = message.len.min(self.offset + message.stride.max(1));
        if end == message.len {
            (self.message, self.offset) = (self.message + 1, 0);
        } else {
            self.offset = end;
        }
        Some((&self.bytes[begin..slot + end], message.addr))
    }

    /// Gives up what has not been handed out. Returns how many datagrams it was.
    pub(crate) fn abandon(&mut self) -> u64 {
        let mut given_up = 0;
        while self.next().is_some() {
            given_up += 1;
        }
        given_up
    }
}

impl ReadBudget {
    /// Takes off a datagram of so many bytes. A call that has brought none, because of an error, counts as an empty one.
    pub(crate) fn take(&mut self, bytes: usize) {
        self.datagrams = self.datagrams.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl Appetite {
    /// Of a channel that has read nothing yet.
    pub(crate) const fn new() -> Self {
        Self { width: 1, singles: 0, longest: 1, datagrams: 1, alike: 0 }
    }

    /// Whether to ask for more than one message.
    pub(crate) fn is_for_many(&self) -> bool {
        self.width > 1
    }

    /// How many messages to ask for by `recvmmsg`, so that those like the last ones pass the budget by one at most. Never just one,
    /// which would not show whether there are more.
    pub(crate) fn width(&self, budget: ReadBudget) -> usize {
        let by_datagrams = budget.datagrams.div_ceil(self.datagrams);
        self.width.min(by_datagrams).min(budget.bytes.div_ceil(self.longest)).max(2)
    }

    /// Takes note of what one `recvfrom` has brought.
    pub(crate) fn note_single(&mut self, length: Option<usize>) {
        self.singles = length.map_or(0, |_| self.singles + 1);
        if self.singles == limits::DATAGRAM_SINGLES {
            *self = Self { width: 2 * self.singles, longest: length.unwrap_or(0).max(1), ..Self::new() };
        }
    }

    /// Takes note of a batch: with twice as many messages the next one has room to show that no more are there.
    pub(crate) fn note(&mut self, batch: &Batch) {
        let messages = &batch.messages[..batch.count];
        let width = if messages.len() > 1 { (2 * messages.len()).min(limits::DATAGRAM_BATCH) } else { 1 };
        *self = Self { width, ..Self::new() };
        for message in messages {
            self.longest = self.longest.max(message.len);
            if message.stride < message.len {
                self.datagrams = self.datagrams.max(message.len.div_ceil(message.stride.max(1)));
            }
        }
        let alike = |pair: &&[RecvMeta]| pair[0].len == pair[1].len && pair[0].addr == pair[1].addr;
        self.alike = messages.windows(2).filter(alike).count();
    }

    /// Whether the last batch could have come as trains, had the kernel left them whole.
    pub(crate) fn is_for_trains(&self) -> bool {
        self.alike >= limits::DATAGRAM_BATCH / 2
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("count", &self.count).field("message", &self.message).finish_non_exhaustive()
    }
}
