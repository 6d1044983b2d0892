//! A pair: a client's connection and the one to an upstream that goes with it. Each end passes on what comes to the other.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use pants_shard::{CloseReason, Connection, ConnectionKey, Context, Endpoint, EngineError as Error, Handler, TimerKey};

use super::Route;
use super::ending::{Ending, Side};
use super::line::Line;
use super::upstreams::Turn;

/// What the log calls the proxy.
const LOG_TARGET: &str = "pants-proxy";

/// One end of a pair: the handler of one of its two connections.
///
/// What a message needs of it is here, and not with the pair: with very many pairs each is a line of memory that is in no cache.
pub(super) struct End {
    side: Side,
    /// The other end's connection, from the first bytes on: it is made by then, and no other takes its place.
    other: Option<ConnectionKey>,
    /// Bytes that have come.
    received: u64,
    pair: Rc<Pair>,
}

/// What the two ends share.
struct Pair {
    route: Rc<Route>,
    client: Endpoint,
    begun: Instant,
    turn: Cell<Turn>,
    /// The connections, by side, while they are there.
    keys: [Cell<Option<ConnectionKey>>; 2],
    /// Bytes that came, by side, of the connections that have closed.
    received: [Cell<u64>; 2],
    /// When it last went a step on, or something was under way. What passes the connections know.
    active: Cell<Instant>,
    /// When to look whether the pair is idle. Invariant: `None` before the upstream's connection is made, and when the pair is
    /// over.
    timer: Cell<Option<TimerKey>>,
    ending: RefCell<Option<Ending>>,
}

impl End {
    /// The end of a client that has just been accepted.
    pub(super) fn client(route: &Rc<Route>, client: Endpoint) -> Self {
        let begun = Instant::now();
        let pair = Pair {
            route: Rc::clone(route),
            client,
            begun,
            turn: Cell::new(route.upstreams.begin()),
            keys: Default::default(),
            received: Default::default(),
            active: Cell::new(begun),
            timer: Cell::new(None),
            ending: RefCell::new(None),
        };
        Self::new(Side::Client, Rc::new(pair))
    }

    fn new(side: Side, pair: Rc<Pair>) -> Self {
        Self { side, other: None, received: 0, pair }
    }

    /// The other end's connection; `None` when it is closed.
    fn other<'c>(&self, connection: &'c mut Connection<'_>) -> Option<Connection<'c>> {
        self.pair.connection(connection.context(), self.side.other())
    }
}

impl Handler for End {
    fn on_connect(&mut self, connection: &mut Connection<'_>) {
        match self.side {
            Side::Client => {
                self.pair.key(Side::Client).set(Some(connection.key()));
                connection.pause_reading();
                self.pair.connect(connection.context(), None);
            }
            Side::Upstream => {
                self.pair.active.set(connection.context().now());
                self.pair.watch(connection.context());
                if let Some(mut client) = self.other(connection) {
                    client.resume_reading();
                }
            }
        }
    }

    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        self.received += data.len() as u64;
        if self.other.is_none() {
            self.other = self.pair.key(self.side.other()).get();
        }
        if let Some(other) = self.other {
            connection.relay(other, data);
        }
    }

    fn on_end(&mut self, connection: &mut Connection<'_>) {
        self.pair.conclude(Ending::Finished(self.side));
        self.pair.active.set(connection.context().now());
        self.pair.watch(connection.context());
        if let Some(mut other) = self.other(connection) {
            other.shutdown_write();
        }
    }

    /// Nothing: whether a pair is quiet because it is done, or because one side still thinks, only the two sides know. They
    /// may finish within the drain's deadline.
    fn on_shutdown(&mut self, _connection: &mut Connection<'_>) {}

    fn on_congested(&mut self, connection: &mut Connection<'_>) {
        if let Some(mut other) = self.other(connection) {
            other.pause_reading();
        }
    }

    fn on_drained(&mut self, connection: &mut Connection<'_>) {
        if let Some(mut other) = self.other(connection) {
            other.resume_reading();
        }
    }

    fn on_connect_error(&mut self, context: &mut Context, error: &Error) {
        self.pair.key(Side::Upstream).set(None);
        if self.pair.key(Side::Client).get().is_some() {
            self.pair.connect(context, Some(error));
        }
        self.pair.finish(context);
    }

    fn on_close(&mut self, connection: &mut Connection<'_>, reason: CloseReason) {
        self.pair.key(self.side).set(None);
        self.pair.received[self.side as usize].set(self.received);
        match reason {
            // The other side has had its FIN; or it was this pair that gave up, and that is known.
            CloseReason::Finished | CloseReason::Aborted => {}
            _ => {
                self.pair.conclude(Ending::Broken(self.side, reason));
                // An engine that stops ends the other side in the same way.
                if reason != CloseReason::Stopped
                    && let Some(mut other) = self.other(connection)
                {
                    other.abort();
                }
            }
        }
        self.pair.finish(connection.context());
    }
}

