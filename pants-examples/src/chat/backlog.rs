//! The backlog: what waits, in order, for a lane that is full. Pure.

use std::collections::VecDeque;

/// How many things may wait that may be dropped, for one shard.
pub(super) const BACKLOG_MAX: usize = 8192;

/// What waits for one shard.
#[derive(Debug)]
pub(super) struct Backlog<T> {
    waiting: VecDeque<T>,
    dropped: u64,
}

impl<T> Default for Backlog<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), dropped: 0 }
    }
}

impl<T> Backlog<T> {
    /// Sends `parcel` with `send`, which says whether it was taken; it waits if it is not, or if others wait already. Returns
    /// whether it will arrive: it is dropped if `limit` wait.
    pub(super) fn send(&mut self, parcel: T, limit: usize, send: impl FnOnce(&T) -> bool) -> bool {
        if self.waiting.is_empty() && send(&parcel) {
            return true;
        }
        if self.waiting.len() >= limit {
            self.dropped += 1;
            return false;
        }
        self.waiting.push_back(parcel);
        true
    }

    /// Sends what waits, as far as it is taken.
    pub(super) fn retry(&mut self, mut send: impl FnMut(&T) -> bool) {
        while self.waiting.front().is_some_and(&mut send) {
            self.waiting.pop_front();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many were dropped since this was last asked.
    pub(super) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_waits_is_not_overtaken() {
        let mut backlog = Backlog::default();
        assert!(backlog.send(1, 9, |_| false));
        assert!(backlog.send(2, 9, |_| unreachable!("it would overtake")));
        let mut sent = Vec::new();
        backlog.retry(|&parcel| {
            sent.push(parcel);
            true
        });
        assert_eq!((sent, backlog.is_empty()), (vec![1, 2], true));
        assert!(backlog.send(3, 9, |_| true) && backlog.is_empty());
    }

    #[test]
    fn beyond_the_limit_it_drops_and_counts() {
        let mut backlog = Backlog::default();
        assert!(backlog.send(1, 1, |_| false));
        assert!(!backlog.send(2, 1, |_| false));
        assert!(backlog.send(3, usize::MAX, |_| false));
        assert_eq!((backlog.take_dropped(), backlog.take_dropped()), (1, 0));
    }

    proptest! {
        #[test]
        fn everything_taken_in_comes_out_in_order(steps in proptest::collection::vec((any::<bool>(), 0_usize..4), 0..80)) {
            let (mut backlog, mut expected, mut sent) = (Backlog::default(), Vec::new(), Vec::new());
            for (number, (retries, room)) in steps.into_iter().enumerate() {
                let mut room = room;
                let mut take = |&parcel: &usize| {
                    let taken = room > 0;
                    room = room.saturating_sub(1);
                    sent.extend(taken.then_some(parcel));
                    taken
                };
                if retries {
                    backlog.retry(take);
                } else if backlog.send(number, 5, &mut take) {
                    expected.push(number);
                }
                prop_assert!(backlog.waiting.len() <= 5);
            }
            backlog.retry(|&parcel| { sent.push(parcel); true });
            prop_assert_eq!(sent, expected);
        }
    }
}
