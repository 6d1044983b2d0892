//! One datagram channel: its socket, its queue and its state. It makes system calls and no callbacks.
//!
//! As with a stream, nothing here closes the channel: `doom` records why it must be, and the dispatcher carries it out.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;

use crate::buffer::datagrams::DatagramQueue;
use crate::buffer::trains::{Train, Trains};
use crate::channel::state::{CloseReason, Flags};
use crate::error::Error;
use crate::key::Key;
use crate::limits;
use crate::net::batch::{Appetite, Batch, ReadBudget};
use crate::net::datagram::DatagramSocket;
use crate::net::endpoint::Endpoint;
use crate::poll::{Readiness, Registrar};
use crate::stats::Stats;

#[derive(Debug)]
pub(crate) struct Mailbox {
    socket: DatagramSocket,
    pub(crate) flags: Flags,
    pub(crate) local: Endpoint,
    /// The one peer of a connected socket.
    pub(crate) peer: Option<Endpoint>,
    appetite: Appetite,
    /// What was read and not passed on, because reading was paused meanwhile. While there is some, `READABLE` is set.
    kept: DatagramQueue,
    /// What the kernel would not take.
    queue: DatagramQueue,
    queue_cap: usize,
    /// The errors that the handler has not been told.
    failures: VecDeque<Error>,
    /// Why the channel must close; the first reason stays, but for a panic's. Invariant: `Some` exactly while `DOOMED` is set.
    doom: Option<CloseReason>,
}

/// What a `recvfrom` brought.
#[derive(Debug)]
pub(crate) enum Delivery {
    Datagram(usize, Endpoint),
    Nothing,
}

/// What became of a datagram that was to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Sent or queued.
    Accepted,
    /// Nobody is told why.
    Dropped,
    Refused(Errno),
}

impl Mailbox {
    /// # Errors
    ///
    /// If the kernel does not say what the socket is called.
    pub(crate) fn new(socket: DatagramSocket, queue_cap: usize) -> io::Result<Self> {
        let (local, peer) = (socket.local_address()?, socket.peer_address());
        Ok(Self {
            socket,
            flags: Flags::WRITABLE,
            local,
            peer,
            appetite: Appetite::new(),
            kept: DatagramQueue::default(),
            queue: DatagramQueue::default(),
            queue_cap,
            failures: VecDeque::new(),
            doom: None,
        })
    }

    /// Takes note of an event. An error is read as datagrams are.
    pub(crate) fn handle_readiness(&mut self, readiness: Readiness) {
        self.flags.set_readiness(readiness);
        let failed = self.flags.any(Flags::ERROR_PENDING);
        self.flags.set(Flags::READABLE.when(failed));
        self.flags.clear(Flags::ERROR_PENDING.or(Flags::READ_UNTIL_BLOCKED));
    }

    #[inline]
    pub(crate) fn wants_read(&self) -> bool {
        const ASKED: Flags = Flags::READABLE.or(Flags::PAUSED_BY_USER).or(Flags::DOOMED);
        self.flags.of(ASKED) == Flags::READABLE
    }

    pub(crate) fn has_batches(&self) -> bool {
        self.socket.has_batches()
    }

    /// Whether to read by [`recv_batch`](Self::recv_batch), and not by [`recv`](Self::recv).
    #[inline]
    pub(crate) fn wants_batch(&self) -> bool {
        self.has_batches() && (self.appetite.is_for_many() || self.socket.receives_trains())
    }

