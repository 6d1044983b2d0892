//! One connection's side of the talk: which message is next, and when those in flight were sent. Pure.

use crate::count::failure::Kind;
use crate::load::talk::Talk;
use crate::protocol::{Fault, Protocol, Taken, Verdict};

/// What has been sent on one connection, and what has come back. It outlives its socket: a connection that is made anew goes on
/// with the numbers of the messages.
#[derive(Debug)]
pub struct Conversation<P> {
    protocol: P,
    settings: Settings,
    /// Messages sent.
    sent: u64,
    /// Messages that have come back or were lost. Invariant: at most `sent`, and at most `depth` behind it.
    settled: u64,
    /// How many messages will have been sent when the socket at hand has carried its share, or all are sent.
    until: u64,
    /// Whether a part of the oldest message's reply has come.
    midway: bool,
    /// When each message in flight was due and sent: a ring of a power of two of places, at least `depth`, with a message at its
    /// number.
    stamps: Box<[Stamp]>,
}

/// What does not change of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Messages in flight; at least 1.
    pub depth: usize,
    /// Messages to send at most.
    pub quota: u64,
    /// Messages to send before the socket is closed and another one is made.
    pub reconnect_after: u64,
}

/// When a message was to be sent, and when it was; in nanoseconds from the load's beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// When it was due; in a closed loop that is when it was sent.
    pub due: u64,
    /// When it was sent.
    pub sent: u64,
}

impl Stamp {
    /// Of a message that is sent when it is due.
    #[inline]
    pub fn at(now: u64) -> Self {
        Self { due: now, sent: now }
    }
}

/// A message that has come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// When the message was due, and sent.
    pub stamp: Stamp,
    /// What came back.
    pub verdict: Verdict,
}

impl<P: Protocol> Conversation<P> {
    /// A conversation in which nothing has been said.
    pub fn new(protocol: P, settings: Settings) -> Self {
        let stamps = vec![Stamp::default(); settings.depth.next_power_of_two()].into();
        let until = settings.quota.min(settings.reconnect_after);
        Self { protocol, settings, sent: 0, settled: 0, until, midway: false, stamps }
    }

    /// Takes bytes that have come back, and tells of each message that they complete.
    ///
    /// # Errors
    ///
    /// If no message is in flight that the bytes could belong to, or they are no reply.
    #[inline(never)]
    pub fn handle_bytes(&mut self, mut data: &[u8], mut on_reply: impl FnMut(Reply)) -> Result<(), Fault> {
        while !data.is_empty() {
            let (reply, rest) = self.handle_reply(data)?;
            reply.into_iter().for_each(&mut on_reply);
            data = rest;
        }
        Ok(())
    }

    /// As [`handle_bytes`](Self::handle_bytes), for what belongs to the oldest message, whose reply may be complete then. Gives
    /// the rest. `data` is not empty.
    ///
    /// # Errors
    ///
    /// As there.
    #[inline(always)]
    pub fn handle_reply<'d>(&mut self, data: &'d [u8]) -> Result<(Option<Reply>, &'d [u8]), Fault> {
        let Some(stamp) = self.oldest() else { return Err(surplus()) };
        let Taken { used, reply } = self.protocol.take(self.settled, data)?;
        self.midway = reply.is_none();
        if let Some(verdict) = reply {
            self.settled += 1;
            if verdict.last {
                // Nothing that is sent now would be answered.
                self.until = self.sent;
            }
        }
        Ok((reply.map(|verdict| Reply { stamp, verdict }), &data[used..]))
    }

    /// Takes note that the server has sent its end. It may be what completes the reply to the message that has waited longest.
    pub fn handle_end(&mut self) -> Option<Reply> {
        let stamp = self.oldest()?;
        let verdict = self.protocol.take_end(self.settled)?;
        (self.settled, self.midway, self.until) = (self.settled + 1, false, self.sent);
        Some(Reply { stamp, verdict })
    }

    #[inline]
    fn place(&self, number: u64) -> usize {
        number as usize & (self.stamps.len() - 1)
    }

    /// Whether nothing has ever come back.
    pub fn is_unheard(&self) -> bool {
        self.settled == 0 && !self.midway
    }

    /// Whether the end of the input would cut a reply short.
    pub fn is_midway(&self) -> bool {
        self.midway
    }
}

impl<P: Protocol> Talk for Conversation<P> {
    #[inline(always)]
    fn take_next(&mut self, stamp: Stamp) -> Option<&[u8]> {
        if !self.may_send() {
            return None;
        }
        let number = self.sent;
        self.sent += 1;
        let place = self.place(number);
        self.stamps[place] = stamp;
        Some(self.protocol.request(number))
    }

    fn lose(&mut self) {
        self.settled = self.sent;
        self.midway = false;
    }

