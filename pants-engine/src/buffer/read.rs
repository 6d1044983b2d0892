//! The read buffer: what is left of a frame that has not come whole. Pure.

use crate::limits::READ_BUFFER_BYTES;

/// Bytes received and not consumed, contiguous.
///
/// An empty one holds no memory once it is [tidied](Self::tidy).
#[derive(Debug, Default)]
pub(crate) struct ReadBuffer {
    bytes: Vec<u8>,
    /// How much of `bytes` is consumed. Invariant: at most its length.
    head: usize,
}

impl ReadBuffer {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.head
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.head..]
    }

    /// Appends `data`. The caller keeps no more than `limit` bytes and one read here; then the buffer's memory is no more.
    pub(crate) fn append(&mut self, data: &[u8], limit: usize) {
        if self.bytes.capacity() - self.bytes.len() < data.len() {
            self.make_room(data.len(), limit);
        }
        self.bytes.extend_from_slice(data);
    }

    /// Moves what is there to the front, where that is free space enough, or else to a larger piece of memory. What is moved
    /// is a frame that has not come whole, and within one frame the memory doubles: so each byte moves a few times at most.
    fn make_room(&mut self, more: usize, limit: usize) {
        let needed = self.len() + more;
        if needed <= self.bytes.capacity() {
            self.bytes.drain(..self.head);
        } else {
            let doubled = (2 * self.len()).min(limit.saturating_add(READ_BUFFER_BYTES));
            let mut bytes = Vec::with_capacity(needed.max(doubled));
            bytes.extend_from_slice(self.bytes());
            self.bytes = bytes;
        }
        self.head = 0;
    }

    /// Takes `count` bytes from the front; they can be read until the buffer is next changed.
    ///
    /// # Panics
    ///
    /// When there are fewer.
    pub(crate) fn consume(&mut self, count: usize) -> &[u8] {
        let taken = &self.bytes[self.head..][..count];
        self.head += count;
        taken
    }

    /// Gives the memory back if nothing is left.
    pub(crate) fn tidy(&mut self) {
        if self.is_empty() && self.bytes.capacity() > 0 {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Fewer under Miri, which takes a thousand times as long for a byte.
    const STEPS: usize = if cfg!(miri) { 4 } else { 40 };

    #[test]
    fn an_empty_buffer_holds_no_memory() {
        let mut buffer = ReadBuffer::default();
        buffer.append(b"part of a frame", 1000);
        assert_eq!(buffer.consume(15), b"part of a frame");
        buffer.tidy();
        assert_eq!(buffer.bytes.capacity(), 0);
    }

    #[test]
    #[cfg_attr(miri, ignore = "a million appends take too long")]
    fn a_frame_that_comes_in_bytes_moves_a_few_times_only() {
        let mut buffer = ReadBuffer::default();
        let mut moves = 0;
        let mut capacity = 0;
        for _ in 0..1_000_000 {
            buffer.append(b"x", 1_000_000);
            moves += usize::from(capacity != buffer.bytes.capacity());
            capacity = buffer.bytes.capacity();
        }
        assert!(moves <= 21, "{moves} moves");
    }

    #[test]
    #[should_panic = "out of range"]
    fn consuming_what_is_not_there_panics() {
        ReadBuffer::default().consume(1);
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_string_of_bytes(
            limit in 0_usize..200_000,
            steps in proptest::collection::vec((0..=READ_BUFFER_BYTES, any::<prop::sample::Index>()), 0..STEPS),
        ) {
            let mut buffer = ReadBuffer::default();
            let mut model = Vec::new();
            let mut byte = 0_u8;
            for (size, take) in steps {
                if model.len() <= limit {
                    let data: Vec<u8> = (0..size).map(|_| { byte = byte.wrapping_add(31); byte }).collect();
                    buffer.append(&data, limit);
                    model.extend_from_slice(&data);
                }
                let take = take.index(model.len() + 1);
                let taken: Vec<u8> = model.drain(..take).collect();
                prop_assert_eq!(buffer.consume(take), taken);
                prop_assert_eq!(buffer.bytes(), &model);
                prop_assert_eq!(buffer.len(), model.len());
                prop_assert!(buffer.bytes.capacity() <= limit + READ_BUFFER_BYTES);
                buffer.tidy();
                prop_assert_eq!(buffer.bytes(), &model);
                prop_assert_eq!(buffer.is_empty(), buffer.bytes.capacity() == 0);
            }
        }
    }
}
