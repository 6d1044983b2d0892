//! The outbox: where the small writes of one callback gather, so that they leave in one `send`.
//!
//! There is one for the whole engine. It holds the bytes of one connection at a time and is emptied before another
//! connection writes, and when the callback returns.

use crate::key::Key;
use crate::limits;

#[derive(Debug)]
pub(crate) struct Outbox {
    /// Invariant: `None` exactly when `bytes` is empty.
    owner: Option<Key>,
    bytes: Vec<u8>,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self { owner: None, bytes: Vec::with_capacity(limits::OUTBOX_BYTES) }
    }

    /// Whose bytes it holds.
    pub(crate) fn owner(&self) -> Option<Key> {
        self.owner
    }

    /// How many bytes of `key` it holds.
    pub(crate) fn len_of(&self, key: Key) -> usize {
        if self.owner == Some(key) { self.bytes.len() } else { 0 }
    }

    /// Adds `data` if it fits behind what `key` has here already; `false` if there is no room or another owner.
    #[inline]
    pub(crate) fn push(&mut self, key: Key, data: &[u8]) -> bool {
        let fits = self.bytes.len() + data.len() <= limits::OUTBOX_BYTES;
        if !fits || self.owner.is_some_and(|owner| owner != key) {
            return false;
        }
        self.owner = Some(key);
        self.bytes.extend_from_slice(data);
        true
    }

    /// The bytes to send; follow with [`clear`](Self::clear).
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn clear(&mut self) {
        self.owner = None;
        self.bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_serves_one_owner_at_a_time_and_has_a_bound() {
        let [one, two] = [0, 1].map(|index| Key { index, generation: 0 });
        let mut outbox = Outbox::new();
        assert!(outbox.push(one, b"ab"));
        assert!(!outbox.push(two, b"x"));
        assert!(outbox.push(one, &vec![0; limits::OUTBOX_BYTES - 2]));
        assert!(!outbox.push(one, b"x"));
        assert_eq!((outbox.len_of(one), outbox.len_of(two)), (limits::OUTBOX_BYTES, 0));
        outbox.clear();
        assert_eq!(outbox.owner(), None);
        assert!(outbox.push(two, b"x"));
    }
}
