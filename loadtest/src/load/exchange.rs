//! What is said on one datagram channel: which messages are in flight, and whose answer a datagram is. Pure.

use std::rc::Rc;

use crate::load::conversation::{Reply, Settings, Stamp};
use crate::load::talk::Talk;
use crate::plan::DATAGRAM_MIN;
use crate::plan::sizes::{Draws, Sizes};
use crate::protocol::Verdict;
use crate::protocol::pattern::{Pattern, Pieces, split_mix};

/// Keeps the numbers of a channel apart from whatever else is drawn for it.
const SALT: u64 = 0x6461_7461_6772_616d;

/// What has been sent over one datagram channel, and what has come back.
///
/// A message begins with its number, by which its answer is known: answers may come in any order, twice or not at all. The rest
/// is a piece of the [`Pattern`]. On the wire numbers begin at a random one, so that those of other channels are strangers.
#[derive(Debug)]
pub struct Exchange {
    pattern: Rc<Pattern>,
    pieces: Pieces,
    sizes: Rc<Sizes>,
    draws: Draws,
    /// What is added to a number on the wire.
    base: u64,
    /// Whether an answer is compared with its message.
    verify: bool,
    quota: u64,
    /// Messages sent, those that the kernel refused among them.
    sent: u64,
    /// As many as messages may be in flight. The numbers of a slot's messages are its index, and on from there in steps of how
    /// many slots there are.
    slots: Box<[Slot]>,
    /// The slots without a message in flight; the next to be used is the last.
    free: Vec<u32>,
    /// The slot of the latest message.
    latest: u32,
    /// How many messages were refused on this side of which nobody has been told.
    refused: usize,
    /// The latest message.
    datagram: Vec<u8>,
    /// Whether nothing is sent for now.
    held: bool,
}

/// A place for one message in flight.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// The number of the message in flight, or of the next one.
    number: u64,
    /// When that was due and sent, if it is in flight.
    waiting: Option<Stamp>,
    /// Whether the message before was answered; if not, it was given up.
    answered: bool,
}

/// What a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The answer to a message in flight. What it has beyond that is wrong.
    Reply(Reply),
    /// An answer that is shorter than its message.
    Short(Stamp),
    /// The answer to a message that was given up, and counted then; or to one so old that its fate is no longer known.
    Late,
    /// The second answer to a message.
    Duplicate,
    /// No answer to any message of this channel.
    Stranger,
}

impl Exchange {
    /// The channel of this number, over which nothing has been sent.
    pub fn new(pattern: Rc<Pattern>, sizes: Rc<Sizes>, connection: u64, verify: bool, settings: Settings) -> Self {
        let Settings { depth, quota, .. } = settings;
        let (pieces, draws) = (pattern.pieces(connection), Draws::new(pattern.seed(), connection));
        let base = split_mix(&mut split_mix(&mut (pattern.seed() ^ SALT)).wrapping_add(connection));
        let slots = (0..depth as u64).map(|number| Slot { number, waiting: None, answered: false }).collect();
        let free = (0..depth as u32).rev().collect();
        Self {
            pattern,
            pieces,
            sizes,
            draws,
            base,
            verify,
            quota,
            sent: 0,
            slots,
            free,
            latest: 0,
            refused: 0,
            datagram: Vec::new(),
            held: false,
        }
    }

    /// Takes a datagram that has come.
    pub fn handle_datagram(&mut self, data: &[u8]) -> Heard {
        let Some((wire, rest)) = data.split_first_chunk::<DATAGRAM_MIN>() else { return Heard::Stranger };
        let number = u64::from_le_bytes(*wire).wrapping_sub(self.base);
        let step = self.slots.len() as u64;
        let index = (number % step) as usize;
        let slot = self.slots[index];
        match slot.waiting {
            Some(stamp) if slot.number == number => {
                self.settle(index, true);
                self.judge(number, rest, stamp)
            }
            _ if number >= slot.number => Heard::Stranger,
            _ if number + step == slot.number && slot.answered => Heard::Duplicate,
            _ => Heard::Late,
        }
    }

    /// What the answer to a message is; its number is right.
    fn judge(&self, number: u64, rest: &[u8], stamp: Stamp) -> Heard {
        let size = self.sizes.of(self.draws, number);
        let expected = &self.pattern.message(self.pieces, number, size)[DATAGRAM_MIN..];
        if rest.len() < expected.len() {
            return Heard::Short(stamp);
        }
        let (answer, beyond) = rest.split_at(expected.len());
        let changed = if self.verify && answer != expected {
            answer.iter().zip(expected).filter(|(byte, expected)| byte != expected).count()
        } else {
            0
        };
        let verdict = Verdict { wrong_bytes: (changed + beyond.len()) as u64, ..Verdict::default() };
        Heard::Reply(Reply { stamp, verdict })
    }

    /// The message in flight in this slot is no longer.
    fn settle(&mut self, index: usize, answered: bool) {
        let step = self.slots.len() as u64;
        let slot = &mut self.slots[index];
        (slot.number, slot.waiting, slot.answered) = (slot.number + step, None, answered);
        self.free.push(index as u32);
    }

