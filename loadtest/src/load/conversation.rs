//! One connection's side of the talk: which message is next, and when those in flight were sent. Pure.

use std::time::Instant;

use crate::count::failure::Kind;
use crate::protocol::{Fault, Protocol, Taken, Verdict};

/// What has been sent on one connection, and what has come back.
#[derive(Debug)]
pub struct Conversation<P> {
    protocol: P,
    depth: usize,
    quota: u64,
    /// Messages sent.
    sent: u64,
    /// Messages that have come back. Invariant: at most `sent`, and at most `depth` behind it.
    replied: u64,
    /// When each message in flight was sent: a ring of a power of two of places, at least `depth`, with a message at its number.
    stamps: Box<[Option<Stamp>]>,
}

/// When a message was to be sent, and when it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// When it was due; in a closed loop that is when it was sent.
    pub intended: Instant,
    /// When it was sent.
    pub sent: Instant,
}

impl Stamp {
    /// Of a message that is sent when it is due.
    pub fn at(now: Instant) -> Self {
        Self { intended: now, sent: now }
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
    /// A conversation in which nothing has been said: with up to `depth` messages in flight, at least 1, and `quota` in all.
    pub fn new(protocol: P, depth: usize, quota: u64) -> Self {
        let stamps = vec![None; depth.next_power_of_two()].into();
        Self { protocol, depth, quota, sent: 0, replied: 0, stamps }
    }

    /// The next message, if there is to be one now; it is in flight from now on.
    #[inline]
    pub fn take_next(&mut self, stamp: Stamp) -> Option<&[u8]> {
        if !self.may_send() {
            return None;
        }
        let number = self.sent;
        self.sent += 1;
        let place = self.place(number);
        self.stamps[place] = Some(stamp);
        Some(self.protocol.request(number))
    }

    /// Whether a message may be sent: fewer are in flight than may be, and not all have been sent.
    #[inline]
    pub fn may_send(&self) -> bool {
        self.sent - self.replied < self.depth as u64 && !self.is_spent()
    }

    /// Takes bytes that have come back, and tells of each message that they complete.
    ///
    /// # Errors
    ///
    /// If no message is in flight that the bytes could belong to, or they are no reply.
    #[inline]
    pub fn handle_bytes(&mut self, mut data: &[u8], mut on_reply: impl FnMut(Reply)) -> Result<(), Fault> {
        while !data.is_empty() {
            let Some(stamp) = self.oldest() else { return Err(surplus()) };
            let Taken { used, reply } = self.protocol.take(self.replied, data)?;
            data = &data[used..];
            if let Some(verdict) = reply {
                self.replied += 1;
                on_reply(Reply { stamp, verdict });
            }
        }
        Ok(())
    }

    /// When the message was sent that has waited longest.
    #[inline]
    pub fn oldest(&self) -> Option<Stamp> {
        if self.sent == self.replied {
            return None;
        }
        self.stamps[self.place(self.replied)]
    }

    #[inline]
    fn place(&self, number: u64) -> usize {
        number as usize & (self.stamps.len() - 1)
    }

    /// How many messages are in flight.
    #[inline]
    pub fn in_flight(&self) -> usize {
        (self.sent - self.replied) as usize
    }

    /// Whether every message has been sent.
    #[inline]
    pub fn is_spent(&self) -> bool {
        self.sent >= self.quota
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
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::plan::sizes::Sizes;
    use crate::protocol::echo::Echo;
    use crate::protocol::pattern::Pattern;

    fn conversation(size: usize, depth: usize, quota: u64) -> Conversation<Echo> {
        let echo = Echo::new(Rc::new(Pattern::new(1, size)), Rc::new(Sizes::fixed(size)), 3, true);
        Conversation::new(echo, depth, quota)
    }

    /// All that it sends now.
    fn say(conversation: &mut Conversation<Echo>, now: Instant) -> Vec<u8> {
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
        let mut echo = say(&mut conversation, Instant::now());
        echo.push(0);
        assert_eq!(conversation.handle_bytes(&echo, |_| ()), Err(surplus()));
    }

    proptest! {
        #[test]
        fn an_echo_in_any_pieces_is_whole_and_in_order(
            size in 1_usize..200, depth in 1_usize..9, quota in 1_u64..40, cuts in proptest::collection::vec(1_usize..300, 1..60)
        ) {
            let mut conversation = conversation(size, depth, quota);
            let start = Instant::now();
            let (mut echo, mut replies, mut step) = (VecDeque::new(), Vec::new(), 0);
            let mut cuts = cuts.into_iter().cycle();
            loop {
                echo.extend(say(&mut conversation, start + Duration::from_nanos(step)));
                step += 1;
                prop_assert!(conversation.in_flight() <= depth);
                if echo.is_empty() {
                    break;
                }
                let piece: Vec<u8> = echo.drain(..cuts.next().unwrap_or(1).min(echo.len())).collect();
                replies.extend(hear(&mut conversation, &piece));
            }
            prop_assert_eq!(replies.len() as u64, quota);
            prop_assert!(conversation.is_spent());
            prop_assert!(replies.iter().all(|reply| reply.verdict == Verdict::default()));
            prop_assert!(replies.is_sorted_by_key(|reply| reply.stamp.sent));
        }
    }
}
