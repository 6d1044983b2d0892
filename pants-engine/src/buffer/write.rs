//! The write queue: what the kernel would not take yet, bytes of its own or shared with other queues and pieces of files, with
//! partial writes. Pure.

use std::collections::VecDeque;
use std::fs::File;
use std::io::IoSlice;
use std::sync::Arc;

use crate::limits::{CHUNK_BYTES, FILE_PIECE_BYTES, HEADER_CHUNK_BYTES, SHARED_BYTES_MIN, SLICES_MAX};

/// Bytes and pieces of files in the order of their writing.
#[derive(Debug, Default)]
pub(crate) struct WriteQueue {
    /// Invariant: no piece is empty.
    pieces: VecDeque<Piece>,
    /// How much of the first piece has left, if it is bytes. Invariant: less than its length; 0 before a file.
    head: usize,
    /// Invariant: the bytes of all pieces in memory less `head`.
    in_memory: usize,
    /// Invariant: the pieces of files, and what is left of them all, which is less than 2⁶³.
    files: usize,
    in_files: u64,
}

#[derive(Debug)]
enum Piece {
    Bytes(Vec<u8>),
    /// Bytes that other queues may hold too, from so many on.
    Shared(Arc<[u8]>, usize),
    File(FilePiece),
}

/// A piece of a file.
#[derive(Clone, Debug)]
pub(crate) struct FilePiece {
    pub(crate) file: Arc<File>,
    pub(crate) offset: u64,
    pub(crate) left: u64,
}

/// What is to be written next.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it lives on the stack, for one system call")]
pub(crate) enum Front<'a> {
    /// Slices for one vectored write: the array, and how many of it are filled; none when the queue is empty.
    Bytes([IoSlice<'a>; SLICES_MAX], usize),
    File(&'a FilePiece),
}

impl WriteQueue {
    /// What it holds: the bytes in memory, and for each piece of a file what its descriptor is worth.
    pub(crate) fn held(&self) -> usize {
        self.in_memory + self.files * FILE_PIECE_BYTES
    }

    /// Everything that waits, pieces of files included.
    pub(crate) fn len(&self) -> u64 {
        self.in_memory as u64 + self.in_files
    }

    /// Appends `data`: small pieces fill up the last chunk, a large one becomes a chunk of its own.
    pub(crate) fn push(&mut self, mut data: &[u8]) {
        self.in_memory += data.len();
        if let Some(Piece::Bytes(last)) = self.pieces.back_mut() {
            let room = (last.capacity() - last.len()).min(data.len());
            last.extend_from_slice(&data[..room]);
            data = &data[room..];
        }
        if !data.is_empty() {
            // Between pieces of other kinds there is little: a header each. What goes on behind a full chunk is more than that.
            let behind_other = matches!(self.pieces.back(), Some(Piece::Shared(..) | Piece::File(_)));
            let least = if behind_other { HEADER_CHUNK_BYTES } else { CHUNK_BYTES };
            let mut chunk = Vec::with_capacity(data.len().max(least));
            chunk.extend_from_slice(data);
            self.pieces.push_back(Piece::Bytes(chunk));
        }
    }

    /// Appends the bytes of `data` from `from` on, without a copy of them unless they are few.
    pub(crate) fn push_shared(&mut self, data: &Arc<[u8]>, from: usize) {
        let rest = &data[from..];
        if rest.len() < SHARED_BYTES_MIN {
            return self.push(rest);
        }
        self.in_memory += rest.len();
        self.pieces.push_back(Piece::Shared(Arc::clone(data), from));
    }

    /// Whether so much more of files can be counted.
    pub(crate) fn can_count(&self, length: u64) -> bool {
        self.len().checked_add(length).is_some_and(|len| i64::try_from(len).is_ok())
    }

    /// Appends a piece of a file, which [can be counted](Self::can_count).
    pub(crate) fn push_file(&mut self, piece: FilePiece) {
        if piece.left > 0 {
            self.files += 1;
            self.in_files += piece.left;
            self.pieces.push_back(Piece::File(piece));
        }
    }

    pub(crate) fn front(&self) -> Front<'_> {
        if let Some(Piece::File(piece)) = self.pieces.front() {
            return Front::File(piece);
        }
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut filled = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            let Some(bytes) = piece.bytes() else { break };
            let from = if filled == 0 { self.head } else { 0 };
            *slice = IoSlice::new(&bytes[from..]);
            filled += 1;
        }
        Front::Bytes(slices, filled)
    }

    /// Drops `count` bytes of what [`front`](Self::front) gave: they have left.
    ///
    /// # Panics
    ///
    /// When there are fewer.
    pub(crate) fn consume(&mut self, count: usize) {
        if let Some(Piece::File(piece)) = self.pieces.front_mut() {
            let count = count as u64;
            assert!(count <= piece.left, "more was consumed than the piece has");
            piece.offset += count;
            piece.left -= count;
            self.in_files -= count;
            if piece.left == 0 {
                self.files -= 1;
                self.pieces.pop_front();
            }
            return;
        }
        assert!(count <= self.in_memory, "more was consumed than was queued");
        self.in_memory -= count;
        self.head += count;
        while let Some(first) = self.pieces.front().and_then(Piece::bytes) {
            if self.head < first.len() {
                break;
            }
            self.head -= first.len();
            self.pieces.pop_front();
        }
    }
}

