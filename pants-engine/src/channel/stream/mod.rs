//! One stream connection: its socket, its write queue and its state. It makes system calls and no callbacks.
//!
//! Nothing here closes the connection by itself: `doom` records why it must be, and the dispatcher carries it out.

mod input;
mod output;
mod travel;

use std::io;
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;

use crate::buffer::write::WriteQueue;
use crate::channel::state::{CloseReason, Expiry, Flags};
use crate::clock::Tick;
use crate::framing::driver::Framing;
use crate::limits;
use crate::net::endpoint::Endpoint;
use crate::net::socket::Socket;
use crate::options::ConnectionOptions;
use crate::transport::Transport;

/// In this order, so that what every message needs is on one cache line, at the beginning of its slot.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Stream {
    pub(crate) transport: Transport,
    pub(crate) flags: Flags,
    /// When a byte last came.
    heard: Tick,
    /// How the input is cut into frames, and what is kept of it; `None` while it is passed on as it comes, and while the
    /// dispatcher has it. Invariant: while it is `Some`, `FRAMED` is set.
    framing: Option<Box<Framing>>,
    /// What the kernel would not take. Invariant: `Some`, and not empty, exactly while `QUEUED` is set.
    queue: Option<Box<WriteQueue>>,
    pub(crate) options: Rc<ConnectionOptions>,
    /// When bytes last left that were no immediate answer.
    spoke: Tick,
    /// When the present wait began: to connect, for the peer to take queued bytes, for its FIN.
    since: Tick,
    /// The peer's address, kept here because the kernel forgets it after a reset.
    pub(crate) peer: Endpoint,
    /// The error behind `CloseReason::Failed`.
    pub(crate) errno: Option<Errno>,
    /// Why the connection must close; the first reason stays, but for a panic's. Invariant: `Some` exactly while `DOOMED` is set.
    doom: Option<CloseReason>,
    /// Whether others may have descriptors of the socket, so that it need not end with this one.
    pub(crate) is_shared: bool,
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
    pub(crate) fn new(socket: Socket, peer: Endpoint, options: Rc<ConnectionOptions>, now: Tick) -> Self {
        let (transport, flags) = (Transport::Plain(socket), Flags::WRITABLE);
        Self {
            transport,
            flags,
            peer,
            options,
            queue: None,
            framing: None,
            heard: now,
            spoke: now,
            since: now,
            errno: None,
            doom: None,
            is_shared: false,
        }
    }

    pub(crate) fn connecting(socket: Socket, peer: Endpoint, options: Rc<ConnectionOptions>, now: Tick) -> Self {
        Self { flags: Flags::CONNECTING, ..Self::new(socket, peer, options, now) }
    }

    /// Whether connecting has come to an end: `None` while it has not.
    pub(crate) fn take_connected(&mut self, now: Tick) -> Option<io::Result<()>> {
        let socket = self.transport.socket();
        if let Some(error) = socket.take_error() {
            return Some(Err(error));
        }
        if !self.flags.any(Flags::WRITABLE) || !socket.has_peer() {
            return None;
        }
        self.flags.clear(Flags::CONNECTING.or(Flags::ERROR_PENDING));
        self.flags.set(Flags::REARM_DUE);
        (self.heard, self.since) = (now, now);
        Some(Ok(()))
    }

    /// Whether a message can take the usual way: nothing is going on, and its handler wants no more than the bytes.
    #[inline]
    pub(crate) fn rests(&self) -> bool {
        self.flags == Flags::AT_REST
    }

    /// The same where input is cut into frames.
    #[inline]
    pub(crate) fn rests_framed(&self) -> bool {
        self.flags == Flags::AT_REST.or(Flags::FRAMED)
    }

    /// Whether input waits, and nothing else is going on.
    #[inline]
    pub(crate) fn has_only_input(&self) -> bool {
        self.flags.of(Flags::STIR) == Flags::READABLE
    }

    /// Whether neither input nor anything else waits.
    #[inline]
    pub(crate) fn is_at_rest(&self) -> bool {
        !self.flags.any(Flags::STIR)
    }

    /// Records why the connection must close.
    pub(crate) fn doom(&mut self, reason: CloseReason) {
        self.flags.set(Flags::DOOMED);
        self.doom.get_or_insert(reason);
    }

    /// Records that the handler has panicked, whatever else was the matter.
    pub(crate) fn doom_panicked(&mut self) {
        self.flags.set(Flags::DOOMED);
        self.flags.clear(Flags::OVERFLOWED);
        self.doom = Some(CloseReason::Panicked);
    }

    pub(crate) fn doomed(&self) -> Option<CloseReason> {
        self.doom
    }

    /// Records that connecting has failed.
    pub(crate) fn fail_to_connect(&mut self, error: &io::Error) {
        self.errno = error.raw_os_error().map(Errno::from_raw_os_error);
        self.doom(CloseReason::Failed(error.kind()));
    }

    /// The error behind the end of the connection, if its handler has not heard of it.
    pub(crate) fn take_failure(&mut self, reason: CloseReason) -> Option<io::Error> {
        match (reason, self.errno.take()) {
            (CloseReason::Failed(_), Some(errno)) => Some(errno.into()),
            (CloseReason::Failed(kind @ io::ErrorKind::UnexpectedEof), None) => {
                Some(io::Error::new(kind, "a file became shorter while it was being sent"))
            }
            _ => None,
        }
    }

    /// Records an error of a call. It is final: after a reset `send` says `EPIPE` and `recv` says 0, which is no end.
    pub(crate) fn fail(&mut self, errno: Errno) {
        self.errno.get_or_insert(errno);
        self.doom(CloseReason::from_errno(errno));
    }

    /// Takes up an error that an event told of and no call will return, since nothing is read.
    pub(crate) fn take_pending_error(&mut self) {
        if self.flags.any(Flags::ERROR_PENDING) && !self.wants_read() {
            self.flags.clear(Flags::ERROR_PENDING);
            let error = self.transport.socket().take_error();
            if let Some(errno) = error.and_then(|error| error.raw_os_error()) {
                self.fail(Errno::from_raw_os_error(errno));
            }
        }
    }

    /// Stops output behind what is written so far.
    pub(crate) fn want_fin(&mut self) {
        let sent = self.flags.any(Flags::FIN_SENT);
        self.flags.set(Flags::FIN_WANTED.when(!sent));
    }

    /// Begins to close; the wait for the peer's FIN counts from here when this side's has left already.
    pub(crate) fn want_close(&mut self, now: Tick) {
        if !self.flags.any(Flags::CLOSING) && self.flags.any(Flags::FIN_SENT) {
            self.since = now;
            self.flags.set(Flags::REARM_DUE);
        }
        self.flags.set(Flags::CLOSING);
        self.want_fin();
    }

    /// Takes closing a step further: FIN when the queue is empty, and the end when the peer's FIN is in too.
    pub(crate) fn handle_close(&mut self, now: Tick) {
        const WAIT: Flags = Flags::QUEUED.or(Flags::CONNECTING).or(Flags::DOOMED);
        let fin_due = self.flags.any(Flags::FIN_WANTED) && !self.flags.any(WAIT);
        // Where the peer's is in, closing the last descriptor is what sends FIN: everything has been read, so it sends no RST.
        let closes = self.flags.any(Flags::PEER_ENDED) && (fin_due || self.flags.any(Flags::FIN_SENT));
        if fin_due && (!closes || self.is_shared) {
            match self.transport.shutdown_write() {
                Ok(()) => {
                    self.flags.clear(Flags::FIN_WANTED);
                    self.flags.set(Flags::FIN_SENT.or(Flags::REARM_DUE));
                    self.since = now;
                }
                // The peer has reset, and another call has taken the error.
                Err(Errno::NOTCONN) => self.doom(CloseReason::Reset),
                Err(errno) => self.fail(errno),
            }
        }
        const UNREAD: Flags = Flags::OUTPUT_LOST.or(Flags::PAUSED_BY_USER);
        if self.flags.of(UNREAD) == UNREAD {
            self.doom(CloseReason::Reset);
        }
        if closes {
            // A reset right behind the peer's FIN shows in no call any more.
            self.take_pending_error();
            self.doom(CloseReason::Finished);
        }
    }

    /// Whether nothing is left to be done before the next event, closing apart.
    #[inline]
    pub(crate) fn is_settled(&self) -> bool {
        const ON_WRITE: Flags = Flags::ON_WRITE_DUE.or(Flags::QUEUED);
        !self.flags.any(URGENT) && self.flags.of(ON_WRITE) != Flags::ON_WRITE_DUE
    }

    /// Whether all that is left to be done is to tell the handler that everything has left.
    #[inline]
    pub(crate) fn only_on_write_is_due(&self) -> bool {
        const ASKED: Flags = URGENT.or(ENDING).or(Flags::ON_WRITE_DUE).or(Flags::QUEUED);
        self.flags.of(ASKED) == Flags::ON_WRITE_DUE
    }

    /// Whether a callback, or the end of reading, has left something that must be looked at.
    #[inline]
    pub(crate) fn needs_settling(&self) -> bool {
        const MATTERS: Flags =
            Flags::ON_WRITE_DUE.or(Flags::ERROR_PENDING).or(Flags::SHUTDOWN_DUE).or(Flags::OUTPUT_LOST);
        self.flags.any(URGENT.or(ENDING).or(MATTERS))
    }

    /// Whether nothing is on its way in either direction, as far as this side can tell.
    pub(crate) fn is_quiet(&self) -> bool {
        const ASKED: Flags = Flags::READABLE.or(Flags::PEER_ENDED);
        let unread = self.flags.of(ASKED) == Flags::READABLE || self.flags.any(Flags::FRAMES_KEPT);
        // What waits because of the handler's own pause waits for the handler.
        let unread = unread && !self.flags.any(Flags::PAUSED_BY_USER);
        !unread && !self.flags.any(Flags::QUEUED.or(Flags::CONNECTING))
    }

    /// Goes on reading after the handler's pause.
    pub(crate) fn resume(&mut self, now: Tick) {
        self.wait_for_peer_again(Flags::PAUSED_BY_USER, now);
        self.flags.clear(Flags::PAUSED_BY_USER);
    }

    /// A pause ends, if there is one: the peer was not waited for meanwhile.
    fn wait_for_peer_again(&mut self, pause: Flags, now: Tick) {
        if self.flags.any(pause) && self.options.read_timeout.is_some() {
            self.heard = now;
            self.flags.set(Flags::REARM_DUE);
        }
    }

    /// For how long surely no byte has come or left.
    pub(crate) fn idle_time(&self, now: Tick) -> Duration {
        // The last one may have passed at the end of its tick.
        Duration::from_millis(now.0.saturating_sub(self.heard.max(self.spoke).0).saturating_sub(1))
    }

    /// The wait that ends first, and when.
    pub(crate) fn next_deadline(&self) -> Option<(Tick, Expiry)> {
        let options = &self.options;
        let after = |from: Tick, timeout: Option<_>, expiry| Some((from.after(timeout?), expiry));
        if self.flags.any(Flags::CONNECTING) {
            return after(self.since, options.connect_timeout, Expiry::Connect);
        }
        const LINGERS: Flags = Flags::CLOSING.or(Flags::FIN_SENT);
        if self.flags.of(LINGERS) == LINGERS {
            return after(self.since, Some(limits::LINGER), Expiry::Linger);
        }
        const PAUSED: Flags = Flags::PAUSED_BY_USER.or(Flags::PAUSED_BY_ENGINE);
        const DEAF: Flags = PAUSED.or(Flags::PEER_ENDED).or(Flags::CLOSING);
        let stall = options.write_stall_timeout.filter(|_| self.flags.any(Flags::QUEUED));
        let read = options.read_timeout.filter(|_| !self.flags.any(DEAF));
        let waits = [
            after(self.since, stall, Expiry::WriteStall),
            after(self.heard, read, Expiry::Read),
            after(self.heard.max(self.spoke), options.idle_timeout, Expiry::Idle),
        ];
        waits.into_iter().flatten().min_by_key(|(tick, _)| *tick)
    }
}

