//! What an engine keeps of each channel and timer: the channel's state, joined with whose it is.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use crate::balance::{Balancer, Newcomer};
use crate::channel::mailbox::Mailbox;
use crate::channel::server::Server;
use crate::channel::stream::Stream;
use crate::clock::Tick;
use crate::connection::Connection;
use crate::context::Context;
use crate::dial::Attempt;
use crate::handler::{AnyAcceptor, Handler};
use crate::key::{Key, ServerKey, TimerKey};

/// One channel of the engine.
///
/// The tag is a byte of its own: found in some corner of a connection's state, it would take the path of every message more
/// instructions to read.
#[derive(Debug)]
#[repr(u8)]
pub(crate) enum Channel {
    Connection(ConnectionSlot),
    Server(Box<ServerSlot>),
    Datagram(Box<DatagramSlot>),
    /// One address being tried for a connection to a host.
    Attempt(Box<Attempt>),
}

/// In this order, so that the stream's beginning is the slot's.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct ConnectionSlot {
    pub(crate) stream: Stream,
    /// Whose connection it is; `None` for a client's.
    pub(crate) server: Option<ServerKey>,
    /// The timer of its nearest timeout.
    pub(crate) deadline_timer: Option<TimerKey>,
    /// The handler's own timers that have not fired, and the one that tries again to connect.
    #[expect(clippy::box_collection, reason = "one word in every connection, since few have timers")]
    pub(crate) timers: Option<Box<Vec<TimerKey>>>,
    /// It waits in the engine's list of channels to be driven.
    pub(crate) scheduled: bool,
    /// Its last callback has begun.
    pub(crate) ended: bool,
    /// It belongs to a server that stands beside the service.
    pub(crate) attendant: bool,
    /// Its socket is watched for output: it could not be written to at some time.
    pub(crate) watches_output: bool,
}

pub(crate) struct ServerSlot {
    pub(crate) server: Server,
    /// `None` while one of its callbacks runs.
    pub(crate) acceptor: Option<Box<dyn AnyAcceptor>>,
    /// `None` without one, and while it decides.
    pub(crate) balancer: Option<Box<dyn Balancer>>,
    /// Connections that other engines' servers have accepted, until the next drive; and those that are back, until there is room.
    pub(crate) newcomers: VecDeque<Newcomer>,
    /// The number of open connections has changed, and the balancer has not been told. Never set without one.
    pub(crate) change_due: bool,
    pub(crate) scheduled: bool,
}

#[derive(Debug)]
pub(crate) struct DatagramSlot {
    pub(crate) mailbox: Mailbox,
    pub(crate) scheduled: bool,
    /// Its last callback has begun.
    pub(crate) ended: bool,
}

/// What a timer does.
pub(crate) enum Task {
    Once(Box<dyn FnOnce(&mut Context)>),
    EveryTurn(Box<dyn FnMut(&mut Context)>),
    Cycle(Box<Cycle>),
    Handler(Box<HandlerTask>),
    /// Looks after a connection's timeouts.
    ConnectionDeadline(Key),
    /// Tries a Unix server again whose queue was full.
    ConnectAgain(Key),
    /// Tries a host's next address.
    NextAddress(Key),
    /// Ends a server's pause.
    AcceptAgain(Key),
    /// Closes a server between callbacks.
    CloseServer(Key),
    /// Half of a drain's time has passed, or all of it.
    DrainDeadline,
    /// Its closure is on the stack.
    Running,
}

pub(crate) struct Cycle {
    /// When it was last due, in nanoseconds since the engine's origin: ticks would let a cycle of 1.5 ms drift.
    pub(crate) due: Duration,
    pub(crate) interval: Duration,
    pub(crate) run: Box<dyn FnMut(&mut Context)>,
}

pub(crate) struct HandlerTask {
    pub(crate) connection: Key,
    pub(crate) run: HandlerClosure,
}

/// A connection timer's closure; it knows the handler's type.
pub(crate) type HandlerClosure = Box<dyn FnOnce(&mut dyn Handler, &mut Connection<'_>)>;

/// A drain in progress.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drain {
    /// Connections are told even if they are not quiet.
    pub(crate) impatient: bool,
    /// When that begins.
    pub(crate) half: Tick,
    /// When those that remain are closed.
    pub(crate) deadline: Tick,
    /// Due at the half, then at the deadline.
    pub(crate) timer: TimerKey,
}

impl Channel {
    /// Whether it stands beside the service: not counted, and left alone by a drain.
    pub(crate) fn is_attendant(&self) -> bool {
        match self {
            Self::Connection(slot) => slot.attendant,
            Self::Server(slot) => slot.server.options.attendant,
            Self::Datagram(_) | Self::Attempt(_) => false,
        }
    }
}

impl Task {
    /// Whether it is the program's own, and not the engine's upkeep.
    pub(crate) fn is_users(&self) -> bool {
        matches!(self, Self::Once(_) | Self::EveryTurn(_) | Self::Cycle(_) | Self::Handler(_))
    }
}

impl ConnectionSlot {
    pub(crate) fn new(stream: Stream, server: Option<ServerKey>) -> Self {
        Self {
            stream,
            server,
            deadline_timer: None,
            timers: None,
            scheduled: false,
            ended: false,
            attendant: false,
            watches_output: false,
        }
    }
}

impl ServerSlot {
    pub(crate) fn new(server: Server, acceptor: Box<dyn AnyAcceptor>) -> Self {
        let (balancer, newcomers) = (None, VecDeque::new());
        Self { server, acceptor: Some(acceptor), balancer, newcomers, change_due: false, scheduled: false }
    }

    /// Whether it has as many connections as it may have, those included that are about to be admitted.
    pub(crate) fn is_full(&self) -> bool {
        self.server.options.max_connections.is_some_and(|max| self.server.connections + self.newcomers.len() >= max)
    }

    /// The next connection to be admitted. With nobody to listen any more they are not kept waiting for room.
    pub(crate) fn next_newcomer(&mut self) -> Option<Newcomer> {
        let waits = self.server.open && self.server.is_full();
        if waits { None } else { self.newcomers.pop_front() }
    }

    /// Whether another connection is to be accepted now: there is room for it, here or, as the balancer says, elsewhere.
    pub(crate) fn wants_accept(&self) -> bool {
        let room_elsewhere = |max| self.balancer.as_ref().is_some_and(|balancer| balancer.has_room_elsewhere(max));
        let max = self.server.options.max_connections;
        self.server.can_accept() && max.is_none_or(|max| self.server.connections < max || room_elsewhere(max))
    }

    /// So many connections more, or less. Returns whether the server has to be driven for it.
    pub(crate) fn count_connection(&mut self, change: isize) -> bool {
        self.server.connections = self.server.connections.wrapping_add_signed(change);
        self.change_due = self.balancer.is_some();
        self.change_due || (change < 0 && (self.wants_accept() || !self.newcomers.is_empty()))
    }
}

impl fmt::Debug for ServerSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerSlot").field("server", &self.server).finish_non_exhaustive()
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").finish_non_exhaustive()
    }
}

const _: () =
    assert!(size_of::<ConnectionSlot>() <= 136, "an idle connection has 256 bytes, with its handler and its timer");
const _: () = assert!(size_of::<Task>() <= 24);
