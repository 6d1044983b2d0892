//! Deadlines to the nanosecond, in a binary heap: pure, and without the timers themselves.
//!
//! A cancelled timer's deadline stays until it comes to the top, or until the heap has grown to twice what was live the last
//! time somebody looked. So cancelling costs nothing here, and the heap holds at most about as many dead as live.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::key::Key;
use crate::limits;

#[derive(Debug)]
pub(crate) struct Precise {
    /// Invariant: the top is live. The number in the middle counts pushes, so that equal deadlines keep their order.
    heap: BinaryHeap<Reverse<(Duration, u64, Key)>>,
    pushes: u64,
    /// The length at which the dead are sorted out.
    sweep_at: usize,
}

impl Precise {
    pub(crate) fn new() -> Self {
        Self { heap: BinaryHeap::new(), pushes: 0, sweep_at: limits::PRECISE_SWEEP_MIN }
    }

    pub(crate) fn push(&mut self, due: Duration, key: Key, is_live: impl Fn(Key) -> bool) {
        if self.heap.len() >= self.sweep_at {
            self.heap.retain(|Reverse((_, _, key))| is_live(*key));
            self.sweep_at = limits::PRECISE_SWEEP_MIN.max(2 * self.heap.len());
        }
        self.pushes += 1;
        self.heap.push(Reverse((due, self.pushes, key)));
    }

    /// Whether it holds no deadline, live or dead.
    pub(crate) fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.heap.peek().map(|Reverse((due, _, _))| *due)
    }

    /// Takes the earliest deadline if it is not past `now`.
    pub(crate) fn pop(&mut self, now: Duration, is_live: impl Fn(Key) -> bool) -> Option<(Duration, Key)> {
        if self.next()? > now {
            return None;
        }
        let Reverse((due, _, key)) = self.heap.pop()?;
        self.expose(is_live);
        Some((due, key))
    }

    /// Brings the first live deadline to the top. Must follow whenever a timer is gone that may be there.
    pub(crate) fn expose(&mut self, is_live: impl Fn(Key) -> bool) {
        while let Some(Reverse((_, _, key))) = self.heap.peek()
            && !is_live(*key)
        {
            self.heap.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    fn key(index: u32) -> Key {
        Key::new(index, NonZeroU32::MIN)
    }

    #[test]
    fn equal_deadlines_keep_the_order_of_their_making() {
        let mut precise = Precise::new();
        let due = Duration::from_nanos(7);
        for index in [3, 1, 2] {
            precise.push(due, key(index), |_| true);
        }
        assert_eq!(precise.pop(due - Duration::from_nanos(1), |_| true), None);
        let order = std::iter::from_fn(|| precise.pop(due, |_| true)).map(|(_, key)| key.index()).collect::<Vec<_>>();
        assert_eq!(order, [3, 1, 2]);
    }

    #[test]
    fn cancelled_timers_do_not_pile_up() {
        let mut precise = Precise::new();
        // One that stays at the top, so that no dead one ever comes there.
        precise.push(Duration::ZERO, key(0), |_| true);
        for index in 1..10_000 {
            precise.push(Duration::from_secs(1), key(index), |key| key.index() == 0 || key.index() == index);
            assert!(precise.heap.len() <= limits::PRECISE_SWEEP_MIN);
        }
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_sorted_set(steps in proptest::collection::vec((0_u8..4, any::<u8>()), 0..400)) {
            let mut precise = Precise::new();
            let mut model: BTreeSet<(u64, u32)> = BTreeSet::new();
            let mut now = 0;
            for (made, (step, value)) in (0_u32..).zip(steps) {
                let live: BTreeSet<u32> = model.iter().map(|(_, index)| *index).collect();
                match step {
                    0 | 1 => {
                        let due = now + u64::from(value);
                        model.insert((due, made));
                        precise.push(Duration::from_nanos(due), key(made), |key| live.contains(&key.index()));
                    }
                    2 if !model.is_empty() => {
                        let victim = *model.iter().nth(usize::from(value) % model.len()).unwrap();
                        model.remove(&victim);
                        precise.expose(|key| key.index() != victim.1 && live.contains(&key.index()));
                    }
                    _ => {
                        now += u64::from(value) / 8;
                        let is_live = |model: &BTreeSet<(u64, u32)>, key: Key| model.iter().any(|at| at.1 == key.index());
                        while let Some(first) = model.first().copied().filter(|(due, _)| *due <= now) {
                            model.pop_first();
                            let popped = precise.pop(Duration::from_nanos(now), |key| is_live(&model, key));
                            prop_assert_eq!(popped, Some((Duration::from_nanos(first.0), key(first.1))));
                        }
                        prop_assert_eq!(precise.pop(Duration::from_nanos(now), |_| true), None);
                    }
                }
                prop_assert_eq!(precise.next(), model.first().map(|(due, _)| Duration::from_nanos(*due)));
            }
        }
    }
}
