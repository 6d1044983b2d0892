//! A hierarchical timing wheel over ticks: pure, with no clock and no callbacks.
//!
//! Eleven levels of 64 slots, after Varghese and Lauck, "Hashed and Hierarchical Timing Wheels" (SOSP 1987), scheme 7.
//! Each level resolves six bits of the deadline, and 11 × 6 bits cover all 64: every deadline has a slot, so nothing is
//! clamped or kept on a side list. Insert, cancel and re-arm are O(1); an entry moves down at most ten times in its life.

use crate::key::Key;
use crate::slab::Slab;
use crate::timers::links::Links;

const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
const LEVELS: usize = 11;
const _: () = assert!(LEVELS as u32 * SLOT_BITS >= u64::BITS);

/// The list of what is due, behind those of the slots.
const DUE: usize = LEVELS * SLOTS;
/// The list of a slot of a higher level, while its entries move down.
const OPENING: usize = DUE + 1;
const LISTS: usize = OPENING + 1;

/// Entries with deadlines in ticks, handed out in the order of their deadlines.
///
/// An entry sits at the highest level in which its deadline differs from `now`, whenever it was armed: a slot is opened when
/// its time begins. So a lower level is always earlier than a higher one, and within a level the slots do not wrap. One that was put
/// off stays where it is, too early, and moves on when its slot is opened: most are put off again before that.
#[derive(Debug)]
pub(crate) struct Wheel<T> {
    values: Slab<T>,
    /// The lists of the entries, and their deadlines, apart from the values: of its neighbours in its list an entry needs no more,
    /// and with very many of them each is a line of memory that is not in a cache.
    links: Links<LISTS>,
    /// Invariant: bit `s` of level `l` is set when the list of that slot is not empty.
    slots: [u64; LEVELS],
    /// Invariant: bit `l` is set when `slots[l]` is not 0.
    levels: u16,
    /// Invariant: the deadline of every armed entry is past this tick, but for those in `DUE` and `OPENING`.
    now: u64,
}

// What sets and cancels is inlined whole, through the links: called piece by piece it takes a fifth more instructions.
impl<T> Wheel<T> {
    pub(crate) fn new() -> Self {
        Self { values: Slab::new(), links: Links::new(), slots: [0; LEVELS], levels: 0, now: 0 }
    }

    /// The number of entries, armed or idle.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// Adds an entry that is not armed.
    #[inline(always)]
    pub(crate) fn insert_idle(&mut self, value: T) -> Key {
        let key = self.values.insert(value);
        self.links.add(key.index());
        key
    }

    /// Adds an entry due at `deadline`; one that has passed becomes the next tick.
    #[inline(always)]
    pub(crate) fn insert(&mut self, deadline: u64, value: T) -> Key {
        let key = self.insert_idle(value);
        self.link(key.index(), deadline.max(self.now.saturating_add(1)));
        key
    }

    /// Sets when an entry is due, whether it was armed or not. A stale key does nothing.
    pub(crate) fn arm(&mut self, key: Key, deadline: u64) {
        let index = key.index();
        if !self.contains(key) {
            return;
        }
        if self.links.is_linked(index) && deadline >= self.links.deadline(index) {
            return self.links.set_deadline(index, deadline);
        }
        self.unlink(index);
        self.link(index, deadline.max(self.now.saturating_add(1)));
    }

    /// An entry is not due at any time. A stale key does nothing.
    pub(crate) fn disarm(&mut self, key: Key) {
        if self.contains(key) {
            self.unlink(key.index());
        }
    }

