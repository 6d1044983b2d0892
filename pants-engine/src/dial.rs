//! Connecting to a host by its name: the look-up, and the race of its addresses (RFC 8305, "Happy Eyeballs").
//!
//! The connection is there from the beginning, with a placeholder for its socket. Every attempt is a channel of its own; the first that
//! succeeds gives the connection its socket, and the others are dropped.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::channel::state::{CloseReason, Flags};
use crate::context::Context;
use crate::doorbell::{Doorbell, Source};
use crate::key::{Key, TimerKey};
use crate::limits;
use crate::net::address::Address;
use crate::net::socket::Socket;
use crate::net::{order, resolve};
use crate::slots::{Channel, Task};
use crate::transport::Transport;

/// One connection on its way to a host.
#[derive(Debug)]
pub(crate) struct Dial {
    pub(crate) host: Address,
    /// Not tried yet, the best first.
    addresses: VecDeque<SocketAddr>,
    /// The channels of the attempts that are under way.
    attempts: Vec<Key>,
    /// When the next address is tried though the last still hangs.
    next: Option<TimerKey>,
    /// What became of the last attempt that failed.
    pub(crate) error: Option<io::Error>,
}

/// One address being tried.
#[derive(Debug)]
pub(crate) struct Attempt {
    socket: Socket,
    address: SocketAddr,
    connection: Key,
}

/// What a look-up found, on its way to the connection that wants it.
type Answer = (Key, resolve::Answer);

/// Where look-ups leave their answers. There are at most as many as look-ups under way, which the resolver bounds.
#[derive(Debug)]
pub(crate) struct Lookups {
    answers: Sender<Answer>,
    doorbell: Doorbell,
}

/// The engine's end of it.
#[derive(Debug)]
pub(crate) struct Answers(Receiver<Answer>);

impl Lookups {
    pub(crate) fn new(doorbell: Doorbell) -> (Self, Answers) {
        let (answers, receiver) = unbounded();
        (Self { answers, doorbell }, Answers(receiver))
    }
}

impl Source for Answers {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn drain(&mut self, context: &mut Context, budget: usize) -> usize {
        let mut drained = 0;
        while drained < budget
            && let Ok((connection, answer)) = self.0.try_recv()
        {
            context.handle_answer(connection, answer);
            drained += 1;
        }
        drained
    }
}

impl Context {
    /// Has the host of a connection looked up; [`Context::handle_answer`] goes on from there.
    pub(crate) fn begin_dial(&mut self, connection: Key, name: &str, port: u16) {
        let host = Address::Host { name: name.to_owned(), port };
        let dial = Dial { host, addresses: VecDeque::new(), attempts: Vec::new(), next: None, error: None };
        self.dials.insert(connection, dial);
        let (answers, doorbell) = (self.lookups.answers.clone(), self.lookups.doorbell.clone());
        let deliver = move |answer| {
            // It fails when the engine is gone, and nobody waits.
            if answers.send((connection, answer)).is_ok() {
                doorbell.ring();
            }
        };
        resolve::lookup(name, port, Box::new(deliver));
    }

    fn handle_answer(&mut self, connection: Key, answer: resolve::Answer) {
        // The connection may have been closed, or have waited too long, meanwhile.
        let Some(dial) = self.dials.get_mut(&connection) else { return };
        match answer {
            Ok(addresses) => dial.addresses = order::happy_order(addresses).into(),
            Err(error) => dial.error = Some(error),
        }
        self.try_next_address(connection);
    }

