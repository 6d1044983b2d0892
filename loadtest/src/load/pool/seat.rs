//! One connection's place in a pool.

use pants_shard::{Connection, ConnectionKey};

use crate::count::tally::Tally;
use crate::load::conversation::{Conversation, Stamp};
use crate::plan::Span;
use crate::protocol::Protocol;

/// A connection's place: its conversation outlives its socket.
pub(super) struct Seat<P> {
    pub(super) conversation: Conversation<P>,
    pub(super) state: State,
}

/// What has become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It is yet to be made, or to be made anew.
    Waiting,
    Open(ConnectionKey),
    /// It has sent and received everything. Whether the server then closes is its own affair.
    AtRest,
    /// It has failed for good.
    Failed,
}

impl<P: Protocol> Seat<P> {
    /// Fills up what may be in flight.
    #[inline(always)]
    pub(super) fn fill(&mut self, connection: &mut Connection<'_>, now: u64, tally: &mut Tally, span: &Span) {
        if now < span.stop {
            while self.say(connection, Stamp::at(now), tally) {}
        }
    }

    /// Sends one message, if one may be sent.
    #[inline(always)]
    pub(super) fn say(&mut self, connection: &mut Connection<'_>, stamp: Stamp, tally: &mut Tally) -> bool {
        let Some(message) = self.conversation.take_next(stamp) else { return false };
        // Where the write fails, `on_close` counts what is in flight.
        connection.write(message);
        tally.sent += 1;
        tally.bytes_out += message.len() as u64;
        true
    }
}