    /// Gives up each message that was sent at `sent` or before, and tells of it.
    pub fn give_up(&mut self, sent: u64, mut on_given_up: impl FnMut(Stamp)) {
        for index in 0..self.slots.len() {
            if let Some(stamp) = self.slots[index].waiting
                && stamp.sent <= sent
            {
                self.settle(index, false);
                on_given_up(stamp);
            }
        }
    }

    /// How many messages were refused on this side since this was asked last.
    pub fn take_refused(&mut self) -> usize {
        std::mem::take(&mut self.refused)
    }

    /// Nothing is sent from now on, or it is again.
    pub fn hold(&mut self, held: bool) {
        self.held = held;
    }
}

impl Talk for Exchange {
    fn take_next(&mut self, stamp: Stamp) -> Option<&[u8]> {
        if !self.may_send() {
            return None;
        }
        self.latest = self.free.pop()?;
        let slot = &mut self.slots[self.latest as usize];
        slot.waiting = Some(stamp);
        let number = slot.number;
        self.sent += 1;
        let message = self.pattern.message(self.pieces, number, self.sizes.of(self.draws, number));
        self.datagram.clear();
        self.datagram.extend_from_slice(&self.base.wrapping_add(number).to_le_bytes());
        self.datagram.extend_from_slice(&message[DATAGRAM_MIN..]);
        Some(&self.datagram)
    }

    #[inline]
    fn may_send(&self) -> bool {
        !self.held && !self.free.is_empty() && !self.is_complete()
    }

    fn take_back(&mut self) {
        self.settle(self.latest as usize, false);
        self.refused += 1;
        self.held = true;
    }

    fn waiting(&self) -> impl Iterator<Item = Stamp> {
        self.slots.iter().filter_map(|slot| slot.waiting)
    }

    fn oldest(&self) -> Option<Stamp> {
        self.waiting().min_by_key(|stamp| stamp.sent)
    }

    fn depth(&self) -> usize {
        self.slots.len()
    }

    fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len() + self.refused
    }

    fn is_complete(&self) -> bool {
        self.sent >= self.quota
    }

    fn is_spent(&self) -> bool {
        self.is_complete()
    }

    fn lose(&mut self) {
        self.give_up(u64::MAX, |_| ());
        self.refused = 0;
    }

    fn renew(&mut self, _fresh: Self) {
        self.lose();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exchange_of(connection: u64, sizes: &str, depth: usize, quota: u64) -> Exchange {
        let sizes: Rc<Sizes> = Rc::new(sizes.parse().unwrap());
        Exchange::new(
            Rc::new(Pattern::new(1, sizes.max())),
            sizes,
            connection,
            true,
            Settings { depth, quota, reconnect_after: u64::MAX },
        )
    }

    fn exchange(depth: usize, quota: u64) -> Exchange {
        exchange_of(3, "64", depth, quota)
    }

    /// All that it sends now.
    fn say(exchange: &mut Exchange, now: u64) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| exchange.take_next(Stamp::at(now)).map(<[u8]>::to_vec)).collect()
    }

    fn reply(sent: u64, wrong_bytes: u64) -> Heard {
        Heard::Reply(Reply { stamp: Stamp::at(sent), verdict: Verdict { wrong_bytes, ..Verdict::default() } })
    }

    #[test]
    fn answers_may_come_in_any_order() {
        let mut exchange = exchange(3, 4);
        let sent = say(&mut exchange, 7);
        assert_eq!((sent.len(), exchange.in_flight(), exchange.oldest()), (3, 3, Some(Stamp::at(7))));
        assert_eq!(exchange.handle_datagram(&sent[2]), reply(7, 0));
        let last = say(&mut exchange, 9);
        assert_eq!((last.len(), exchange.is_complete()), (1, true));
        for (datagram, time) in [(&last[0], 9), (&sent[0], 7), (&sent[1], 7)] {
            assert_eq!(exchange.handle_datagram(datagram), reply(time, 0));
        }
        assert_eq!((exchange.in_flight(), exchange.oldest()), (0, None));
    }

    #[test]
    fn a_second_answer_is_a_duplicate() {
        let mut exchange = exchange(1, 10);
        let first = say(&mut exchange, 0).remove(0);
        assert_eq!(exchange.handle_datagram(&first), reply(0, 0));
        assert_eq!(exchange.handle_datagram(&first), Heard::Duplicate);
        let second = say(&mut exchange, 1).remove(0);
        assert_eq!(exchange.handle_datagram(&first), Heard::Duplicate);
        assert_eq!(exchange.handle_datagram(&second), reply(1, 0));
        assert_eq!(exchange.handle_datagram(&first), Heard::Late, "that is too long ago");
    }

    #[test]
    fn a_message_that_is_given_up_makes_room_and_its_answer_is_late() {
        let mut exchange = exchange(2, 10);
        let (mut given_up, first) = (Vec::new(), say(&mut exchange, 5));
        exchange.give_up(4, |stamp| given_up.push(stamp));
        assert_eq!(given_up, []);
        exchange.give_up(5, |stamp| given_up.push(stamp));
        assert_eq!((given_up, exchange.in_flight()), (vec![Stamp::at(5); 2], 0));
        assert_eq!(exchange.handle_datagram(&first[0]), Heard::Late);
        assert_eq!(say(&mut exchange, 6).len(), 2);
        assert_eq!(exchange.handle_datagram(&first[1]), Heard::Late);
        assert_eq!(exchange.in_flight(), 2, "the next messages still wait");
    }

    #[test]
    fn changed_short_and_long_answers_are_found() {
        for (change, expected) in [
            (&(|data: &mut Vec<u8>| data[40] ^= 1) as &dyn Fn(&mut Vec<u8>), reply(0, 1)),
            (&|data| data.truncate(63), Heard::Short(Stamp::at(0))),
            (&|data| data.truncate(8), Heard::Short(Stamp::at(0))),
            (&|data| data.extend([0; 3]), reply(0, 3)),
            (&|data| data.truncate(7), Heard::Stranger),
            (&|data| data.clear(), Heard::Stranger),
            (&|data| data[7] ^= 0x40, Heard::Stranger),
        ] {
            let mut exchange = exchange(1, 2);
            let mut datagram = say(&mut exchange, 0).remove(0);
            change(&mut datagram);
            assert_eq!(exchange.handle_datagram(&datagram), expected);
            assert_eq!(exchange.in_flight(), usize::from(expected == Heard::Stranger));
        }
    }

    #[test]
    fn the_answers_of_another_channel_are_strangers() {
        let (mut one, mut other) = (exchange_of(1, "8", 1, 9), exchange_of(2, "8", 1, 9));
        let (sent, _) = (say(&mut one, 0), say(&mut other, 0));
        assert_eq!(other.handle_datagram(&sent[0]), Heard::Stranger);
    }

    #[test]
    fn what_is_held_is_not_sent() {
        let mut exchange = exchange(1, 2);
        exchange.hold(true);
        assert_eq!(say(&mut exchange, 0).len(), 0);
        exchange.hold(false);
        assert_eq!(say(&mut exchange, 0).len(), 1);
    }

    #[test]
    fn a_message_that_is_refused_holds_the_others_and_is_in_flight_until_somebody_is_told() {
        let mut exchange = exchange(2, 3);
        assert!(exchange.take_next(Stamp::at(0)).is_some());
        exchange.take_back();
        assert_eq!((exchange.in_flight(), exchange.may_send(), exchange.oldest()), (1, false, None));
        assert_eq!((exchange.take_refused(), exchange.take_refused(), exchange.in_flight()), (1, 0, 0));
        exchange.hold(false);
        assert_eq!((say(&mut exchange, 0).len(), exchange.is_complete()), (2, true));
    }

    #[test]
    fn a_datagram_has_the_size_that_its_number_makes_it() {
        let mut exchange = exchange_of(1, "uniform:8-100", 100, 100);
        let sizes: std::collections::HashSet<_> = say(&mut exchange, 0).iter().map(Vec::len).collect();
        assert!(sizes.len() > 30 && sizes.iter().all(|size| (8..=100).contains(size)), "{sizes:?}");
    }

    proptest! {
        /// Each step answers one of those in flight, repeats an earlier answer, or gives up what is old.
        #[test]
        fn every_message_is_settled_once(
            depth in 1_usize..9, quota in 1_u64..60, steps in proptest::collection::vec((0_u8..4, any::<usize>()), 200)
        ) {
            let mut exchange = exchange(depth, quota);
            let (mut sent, mut flying, mut answered) = (0, Vec::new(), Vec::new());
            let (mut replies, mut given_up) = (0, 0);
            for (now, (what, which)) in steps.into_iter().enumerate() {
                let said = say(&mut exchange, now as u64);
                sent += said.len() as u64;
                flying.extend(said);
                prop_assert_eq!(exchange.in_flight() as u64, sent - replies - given_up);
                match what {
                    0 | 1 if !flying.is_empty() => {
                        let datagram: Vec<u8> = flying.swap_remove(which % flying.len());
                        match exchange.handle_datagram(&datagram) {
                            Heard::Reply(reply) => {
                                prop_assert_eq!(reply.verdict, Verdict::default());
                                replies += 1;
                                answered.push(datagram);
                            }
                            Heard::Late => prop_assert!(given_up > 0),
                            other => prop_assert!(false, "{:?}", other),
                        }
                    }
                    2 if !answered.is_empty() => {
                        let heard = exchange.handle_datagram(&answered[which % answered.len()]);
                        prop_assert!(matches!(heard, Heard::Duplicate | Heard::Late), "{:?}", heard);
                    }
                    _ => exchange.give_up((now as u64).saturating_sub(5), |_| given_up += 1),
                }
            }
            prop_assert!(sent <= quota && exchange.is_complete() == (sent == quota));
        }
    }
}