    #[inline(always)]
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let value = self.values.remove(key)?;
        self.unlink(key.index());
        Some(value)
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.values.get_mut(key)
    }

    pub(crate) fn contains(&self, key: Key) -> bool {
        self.values.get(key).is_some()
    }

    /// The deadline an entry was last armed with.
    pub(crate) fn last_deadline(&self, key: Key) -> Option<u64> {
        self.contains(key).then(|| self.links.deadline(key.index()))
    }

    /// When an armed entry is due.
    pub(crate) fn deadline(&self, key: Key) -> Option<u64> {
        self.last_deadline(key).filter(|_| self.links.is_linked(key.index()))
    }

    /// The tick at which [`pop`](Self::pop) next has something to do: never later than the earliest deadline, and earlier
    /// only by what is needed to move down entries that are far, and to move on those that were put off.
    pub(crate) fn next_tick(&self) -> Option<u64> {
        if self.links.first(OPENING).is_some() || self.links.first(DUE).is_some() {
            return Some(self.now);
        }
        self.next_slot().map(|(_, _, start)| start)
    }

    /// Takes the next entry whose deadline is not past `now` out of the lists; it stays, idle, until removed or armed.
    ///
    /// An entry that is taken costs one of `budget`, and so does one that moves, and a slot; when it is used up there is
    /// nothing. So a slot with very many entries is opened in several goes.
    pub(crate) fn pop(&mut self, now: u64, budget: &mut usize) -> Option<Key> {
        while *budget > 0 {
            *budget -= 1;
            if let Some(index) = self.links.first(OPENING) {
                self.move_down(index);
            } else if let Some(index) = self.links.first(DUE) {
                self.links.unlink(index);
                let deadline = self.links.deadline(index);
                if deadline <= self.now {
                    return self.values.key_at(index);
                }
                self.link(index, deadline);
            } else if let Some((level, slot, start)) = self.next_slot().filter(|&(_, _, start)| start <= now) {
                self.open(level, slot, start);
            } else {
                self.now = self.now.max(now);
                return None;
            }
        }
        None
    }

    /// The earliest occupied slot and its first tick.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        if self.levels == 0 {
            return None;
        }
        let level = self.levels.trailing_zeros() as usize;
        let slot = self.slots[level].trailing_zeros() as usize;
        let shift = level as u32 * SLOT_BITS;
        let above = u64::MAX << shift << SLOT_BITS;
        Some((level, slot, (self.now & above) | (slot as u64) << shift))
    }

    /// Moves time to the start of a slot, the next one, whose entries are now due or move down.
    fn open(&mut self, level: usize, slot: usize, start: u64) {
        self.now = start;
        let list = level * SLOTS + slot;
        self.links.take_over(if level == 0 { DUE } else { OPENING }, list);
        self.note_empty(list);
    }

    /// Moves an entry of the slot that is being opened to where it now belongs.
    fn move_down(&mut self, index: u32) {
        let deadline = self.links.deadline(index);
        self.links.unlink(index);
        if deadline <= self.now {
            self.links.append(DUE, index, deadline);
        } else {
            self.link(index, deadline);
        }
    }

    /// Puts an entry that is in no list into its slot. Its deadline is past `now`, unless time has come to its end.
    #[inline(always)]
    fn link(&mut self, index: u32, deadline: u64) {
        let differing = (deadline ^ self.now) | 1;
        let level = (u64::BITS - 1 - differing.leading_zeros()) / SLOT_BITS;
        let slot = deadline >> (level * SLOT_BITS) & (SLOTS as u64 - 1);
        self.slots[level as usize] |= 1 << slot;
        self.levels |= 1 << level;
        self.links.append(level as usize * SLOTS + slot as usize, index, deadline);
    }

    /// Takes an entry out of its list; an idle one stays as it is.
    #[inline(always)]
    fn unlink(&mut self, index: u32) {
        if let Some(list) = self.links.unlink(index) {
            self.note_empty(list);
        }
    }

    fn note_empty(&mut self, list: usize) {
        if let Some(slots) = self.slots.get_mut(list / SLOTS) {
            *slots &= !(1 << (list % SLOTS));
            if *slots == 0 {
                self.levels &= !(1 << (list / SLOTS));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drain(wheel: &mut Wheel<u64>, now: u64) -> Vec<u64> {
        std::iter::from_fn(|| wheel.pop(now, &mut { usize::MAX }).and_then(|key| wheel.remove(key))).collect()
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
    fn a_slot_of_many_entries_is_opened_in_several_goes_that_hand_out_nothing_too_late_or_out_of_order() {
        const BUDGET: usize = 10;
        let mut wheel = Wheel::new();
        let keys: Vec<Key> = (0..100).map(|index| wheel.insert(64 + index % 3, 64 + index % 3)).collect();
        let mut goes = 0;
        let mut seen = Vec::new();
        while wheel.next_tick().is_some_and(|tick| tick <= 66) {
            goes += 1;
            let mut budget = BUDGET;
            while let Some(key) = wheel.pop(66, &mut budget) {
                seen.extend(wheel.remove(key));
            }
            if goes == 3 {
                // From the middle of the list that is being opened, and from its ends.
                assert_eq!([50, 99, 29].map(|index| wheel.remove(keys[index])), [66, 64, 66].map(Some));
                wheel.insert(65, 65);
            }
        }
        // 97 entries move down and are taken, less what had moved when they left; and four slots.
        assert!(goes > 100 * 2 / BUDGET - 2, "{goes}");
        assert_eq!(seen.len(), 98);
        assert!(seen.is_sorted());
        assert_eq!(wheel.len(), 0);
    }

    #[test]
    fn an_entry_may_cancel_a_later_one_of_the_same_tick() {
        let mut wheel = Wheel::new();
        let first = wheel.insert(10, 1);
        let second = wheel.insert(10, 2);
        assert_eq!(wheel.pop(10, &mut { usize::MAX }), Some(first));
        assert_eq!(wheel.remove(second), Some(2));
        assert_eq!(wheel.pop(10, &mut { usize::MAX }), None);
        assert_eq!(wheel.remove(first), Some(1));
        assert_eq!(wheel.len(), 0);
    }

    #[test]
    fn a_popped_entry_keeps_its_key_when_armed_again() {
        let mut wheel = Wheel::new();
        let key = wheel.insert(10, 1);
        assert_eq!(wheel.pop(10, &mut { usize::MAX }), Some(key));
        assert_eq!((wheel.deadline(key), wheel.last_deadline(key)), (None, Some(10)));
        wheel.arm(key, 20);
        assert_eq!(wheel.deadline(key), Some(20));
        assert_eq!(wheel.pop(19, &mut { usize::MAX }), None);
        assert_eq!(wheel.pop(20, &mut { usize::MAX }), Some(key));
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
        /// How far, and the budget for what is due then.
        Advance(u64, usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        // Delays of every magnitude, so that each level is met.
        let delay = (0_u32..64, any::<u64>()).prop_map(|(shift, bits)| bits >> shift);
        // Mostly so little that a slot stays half open.
        let budget = prop_oneof![2 => 0_usize..20, 1 => Just(usize::MAX)];
        prop_oneof![
            4 => delay.clone().prop_map(Step::Insert),
            1 => any::<usize>().prop_map(Step::Cancel),
            1 => (any::<usize>(), delay.clone()).prop_map(|(pick, delay)| Step::Arm(pick, delay)),
            3 => (delay, budget).prop_map(|(delay, budget)| Step::Advance(delay, budget)),
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
                    Step::Advance(delay, mut budget) if now < u64::MAX - 1 => {
                        now = now.saturating_add(delay).min(u64::MAX - 1);
                        while let Some(key) = wheel.pop(now, &mut budget) {
                            let at = model.iter().position(|(_, known)| *known == key).unwrap();
                            let earliest = model.iter().map(|(deadline, _)| *deadline).min();
                            let (deadline, _) = model.swap_remove(at);
                            prop_assert!(deadline <= now && Some(deadline) == earliest);
                            prop_assert_eq!(wheel.remove(key), Some(0));
                        }
                        prop_assert!(budget == 0 || model.iter().all(|(deadline, _)| *deadline > now));
                    }
                    _ => {}
                }
                // However far a slot is open, no deadline is slept through, and an empty wheel wakes nobody.
                let earliest = model.iter().map(|(deadline, _)| *deadline).min();
                prop_assert_eq!(wheel.next_tick().is_some(), earliest.is_some());
                prop_assert!(wheel.next_tick() <= earliest);
                prop_assert_eq!(wheel.len(), model.len());
            }
        }
    }
}
