//! The poller: the only file that names mio.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Token};
use rustix::event::epoll::{self, EventData, EventFlags};

use crate::doorbell::Wake;
use crate::key::Key;
use crate::limits;

/// The doorbell's token: no key has it.
const WAKER: Token = Token(0);

/// The alarm's token. As a key it has generation 0, which no channel has: its event wakes the engine and reaches nobody.
const ALARM: Token = Token(1);

/// What a stream is always watched for.
const STREAM_INPUT: Interest = Interest::READABLE.add(Interest::PRIORITY);

/// The engine's epoll instance and the events of the present turn.
#[derive(Debug)]
pub(crate) struct Poller {
    poll: mio::Poll,
    events: mio::Events,
}

/// Registers descriptors with the engine's poller.
#[derive(Debug)]
pub(crate) struct Registrar(mio::Registry);

/// Ends the engine's sleep, from any thread.
#[derive(Debug)]
pub(crate) struct PollWaker(mio::Waker);

/// What an event says about a stream or a datagram socket. Edge-triggered: it is said once.
///
/// Its bits are the low ones of a stream's flags, so that a stream takes note of an event with one instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Readiness(u32);

/// One event of the present turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event<'a>(&'a mio::event::Event);

impl Readiness {
    pub(crate) const READABLE: Self = Self(1);
    pub(crate) const WRITABLE: Self = Self(1 << 1);
    /// More than that bytes can pass: an error, the peer's FIN, both directions shut, or TCP urgent data.
    pub(crate) const SPECIAL: Self = Self(1 << 2);
    pub(crate) const ERROR: Self = Self(1 << 3);

    pub(crate) const fn bits(self) -> u32 {
        self.0
    }
}

impl Event<'_> {
    /// Whom it is for: a [key](Key::from_token)'s token, or one that is nobody's.
    #[inline(always)]
    pub(crate) fn token(self) -> usize {
        self.0.token().0
    }

    /// Whether it says that there is input, and nothing that is not known of a connection that [rests]: so does one that comes
    /// with a message. In the order in which the compiler makes one comparison of it.
    ///
    /// [rests]: crate::channel::stream::Stream::rests
    #[inline(always)]
    pub(crate) fn is_usual(self) -> bool {
        let Self(event) = self;
        !event.is_priority() && event.is_readable() && !event.is_read_closed() && !event.is_error()
    }

    pub(crate) fn readiness(self) -> Readiness {
        let Self(event) = self;
        let closed = event.is_read_closed();
        let special = closed || event.is_error() || event.is_priority();
        let when = |holds, Readiness(bits)| if holds { bits } else { 0 };
        Readiness(
            when(closed || event.is_readable(), Readiness::READABLE)
                | when(event.is_writable(), Readiness::WRITABLE)
                | when(special, Readiness::SPECIAL)
                | when(event.is_error(), Readiness::ERROR),
        )
    }
}

impl Poller {
    pub(crate) fn new() -> io::Result<(Self, Registrar, PollWaker)> {
        let poll = mio::Poll::new()?;
        let registrar = Registrar(poll.registry().try_clone()?);
        let waker = PollWaker(mio::Waker::new(poll.registry(), WAKER)?);
        Ok((Self { poll, events: mio::Events::with_capacity(limits::EVENTS_MAX) }, registrar, waker))
    }

    /// Waits for events, a wake or the end of `timeout`; a signal ends the wait too.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            result => result,
        }
    }

    /// Whether the last wait has brought more than the alarm.
    pub(crate) fn has_events(&self) -> bool {
        self.events.iter().any(|event| event.token() != ALARM)
    }

    /// The events of the present turn from the one at `position` on; one whose token is no key is a wake.
    #[inline]
    pub(crate) fn events_from(&self, position: usize) -> impl Iterator<Item = Event<'_>> {
        let mut events = self.events.iter();
        if let Some(last) = position.checked_sub(1) {
            events.nth(last);
        }
        events.map(Event)
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poll.registry().as_fd()
    }
}

