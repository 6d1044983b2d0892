//! One connection's place in a pool.

use crate::count::tally::Tally;
use crate::load::conversation::Stamp;
use crate::load::talk::Carried;
use crate::plan::Span;

/// A connection's place: its talk outlives its socket.
pub(in crate::load) struct Seat<T: Carried> {
    pub(in crate::load) talk: T,
    pub(super) state: State<T::Key>,
}

/// What has become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State<K> {
    /// It is yet to be made, or to be made anew.
    Waiting,
    Open(K),
    /// It has sent and received everything. Whether the server then closes is its own affair.
    AtRest,
    /// It has failed for good.
    Failed,
}

impl<T: Carried> Seat<T> {
    /// Fills up what may be in flight.
    #[inline(always)]
    pub(super) fn fill(&mut self, socket: &mut T::Socket<'_>, now: u64, tally: &mut Tally, span: &Span) {
        if now < span.stop {
            while self.say(socket, Stamp::at(now), tally) {}
        }
    }

    /// Sends one message, if one may be sent.
    #[inline(always)]
    pub(super) fn say(&mut self, socket: &mut T::Socket<'_>, stamp: Stamp, tally: &mut Tally) -> bool {
        let Some(message) = self.talk.take_next(stamp) else { return false };
        tally.sent += 1;
        tally.bytes_out += message.len() as u64;
        if !T::send(socket, message) {
            self.talk.take_back();
        }
        true
    }
}
