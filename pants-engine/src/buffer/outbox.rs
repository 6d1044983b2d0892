//! The outbox: where small writes gather, so that those of one callback leave in one `send`, and where what callbacks have
//! written to other connections is held, so that it leaves together.
//!
//! There is one for the whole engine. It gathers the bytes of one connection at a time, until another one writes or the callback
//! returns. What is held leaves when all that is ready has been received, and before anybody looks at one of the connections:
//! whoever gets it is woken when there is more to do than one message, and sleeps less often in between.

use std::io::IoSlice;
use std::mem;

use crate::buffer::input::ReadBuffer;
use crate::key::Key;
use crate::limits;

pub(crate) struct Outbox {
    /// Whose bytes are being gathered, behind those held. Invariant: `None` exactly when there are none: `start` is `len`.
    owner: Option<Key>,
    bytes: Box<[u8]>,
    /// Where those of `owner` begin.
    start: usize,
    /// How many of `bytes` are filled.
    len: usize,
    /// What is held, in the order in which it was written. Invariant: at most [`limits::HELD_MAX`].
    held: Vec<Held>,
    /// Read buffers that held something before. Invariant: with those that do now, at most [`limits::HELD_MAX`].
    spares: Vec<Box<ReadBuffer>>,
    /// To whom the callback at hand has relayed its input, and how long that is: it is still where it was read.
    relaying: Option<(Key, usize)>,
    /// The connection that may write here without a look at its state: its callback runs, and has asked for nothing else.
    /// Invariant: while it is `Some`, `owner` is the same or `None`.
    open_to: Option<Key>,
    /// The connection to which it was open until that wrote to another one, which owns the bytes if there are any; nothing else
    /// was asked for since. Invariant: `None` while `open_to` is `Some`.
    relayed_by: Option<Key>,
}