    /// One `recvmmsg`. One that comes up short shows that no more is there, as `EAGAIN` does: an error that ends it comes
    /// with an edge of its own, or is met by the next call. Returns whether there are datagrams.
    pub(crate) fn recv_batch(&mut self, batch: &mut Batch, budget: ReadBudget) -> bool {
        let width = self.appetite.width(budget);
        match self.socket.recv_batch(batch, width) {
            Ok(count) => {
                self.appetite.note(batch);
                self.flags.clear(Flags::READABLE.when(count < width));
                if self.appetite.is_for_trains() {
                    self.socket.have_trains_received();
                }
                return count > 0;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.flags.clear(Flags::READABLE),
            Err(source) => self.fail(Error::Receive { local: self.local.clone(), source }),
        }
        false
    }

    /// Whether its handler wants the next datagram of a batch at hand.
    #[inline]
    pub(crate) fn may_read(&self) -> bool {
        !self.flags.any(Flags::PAUSED_BY_USER.or(Flags::DOOMED))
    }

    /// Keeps what is left of a batch until reading is resumed.
    pub(crate) fn keep(&mut self, batch: &mut Batch) {
        while let Some((data, from)) = batch.next() {
            self.kept.push(data, Some(&Endpoint::from_ip(from)), usize::MAX);
            self.flags.set(Flags::READABLE);
        }
    }

    pub(crate) fn has_kept(&self) -> bool {
        self.kept.bytes().is_some()
    }

    /// The first of the datagrams that were kept.
    pub(crate) fn take_kept(&mut self) -> Option<(Box<[u8]>, Endpoint)> {
        let (data, from) = self.kept.pop()?;
        Some((data, from.unwrap_or(Endpoint::Unnamed)))
    }

    /// One `recvfrom`. Only an `EAGAIN` shows that no more is there.
    #[inline]
    pub(crate) fn recv(&mut self, buffer: &mut [u8], stats: &mut Stats) -> Delivery {
        let received = self.socket.recv_from(buffer);
        self.appetite.note_single(received.as_ref().ok().map(|(length, _)| *length));
        match received {
            Ok((length, from)) if length <= buffer.len() => return Delivery::Datagram(length, from),
            Ok((length, from)) => {
                stats.datagrams_dropped += 1;
                self.fail(Error::Truncated { from, length });
            }
            Err(Errno::AGAIN) => self.flags.clear(Flags::READABLE),
            Err(Errno::INTR) => {}
            Err(errno) => self.fail(Error::Receive { local: self.local.clone(), source: errno.into() }),
        }
        Delivery::Nothing
    }

    /// Sends one datagram, or queues it behind the others. Returns whether it did either.
    pub(crate) fn send(&mut self, data: &[u8], to: Option<&Endpoint>, stats: &mut Stats) -> bool {
        if self.doom.is_some() {
            return false;
        }
        let fate = self.post(data, to, stats);
        if let Fate::Refused(errno) = fate
            && self.failures.is_empty()
        {
            self.fail_to_send(to, errno);
        }
        fate == Fate::Accepted
    }

    fn post(&mut self, data: &[u8], to: Option<&Endpoint>, stats: &mut Stats) -> Fate {
        if self.queue.bytes().is_some() {
            return self.enqueue(data, to, stats);
        }
        let sent = self.socket.send_to(data, to);
        self.conclude(sent, data, to, stats)
    }

    /// What follows from an attempt to send one datagram.
    fn conclude(&mut self, sent: Result<(), Errno>, data: &[u8], to: Option<&Endpoint>, stats: &mut Stats) -> Fate {
        let Err(errno) = sent else {
            note_sent(1, data.len(), stats);
            return Fate::Accepted;
        };
        if errno == Errno::AGAIN && self.socket.tells_of_room(to) {
            self.flags.clear(Flags::WRITABLE);
            return self.enqueue(data, to, stats);
        }
        stats.datagrams_dropped += 1;
        if errno == Errno::AGAIN { Fate::Dropped } else { Fate::Refused(errno) }
    }

    fn enqueue(&mut self, data: &[u8], to: Option<&Endpoint>, stats: &mut Stats) -> Fate {
        if self.queue.push(data, to, self.queue_cap) {
            return Fate::Accepted;
        }
        stats.datagrams_dropped += 1;
        Fate::Dropped
    }

    /// Adds one datagram to those that leave together, if it can leave with them. Those that must leave before it do.
    pub(crate) fn gather(
        &mut self,
        data: &[u8],
        to: Option<&Endpoint>,
        gathered: &mut Trains,
        stats: &mut Stats,
    ) -> bool {
        let address = to.and_then(Endpoint::socket_address);
        let fits = data.len() <= limits::DATAGRAM_GATHERED_BYTES_MAX && to.is_some() == address.is_some();
        if !fits || self.doom.is_some() || self.queue.bytes().is_some() {
            self.send_gathered(gathered, stats);
            return false;
        }
        let joined = self.socket.sends_trains();
        if gathered.push(data, address, joined) {
            return true;
        }
        self.send_gathered(gathered, stats);
        self.queue.bytes().is_none() && gathered.push(data, address, joined)
    }

    /// Sends what was gathered, queues what the kernel does not take, and notes what it refuses.
    pub(crate) fn send_gathered(&mut self, gathered: &mut Trains, stats: &mut Stats) {
        let mut position = 0;
        while let Some(train) = gathered.from(position).first() {
            position += self.send_first(train, gathered.from(position), gathered, stats);
        }
        gathered.clear();
    }

    /// Sends the first of `trains`, and with it as many as can leave in the same call. Returns how many are dealt with.
    fn send_first(&mut self, first: &Train, trains: &[Train], gathered: &Trains, stats: &mut Stats) -> usize {
        let singles = trains.iter().take_while(|train| train.count == 1).count();
        let outcome = match singles {
            _ if self.queue.bytes().is_some() => None,
            0 => self.socket.send_train(gathered.bytes_of(first), first).transpose(),
            1 => None,
            _ => Some(self.socket.send_batch(gathered, &trains[..singles])),
        };
        if let Some(Ok(sent)) = outcome {
            let sent = &trains[..sent];
            note_sent(sent.iter().map(|train| train.count).sum(), sent.iter().map(Train::len).sum(), stats);
            return sent.len();
        }
        // One by one, each is sent, queued, or refused for a reason of its own; the first perhaps for the one that is known.
        let mut known = outcome.and_then(Result::err);
        let to = first.to.map(Endpoint::from);
        for data in gathered.datagrams_of(first) {
            let fate = match known.take() {
                Some(errno) => self.conclude(Err(errno), data, to.as_ref(), stats),
                None => self.post(data, to.as_ref(), stats),
            };
            if let Fate::Refused(errno) = fate {
                self.fail_to_send(to.as_ref(), errno);
            }
        }
        1
    }

    /// To be called when the queue was empty. Only now is the socket watched for output, since every datagram that leaves it is
    /// an edge to whoever waits to write.
    pub(crate) fn watch_output(&self, registrar: &Registrar, key: Key) {
        if self.queue.bytes().is_some() {
            registrar.watch_output(self.as_fd(), key, true);
        }
    }

    #[inline]
    pub(crate) fn wants_flush(&self) -> bool {
        self.queue.bytes().is_some() && self.flags.any(Flags::WRITABLE)
    }

    /// Sends the datagram that has waited longest, if the kernel takes it.
    pub(crate) fn flush_one(&mut self, stats: &mut Stats) {
        let Some((data, to)) = self.queue.front() else { return };
        match self.socket.send_to(data, to) {
            Ok(()) => {
                note_sent(1, data.len(), stats);
                self.queue.pop();
            }
            Err(Errno::AGAIN) if self.socket.tells_of_room(to) => return self.flags.clear(Flags::WRITABLE),
            Err(errno) => {
                stats.datagrams_dropped += 1;
                let to = self.queue.pop().and_then(|(_, to)| to);
                if errno != Errno::AGAIN {
                    self.fail_to_send(to.as_ref(), errno);
                }
            }
        }
        self.flags.set(Flags::ON_WRITE_DUE.when(self.queue.bytes().is_none()));
    }

    /// The last attempt at what is queued, of which nobody is told. What was kept is given up.
    pub(crate) fn flush_last(&mut self, stats: &mut Stats) {
        self.flags.set(Flags::WRITABLE);
        while self.wants_flush() {
            self.flush_one(stats);
        }
        stats.datagrams_dropped += (self.queue.len() + self.kept.len()) as u64;
        (self.queue, self.kept) = (DatagramQueue::default(), DatagramQueue::default());
    }

    /// Bytes in the queue; `None` if no datagram is there.
    pub(crate) fn queued_bytes(&self) -> Option<usize> {
        self.queue.bytes()
    }

    /// Records why the channel must close.
    pub(crate) fn doom(&mut self, reason: CloseReason) {
        self.doom.get_or_insert(reason);
        self.flags.set(Flags::DOOMED);
    }

    /// Its handler has panicked, which outweighs every other reason.
    pub(crate) fn doom_panicked(&mut self) {
        self.doom = Some(CloseReason::Panicked);
        self.flags.set(Flags::DOOMED);
    }

    pub(crate) fn doomed(&self) -> Option<CloseReason> {
        self.doom
    }

    /// The error that the handler must be told next.
    pub(crate) fn take_failure(&mut self) -> Option<Error> {
        self.failures.pop_front()
    }

    /// Whether something must be told to the handler or carried out.
    #[inline]
    pub(crate) fn needs_settling(&self) -> bool {
        !self.failures.is_empty() || self.flags.any(Flags::DOOMED.or(Flags::ON_WRITE_DUE))
    }

    /// Whether nothing is on its way in either direction, as far as this side can tell.
    pub(crate) fn is_quiet(&self) -> bool {
        self.queue.bytes().is_none() && !self.wants_read()
    }

    fn fail_to_send(&mut self, to: Option<&Endpoint>, errno: Errno) {
        let to = to.or(self.peer.as_ref()).cloned().unwrap_or(Endpoint::Unnamed);
        self.fail(Error::Send { to, source: errno.into() });
    }

    fn fail(&mut self, error: Error) {
        if self.failures.len() < limits::DATAGRAM_FAILURES_MAX {
            self.failures.push_back(error);
        }
    }
}

impl AsFd for Mailbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn note_sent(datagrams: usize, bytes: usize, stats: &mut Stats) {
    stats.datagrams_out += datagrams as u64;
    stats.bytes_out += bytes as u64;
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;
    use crate::datagram::options::DatagramOptions;

