//! A hierarchical timing wheel over ticks: pure, with no clock and no callbacks.
//!
//! Eleven levels of 64 slots, after Varghese and Lauck, "Hashed and Hierarchical Timing Wheels" (SOSP 1987), scheme 7.
//! Each level resolves six bits of the deadline, and 11 × 6 bits cover all 64: every deadline has a slot, so nothing is
//! clamped or kept on a side list. Insert, cancel and re-arm are O(1); an entry moves down at most ten times in its life.

use crate::key::Key;
use crate::slab::Slab;

const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
const LEVELS: usize = 11;
const _: () = assert!(LEVELS as u32 * SLOT_BITS >= u64::BITS);

/// No entry: ends a list.
const NONE: u32 = u32::MAX;

/// Entries with deadlines in ticks, handed out in the order of their deadlines.
#[derive(Debug)]
pub(crate) struct Wheel<T> {
    entries: Slab<Entry<T>>,
    levels: [Level; LEVELS],
    /// Invariant: bit `l` is set when a slot of level `l` is occupied.
    occupied: u16,
    /// The entries of the slot being handed out, first in first out.
    due: u32,
    /// Invariant: every linked entry outside `due` has a deadline past this tick.
    now: u64,
}

#[derive(Debug)]
struct Level {
    /// Invariant: bit `s` is set when `heads[s]` is not `NONE`.
    occupied: u64,
    heads: [u32; SLOTS],
}

#[derive(Debug)]
struct Entry<T> {
    deadline: u64,
    /// Invariant: while linked, the list is circular, so that its head's `previous` is its tail.
    previous: u32,
    next: u32,
    place: Place,
    value: T,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In no list: popped, or never armed.
    Idle,
    Due,
    Slot {
        level: u8,
        slot: u8,
    },
}

impl<T> Wheel<T> {
    pub(crate) fn new() -> Self {
        let levels = std::array::from_fn(|_| Level { occupied: 0, heads: [NONE; SLOTS] });
        Self { entries: Slab::new(), levels, occupied: 0, due: NONE, now: 0 }
    }

    /// The number of entries, armed or idle.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Adds an entry that is not armed.
    pub(crate) fn insert_idle(&mut self, value: T) -> Key {
        self.entries.insert(Entry { deadline: 0, previous: NONE, next: NONE, place: Place::Idle, value })
    }

    /// Adds an entry due at `deadline`; one that has passed becomes the next tick.
    pub(crate) fn insert(&mut self, deadline: u64, value: T) -> Key {
        let key = self.insert_idle(value);
        self.arm(key, deadline);
        key
    }

    /// Sets when an entry is due, whether it was armed or not. A stale key does nothing.
    pub(crate) fn arm(&mut self, key: Key, deadline: u64) {
        if self.entries.get(key).is_none() {
            return;
        }
        self.unlink(key.index());
        let deadline = deadline.max(self.now.saturating_add(1));
        self.entry(key.index()).deadline = deadline;
        self.link(key.index(), self.place_of(deadline));
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.entries.get(key)?;
        self.unlink(key.index());
        self.entries.remove(key).map(|entry| entry.value)
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.entries.get_mut(key).map(|entry| &mut entry.value)
    }

    pub(crate) fn contains(&self, key: Key) -> bool {
        self.entries.get(key).is_some()
    }

    /// The deadline an entry was last armed with.
    pub(crate) fn last_deadline(&self, key: Key) -> Option<u64> {
        self.entries.get(key).map(|entry| entry.deadline)
    }

    /// When an armed entry is due.
    pub(crate) fn deadline(&self, key: Key) -> Option<u64> {
        self.entries.get(key).filter(|entry| entry.place != Place::Idle).map(|entry| entry.deadline)
    }

    /// The tick at which [`pop`](Self::pop) next has something to do: never later than the earliest deadline, and earlier
    /// only by what is needed to move far entries down.
    pub(crate) fn next_tick(&self) -> Option<u64> {
        if self.due != NONE {
            return Some(self.now);
        }
        self.next_slot().map(|(_, _, start)| start)
    }

    /// Takes the next entry whose deadline is not past `now` out of the lists; it stays, idle, until removed or armed.
    pub(crate) fn pop(&mut self, now: u64) -> Option<Key> {
        loop {
            if self.due != NONE {
                let index = self.due;
                self.unlink(index);
                return self.entries.key_at(index);
            }
            match self.next_slot() {
                Some((level, slot, start)) if start <= now => self.open(level, slot, start),
                _ => {
                    self.now = self.now.max(now);
                    return None;
                }
            }
        }
    }

