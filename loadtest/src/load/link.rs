//! The handlers of a shard's connections: [`Link`] for those that are loaded, and [`Idle`] for those that are only held.

use std::rc::Rc;
use std::time::{Duration, Instant};

use pants_shard::{CloseReason, Connection, ConnectionKey, ConnectionOptions, Context, EngineError, Handler};

use crate::count::failure::Kind;
use crate::load::conversation::Conversation;
use crate::load::pool::{Next, Pool};
use crate::load::talk::Carried;
use crate::load::worker::Worker;
use crate::plan::{IN_FLIGHT_BYTES_MAX, Plan};
use crate::protocol::Protocol;

/// A message in flight beside those that wait: what the queue may hold.
const WRITE_CAP: usize = IN_FLIGHT_BYTES_MAX + (1 << 20);

/// What is known of a connection that ends before anything has come back on it.
const TURNED_AWAY: &str = "the server ended it before any reply, as one does that has no descriptors left or serves no more \
                           connections; --server-pid shows its descriptors";

/// One socket of a connection that is loaded. What is said over it is in the worker's pool, where the schedule of an open loop
/// finds it too.
///
/// The clock is read once for each batch of bytes: when a batch arrives, its replies have arrived and the messages that follow
/// them are sent. The engine's own clock, read once a turn, would be cheaper by some 30 ns, but with a thousand connections
/// that are ready at once a turn takes milliseconds, and each of them would seem to come at its beginning.
#[derive(Debug)]
pub struct Link<P: Protocol> {
    worker: Rc<Worker<Conversation<P>>>,
    /// The connection's place in the pool.
    index: u32,
    /// When it was begun to be made.
    begun: Instant,
    /// Whether it is still the connection's socket: it has not failed, and no other one has taken its place.
    is_current: bool,
    /// What the engine said of an error that [`CloseReason`] does not tell.
    error: Option<String>,
}

impl<P: Protocol> Link<P> {
    /// A socket for the connection at this place of the pool.
    pub fn new(worker: Rc<Worker<Conversation<P>>>, index: u32) -> Self {
        Self { worker, index, begun: Instant::now(), is_current: true, error: None }
    }

    /// Does what has to be done next.
    #[inline(never)]
    fn act(&mut self, connection: &mut Connection<'_>, next: Next) {
        match next {
            Next::Nothing => {}
            Next::Look => self.worker.look(connection.context()),
            Next::Think(count) => self.worker.think(connection.context(), self.index, count, false),
            Next::Fault(fault) => {
                self.fail(connection.context(), fault.kind, Some(fault.detail));
                connection.abort();
            }
            Next::Quiet => {
                if self.worker.rest_or_reconnect(connection.context(), self.index) {
                    self.is_current = false;
                    connection.close();
                }
            }
        }
    }

    /// Looks whether the oldest message has waited too long. There is one timer for a connection, which is set anew when it
    /// fires: a message sets none.
    fn check(&mut self, connection: &mut Connection<'_>) {
        if !self.is_current {
            return;
        }
        let timeout = self.worker.timeout();
        let waited = self.worker.waited(self.index);
        match waited.map(|waited| timeout.saturating_sub(waited)) {
            Some(Duration::ZERO) => {
                self.fail(connection.context(), Kind::Timeout, None);
                connection.abort();
            }
            left => {
                connection.defer(left.unwrap_or(timeout), Self::check);
            }
        }
    }

    /// Counts the socket as failed, and what is in flight on it.
    fn fail(&mut self, context: &mut Context, kind: Kind, detail: Option<String>) {
        if std::mem::replace(&mut self.is_current, false) {
            let is_end = matches!(kind, Kind::Reset | Kind::ClosedEarly);
            let is_turned_away = is_end && self.worker.pool.borrow().is_unheard(self.index);
            let detail = if is_turned_away { Some(TURNED_AWAY.to_owned()) } else { detail };
            self.worker.handle_failure(context, self.index, kind, detail);
        }
    }
}

impl<P: Protocol> Handler for Link<P> {
    fn on_connect(&mut self, connection: &mut Connection<'_>) {
        connection.defer(self.worker.timeout(), Self::check);
        let key = connection.key();
        let next = self.worker.handle_connected(connection.context(), self.index, key, self.begun);
        self.act(connection, next);
    }

    fn on_connect_error(&mut self, context: &mut Context, error: &EngineError) {
        self.worker.handle_connect_error(context, Some(self.index), error);
    }

    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        if !self.is_current {
            return;
        }
        let next = self.worker.pool.borrow_mut().hear(self.index, connection, data);
        match next {
            Next::Nothing => {}
            next => self.act(connection, next),
        }
    }

    fn on_end(&mut self, connection: &mut Connection<'_>) {
        if self.is_current && self.worker.is_needed(self.index) {
            let mut pool = self.worker.pool.borrow_mut();
            let (next, kind) = (pool.hear_end(self.index), pool.kind_of_end(self.index));
            drop(pool);
            match next {
                Some(Next::Quiet) => self.act(connection, Next::Quiet),
                _ => self.fail(connection.context(), kind, None),
            }
        }
        connection.close();
    }

    fn on_error(&mut self, _connection: &mut Connection<'_>, error: &EngineError) {
        self.error = Some(error.to_string());
    }

    fn on_close(&mut self, connection: &mut Connection<'_>, reason: CloseReason) {
        if self.is_current && self.worker.is_needed(self.index) {
            let (kind, detail) = describe(reason, self.error.take());
            self.fail(connection.context(), kind, Some(detail));
        }
    }
}

