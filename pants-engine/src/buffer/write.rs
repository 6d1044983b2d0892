//! The write queue: what the kernel would not take yet, in chunks, with partial writes. Pure.

use std::collections::VecDeque;
use std::io::IoSlice;

use crate::limits::{CHUNK_BYTES, SLICES_MAX};

/// Bytes in the order of their writing.
#[derive(Debug, Default)]
pub(crate) struct WriteQueue {
    /// Invariant: no chunk is empty.
    chunks: VecDeque<Vec<u8>>,
    /// How much of the first chunk has left. Invariant: less than its length; 0 without chunks.
    head: usize,
    /// Invariant: the bytes of all chunks less `head`.
    len: usize,
}

impl WriteQueue {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Appends `data`: small pieces fill up the last chunk, a large one becomes a chunk of its own.
    pub(crate) fn push(&mut self, mut data: &[u8]) {
        self.len += data.len();
        if let Some(last) = self.chunks.back_mut() {
            let room = (last.capacity() - last.len()).min(data.len());
            last.extend_from_slice(&data[..room]);
            data = &data[room..];
        }
        if !data.is_empty() {
            let mut chunk = Vec::with_capacity(data.len().max(CHUNK_BYTES));
            chunk.extend_from_slice(data);
            self.chunks.push_back(chunk);
        }
    }

    /// The front of the queue as slices for one vectored write: the array and how many of it are filled.
    pub(crate) fn slices(&self) -> ([IoSlice<'_>; SLICES_MAX], usize) {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut filled = 0;
        for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
            let from = if filled == 0 { self.head } else { 0 };
            *slice = IoSlice::new(&chunk[from..]);
            filled += 1;
        }
        (slices, filled)
    }

    /// Drops `count` bytes from the front: they have left.
    ///
    /// # Panics
    ///
    /// When there are fewer.
    pub(crate) fn consume(&mut self, count: usize) {
        assert!(count <= self.len, "more was consumed than was queued");
        self.len -= count;
        self.head += count;
        while let Some(first) = self.chunks.front() {
            if self.head < first.len() {
                break;
            }
            self.head -= first.len();
            self.chunks.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn contents(queue: &WriteQueue) -> Vec<u8> {
        queue.chunks.iter().flatten().skip(queue.head).copied().collect()
    }

    #[test]
    fn small_writes_share_a_chunk() {
        let mut queue = WriteQueue::default();
        for byte in 0..100 {
            queue.push(&[byte]);
        }
        let (slices, filled) = queue.slices();
        assert_eq!(filled, 1);
        assert_eq!(&*slices[0], (0..100).collect::<Vec<u8>>());
    }

    #[test]
    fn no_more_slices_are_offered_than_one_call_takes() {
        let mut queue = WriteQueue::default();
        for _ in 0..SLICES_MAX + 10 {
            queue.push(&[7; CHUNK_BYTES]);
        }
        let (slices, filled) = queue.slices();
        assert_eq!(filled, SLICES_MAX);
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        queue.consume(offered);
        assert_eq!(queue.len(), 10 * CHUNK_BYTES);
        assert_eq!(queue.slices().1, 10);
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_string_of_bytes(steps in proptest::collection::vec((0_usize..40_000, any::<u16>()), 0..40)) {
            let mut queue = WriteQueue::default();
            let mut model = Vec::new();
            let mut byte = 0_u8;
            for (size, take) in steps {
                let data: Vec<u8> = (0..size).map(|_| { byte = byte.wrapping_add(31); byte }).collect();
                queue.push(&data);
                model.extend_from_slice(&data);
                let take = usize::from(take).min(model.len());
                queue.consume(take);
                model.drain(..take);
                prop_assert_eq!(queue.len(), model.len());
                prop_assert_eq!(&contents(&queue), &model);
                let (slices, filled) = queue.slices();
                let offered: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.iter().copied()).collect();
                prop_assert!(model.starts_with(&offered));
                prop_assert_eq!(offered.is_empty(), model.is_empty());
            }
        }
    }
}
