//! One connection of the load: the handler that holds a [`Conversation`] with the server.

use std::rc::Rc;
use std::time::Instant;

use pants_shard::{CloseReason, Connection, Context, EngineError, Handler};

use crate::count::failure::Kind;
use crate::count::tally::Tally;
use crate::load::conversation::{Conversation, Stamp};
use crate::load::worker::Worker;
use crate::plan::Window;
use crate::protocol::Protocol;

/// One connection of the load.
///
/// The clock is read once for each batch of bytes: when a batch arrives, its replies have arrived and the messages that follow
/// them are sent. The engine's own clock, read once a turn, would be cheaper by some 30 ns, but with a thousand connections
/// that are ready at once a turn takes milliseconds, and each of them would seem to come at its beginning.
#[derive(Debug)]
pub struct Link<P: Protocol> {
    worker: Rc<Worker<P>>,
    conversation: Conversation<P>,
    state: State,
    /// What the engine said of an error that [`CloseReason`] does not tell.
    error: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It has messages to send or to receive, or will have.
    Active,
    /// It has sent and received everything. Whether the server then closes is its own affair.
    AtRest,
    Failed,
}

impl<P: Protocol> Link<P> {
    /// A connection of `worker`, whose load has not begun.
    pub fn new(worker: Rc<Worker<P>>, conversation: Conversation<P>) -> Self {
        Self { worker, conversation, state: State::Active, error: None }
    }

    /// Sends the first messages: all connections are there.
    pub fn begin(&mut self, connection: &mut Connection<'_>) {
        if self.state != State::Active {
            return;
        }
        let now = Instant::now();
        let conversation = &mut self.conversation;
        self.worker.while_running(|tally, window| say(conversation, connection, now, tally, window));
        self.rest_if_done(now);
        connection.defer(self.worker.timeout(), Self::check);
    }

    /// Comes to rest when nothing is in flight: what could be sent has been.
    #[inline]
    fn rest_if_done(&mut self, now: Instant) {
        if self.conversation.in_flight() == 0 && self.state == State::Active {
            self.state = State::AtRest;
            self.worker.leave(now);
        }
    }

    /// Looks whether the oldest message has waited too long. There is one timer for a connection, which is set anew when it
    /// fires: a message sets none.
    fn check(&mut self, connection: &mut Connection<'_>) {
        if self.state != State::Active {
            return;
        }
        let (now, timeout) = (Instant::now(), self.worker.timeout());
        let waited = self.conversation.oldest().map(|stamp| now.saturating_duration_since(stamp.sent));
        match waited.map(|waited| timeout.saturating_sub(waited)) {
            Some(left) if left.is_zero() => {
                self.fail(Kind::Timeout, None);
                connection.abort();
            }
            left => {
                connection.defer(left.unwrap_or(timeout), Self::check);
            }
        }
    }

    fn give_up(&mut self, connection: &mut Connection<'_>, kind: Kind, detail: String) {
        self.fail(kind, Some(detail));
        connection.abort();
    }

    /// Counts the connection as failed, and what is in flight on it.
    fn fail(&mut self, kind: Kind, detail: Option<String>) {
        let before = std::mem::replace(&mut self.state, State::Failed);
        if before != State::Failed {
            self.worker.note_failure(kind, self.conversation.in_flight(), detail);
        }
        if before == State::Active {
            self.worker.leave(Instant::now());
        }
    }
}

/// Fills up what may be in flight.
#[inline]
fn say<P: Protocol>(
    conversation: &mut Conversation<P>,
    connection: &mut Connection<'_>,
    now: Instant,
    tally: &mut Tally,
    window: Window,
) {
    if !window.permits(now) {
        return;
    }
    while let Some(message) = conversation.take_next(Stamp::at(now)) {
        // Where the write fails, `on_close` counts what is in flight.
        connection.write(message);
        tally.sent += 1;
        tally.bytes_out += message.len() as u64;
    }
}

impl<P: Protocol> Handler for Link<P> {
    fn on_connect(&mut self, connection: &mut Connection<'_>) {
        let key = connection.key();
        self.worker.handle_connected(connection.context(), key);
    }

    fn on_connect_error(&mut self, context: &mut Context, error: &EngineError) {
        self.worker.handle_connect_error(context, error);
    }

    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        if self.state == State::Failed {
            return;
        }
        let now = Instant::now();
        let conversation = &mut self.conversation;
        let heard = self.worker.while_running(|tally, window| {
            tally.bytes_in += data.len() as u64;
            let heard = conversation.handle_bytes(data, |reply| tally.record(reply, now, window));
            if heard.is_ok() {
                say(conversation, connection, now, tally, window);
            }
            heard
        });
        match heard {
            Some(Ok(())) => self.rest_if_done(now),
            None if self.worker.is_over() => {}
            None => self.give_up(connection, Kind::Surplus, "bytes came before anything was sent".to_owned()),
            Some(Err(fault)) => self.give_up(connection, fault.kind, fault.detail),
        }
    }

    fn on_end(&mut self, connection: &mut Connection<'_>) {
        if self.state == State::Active {
            self.fail(Kind::ClosedEarly, None);
        }
        connection.close();
    }

    fn on_error(&mut self, _connection: &mut Connection<'_>, error: &EngineError) {
        self.error = Some(error.to_string());
    }

    fn on_close(&mut self, _connection: &mut Connection<'_>, reason: CloseReason) {
        if self.state != State::Active {
            return;
        }
        let kind = match reason {
            CloseReason::Reset => Kind::Reset,
            CloseReason::Failed(error) => Kind::of(&error.into()),
            _ => Kind::Other,
        };
        let detail = self.error.take().unwrap_or_else(|| format!("the connection closed: {reason:?}"));
        self.fail(kind, Some(detail));
    }
}