impl Piece {
    /// Those in memory; `None` of a file.
    fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Shared(data, from) => Some(&data[*from..]),
            Self::File(_) => None,
        }
    }
}

const _: () = assert!(size_of::<Piece>() <= SHARED_BYTES_MIN / 8, "a reference is little beside what it stands for");

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Fewer under Miri, which takes a thousand times as long for a byte.
    const STEPS: usize = if cfg!(miri) { 4 } else { 40 };

    /// What one write would get, with a file's bytes as its offsets, cut to a byte.
    fn offered(queue: &WriteQueue) -> Vec<u8> {
        match queue.front() {
            Front::Bytes(slices, filled) => {
                let mut bytes = Vec::new();
                slices[..filled].iter().for_each(|slice| bytes.extend_from_slice(slice));
                bytes
            }
            Front::File(piece) => (piece.offset..piece.offset + piece.left).map(|offset| offset as u8).collect(),
        }
    }

    #[test]
    fn small_writes_share_a_chunk() {
        let mut queue = WriteQueue::default();
        for byte in 0..100 {
            queue.push(&[byte]);
        }
        let Front::Bytes(slices, filled) = queue.front() else { panic!("it holds no file") };
        assert_eq!(filled, 1);
        assert_eq!(&*slices[0], (0..100).collect::<Vec<u8>>());
    }

    #[test]
    fn small_writes_behind_a_file_share_chunks_too() {
        let mut queue = WriteQueue::default();
        queue.push_file(FilePiece { file: Arc::new(File::open("/dev/null").unwrap()), offset: 0, left: 1 });
        for _ in 0..HEADER_CHUNK_BYTES + CHUNK_BYTES {
            queue.push(b"x");
        }
        assert_eq!(queue.pieces.len(), 3);
    }

    #[test]
    fn no_more_slices_are_offered_than_one_call_takes() {
        let mut queue = WriteQueue::default();
        for _ in 0..SLICES_MAX + 10 {
            queue.push(&[7; CHUNK_BYTES]);
        }
        let offered = offered(&queue).len();
        assert_eq!(offered, SLICES_MAX * CHUNK_BYTES);
        queue.consume(offered);
        assert_eq!(queue.held(), 10 * CHUNK_BYTES);
        assert!(matches!(queue.front(), Front::Bytes(_, 10)));
    }

    #[test]
    fn a_file_holds_its_descriptor_s_worth_and_keeps_its_place() {
        let file = Arc::new(File::open("/dev/null").unwrap());
        let mut queue = WriteQueue::default();
        queue.push(b"head");
        queue.push_file(FilePiece { file: Arc::clone(&file), offset: 3, left: 5 });
        queue.push_file(FilePiece { file, offset: 0, left: 0 });
        queue.push(b"tail");
        assert_eq!((queue.held(), queue.len()), (8 + FILE_PIECE_BYTES, 13));
        let mut left = Vec::new();
        while queue.len() > 0 {
            left.push(offered(&queue));
            queue.consume(left[left.len() - 1].len());
        }
        assert_eq!(queue.held(), 0);
        assert_eq!(left, [b"head".to_vec(), vec![3, 4, 5, 6, 7], b"tail".to_vec()]);
    }

    #[test]
    fn shared_bytes_are_queued_without_a_copy_unless_they_are_few() {
        let data: Arc<[u8]> = (0..SHARED_BYTES_MIN + 9).map(|byte| byte as u8).collect();
        let mut queue = WriteQueue::default();
        queue.push_shared(&data, 0);
        queue.push_shared(&data, 9);
        assert_eq!((Arc::strong_count(&data), queue.pieces.len()), (3, 2));
        queue.push_shared(&data, 10);
        assert_eq!((Arc::strong_count(&data), queue.pieces.len()), (3, 3));
        assert_eq!(queue.held(), 3 * data.len() - 19);
        let Front::Bytes(slices, 3) = queue.front() else { panic!("there are three pieces") };
        assert_eq!(slices[0].as_ptr(), data.as_ptr());
        assert_eq!(offered(&queue), [&data[..], &data[9..], &data[10..]].concat());
        queue.consume(data.len() + 1);
        assert_eq!(Arc::strong_count(&data), 2, "what has left is let go");
        assert_eq!(offered(&queue), [&data[10..], &data[10..]].concat());
    }

    #[test]
    fn small_writes_behind_shared_bytes_take_little_memory() {
        let data: Arc<[u8]> = vec![1; SHARED_BYTES_MIN].into();
        let mut queue = WriteQueue::default();
        for _ in 0..100 {
            queue.push_shared(&data, 0);
            queue.push(b"x");
        }
        let capacity = |piece: &Piece| if let Piece::Bytes(bytes) = piece { bytes.capacity() } else { 0 };
        assert_eq!(queue.pieces.iter().map(capacity).sum::<usize>(), 100 * HEADER_CHUNK_BYTES);
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_string_of_bytes(
            steps in proptest::collection::vec((0_usize..40_000, 0_u8..4, any::<u16>()), 0..STEPS)
        ) {
            let file = Arc::new(File::open("/dev/null").unwrap());
            let mut queue = WriteQueue::default();
            let mut model = VecDeque::new();
            let mut byte = 0_u8;
            for (size, kind, take) in steps {
                if kind == 0 {
                    queue.push_file(FilePiece { file: Arc::clone(&file), offset: size as u64, left: size as u64 / 8 });
                    model.extend((size..size + size / 8).map(|offset| offset as u8));
                } else {
                    let data: Vec<u8> = (0..size).map(|_| { byte = byte.wrapping_add(31); byte }).collect();
                    let from = if kind == 1 { size / 3 } else { 0 };
                    match kind {
                        1 => queue.push_shared(&data[..].into(), from),
                        2 => queue.push_shared(&data[..size % 1000].into(), 0),
                        _ => queue.push(&data),
                    }
                    model.extend(if kind == 2 { &data[..size % 1000] } else { &data[from..] });
                }
                let offered = offered(&queue);
                prop_assert!(model.iter().take(offered.len()).eq(&offered));
                prop_assert_eq!(offered.is_empty(), model.is_empty());
                let take = usize::from(take).min(offered.len());
                queue.consume(take);
                model.drain(..take);
                prop_assert_eq!(queue.len(), model.len() as u64);
            }
        }
    }
}