    /// The earliest occupied slot and its first tick.
    ///
    /// An entry sits at the highest level in which its deadline differs from `now`, so a lower level is always earlier, and
    /// within a level the slots do not wrap.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        if self.occupied == 0 {
            return None;
        }
        let level = self.occupied.trailing_zeros() as usize;
        let slot = self.levels[level].occupied.trailing_zeros() as usize;
        let shift = level as u32 * SLOT_BITS;
        let above = u64::MAX << shift << SLOT_BITS;
        Some((level, slot, (self.now & above) | (slot as u64) << shift))
    }

    /// Moves time to the start of a slot, and its entries to where they now belong.
    fn open(&mut self, level: usize, slot: usize, start: u64) {
        self.now = start;
        while self.levels[level].heads[slot] != NONE {
            let index = self.levels[level].heads[slot];
            self.unlink(index);
            let deadline = self.entry(index).deadline;
            let place = if deadline <= start { Place::Due } else { self.place_of(deadline) };
            self.link(index, place);
        }
    }

    fn place_of(&self, deadline: u64) -> Place {
        let differing = (deadline ^ self.now) | 1;
        let level = (u64::BITS - 1 - differing.leading_zeros()) / SLOT_BITS;
        let slot = deadline >> (level * SLOT_BITS) & (SLOTS as u64 - 1);
        Place::Slot { level: level as u8, slot: slot as u8 }
    }

    fn entry(&mut self, index: u32) -> &mut Entry<T> {
        self.entries.at_mut(index).expect("a linked entry is occupied")
    }

    fn head(&mut self, place: Place) -> &mut u32 {
        match place {
            Place::Slot { level, slot } => &mut self.levels[level as usize].heads[slot as usize],
            Place::Due | Place::Idle => &mut self.due,
        }
    }

    /// Appends an idle entry to the list at `place`.
    fn link(&mut self, index: u32, place: Place) {
        let head = *self.head(place);
        let (previous, next) = if head == NONE {
            *self.head(place) = index;
            if let Place::Slot { level, slot } = place {
                self.levels[level as usize].occupied |= 1 << slot;
                self.occupied |= 1 << level;
            }
            (index, index)
        } else {
            let tail = std::mem::replace(&mut self.entry(head).previous, index);
            self.entry(tail).next = index;
            (tail, head)
        };
        let entry = self.entry(index);
        (entry.previous, entry.next, entry.place) = (previous, next, place);
    }

    /// Takes an entry out of its list; an idle one stays as it is.
    fn unlink(&mut self, index: u32) {
        let entry = self.entry(index);
        let (previous, next, place) = (entry.previous, entry.next, entry.place);
        if place == Place::Idle {
            return;
        }
        entry.place = Place::Idle;
        if next == index {
            *self.head(place) = NONE;
            if let Place::Slot { level, slot } = place {
                let slots = &mut self.levels[level as usize].occupied;
                *slots &= !(1 << slot);
                if *slots == 0 {
                    self.occupied &= !(1 << level);
                }
            }
            return;
        }
        self.entry(previous).next = next;
        self.entry(next).previous = previous;
        if *self.head(place) == index {
            *self.head(place) = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drain(wheel: &mut Wheel<u64>, now: u64) -> Vec<u64> {
        std::iter::from_fn(|| wheel.pop(now).and_then(|key| wheel.remove(key))).collect()
    }

    #[test]
    #[cfg_attr(miri, ignore = "39,000 wheels take too long")]
    fn every_small_deadline_is_handed_out_at_its_tick_and_not_before() {
        for start in 0..130 {
            for delay in 1..300 {
                let mut wheel = Wheel::new();
                assert_eq!(drain(&mut wheel, start), []);
                wheel.insert(start + delay, delay);
                assert_eq!(drain(&mut wheel, start + delay - 1), []);
                assert!(wheel.next_tick().unwrap() <= start + delay);
                assert_eq!(drain(&mut wheel, start + delay), [delay]);
                assert_eq!(wheel.next_tick(), None);
            }
        }
    }

    #[test]
    fn the_last_tick_of_all_has_a_slot() {
        let mut wheel = Wheel::new();
        wheel.insert(u64::MAX, 7);
        assert_eq!(drain(&mut wheel, u64::MAX - 1), []);
        assert_eq!(drain(&mut wheel, u64::MAX), [7]);
    }

    #[test]
    fn a_deadline_in_the_past_waits_for_the_next_tick() {
        let mut wheel = Wheel::new();
        assert_eq!(drain(&mut wheel, 100), []);
        wheel.insert(5, 1);
        assert_eq!(drain(&mut wheel, 100), []);
        assert_eq!(drain(&mut wheel, 101), [1]);
    }

    #[test]
    fn an_entry_may_cancel_a_later_one_of_the_same_tick() {
        let mut wheel = Wheel::new();
        let first = wheel.insert(10, 1);
        let second = wheel.insert(10, 2);
        assert_eq!(wheel.pop(10), Some(first));
        assert_eq!(wheel.remove(second), Some(2));
        assert_eq!(wheel.pop(10), None);
        assert_eq!(wheel.remove(first), Some(1));
        assert_eq!(wheel.len(), 0);
    }

    #[test]
    fn a_popped_entry_keeps_its_key_when_armed_again() {
        let mut wheel = Wheel::new();
        let key = wheel.insert(10, 1);
        assert_eq!(wheel.pop(10), Some(key));
        assert_eq!((wheel.deadline(key), wheel.last_deadline(key)), (None, Some(10)));
        wheel.arm(key, 20);
        assert_eq!(wheel.deadline(key), Some(20));
        assert_eq!(wheel.pop(19), None);
        assert_eq!(wheel.pop(20), Some(key));
    }

    #[test]
    #[cfg_attr(miri, ignore = "a million entries take too long")]
    fn a_million_pending_entries_with_random_cancels_come_out_in_order() {
        let mut wheel = Wheel::new();
        // A linear congruential generator (Knuth, TAOCP 2, 3.3.4): the test needs a spread, not secrecy.
        let mut state = 1_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        };
        let mut expected = Vec::new();
        for _ in 0..1_000_000 {
            let deadline = 1 + random() % 10_000_000;
            let key = wheel.insert(deadline, deadline);
            if random() % 3 == 0 {
                assert_eq!(wheel.remove(key), Some(deadline));
            } else {
                expected.push(deadline);
            }
        }
        expected.sort_unstable();
        assert_eq!(wheel.len(), expected.len());
        let mut seen = Vec::with_capacity(expected.len());
        for now in (0..=10_000_000).step_by(4_999) {
            for deadline in drain(&mut wheel, now) {
                assert!(deadline <= now);
                seen.push(deadline);
            }
        }
        seen.extend(drain(&mut wheel, 10_000_001));
        assert_eq!(seen, expected);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64),
        Cancel(usize),
        Arm(usize, u64),
        Advance(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        // Delays of every magnitude, so that each level is met.
        let delay = (0_u32..64, any::<u64>()).prop_map(|(shift, bits)| bits >> shift);
        prop_oneof![
            4 => delay.clone().prop_map(Step::Insert),
            1 => any::<usize>().prop_map(Step::Cancel),
            1 => (any::<usize>(), delay.clone()).prop_map(|(pick, delay)| Step::Arm(pick, delay)),
            3 => delay.prop_map(Step::Advance),
        ]
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_sorted_list(steps in proptest::collection::vec(step(), 1..120)) {
            let mut wheel = Wheel::new();
            let mut model: Vec<(u64, Key)> = Vec::new();
            let mut now = 0_u64;
            for step in steps {
                match step {
                    Step::Insert(delay) => {
                        let deadline = now.saturating_add(delay).max(now.saturating_add(1));
                        model.push((deadline, wheel.insert(deadline, 0)));
                    }
                    Step::Cancel(pick) if !model.is_empty() => {
                        let (_, key) = model.swap_remove(pick % model.len());
                        prop_assert_eq!(wheel.remove(key), Some(0));
                        prop_assert_eq!(wheel.remove(key), None);
                    }
                    Step::Arm(pick, delay) if !model.is_empty() => {
                        let pick = pick % model.len();
                        model[pick].0 = now.saturating_add(delay).max(now.saturating_add(1));
                        wheel.arm(model[pick].1, model[pick].0);
                    }
                    Step::Advance(delay) if now < u64::MAX - 1 => {
                        now = now.saturating_add(delay).min(u64::MAX - 1);
                        let earliest = model.iter().map(|(deadline, _)| *deadline).min();
                        if let Some(next) = wheel.next_tick() {
                            prop_assert!(next <= earliest.unwrap());
                        } else {
                            prop_assert_eq!(earliest, None);
                        }
                        let mut last = 0;
                        while let Some(key) = wheel.pop(now) {
                            let at = model.iter().position(|(_, known)| *known == key).unwrap();
                            let (deadline, _) = model.swap_remove(at);
                            prop_assert!(deadline <= now && deadline >= last);
                            last = deadline;
                            prop_assert_eq!(wheel.remove(key), Some(0));
                        }
                        prop_assert!(model.iter().all(|(deadline, _)| *deadline > now));
                    }
                    _ => {}
                }
                prop_assert_eq!(wheel.len(), model.len());
            }
        }
    }
}