impl Pair {
    fn key(&self, side: Side) -> &Cell<Option<ConnectionKey>> {
        &self.keys[side as usize]
    }

    fn connection<'c>(&self, context: &'c mut Context, side: Side) -> Option<Connection<'c>> {
        context.connection(self.key(side).get()?)
    }

    /// Begins to connect to the next upstream, after the last one has `failed`. When there is none left the client is reset.
    fn connect(self: &Rc<Self>, context: &mut Context, failed: Option<&Error>) {
        let mut turn = self.turn.get();
        let mut why = failed.map(|error| self.tell_failure(error)).unwrap_or_default();
        while let Some(address) = self.route.upstreams.try_next(&mut turn) {
            self.turn.set(turn);
            let end = End::new(Side::Upstream, Rc::clone(self));
            match context.connect_with(address, self.route.options.clone(), end) {
                Ok(key) => return self.key(Side::Upstream).set(Some(key)),
                Err(error) => why = self.tell_failure(&error),
            }
        }
        self.conclude(Ending::Unreachable(why));
        if let Some(mut client) = self.connection(context, Side::Client) {
            client.abort();
        }
    }

    /// Says that an attempt to connect has failed, and gives the words.
    fn tell_failure(&self, error: &Error) -> String {
        tracing::debug!(target: LOG_TARGET, "client={}: {error}", self.client);
        error.to_string()
    }

    /// Records how the pair ends, unless that is known.
    fn conclude(&self, ending: Ending) {
        let mut known = self.ending.borrow_mut();
        if ending.outweighs(known.as_ref()) {
            *known = Some(ending);
        }
    }

    /// How long nothing may pass.
    fn timeout(&self) -> Option<Duration> {
        let route = &self.route;
        let half_closed = matches!(*self.ending.borrow(), Some(Ending::Finished(_)));
        let fin_timeout = route.fin_timeout.filter(|_| half_closed);
        route.idle_timeout.into_iter().chain(fin_timeout).min()
    }

    /// Has the pair looked at when it will have been idle for too long, if nothing passes before.
    fn watch(self: &Rc<Self>, context: &mut Context) {
        if let Some(timer) = self.timer.take() {
            context.cancel(timer);
        }
        if let Some(timeout) = self.timeout() {
            let pair = Rc::clone(self);
            let timer = context.defer_until(self.active.get() + timeout, move |context| pair.check_idle(context));
            self.timer.set(Some(timer));
        }
    }

    fn check_idle(self: Rc<Self>, context: &mut Context) {
        self.timer.set(None);
        let now = context.now();
        for side in [Side::Client, Side::Upstream] {
            let Some(connection) = self.connection(context, side) else { continue };
            // Bytes on their way out are the write-stall timeout's.
            let idle = if connection.queued_bytes() > 0 { Duration::ZERO } else { connection.idle_time() };
            let last = now.checked_sub(idle).unwrap_or(now);
            self.active.set(self.active.get().max(last));
        }
        if self.timeout().is_some_and(|timeout| now < self.active.get() + timeout) {
            return self.watch(context);
        }
        self.conclude(Ending::Idle);
        for side in [Side::Client, Side::Upstream] {
            if let Some(mut connection) = self.connection(context, side) {
                connection.close();
            }
        }
    }

    /// After one of the connections has gone: if it was the last one, the pair is over.
    fn finish(&self, context: &mut Context) {
        if self.keys.iter().any(|key| key.get().is_some()) {
            return;
        }
        if let Some(timer) = self.timer.take() {
            context.cancel(timer);
        }
        self.log();
    }

    fn log(&self) {
        let turn = self.turn.get();
        let Some(ending) = self.ending.take() else { return };
        let [from_client, from_upstream] = self.received.each_ref().map(Cell::get);
        let line = Line {
            client: &self.client,
            upstream: self.route.upstreams.last_tried(turn),
            from_client,
            from_upstream,
            duration: self.begun.elapsed(),
            attempts: turn.attempts,
            ending: &ending,
        };
        match ending {
            Ending::Unreachable(_) => tracing::warn!(target: LOG_TARGET, "{line}"),
            _ => tracing::info!(target: LOG_TARGET, "{line}"),
        }
    }
}