impl Registrar {
    /// Registers a stream, edge-triggered, for input, urgent data and perhaps output. One that can be written to now need not be
    /// watched for that before it [can not](Self::watch_stream_output): it would bring an event that says what is known.
    pub(crate) fn register_stream(&self, fd: BorrowedFd<'_>, key: Key, output: bool) -> io::Result<()> {
        self.register(fd, key, if output { STREAM_INPUT | Interest::WRITABLE } else { STREAM_INPUT })
    }

    /// From now on a registered stream is watched in both directions and its events are for `key`; those that it is ready for
    /// now come again.
    pub(crate) fn move_stream(&self, fd: BorrowedFd<'_>, key: Key) -> io::Result<()> {
        let interest = STREAM_INPUT | Interest::WRITABLE;
        self.0.reregister(&mut SourceFd(&fd.as_raw_fd()), Token(key.to_token()), interest)
    }

    /// From now on a registered stream is watched for output too. If it can be written to by now, an event comes.
    pub(crate) fn watch_stream_output(&self, fd: BorrowedFd<'_>, key: Key) {
        // A change of what is registered needs no memory, and so has no way to fail (epoll_ctl(2)).
        if let Err(error) = self.move_stream(fd, key) {
            tracing::error!(%error, "a connection could not be watched");
        }
    }

    /// Registers a listening socket, level-triggered: its event comes for as long as a connection waits, so that nobody need ask
    /// whether there is another one. (mio's own registrations are all edge-triggered.)
    pub(crate) fn register_listener(&self, fd: BorrowedFd<'_>, key: Key) -> io::Result<()> {
        Ok(epoll::add(&self.0, fd, EventData::new_u64(key.to_token() as u64), EventFlags::IN)?)
    }

    /// Says whether a registered listening socket is watched. If connections wait when that begins, an event comes.
    pub(crate) fn watch_listener(&self, fd: BorrowedFd<'_>, key: Key, watch: bool) {
        // Edge-triggered in between, since errors are told of unasked.
        let flags = if watch { EventFlags::IN } else { EventFlags::ET };
        // A change of what is registered needs no memory, and so has no way to fail (epoll_ctl(2)).
        if let Err(error) = epoll::modify(&self.0, fd, EventData::new_u64(key.to_token() as u64), flags) {
            tracing::error!(%error, "a listening socket could not be watched");
        }
    }

    /// Registers a datagram socket for input, edge-triggered.
    pub(crate) fn register_datagrams(&self, fd: BorrowedFd<'_>, key: Key) -> io::Result<()> {
        self.register(fd, key, Interest::READABLE)
    }

    /// Says whether a datagram socket that is registered is watched for output too. If it can be written to when that
    /// begins, an event comes.
    pub(crate) fn watch_output(&self, fd: BorrowedFd<'_>, key: Key, watch: bool) {
        let interest = if watch { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        // A change of what is registered needs no memory, and so has no way to fail (epoll_ctl(2)).
        if let Err(error) = self.0.reregister(&mut SourceFd(&fd.as_raw_fd()), Token(key.to_token()), interest) {
            tracing::error!(%error, "a datagram socket could not be watched");
        }
    }

    /// Forgets a socket that lives on elsewhere, with another engine or, since others may have a descriptor of it, even if it
    /// closes here: as long as it does, the kernel would go on to tell of its events (epoll(7)).
    pub(crate) fn deregister(&self, fd: BorrowedFd<'_>) {
        // It fails for a socket that is not registered, which is what is wanted.
        let _ = self.0.deregister(&mut SourceFd(&fd.as_raw_fd()));
    }

    /// Registers the alarm's timerfd, edge-triggered: it comes once for each time it goes off, read or not.
    pub(crate) fn register_alarm(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.0.register(&mut SourceFd(&fd.as_raw_fd()), ALARM, Interest::READABLE)
    }

    fn register(&self, fd: BorrowedFd<'_>, key: Key, interest: Interest) -> io::Result<()> {
        self.0.register(&mut SourceFd(&fd.as_raw_fd()), Token(key.to_token()), interest)
    }
}

impl Wake for PollWaker {
    fn wake(&self) {
        // An eventfd's write fails only when the descriptor is gone, which the engine that owns it outlives.
        if let Err(error) = self.0.wake() {
            tracing::error!(%error, "an engine could not be woken");
        }
    }
}
