//! Doubly linked lists of entries that are known by number: pure, and all of one kind, in one piece of memory.

/// So many lists, of entries that have a deadline; an entry is in one of them or in none.
///
/// The lists are circular, each with a link of its own before those of the entries. So linking and unlinking ask nothing: every
/// link has two neighbours, and one that is in no list has itself.
#[derive(Debug)]
pub(super) struct Links<const LISTS: usize> {
    /// Those of the lists, and then those of the entries.
    links: Vec<Link>,
}

/// Four of them are a line of memory.
#[derive(Clone, Copy, Debug)]
struct Link {
    deadline: u64,
    previous: u32,
    next: u32,
}

impl<const LISTS: usize> Links<LISTS> {
    pub(super) fn new() -> Self {
        Self { links: (0..LISTS as u32).map(Link::alone).collect() }
    }

    /// Adds the link of an entry, or makes it anew; it is in no list. The entries come in the order of their numbers the first time.
    ///
    /// # Panics
    ///
    /// With 2³² entries and lists, which is past what memory allows.
    #[inline(always)]
    pub(super) fn add(&mut self, entry: u32) {
        let at = entry as usize + LISTS;
        let link = Link::alone(u32::try_from(at).expect("there are fewer than 2^32 links"));
        if at < self.links.len() {
            self.links[at] = link;
        } else {
            self.links.push(link);
        }
    }

    /// The deadline that an entry was last given, 0 before.
    pub(super) fn deadline(&self, entry: u32) -> u64 {
        self.links[entry as usize + LISTS].deadline
    }

    /// Sets the deadline of an entry where it is.
    pub(super) fn set_deadline(&mut self, entry: u32, deadline: u64) {
        self.links[entry as usize + LISTS].deadline = deadline;
    }

    /// Whether an entry is in a list.
    pub(super) fn is_linked(&self, entry: u32) -> bool {
        let at = entry as usize + LISTS;
        self.links[at].next as usize != at
    }

    /// The first entry of a list.
    pub(super) fn first(&self, list: usize) -> Option<u32> {
        self.links[list].next.checked_sub(LISTS as u32)
    }

    /// Appends an entry that is in no list.
    #[inline(always)]
    pub(super) fn append(&mut self, list: usize, entry: u32, deadline: u64) {
        let at = entry as usize + LISTS;
        let last = self.links[list].previous;
        self.links[at] = Link { deadline, previous: last, next: list as u32 };
        self.links[last as usize].next = at as u32;
        self.links[list].previous = at as u32;
    }

    /// Takes an entry out of its list, if it is in one. Returns the list that is empty for it.
    #[inline(always)]
    pub(super) fn unlink(&mut self, entry: u32) -> Option<usize> {
        let at = entry as usize + LISTS;
        let Link { previous, next, .. } = self.links[at];
        self.links[previous as usize].next = next;
        self.links[next as usize].previous = previous;
        (self.links[at].previous, self.links[at].next) = (at as u32, at as u32);
        (previous == next && (next as usize) < LISTS).then_some(next as usize)
    }

    /// Moves all entries of one list, which has some, to another, which has none.
    pub(super) fn take_over(&mut self, list: usize, from: usize) {
        let Link { previous: last, next: first, .. } = self.links[from];
        self.links[first as usize].previous = list as u32;
        self.links[last as usize].next = list as u32;
        (self.links[list].previous, self.links[list].next) = (last, first);
        self.links[from] = Link::alone(from as u32);
    }
}

impl Link {
    /// One that is in no list, or of a list without entries.
    fn alone(at: u32) -> Self {
        Self { deadline: 0, previous: at, next: at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entries(links: &Links<3>, list: usize) -> Vec<u32> {
        let mut all = Vec::new();
        let mut at = list;
        while let Some(entry) = links.links[at].next.checked_sub(3) {
            all.push(entry);
            let before = std::mem::replace(&mut at, entry as usize + 3);
            assert_eq!(links.links[at].previous as usize, before);
        }
        all
    }

    proptest! {
        #[test]
        fn they_behave_like_lists_of_numbers(steps in proptest::collection::vec((0_usize..3, 0_u32..12), 0..200)) {
            let mut links = Links::<3>::new();
            (0..12).for_each(|entry| links.add(entry));
            let mut model: [Vec<u32>; 3] = Default::default();
            for (list, entry) in steps {
                if let Some(from) = model.iter().position(|list| list.contains(&entry)) {
                    prop_assert!(links.is_linked(entry));
                    model[from].retain(|&known| known != entry);
                    prop_assert_eq!(links.unlink(entry), model[from].is_empty().then_some(from));
                } else {
                    prop_assert_eq!(links.unlink(entry), None);
                    links.append(list, entry, u64::from(entry));
                    model[list].push(entry);
                }
                if model[1].is_empty() && !model[2].is_empty() {
                    links.take_over(1, 2);
                    model.swap(1, 2);
                }
                for (list, model) in model.iter().enumerate() {
                    prop_assert_eq!(&entries(&links, list), model);
                    prop_assert_eq!(links.first(list), model.first().copied());
                }
                prop_assert_eq!(links.is_linked(entry), model.iter().any(|list| list.contains(&entry)));
            }
        }
    }
}