    fn renew(&mut self, fresh: Self) {
        self.lose();
        self.protocol = fresh.protocol;
        self.until = self.settings.quota.min(self.sent.saturating_add(self.settings.reconnect_after));
    }

    #[inline]
    fn may_send(&self) -> bool {
        self.sent - self.settled < self.settings.depth as u64 && self.sent < self.until
    }

    #[inline]
    fn oldest(&self) -> Option<Stamp> {
        (self.sent != self.settled).then(|| self.stamps[self.place(self.settled)])
    }

    fn waiting(&self) -> impl Iterator<Item = Stamp> {
        (self.settled..self.sent).map(|number| self.stamps[self.place(number)])
    }

    fn depth(&self) -> usize {
        self.settings.depth
    }

    #[inline]
    fn in_flight(&self) -> usize {
        (self.sent - self.settled) as usize
    }

    #[inline]
    fn is_spent(&self) -> bool {
        self.sent >= self.until
    }

    #[inline]
    fn is_complete(&self) -> bool {
        self.sent >= self.settings.quota
    }
}

#[cold]
fn surplus() -> Fault {
    Fault { kind: Kind::Surplus, detail: "more bytes came back than were sent".to_owned() }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::rc::Rc;

    use proptest::prelude::*;

    use super::*;
    use crate::plan::sizes::Sizes;
    use crate::protocol::echo::Echo;
    use crate::protocol::pattern::Pattern;

    fn conversation(size: usize, depth: usize, quota: u64) -> Conversation<Echo> {
        let echo = Echo::new(Rc::new(Pattern::new(1, size)), Rc::new(Sizes::fixed(size)), 3, true);
        Conversation::new(echo, Settings { depth, quota, reconnect_after: u64::MAX })
    }

    /// All that it sends now.
    fn say(conversation: &mut Conversation<Echo>, now: u64) -> Vec<u8> {
        let mut said = Vec::new();
        while let Some(message) = conversation.take_next(Stamp::at(now)) {
            said.extend_from_slice(message);
        }
        said
    }

    fn hear(conversation: &mut Conversation<Echo>, data: &[u8]) -> Vec<Reply> {
        let mut replies = Vec::new();
        conversation.handle_bytes(data, |reply| replies.push(reply)).unwrap();
        replies
    }

    #[test]
    fn bytes_that_nobody_has_sent_are_a_surplus() {
        let mut conversation = conversation(4, 1, 1);
        assert_eq!(conversation.handle_bytes(b"x", |_| ()), Err(surplus()));
        let mut echo = say(&mut conversation, 0);
        echo.push(0);
        assert_eq!(conversation.handle_bytes(&echo, |_| ()), Err(surplus()));
    }

    #[test]
    fn a_socket_that_has_carried_its_share_is_followed_by_one_with_the_next_numbers() {
        let echo = || Echo::new(Rc::new(Pattern::new(1, 8)), Rc::new(Sizes::fixed(8)), 3, true);
        let settings = Settings { depth: 5, quota: 5, reconnect_after: 3 };
        let mut whole = Conversation::new(echo(), Settings { reconnect_after: u64::MAX, ..settings });
        let mut parts = Conversation::new(echo(), settings);
        let mut said = say(&mut parts, 0);
        assert!(parts.is_spent() && !parts.is_complete());
        assert_eq!(hear(&mut parts, &said[..20]).len(), 2);
        assert!(parts.is_midway() && parts.in_flight() == 1 && parts.waiting().eq([Stamp::at(0)]));
        parts.renew(Conversation::new(echo(), settings));
        assert!(!parts.is_midway() && parts.in_flight() == 0, "what was in flight is lost");
        said.extend(say(&mut parts, 1));
        assert_eq!(said, say(&mut whole, 0));
        assert!(parts.is_complete());
    }

    proptest! {
        #[test]
        fn an_echo_in_any_pieces_is_whole_and_in_order(
            size in 1_usize..200, depth in 1_usize..9, quota in 1_u64..40, cuts in proptest::collection::vec(1_usize..300, 1..60)
        ) {
            let mut conversation = conversation(size, depth, quota);
            let (mut echo, mut replies, mut step) = (VecDeque::new(), Vec::new(), 0);
            let mut cuts = cuts.into_iter().cycle();
            loop {
                echo.extend(say(&mut conversation, step));
                step += 1;
                prop_assert!(conversation.in_flight() <= depth);
                if echo.is_empty() {
                    break;
                }
                let piece: Vec<u8> = echo.drain(..cuts.next().unwrap_or(1).min(echo.len())).collect();
                replies.extend(hear(&mut conversation, &piece));
            }
            prop_assert_eq!(replies.len() as u64, quota);
            prop_assert!(conversation.is_spent() && conversation.is_complete());
            prop_assert!(replies.iter().all(|reply| reply.verdict == Verdict::default()));
            prop_assert!(replies.is_sorted_by_key(|reply| reply.stamp.sent));
        }
    }
}