/// What one connection has written to another one.
struct Held {
    /// To whom.
    owner: Key,
    /// Where it ends in the outbox; it begins where the one before ends. Nothing of it is there if it is an `input`.
    end: usize,
    /// The buffer into which it was read, and its length.
    input: Option<(Box<ReadBuffer>, usize)>,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self {
            owner: None,
            bytes: vec![0; limits::OUTBOX_BYTES].into(),
            start: 0,
            len: 0,
            held: Vec::with_capacity(limits::HELD_MAX),
            spares: Vec::new(),
            relaying: None,
            open_to: None,
            relayed_by: None,
        }
    }

    /// Whose bytes it gathers; `None` when there are none.
    pub(crate) fn owner(&self) -> Option<Key> {
        self.owner
    }

    /// Whether it neither gathers nor holds anything.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.owner.is_none() && self.held.is_empty()
    }

    /// How many bytes of `key` it has.
    pub(crate) fn len_of(&self, key: Key) -> usize {
        let held = (0..).map_while(|index| self.held(index));
        let held: usize = held.filter(|(owner, _)| *owner == key).map(|(_, bytes)| bytes.len()).sum();
        held + if self.owner == Some(key) { self.len - self.start } else { 0 }
    }

    /// Lets `key` write here without further questions, until anything else happens to it.
    #[inline]
    pub(crate) fn open_to(&mut self, key: Key) {
        debug_assert!(self.owner.is_none_or(|owner| owner == key), "the outbox was opened over another's bytes");
        self.open_to = Some(key);
    }

    #[inline]
    pub(crate) fn is_open_to(&self, key: Key) -> bool {
        self.open_to == Some(key)
    }

    /// Whether `key`, to which it was open, has done nothing but write to one other connection.
    #[inline]
    pub(crate) fn is_relayed_by(&self, key: Key) -> bool {
        self.relayed_by == Some(key)
    }

    /// Ends what [`open_to`](Self::open_to) began; gives whom it was open to.
    #[inline]
    pub(crate) fn shut(&mut self) -> Option<Key> {
        match self.open_to.take() {
            None => self.relayed_by.take(),
            open_to => open_to,
        }
    }

    /// As [`shut`](Self::shut), where it is still open: then nobody relays.
    #[inline]
    pub(crate) fn shut_opened(&mut self) {
        debug_assert!(self.open_to.is_some(), "the outbox was not open");
        self.open_to = None;
    }

    /// Adds `data` if the outbox is open to `key`, and it fits.
    #[inline]
    pub(crate) fn push_if_open(&mut self, key: Key, data: &[u8]) -> bool {
        self.open_to == Some(key) && self.append(key, data)
    }

    /// Adds `data` if it fits; the outbox was just [opened](Self::open_to) to `key`.
    #[inline]
    pub(crate) fn push_opened(&mut self, key: Key, data: &[u8]) -> bool {
        debug_assert!(self.is_open_to(key), "the outbox was not opened");
        self.append(key, data)
    }

    /// Adds `data` if it fits behind what `key` has here already; `false` if there is no room or another owner, or nothing
    /// to add.
    pub(crate) fn push(&mut self, key: Key, data: &[u8]) -> bool {
        self.owner.is_none_or(|owner| owner == key) && self.append(key, data)
    }

    /// Whether another connection than `key` is on the short way, and has at most written to others.
    #[inline]
    pub(crate) fn can_relay_to(&self, key: Key) -> bool {
        self.open_to.or(self.relayed_by).is_some_and(|from| from != key)
    }

    /// As [`push`](Self::push), where the connection on the short way [writes to another](Self::can_relay_to), and goes on.
    #[inline]
    pub(crate) fn relay(&mut self, key: Key, data: &[u8]) -> bool {
        let taken = self.push(key, data);
        if taken {
            self.note_relay();
        }
        taken
    }

    /// The connection on the short way has written to another one.
    #[inline]
    pub(crate) fn note_relay(&mut self) {
        self.relayed_by = self.open_to.take().or(self.relayed_by);
    }

    /// As [`push`](Self::push), for `slices` that are `len` bytes in all: they are added together or not at all.
    pub(crate) fn push_vectored(&mut self, key: Key, slices: &[IoSlice<'_>], len: usize) -> bool {
        let fits = self.owner.is_none_or(|owner| owner == key) && len <= self.bytes.len() - self.len;
        if fits {
            for slice in slices {
                self.append(key, slice);
            }
        }
        fits
    }

    #[inline]
    fn append(&mut self, key: Key, data: &[u8]) -> bool {
        if data.is_empty() {
            return false;
        }
        let end = self.len + data.len();
        let Some(room) = self.bytes.get_mut(self.len..end) else { return false };
        (self.owner, self.len) = (Some(key), end);
        // Last, so that the handler's `write` ends in the copy.
        room.copy_from_slice(data);
        true
    }

    /// The bytes gathered, to send; follow with [`clear`](Self::clear).
    #[inline(always)]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.len]
    }

    /// Forgets what was gathered; what is held stays.
    pub(crate) fn clear(&mut self) {
        self.owner = None;
        self.len = self.start;
    }

    /// The callback at hand has relayed its input, of so many bytes, to `key`.
    #[inline]
    pub(crate) fn note_relaying(&mut self, key: Key, count: usize) {
        self.relaying = Some((key, count));
    }

    /// To whom the last callback has relayed its input, and how long that is.
    #[inline]
    pub(crate) fn take_relaying(&mut self) -> Option<(Key, usize)> {
        self.relaying.take()
    }

    /// Whether anything is held.
    #[inline]
    pub(crate) fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether what is held must leave before more is.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.held.len() == limits::HELD_MAX || self.bytes.len() - self.len < limits::RELAYED_COPY_BYTES
    }

    /// Holds what was gathered.
    #[inline]
    pub(crate) fn hold_gathered(&mut self) {
        if let Some(owner) = self.owner.take() {
            self.held.push(Held { owner, end: self.len, input: None });
            self.start = self.len;
        }
    }

    /// Holds the first `count` bytes of `input` for `key`: a copy of a few, or else the buffer itself, in whose place there is
    /// another one then. Nothing is gathered, and it is not [full](Self::is_full).
    #[inline]
    pub(crate) fn hold_input(&mut self, key: Key, input: &mut Box<ReadBuffer>, count: usize) {
        if count <= limits::HELD_COPY_BYTES {
            self.append(key, &input[..count]);
            return self.hold_gathered();
        }
        let spare = self.spares.pop().unwrap_or_else(ReadBuffer::new);
        let input = Some((mem::replace(input, spare), count));
        self.held.push(Held { owner: key, end: self.start, input });
    }

    /// What is held at this place, and whose it is.
    #[inline]
    pub(crate) fn held(&self, index: usize) -> Option<(Key, &[u8])> {
        let held = self.held.get(index)?;
        let bytes = match &held.input {
            Some((buffer, count)) => &buffer[..*count],
            None => &self.bytes[index.checked_sub(1).map_or(0, |before| self.held[before].end)..held.end],
        };
        Some((held.owner, bytes))
    }

    /// Forgets what was held.
    pub(crate) fn release_held(&mut self) {
        while let Some(held) = self.held.pop() {
            if let Some((buffer, _)) = held.input {
                self.spares.push(buffer);
            }
        }
        if self.owner.is_some() {
            self.bytes.copy_within(self.start..self.len, 0);
        }
        (self.start, self.len) = (0, self.len - self.start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    #[test]
    fn it_serves_one_owner_at_a_time_and_has_a_bound() {
        let [one, two] = [0, 1].map(|index| Key::new(index, NonZeroU32::MIN));
        let mut outbox = Outbox::new();
        assert!(outbox.push(one, b"ab"));
        assert!(!outbox.push(two, b"x"));
        assert!(outbox.push(one, &vec![0; limits::OUTBOX_BYTES - 2]));
        assert!(!outbox.push(one, b"x"));
        assert_eq!((outbox.len_of(one), outbox.len_of(two)), (limits::OUTBOX_BYTES, 0));
        outbox.clear();
        assert_eq!(outbox.owner(), None);
        assert!(!outbox.push(two, b""));
        assert!(outbox.push(two, b"x"));
    }

    #[test]
    fn a_connection_that_writes_to_one_other_is_remembered_until_it_is_shut() {
        let [one, two, three] = [0, 1, 2].map(|index| Key::new(index, NonZeroU32::MIN));
        let mut outbox = Outbox::new();
        assert!(!outbox.can_relay_to(two), "it was open to nobody");
        outbox.open_to(one);
        assert!(!outbox.relay(two, b"") && outbox.is_open_to(one));
        assert!(outbox.relay(two, b"ab") && outbox.relay(two, b"c"));
        assert!(outbox.is_relayed_by(one) && !outbox.is_open_to(one) && outbox.can_relay_to(two));
        assert!(!outbox.push_if_open(one, b"x") && !outbox.can_relay_to(one) && !outbox.relay(three, b"x"));
        assert_eq!((outbox.owner(), outbox.bytes()), (Some(two), b"abc".as_slice()));
        assert_eq!((outbox.shut(), outbox.shut()), (Some(one), None));
        assert!(!outbox.can_relay_to(two), "it was shut");
    }

    /// What is held, by the index of whom it is for.
    fn all_held(outbox: &Outbox) -> Vec<(u32, Vec<u8>)> {
        let held = (0..).map_while(|index| outbox.held(index));
        held.map(|(key, bytes)| (key.index(), bytes.to_vec())).collect()
    }

    #[test]
    fn what_is_held_keeps_its_order_and_what_is_gathered_stays() {
        let [one, two] = [0, 1].map(|index| Key::new(index, NonZeroU32::MIN));
        let mut outbox = Outbox::new();
        let mut input = ReadBuffer::new();
        let long = limits::HELD_COPY_BYTES + 1;
        outbox.hold_gathered();
        assert!(!outbox.is_holding() && outbox.is_empty());
        assert!(outbox.push(one, b"ab"));
        outbox.hold_gathered();
        input[..long].fill(7);
        outbox.hold_input(two, &mut input, long);
        input[..3].copy_from_slice(b"cde");
        outbox.hold_input(one, &mut input, 3);
        assert!(outbox.push(two, b"later"));
        let held = vec![(0, b"ab".to_vec()), (1, vec![7; long]), (0, b"cde".to_vec())];
        assert_eq!(all_held(&outbox), held);
        assert_eq!((outbox.len_of(one), outbox.len_of(two)), (5, long + 5));
        outbox.release_held();
        assert!(!outbox.is_holding() && !outbox.is_empty());
        assert_eq!((outbox.owner(), outbox.bytes()), (Some(two), b"later".as_slice()));
        outbox.hold_gathered();
        assert_eq!(all_held(&outbox), [(1, b"later".to_vec())]);
    }

    #[test]
    fn so_much_is_held_and_no_more_and_the_buffers_are_used_again() {
        let key = Key::new(0, NonZeroU32::MIN);
        let mut outbox = Outbox::new();
        let mut input = ReadBuffer::new();
        for count in [1, limits::HELD_COPY_BYTES, limits::HELD_COPY_BYTES + 1, limits::READ_BUFFER_BYTES] {
            for _ in 0..3 {
                let mut held = 0;
                while !outbox.is_full() {
                    outbox.hold_input(key, &mut input, count);
                    held += 1;
                }
                assert!(
                    held == limits::HELD_MAX || (count <= limits::HELD_COPY_BYTES && held > 8),
                    "{held} of {count}"
                );
                outbox.release_held();
                assert!(outbox.spares.len() <= limits::HELD_MAX);
            }
        }
        assert_eq!(outbox.spares.len(), limits::HELD_MAX);
    }

    #[test]
    fn slices_are_added_together_or_not_at_all() {
        let [one, two] = [0, 1].map(|index| Key::new(index, NonZeroU32::MIN));
        let slices = [b"ab".as_slice(), b"", b"c"].map(IoSlice::new);
        let mut outbox = Outbox::new();
        assert!(outbox.push_vectored(one, &slices, 3));
        assert_eq!(outbox.bytes(), b"abc");
        assert!(!outbox.push_vectored(two, &slices, 3));
        assert!(outbox.push(one, &vec![0; limits::OUTBOX_BYTES - 5]));
        assert!(!outbox.push_vectored(one, &slices, 3));
        assert_eq!(outbox.len_of(one), limits::OUTBOX_BYTES - 2);
    }
}
