//! One stream connection: its socket, its write queue and its state. It makes system calls and no callbacks.
//!
//! Nothing here closes the connection by itself: `doom` records why it must be, and the dispatcher carries it out.

use std::net::SocketAddr;
use std::rc::Rc;

use rustix::io::Errno;

use crate::buffer::write::WriteQueue;
use crate::channel::state::{CloseReason, Expiry, Fin};
use crate::clock::Tick;
use crate::limits;
use crate::net::socket::Socket;
use crate::options::ConnectionOptions;
use crate::poll::Readiness;
use crate::stats::Stats;
use crate::transport::Transport;

#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) transport: Transport,
    /// The peer's address, kept here because the kernel forgets it after a reset.
    pub(crate) peer: SocketAddr,
    pub(crate) options: Rc<ConnectionOptions>,
    /// What the kernel would not take. Invariant: `Some` exactly while there are such bytes.
    queue: Option<Box<WriteQueue>>,
    /// When a byte last passed in either direction.
    pub(crate) active: Tick,
    /// When the present wait began: to connect, for the peer to take queued bytes, for its FIN.
    since: Tick,
    /// The error behind `CloseReason::Failed`.
    pub(crate) errno: Option<Errno>,
    /// Why the connection must close. The first reason stays.
    pub(crate) doom: Option<CloseReason>,
    pub(crate) fin: Fin,
    pub(crate) connecting: bool,
    /// `close` was called: input is discarded, and the connection ends when both directions have.
    pub(crate) closing: bool,
    /// The kernel may hold input: an edge has come, and no read has come up short since.
    readable: bool,
    /// The kernel may take output: the last send was not cut short, or an edge has come since.
    writable: bool,
    /// A short read does not show that the input is used up: the peer has closed, or sent urgent data (epoll(7), tcp(7)).
    read_until_blocked: bool,
    /// `recv` has said 0.
    pub(crate) peer_ended: bool,
    /// An event told of an error that no call has returned yet.
    error_pending: bool,
    pub(crate) paused_by_user: bool,
    paused_by_engine: bool,
    /// Everything written has left, and `on_write` has not been told.
    pub(crate) on_write_due: bool,
    /// A write was refused because the queue is full, and `on_overflow_error` has not been told.
    pub(crate) overflowed: bool,
    /// The deadline may have moved forward, and the timer has not been told.
    pub(crate) rearm_due: bool,
}

/// What a `recv` brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    Bytes(usize),
    /// The peer's FIN.
    End,
    Nothing,
}

impl Stream {
    pub(crate) fn new(socket: Socket, peer: SocketAddr, options: Rc<ConnectionOptions>, now: Tick) -> Self {
        Self {
            transport: Transport::Plain(socket),
            peer,
            options,
            queue: None,
            active: now,
            since: now,
            errno: None,
            doom: None,
            fin: Fin::No,
            connecting: false,
            closing: false,
            readable: false,
            writable: true,
            read_until_blocked: false,
            peer_ended: false,
            error_pending: false,
            paused_by_user: false,
            paused_by_engine: false,
            on_write_due: false,
            overflowed: false,
            rearm_due: false,
        }
    }

    pub(crate) fn connecting(socket: Socket, peer: SocketAddr, options: Rc<ConnectionOptions>, now: Tick) -> Self {
        Self { connecting: true, writable: false, ..Self::new(socket, peer, options, now) }
    }

    /// Takes note of an event.
    #[inline]
    pub(crate) fn handle_readiness(&mut self, readiness: Readiness) {
        self.readable |= readiness.readable;
        self.writable |= readiness.writable;
        self.read_until_blocked |= readiness.read_closed | readiness.urgent | readiness.error;
        self.error_pending |= readiness.error;
    }

    /// Looks for input without an event: after accepting, or to see whether a connection is quiet.
    pub(crate) fn suspect_input(&mut self) {
        self.readable = true;
    }

    /// Whether connecting has come to an end: `None` while it has not.
    pub(crate) fn take_connected(&mut self, now: Tick) -> Option<Result<(), std::io::Error>> {
        if let Some(error) = self.transport.socket().take_error() {
            return Some(Err(error));
        }
        if !self.writable || !self.transport.socket().has_peer() {
            return None;
        }
        self.connecting = false;
        self.error_pending = false;
        (self.active, self.since) = (now, now);
        self.rearm_due = true;
        Some(Ok(()))
    }

    /// Whether a read should be tried now.
    #[inline]
    pub(crate) fn wants_read(&self) -> bool {
        self.readable
            && !self.peer_ended
            && !self.connecting
            && self.doom.is_none()
            && (self.closing || !(self.paused_by_user || self.paused_by_engine))
    }