    #[test]
    fn what_the_kernel_does_not_take_of_what_was_gathered_is_queued_and_leaves_in_order() {
        // Unix sockets, since their queues have a length that is soon reached (`net.unix.max_dgram_qlen`).
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let socket = DatagramSocket::adopt(ours.into(), &DatagramOptions::default()).unwrap();
        let mut mailbox = Mailbox::new(socket, 1 << 20).unwrap();
        let (mut gathered, mut stats, mut count) = (Trains::default(), Stats::default(), 0_u32);
        while mailbox.queued_bytes().is_none() {
            for _ in 0..limits::DATAGRAM_OUTBOX_MAX {
                assert!(mailbox.gather(&count.to_le_bytes(), None, &mut gathered, &mut stats));
                count += 1;
            }
            mailbox.send_gathered(&mut gathered, &mut stats);
            assert!(gathered.is_empty() && count < 1_000_000, "the kernel takes everything");
        }
        // Behind what is queued nothing is gathered.
        assert!(!mailbox.gather(b"last", None, &mut gathered, &mut stats) && gathered.is_empty());
        for number in 0..count {
            let mut data = [0; 5];
            assert_eq!(theirs.recv(&mut data).unwrap(), 4);
            assert_eq!(data[..4], number.to_le_bytes());
            mailbox.flags.set(Flags::WRITABLE);
            mailbox.flush_one(&mut stats);
        }
        assert_eq!((stats.datagrams_out, stats.bytes_out), (u64::from(count), 4 * u64::from(count)));
        assert_eq!((stats.datagrams_dropped, mailbox.queued_bytes()), (0, None));
    }
}