/// What connections are set to: for each source address, or for the one that the kernel chooses. They share it, since they
/// may be many.
pub(super) fn options(plan: &Plan) -> Box<[Rc<ConnectionOptions>]> {
    let options = |local_address| {
        Rc::new(ConnectionOptions {
            connect_timeout: Some(plan.timeout),
            local_address,
            // Both would be timeouts of this side; the one timeout of a message covers them.
            idle_timeout: None,
            write_stall_timeout: None,
            write_cap: WRITE_CAP,
            // A server that echoes must be read while it is written to, or the two wait for each other.
            auto_pause: false,
            ..ConnectionOptions::default()
        })
    };
    match plan.sources.addresses() {
        [] => Box::new([options(None)]),
        sources => sources.iter().map(|source| options(Some(*source))).collect(),
    }
}

impl<P: Protocol> Carried for Conversation<P> {
    type Key = ConnectionKey;
    type Socket<'a> = Connection<'a>;

    fn connect(worker: &Rc<Worker<Self>>, context: &mut Context, index: Option<u32>) -> Result<(), EngineError> {
        let options = worker.next_options();
        let address = worker.plan().target.address();
        match index {
            Some(index) => context.connect_with(address, options, Link::new(Rc::clone(worker), index))?,
            None => context.connect_with(address, options, Idle::new(Rc::clone(worker)))?,
        };
        worker.add_pending();
        Ok(())
    }

    #[inline]
    fn find(context: &mut Context, key: ConnectionKey) -> Option<Connection<'_>> {
        context.connection(key)
    }

    #[inline]
    fn context<'s>(connection: &'s mut Connection<'_>) -> &'s mut Context {
        connection.context()
    }

    #[inline]
    fn send(connection: &mut Connection<'_>, message: &[u8]) -> bool {
        // Where the write fails, `on_close` counts what is in flight.
        connection.write(message);
        true
    }
}

impl<P: Protocol> Pool<Conversation<P>> {
    /// Bytes have come.
    #[inline]
    fn hear(&mut self, index: u32, connection: &mut Connection<'_>, data: &[u8]) -> Next {
        if self.is_over() {
            return Next::Nothing;
        }
        let now = self.now();
        let Self { seats, tally, span, .. } = self;
        let talk = &mut seats[index as usize].talk;
        tally.bytes_in += data.len() as u64;
        // Nearly always it is the end of one reply. What a loop keeps at hand to go on costs more than that reply itself.
        let (reply, rest) = match talk.handle_reply(data) {
            Ok(heard) => heard,
            Err(fault) => return Next::Fault(Box::new(fault)),
        };
        let mut replies = usize::from(reply.is_some());
        if let Some(reply) = reply {
            tally.record(reply, now, span);
        }
        if !rest.is_empty() {
            let heard = talk.handle_bytes(rest, |reply| {
                replies += 1;
                tally.record(reply, now, span);
            });
            if let Err(fault) = heard {
                return Next::Fault(Box::new(fault));
            }
        }
        self.go_on(index, connection, now, replies)
    }

    /// The server has sent its end. If that is what completes a reply, what is to be done then.
    fn hear_end(&mut self, index: u32) -> Option<Next> {
        let now = self.now();
        let reply = self.seats[index as usize].talk.handle_end()?;
        self.tally.record(reply, now, &self.span);
        Some(self.next_of(index, now))
    }

    /// Whether nothing has ever come back on a connection.
    fn is_unheard(&self, index: u32) -> bool {
        self.seats[index as usize].talk.is_unheard()
    }

    /// How a connection ends if the server ends it now.
    fn kind_of_end(&self, index: u32) -> Kind {
        if self.seats[index as usize].talk.is_midway() { Kind::Short } else { Kind::ClosedEarly }
    }
}

/// A connection on which nothing is said.
#[derive(Debug)]
pub struct Idle<P: Protocol> {
    worker: Rc<Worker<Conversation<P>>>,
    begun: Instant,
    /// What is known of its end before it is closed.
    fault: Option<(Kind, String)>,
}

impl<P: Protocol> Idle<P> {
    /// A connection of `worker`.
    pub fn new(worker: Rc<Worker<Conversation<P>>>) -> Self {
        Self { worker, begun: Instant::now(), fault: None }
    }
}

impl<P: Protocol> Handler for Idle<P> {
    fn on_connect(&mut self, connection: &mut Connection<'_>) {
        self.worker.handle_idle_connected(connection.context(), self.begun);
    }

    fn on_connect_error(&mut self, context: &mut Context, error: &EngineError) {
        self.worker.handle_connect_error(context, None, error);
    }

    fn on_read(&mut self, connection: &mut Connection<'_>, _data: &[u8]) {
        self.fault = Some((Kind::Surplus, "bytes came on an idle connection".to_owned()));
        connection.abort();
    }

    fn on_end(&mut self, connection: &mut Connection<'_>) {
        self.fault = Some((Kind::ClosedEarly, "the server has closed an idle connection".to_owned()));
        connection.close();
    }

    fn on_error(&mut self, _connection: &mut Connection<'_>, error: &EngineError) {
        self.fault = Some((Kind::Other, error.to_string()));
    }

    fn on_close(&mut self, _connection: &mut Connection<'_>, reason: CloseReason) {
        let (kind, detail) = match (self.fault.take(), reason) {
            (Some((Kind::Other, error)), reason) => describe(reason, Some(error)),
            (Some(fault), _) => fault,
            (None, reason) => describe(reason, None),
        };
        self.worker.handle_idle_failure(kind, detail);
    }
}

/// How a connection's end counts.
fn describe(reason: CloseReason, error: Option<String>) -> (Kind, String) {
    let kind = match reason {
        CloseReason::Reset => Kind::Reset,
        CloseReason::Failed(error) => Kind::of(&error.into()),
        _ => Kind::Other,
    };
    (kind, error.unwrap_or_else(|| format!("the connection closed: {reason:?}")))
}