    /// One `recv`.
    #[inline]
    pub(crate) fn recv(&mut self, buffer: &mut [u8], now: Tick, stats: &mut Stats) -> Received {
        match self.transport.recv(buffer) {
            Ok(0) => {
                self.readable = false;
                self.peer_ended = true;
                Received::End
            }
            Ok(count) => {
                // A read that does not fill the buffer has emptied the socket (epoll(7)), with the exceptions noted above.
                if count < buffer.len() && !self.read_until_blocked {
                    self.readable = false;
                }
                self.active = now;
                stats.reads += 1;
                stats.bytes_in += count as u64;
                Received::Bytes(count)
            }
            Err(Errno::AGAIN) => {
                self.readable = false;
                Received::Nothing
            }
            Err(Errno::INTR) => Received::Nothing,
            Err(errno) => {
                self.fail(errno);
                Received::Nothing
            }
        }
    }

    /// Whether bytes may still be written.
    #[inline]
    pub(crate) fn accepts_output(&self) -> bool {
        self.fin == Fin::No && self.doom.is_none() && !self.overflowed
    }

    pub(crate) fn queued(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.len())
    }

    /// Whether written bytes go behind others, or must wait for the connection to be made.
    #[inline]
    pub(crate) fn must_queue(&self) -> bool {
        self.queue.is_some() || self.connecting || !self.writable
    }

    /// Sends `bytes`, and queues what the kernel will not take. A send that is cut short has asked the kernel for the next
    /// writable edge, as one that says `EAGAIN` has.
    #[inline]
    pub(crate) fn send(&mut self, bytes: &[u8], now: Tick, stats: &mut Stats) {
        if self.must_queue() {
            return self.enqueue(bytes, now);
        }
        loop {
            match self.transport.send(bytes) {
                Ok(count) => {
                    stats.writes += 1;
                    stats.bytes_out += count as u64;
                    self.active = now;
                    self.on_write_due = true;
                    if count < bytes.len() {
                        self.writable = false;
                        self.enqueue(&bytes[count..], now);
                    }
                }
                Err(Errno::AGAIN) => {
                    self.writable = false;
                    self.enqueue(bytes, now);
                }
                Err(Errno::INTR) => continue,
                Err(errno) => self.fail(errno),
            }
            return;
        }
    }

    fn enqueue(&mut self, bytes: &[u8], now: Tick) {
        let queue = self.queue.get_or_insert_with(|| {
            self.since = now;
            self.rearm_due = true;
            Box::default()
        });
        queue.push(bytes);
        if self.options.auto_pause && queue.len() > self.options.write_high_water {
            self.paused_by_engine = true;
        }
    }

    /// Whether there are queued bytes that the kernel may take.
    #[inline]
    pub(crate) fn wants_flush(&self) -> bool {
        self.writable && self.queue.is_some() && !self.connecting && self.doom.is_none()
    }

    /// Hands queued bytes to the kernel until it takes no more or the budget is used up.
    pub(crate) fn flush(&mut self, now: Tick, stats: &mut Stats) {
        let mut budget = limits::WRITE_BUDGET_BYTES;
        while self.writable && budget > 0 {
            let Some(queue) = &mut self.queue else { return };
            let (slices, filled) = queue.slices();
            let offered: usize = slices[..filled].iter().map(|slice| slice.len()).sum();
            match self.transport.send_vectored(&slices[..filled]) {
                Ok(count) => {
                    queue.consume(count);
                    stats.writes += 1;
                    stats.bytes_out += count as u64;
                    (self.active, self.since) = (now, now);
                    self.writable = count == offered;
                    budget = budget.saturating_sub(count);
                    self.after_flush();
                }
                Err(Errno::AGAIN) => self.writable = false,
                Err(Errno::INTR) => {}
                Err(errno) => return self.fail(errno),
            }
        }
    }

    fn after_flush(&mut self) {
        let Some(queue) = &self.queue else { return };
        if queue.len() <= self.options.write_low_water {
            self.paused_by_engine = false;
        }
        if queue.is_empty() {
            // The memory goes back: an idle connection keeps no buffer.
            self.queue = None;
            self.on_write_due = true;
        }
    }

    /// Records why the connection must close.
    pub(crate) fn doom(&mut self, reason: CloseReason) {
        self.doom.get_or_insert(reason);
    }

    /// Records an error of a call. It is final: after a reset `send` says `EPIPE` and `recv` says 0, which is no end.
    pub(crate) fn fail(&mut self, errno: Errno) {
        self.errno.get_or_insert(errno);
        self.doom(CloseReason::from_errno(errno));
    }

    /// Takes up an error that an event told of and no call will return, since nothing is read or written.
    pub(crate) fn take_pending_error(&mut self) {
        if self.error_pending && !self.wants_read() {
            self.error_pending = false;
            if let Some(errno) = self.transport.socket().take_error().and_then(|error| error.raw_os_error()) {
                self.fail(Errno::from_raw_os_error(errno));
            }
        }
    }

    /// Whether [`handle_close`](Self::handle_close) has something to do.
    #[inline]
    pub(crate) fn wants_close(&self) -> bool {
        self.fin != Fin::No && self.doom.is_none()
    }

    /// Whether nothing is left to be done before the next event.
    #[inline]
    pub(crate) fn is_settled(&self) -> bool {
        let told = !self.on_write_due || self.queue.is_some();
        told && self.doom.is_none() && !self.overflowed && !self.rearm_due
    }

    /// Takes closing a step further: FIN when the queue is empty, and the end when the peer's FIN is in too.
    pub(crate) fn handle_close(&mut self, now: Tick) {
        if self.fin == Fin::Wanted && self.queue.is_none() && !self.connecting {
            if let Err(errno) = self.transport.shutdown_write() {
                // ENOTCONN: the peer has reset, and another call has taken the error.
                return if errno == Errno::NOTCONN { self.doom(CloseReason::Reset) } else { self.fail(errno) };
            }
            self.fin = Fin::Sent;
            self.since = now;
            self.rearm_due = true;
        }
        if self.fin == Fin::Sent && self.peer_ended {
            self.doom(CloseReason::Finished);
        }
    }

    /// Whether nothing is on its way in either direction, as far as this side can tell.
    pub(crate) fn is_quiet(&self) -> bool {
        self.queue.is_none() && !self.connecting && (!self.readable || self.paused_by_user)
    }

    /// The wait that ends first, and when.
    pub(crate) fn next_deadline(&self) -> Option<(Tick, Expiry)> {
        let options = &self.options;
        let after = |from: Tick, timeout: Option<_>, expiry| Some((from.after(timeout?), expiry));
        if self.connecting {
            return after(self.since, options.connect_timeout, Expiry::Connect);
        }
        let linger = (self.closing && self.fin == Fin::Sent).then_some(limits::LINGER);
        let stall = options.write_stall_timeout.filter(|_| self.queue.is_some());
        let waits = [
            after(self.since, linger, Expiry::Linger),
            after(self.since, stall, Expiry::WriteStall),
            after(self.active, options.idle_timeout, Expiry::Idle),
        ];
        waits.into_iter().flatten().min_by_key(|(tick, _)| *tick)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::time::Duration;

    fn pair(options: ConnectionOptions) -> (Stream, std::net::TcpStream) {
        let listening = Socket::bind("127.0.0.1:0".parse().unwrap(), false, false).unwrap();
        listening.listen(1).unwrap();
        let peer = std::net::TcpStream::connect(listening.local_address().unwrap()).unwrap();
        let (socket, address) = listening.accept().unwrap();
        (Stream::new(socket, address, Rc::new(options), Tick(0)), peer)
    }

    #[test]
    fn a_short_read_ends_the_drain() {
        let (mut stream, mut peer) = pair(ConnectionOptions::default());
        peer.write_all(b"hello").unwrap();
        stream.suspect_input();
        assert_eq!(stream.recv(&mut [0; 64], Tick(3), &mut Stats::default()), Received::Bytes(5));
        assert!(!stream.wants_read());
        assert_eq!(stream.active, Tick(3));
    }

    #[test]
    fn a_short_read_does_not_end_the_drain_after_the_peer_has_closed() {
        let (mut stream, mut peer) = pair(ConnectionOptions::default());
        peer.write_all(b"hello").unwrap();
        drop(peer);
        stream.handle_readiness(Readiness { readable: true, read_closed: true, ..Readiness::default() });
        assert_eq!(stream.recv(&mut [0; 64], Tick(0), &mut Stats::default()), Received::Bytes(5));
        assert!(stream.wants_read());
        assert_eq!(stream.recv(&mut [0; 64], Tick(0), &mut Stats::default()), Received::End);
        assert!(!stream.wants_read());
    }

    #[test]
    fn the_marks_pause_and_resume_reading() {
        let options = ConnectionOptions { write_high_water: 8192, write_low_water: 4096, ..ConnectionOptions::default() };
        let (mut stream, mut peer) = pair(options);
        let mut stats = Stats::default();
        stream.suspect_input();
        let mut sent = 0;
        while stream.wants_read() {
            stream.send(&[1; 64 * 1024], Tick(0), &mut stats);
            sent += 64 * 1024;
        }
        assert!(stream.queued() > 8192);
        let mut received = vec![0; sent];
        let mut at = 0;
        while stream.queued() > 0 {
            let paused = stream.queued() > 4096;
            assert_eq!(stream.wants_read(), !paused);
            at += peer.read(&mut received[at..]).unwrap();
            stream.handle_readiness(Readiness { writable: true, ..Readiness::default() });
            stream.flush(Tick(0), &mut stats);
        }
        assert!(stream.wants_read() && stream.on_write_due);
        assert_eq!(stats.bytes_out, sent as u64);
    }

    #[test]
    fn the_nearest_wait_is_the_deadline() {
        let second = Duration::from_secs(1);
        let options = ConnectionOptions {
            idle_timeout: Some(2 * second),
            write_stall_timeout: Some(second),
            ..ConnectionOptions::default()
        };
        let (mut stream, _peer) = pair(options);
        assert_eq!(stream.next_deadline(), Some((Tick(2000), Expiry::Idle)));
        stream.enqueue(b"x", Tick(100));
        assert_eq!(stream.next_deadline(), Some((Tick(1100), Expiry::WriteStall)));
        stream.queue = None;
        (stream.closing, stream.fin, stream.active) = (true, Fin::Sent, Tick(90_000));
        assert_eq!(stream.next_deadline(), Some((Tick(5100), Expiry::Linger)));
    }
}
