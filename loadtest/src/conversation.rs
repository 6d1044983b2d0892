//! One connection's side of the talk: which message is next, and what the bytes that come back are. Pure.

use std::rc::Rc;
use std::time::Instant;

use crate::pattern::{Pattern, Pieces};

/// What has been sent on one connection, and what has come back.
#[derive(Debug)]
pub struct Conversation {
    pattern: Rc<Pattern>,
    pieces: Pieces,
    settings: Settings,
    /// Messages sent.
    sent: u64,
    /// Messages that have come back. Invariant: at most `sent`, and at most `depth` behind it.
    replied: u64,
    /// Bytes of the oldest message in flight that have come back. Invariant: less than a message; 0 with none in flight.
    filled: usize,
    /// Bytes of that message which were not what was sent.
    wrong: u64,
    /// When each message in flight was sent: a ring of a power of two of places, at least `depth`, with a message at its number.
    sent_at: Box<[Option<Instant>]>,
}

/// What does not change of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The connection's number, which its messages are made from.
    pub connection: u64,
    /// Bytes of a message; at least 1.
    pub size: usize,
    /// Messages in flight; at least 1.
    pub depth: usize,
    /// Messages to send at most.
    pub quota: u64,
    /// Whether what comes back is compared with what was sent. It costs one pass over bytes that are in the cache, which is
    /// less than runs over loopback differ by, with messages of 64 bytes and of 16 KiB.
    pub verify: bool,
}

/// A message that has come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// When the message was sent.
    pub sent_at: Instant,
    /// How many of its bytes are wrong.
    pub wrong_bytes: u64,
}

/// More bytes have come back than were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Surplus;

impl Conversation {
    /// A conversation in which nothing has been said.
    pub fn new(pattern: Rc<Pattern>, settings: Settings) -> Self {
        let pieces = pattern.pieces(settings.connection);
        let sent_at = vec![None; settings.depth.next_power_of_two()].into();
        Self { pattern, pieces, settings, sent: 0, replied: 0, filled: 0, wrong: 0, sent_at }
    }

    /// The next message, if there is to be one now; it is in flight from `now` on.
    #[inline]
    pub fn take_next(&mut self, now: Instant) -> Option<&[u8]> {
        if self.sent - self.replied >= self.settings.depth as u64 || self.is_spent() {
            return None;
        }
        let number = self.sent;
        self.sent += 1;
        let place = self.place(number);
        self.sent_at[place] = Some(now);
        Some(self.pattern.message(self.pieces, number))
    }

    /// Takes bytes that have come back, and tells of each message that they complete.
    ///
    /// # Errors
    ///
    /// [`Surplus`] if no message is in flight that the bytes could belong to.
    #[inline]
    pub fn handle_bytes(&mut self, mut data: &[u8], mut on_reply: impl FnMut(Reply)) -> Result<(), Surplus> {
        let size = self.settings.size;
        while !data.is_empty() {
            let Some(sent_at) = self.oldest() else { return Err(Surplus) };
            let (piece, rest) = data.split_at(data.len().min(size - self.filled));
            if self.settings.verify {
                self.compare(piece);
            }
            data = rest;
            self.filled += piece.len();
            if self.filled == size {
                self.replied += 1;
                on_reply(Reply { sent_at, wrong_bytes: self.wrong });
                (self.filled, self.wrong) = (0, 0);
            }
        }
        Ok(())
    }

    #[inline]
    fn compare(&mut self, piece: &[u8]) {
        let message = self.pattern.message(self.pieces, self.replied);
        let expected = &message[self.filled..self.filled + piece.len()];
        if piece != expected {
            self.wrong += piece.iter().zip(expected).filter(|(byte, expected)| byte != expected).count() as u64;
        }
    }

    /// When the message was sent that has waited longest.
    #[inline]
    pub fn oldest(&self) -> Option<Instant> {
        if self.sent == self.replied {
            return None;
        }
        self.sent_at[self.place(self.replied)]
    }

    #[inline]
    fn place(&self, number: u64) -> usize {
        number as usize & (self.sent_at.len() - 1)
    }

    /// How many messages are in flight.
    #[inline]
    pub fn in_flight(&self) -> usize {
        (self.sent - self.replied) as usize
    }

    /// Whether every message has been sent.
    #[inline]
    pub fn is_spent(&self) -> bool {
        self.sent >= self.settings.quota
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn conversation(size: usize, depth: usize, quota: u64) -> Conversation {
        let settings = Settings { connection: 3, size, depth, quota, verify: true };
        Conversation::new(Rc::new(Pattern::new(1, size)), settings)
    }

    /// All that it sends now.
    fn say(conversation: &mut Conversation, now: Instant) -> Vec<u8> {
        let mut said = Vec::new();
        while let Some(message) = conversation.take_next(now) {
            said.extend_from_slice(message);
        }
        said
    }

    fn hear(conversation: &mut Conversation, data: &[u8]) -> Vec<Reply> {
        let mut replies = Vec::new();
        conversation.handle_bytes(data, |reply| replies.push(reply)).unwrap();
        replies
    }

    #[test]
    fn a_changed_byte_is_found_wherever_it_is() {
        for at in 0..64 {
            let mut conversation = conversation(64, 1, 2);
            let now = Instant::now();
            let mut echo = say(&mut conversation, now);
            echo[at] ^= 0x10;
            assert_eq!(hear(&mut conversation, &echo), [Reply { sent_at: now, wrong_bytes: 1 }]);
            let echo = say(&mut conversation, now);
            assert_eq!(hear(&mut conversation, &echo), [Reply { sent_at: now, wrong_bytes: 0 }], "it goes on");
            assert!(conversation.is_spent() && conversation.in_flight() == 0);
        }
    }

    #[test]
    fn messages_that_change_places_are_found() {
        let mut conversation = conversation(16, 2, 2);
        let echo = say(&mut conversation, Instant::now());
        let exchanged = [&echo[16..], &echo[..16]].concat();
        assert!(hear(&mut conversation, &exchanged).iter().all(|reply| reply.wrong_bytes > 8));
    }

    #[test]
    fn bytes_that_nobody_has_sent_are_a_surplus() {
        let mut conversation = conversation(4, 1, 1);
        assert_eq!(conversation.handle_bytes(b"x", |_| ()), Err(Surplus));
        let mut echo = say(&mut conversation, Instant::now());
        echo.push(0);
        assert_eq!(conversation.handle_bytes(&echo, |_| ()), Err(Surplus));
    }

    #[test]
    fn without_verification_bytes_only_count() {
        let settings = Settings { connection: 0, size: 4, depth: 1, quota: 1, verify: false };
        let mut conversation = Conversation::new(Rc::new(Pattern::new(1, 4)), settings);
        say(&mut conversation, Instant::now());
        assert_eq!(hear(&mut conversation, &[0; 4])[0].wrong_bytes, 0);
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
            prop_assert!(replies.iter().all(|reply| reply.wrong_bytes == 0));
            prop_assert!(replies.is_sorted_by_key(|reply| reply.sent_at));
        }
    }
}
