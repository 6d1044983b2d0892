//! The outbox: where the small writes of one callback gather, so that they leave in one `send`.
//!
//! There is one for the whole engine. It holds the bytes of one connection at a time and is emptied before another
//! connection writes, and when the callback returns.

use crate::key::Key;
use crate::limits;

#[derive(Debug)]
pub(crate) struct Outbox {
    /// Invariant: `Key::NONE` exactly when `bytes` is empty.
    owner: Key,
    bytes: Vec<u8>,
    /// The connection that may write here without a look at its state: its callback runs, and has asked for nothing else.
    /// Invariant: `owner` is this or `Key::NONE` while it is not `Key::NONE` itself.
    open_to: Key,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self { owner: Key::NONE, bytes: Vec::with_capacity(limits::OUTBOX_BYTES), open_to: Key::NONE }
    }

    /// Whose bytes it holds; `Key::NONE` when there are none.
    pub(crate) fn owner(&self) -> Key {
        self.owner
    }

    /// How many bytes of `key` it holds.
    pub(crate) fn len_of(&self, key: Key) -> usize {
        if self.owner == key { self.bytes.len() } else { 0 }
    }

    /// Lets `key` write here without further questions, until anything else happens to it.
    #[inline]
    pub(crate) fn open_to(&mut self, key: Key) {
        self.open_to = key;
    }

    #[inline]
    pub(crate) fn is_open_to(&self, key: Key) -> bool {
        self.open_to == key
    }

    /// Ends what [`open_to`](Self::open_to) began.
    #[inline]
    pub(crate) fn shut(&mut self) {
        self.open_to = Key::NONE;
    }

    /// Adds `data` if the outbox is open to `key`, and it fits.
    #[inline]
    pub(crate) fn push_if_open(&mut self, key: Key, data: &[u8]) -> bool {
        self.open_to == key && self.push(key, data)
    }

    /// Adds `data` if it fits behind what `key` has here already; `false` if there is no room or another owner, or nothing
    /// to add.
    #[inline]
    pub(crate) fn push(&mut self, key: Key, data: &[u8]) -> bool {
        let fits = self.bytes.len() + data.len() <= limits::OUTBOX_BYTES;
        if !fits || data.is_empty() || (self.owner != key && self.owner != Key::NONE) {
            return false;
        }
        self.owner = key;
        self.bytes.extend_from_slice(data);
        true
    }

    /// The bytes to send; follow with [`clear`](Self::clear).
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn clear(&mut self) {
        self.owner = Key::NONE;
        self.bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_serves_one_owner_at_a_time_and_has_a_bound() {
        let [one, two] = [0, 1].map(|index| Key::new(index, 0));
        let mut outbox = Outbox::new();
        assert!(outbox.push(one, b"ab"));
        assert!(!outbox.push(two, b"x"));
        assert!(outbox.push(one, &vec![0; limits::OUTBOX_BYTES - 2]));
        assert!(!outbox.push(one, b"x"));
        assert_eq!((outbox.len_of(one), outbox.len_of(two)), (limits::OUTBOX_BYTES, 0));
        outbox.clear();
        assert_eq!(outbox.owner(), Key::NONE);
        assert!(!outbox.push(two, b""));
        assert!(outbox.push(two, b"x"));
    }
}