    /// Begins with the next address; when there is none left, and no attempt under way, the connection has failed.
    pub(crate) fn try_next_address(&mut self, connection: Key) {
        self.cancel_next_address(connection);
        while let Some(address) = self.dials.get_mut(&connection).and_then(|dial| dial.addresses.pop_front()) {
            match self.begin_attempt(connection, address) {
                Ok(attempt) => return self.note_attempt(connection, attempt),
                Err(error) => self.note_failed_attempt(connection, address, &error),
            }
        }
        let Some(dial) = self.dials.get_mut(&connection) else { return };
        if dial.attempts.is_empty() {
            let kind = dial.error.get_or_insert_with(|| io::Error::other("the name has no address")).kind();
            if let Some(slot) = self.connection_slot(connection) {
                slot.stream.doom(CloseReason::Failed(kind));
                self.schedule(connection);
            }
        }
    }

    fn begin_attempt(&mut self, connection: Key, address: SocketAddr) -> io::Result<Key> {
        let Some(slot) = self.connection_slot(connection) else { return Err(io::ErrorKind::NotConnected.into()) };
        let socket = Socket::for_peer(&address.into())?;
        socket.configure(&slot.stream.options)?;
        socket.connect(&address.into())?;
        let attempt = Attempt { socket, address, connection };
        let key = self.channels.insert(Channel::Attempt(Box::new(attempt)));
        let Some(Channel::Attempt(attempt)) = self.channels.get(key) else { unreachable!("it was just inserted") };
        self.registrar.register_stream(attempt.socket.as_fd(), key).inspect_err(|_| drop(self.channels.remove(key)))?;
        Ok(key)
    }

    fn note_attempt(&mut self, connection: Key, attempt: Key) {
        let timer = self.insert_after(limits::CONNECTION_ATTEMPT_DELAY, Task::NextAddress(connection));
        let Some(dial) = self.dials.get_mut(&connection) else { return };
        dial.attempts.push(attempt);
        dial.next = Some(timer);
    }

    fn note_failed_attempt(&mut self, connection: Key, address: SocketAddr, error: &io::Error) {
        if let Some(dial) = self.dials.get_mut(&connection) {
            dial.error = Some(io::Error::new(error.kind(), format!("{address}: {error}")));
        }
    }

    /// Something has happened to an attempt: it has succeeded, failed, or neither yet.
    pub(crate) fn handle_attempt(&mut self, key: Key) {
        let Some(Channel::Attempt(attempt)) = self.channels.get(key) else { return };
        let (connection, address) = (attempt.connection, attempt.address);
        let error = attempt.socket.take_error();
        if error.is_none() && !attempt.socket.has_peer() {
            return;
        }
        let Some(Channel::Attempt(attempt)) = self.channels.remove(key) else { return };
        if let Some(dial) = self.dials.get_mut(&connection) {
            dial.attempts.retain(|known| *known != key);
        }
        match error.map_or_else(|| self.registrar.move_stream(attempt.socket.as_fd(), connection), Err) {
            Ok(()) => self.finish_dial(connection, *attempt),
            Err(error) => {
                self.note_failed_attempt(connection, address, &error);
                self.try_next_address(connection);
            }
        }
    }

    /// Gives the connection its socket; that it is connected the dispatcher finds out.
    fn finish_dial(&mut self, connection: Key, attempt: Attempt) {
        self.forget_dial(connection);
        let Some(slot) = self.connection_slot(connection) else { return };
        slot.stream.transport = Transport::Plain(attempt.socket);
        slot.stream.peer = attempt.address.into();
        slot.stream.flags.set(Flags::WRITABLE.or(Flags::READABLE));
        self.schedule(connection);
    }

    /// Ends what is still under way for a connection; gives what was known.
    pub(crate) fn forget_dial(&mut self, connection: Key) -> Option<Dial> {
        if self.dials.is_empty() {
            return None;
        }
        self.cancel_next_address(connection);
        let mut dial = self.dials.remove(&connection)?;
        for attempt in dial.attempts.drain(..) {
            self.channels.remove(attempt);
        }
        Some(dial)
    }

    fn cancel_next_address(&mut self, connection: Key) {
        if let Some(timer) = self.dials.get_mut(&connection).and_then(|dial| dial.next.take()) {
            self.timers.remove(timer);
        }
    }
}
