//! A slab whose keys carry a generation: a stale key misses, always.

use std::num::NonZeroU32;

use crate::key::Key;

/// No slot: ends the free list.
const NONE: u32 = u32::MAX;

/// Values in reusable slots. Insert, look-up and remove are O(1); a slot's memory is kept for its next tenant.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    slots: Vec<Slot<T>>,
    /// Invariant: the head of a list that runs through every vacant slot that may be let again.
    free: u32,
    /// Invariant: the number of occupied slots.
    len: usize,
}

/// In this order, so that the key is on the cache line of what its value begins with.
#[derive(Debug)]
#[repr(C)]
struct Slot<T> {
    /// The tenant's, or the next one's: whole, so that a look-up is one comparison. Invariant: its generation grows when a
    /// tenant leaves, and never wraps.
    key: Key,
    entry: Entry<T>,
}

#[derive(Debug)]
enum Entry<T> {
    Vacant { next: u32 },
    Occupied(T),
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { slots: Vec::new(), free: NONE, len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Lets a slot to `value`.
    ///
    /// # Panics
    ///
    /// With 2³² − 1 slots in use, which is past what memory or descriptors allow.
    #[inline]
    pub(crate) fn insert(&mut self, value: T) -> Key {
        self.len += 1;
        if self.free == NONE {
            let index = u32::try_from(self.slots.len()).ok().filter(|&index| index != NONE);
            let index = index.expect("a slab holds fewer than 2^32 - 1 values");
            let key = Key::new(index, NonZeroU32::MIN);
            self.slots.push(Slot { key, entry: Entry::Occupied(value) });
            return key;
        }
        let index = self.free;
        let slot = &mut self.slots[index as usize];
        if let Entry::Vacant { next } = slot.entry {
            self.free = next;
        }
        slot.entry = Entry::Occupied(value);
        slot.key
    }

    #[inline]
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        match self.slots.get(key.index() as usize) {
            Some(Slot { key: known, entry: Entry::Occupied(value) }) if *known == key => Some(value),
            _ => None,
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.find(key.to_token()).map(|(_, value)| value)
    }

    /// The value that an event's token names, with its key; none if the token is no key, or a stale one.
    #[inline(always)]
    pub(crate) fn find(&mut self, token: usize) -> Option<(Key, &mut T)> {
        let slot = self.slots.get_mut(Key::index_in_token(token))?;
        if slot.key.to_token() != token {
            return None;
        }
        // Last, so that it is one comparison with what the caller asks of the value.
        match &mut slot.entry {
            Entry::Occupied(value) => Some((slot.key, value)),
            Entry::Vacant { .. } => None,
        }
    }

    #[inline]
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        let slot = &mut self.slots[key.index() as usize];
        let entry = if let Some(next) = key.next_tenant() {
            slot.key = next;
            let entry = std::mem::replace(&mut slot.entry, Entry::Vacant { next: self.free });
            self.free = key.index();
            entry
        } else {
            // Its generations are used up: the slot retires rather than give out a key twice.
            std::mem::replace(&mut slot.entry, Entry::Vacant { next: NONE })
        };
        self.len -= 1;
        match entry {
            Entry::Occupied(value) => Some(value),
            Entry::Vacant { .. } => None,
        }
    }

    /// Whoever lives at `index` now, whatever the generation. For links that are removed with their target.
    pub(crate) fn at_mut(&mut self, index: u32) -> Option<&mut T> {
        match self.slots.get_mut(index as usize) {
            Some(Slot { entry: Entry::Occupied(value), .. }) => Some(value),
            _ => None,
        }
    }

    /// The present key of the value at `index`.
    pub(crate) fn key_at(&self, index: u32) -> Option<Key> {
        match self.slots.get(index as usize) {
            Some(Slot { key, entry: Entry::Occupied(_) }) => Some(*key),
            _ => None,
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.slots.iter().filter_map(|slot| match &slot.entry {
            Entry::Occupied(value) => Some((slot.key, value)),
            Entry::Vacant { .. } => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_stale_key_misses_after_its_slot_is_let_again() {
        let mut slab = Slab::new();
        let first = slab.insert('a');
        assert_eq!(slab.remove(first), Some('a'));
        let second = slab.insert('b');
        assert_eq!(first.index(), second.index());
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&'b'));
        assert_eq!(slab.len(), 1);
    }

    #[test]
    fn a_slot_whose_generations_are_used_up_retires() {
        let mut slab = Slab::new();
        let key = slab.insert(1);
        let last = Key::new(key.index(), NonZeroU32::MAX);
        slab.slots[0].key = last;
        assert_eq!(slab.remove(last), Some(1));
        assert_eq!(slab.insert(2).index(), 1);
        assert_eq!(slab.get(last), None);
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_list_of_pairs(steps in proptest::collection::vec((any::<bool>(), any::<usize>()), 0..200)) {
            let mut slab = Slab::new();
            let mut model: Vec<(Key, usize)> = Vec::new();
            let mut gone = Vec::new();
            for (insert, pick) in steps {
                if insert || model.is_empty() {
                    model.push((slab.insert(pick), pick));
                } else {
                    let (key, value) = model.swap_remove(pick % model.len());
                    prop_assert_eq!(slab.remove(key), Some(value));
                    gone.push(key);
                }
                prop_assert_eq!(slab.len(), model.len());
                prop_assert_eq!(slab.iter().count(), model.len());
                for (key, value) in &model {
                    prop_assert_eq!(slab.get(*key), Some(value));
                    prop_assert_eq!(slab.key_at(key.index()), Some(*key));
                }
                for key in &gone {
                    prop_assert_eq!(slab.get(*key), None);
                }
            }
        }
    }
}