/// What must be attended to before the next event.
const URGENT: Flags =
    Flags::DOOMED.or(Flags::OVERFLOWED).or(Flags::REARM_DUE).or(Flags::LEAVING).or(Flags::ARRIVED).or(MARKS_DUE);

/// What a water mark has left to be told.
const MARKS_DUE: Flags = Flags::ON_CONGESTED_DUE.or(Flags::ON_DRAINED_DUE);

/// What forbids writing.
const MUTE: Flags = ENDING.or(Flags::DOOMED).or(Flags::OVERFLOWED).or(Flags::OUTPUT_LOST);

/// What makes closing go on.
const ENDING: Flags = Flags::FIN_WANTED.or(Flags::FIN_SENT);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::options::ServerOptions;
    use crate::poll::Readiness;
    use crate::stats::Stats;
    use std::io::{Read, Write};

    fn pair(options: ConnectionOptions) -> (Stream, std::net::TcpStream) {
        let listening = Socket::bind(&"127.0.0.1:0".parse().unwrap(), &ServerOptions::default()).unwrap();
        listening.socket.listen(1).unwrap();
        let peer = std::net::TcpStream::connect(listening.local.socket_address().unwrap()).unwrap();
        let (socket, address) = listening.socket.accept().unwrap();
        (Stream::new(socket, address, Rc::new(options), Tick(0)), peer)
    }

    #[test]
    fn a_short_read_ends_the_drain() {
        let (mut stream, mut peer) = pair(ConnectionOptions::default());
        peer.write_all(b"hello").unwrap();
        stream.flags.set(Flags::READABLE);
        assert_eq!(stream.recv(&mut [0; 64], &Clock::new(), &mut Stats::default()), Received::Bytes(5));
        assert!(!stream.wants_read());
    }

    #[test]
    fn a_short_read_does_not_end_the_drain_after_the_peer_has_closed() {
        let (mut stream, mut peer) = pair(ConnectionOptions::default());
        peer.write_all(b"hello").unwrap();
        drop(peer);
        stream.flags.set_readiness(Readiness::READABLE);
        stream.flags.set_readiness(Readiness::SPECIAL);
        assert_eq!(stream.recv(&mut [0; 64], &Clock::new(), &mut Stats::default()), Received::Bytes(5));
        assert!(stream.wants_read());
        assert_eq!(stream.recv(&mut [0; 64], &Clock::new(), &mut Stats::default()), Received::End);
        assert!(!stream.wants_read());
    }

    #[test]
    fn the_marks_pause_and_resume_reading() {
        let options =
            ConnectionOptions { write_high_water: 8192, write_low_water: 4096, ..ConnectionOptions::default() };
        let (mut stream, mut peer) = pair(options);
        let mut stats = Stats::default();
        stream.flags.set(Flags::READABLE);
        let mut sent = 0;
        while stream.wants_read() {
            stream.send(&[1; 64 * 1024], &Clock::new(), &mut stats);
            sent += 64 * 1024;
        }
        assert!(stream.queued() > 8192);
        let mut received = vec![0; sent];
        let mut at = 0;
        while stream.queued() > 0 {
            let paused = stream.queued() > 4096;
            assert_eq!(stream.wants_read(), !paused);
            at += peer.read(&mut received[at..]).unwrap();
            stream.flags.set_readiness(Readiness::WRITABLE);
            stream.flush(Tick(0), &mut stats);
        }
        assert!(stream.wants_read() && stream.flags.any(Flags::ON_WRITE_DUE));
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
        assert_eq!(stream.next_deadline(), Some((Tick(2001), Expiry::Idle)));
        stream.enqueue(b"x", Tick(100));
        assert_eq!(stream.next_deadline(), Some((Tick(1101), Expiry::WriteStall)));
        stream.queue = None;
        stream.flags = Flags::CLOSING.or(Flags::FIN_SENT);
        stream.heard = Tick(90_000);
        assert_eq!(stream.next_deadline(), Some((Tick(5101), Expiry::Linger)));
    }
}
