//! One connection of the load: the handler that holds a [`Conversation`] with the server.

use std::rc::Rc;
use std::time::Instant;

use pants_shard::{CloseReason, Connection, Context, EngineError, Handler};

use crate::conversation::{Conversation, Surplus};
use crate::failure::Kind;
use crate::plan::Window;
use crate::tally::Tally;
use crate::worker::Worker;

/// One connection of the load.
///
/// The clock is read once for each batch of bytes: when a batch arrives, its replies have arrived and the messages that follow
/// them are sent. The engine's own clock, read once a turn, would be cheaper by some 30 ns, but with a thousand connections
/// that are ready at once a turn takes milliseconds, and each of them would seem to come at its beginning.
#[derive(Debug)]
pub struct Link {
    worker: Rc<Worker>,
    conversation: Conversation,
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

impl Link {
    /// A connection of `worker`, whose load has not begun.
    pub fn new(worker: Rc<Worker>, conversation: Conversation) -> Self {
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
        let waited = self.conversation.oldest().map(|sent_at| now.saturating_duration_since(sent_at));
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
fn say(
    conversation: &mut Conversation,
    connection: &mut Connection<'_>,
    now: Instant,
    tally: &mut Tally,
    window: Window,
) {
    if !window.permits(now) {
        return;
    }
    while let Some(message) = conversation.take_next(now) {
        // Where the write fails, `on_close` counts what is in flight.
        connection.write(message);
        tally.sent += 1;
    }
}

impl Handler for Link {
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
            conversation.handle_bytes(data, |reply| tally.record(reply, now, window))?;
            say(conversation, connection, now, tally, window);
            Ok(())
        });
        match heard {
            Some(Ok(())) => self.rest_if_done(now),
            None if self.worker.is_over() => {}
            None | Some(Err(Surplus)) => {
                self.fail(Kind::Other, Some("more bytes came back than were sent".to_owned()));
                connection.abort();
            }
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
            CloseReason::Failed(error) => Kind::of(error),
            _ => Kind::Other,
        };
        let detail = self.error.take().unwrap_or_else(|| format!("the connection closed: {reason:?}"));
        self.fail(kind, Some(detail));
    }
}
