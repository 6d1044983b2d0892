//! Byte strings as delimiters: a single byte, or several. Each byte of a frame is looked at once, or, for the first bytes of
//! a delimiter that may have come in part, a few times.

use std::fmt;

use memchr::memchr;
use memchr::memmem::Finder;

use crate::framing::framer::Frame;

/// What is compared at once.
const BLOCK_BYTES: usize = 16;
const BLOCKS_MAX: usize = 8;

/// A byte that ends frames.
#[derive(Debug)]
pub(crate) struct Byte {
    byte: u8,
    /// How much of the input has been searched in vain.
    searched: usize,
}

impl Byte {
    pub(crate) fn new(byte: u8) -> Self {
        Self { byte, searched: 0 }
    }

    #[inline(always)]
    pub(crate) fn next_frame(&mut self, input: &[u8]) -> Option<Frame> {
        if self.searched == 0 && ends_first_with(input, self.byte) {
            return Some(Frame::new(0..input.len() - 1, input.len()));
        }
        self.search(input)
    }

    #[inline(never)]
    fn search(&mut self, input: &[u8]) -> Option<Frame> {
        let Some(at) = memchr(self.byte, &input[self.searched..]) else {
            self.searched = input.len();
            return None;
        };
        let end = self.searched + at;
        self.searched = 0;
        Some(Frame::new(0..end, end + 1))
    }
}

/// Whether `byte` ends `input` and is nowhere else in it; no, if that is not quickly seen. It is what a short frame that comes
/// alone looks like, and takes no call.
#[inline(always)]
fn ends_first_with(input: &[u8], byte: u8) -> bool {
    let [before @ .., last] = input else { return false };
    // The last block may overlap the one before it.
    let (blocks, Some(tail)) = (before.as_chunks().0, before.last_chunk()) else { return false };
    if *last != byte || blocks.len() > BLOCKS_MAX || has(tail, byte) {
        return false;
    }
    for block in blocks {
        if has(block, byte) {
            return false;
        }
    }
    true
}

/// Written without a way out of the loop, so that it becomes a comparison of vectors.
#[inline(always)]
fn has(block: &[u8; BLOCK_BYTES], byte: u8) -> bool {
    block.iter().fold(false, |found, &other| found | (other == byte))
}

/// Several bytes that together end frames.
pub(crate) struct Needle {
    finder: Finder<'static>,
    /// How much of the input has been searched in vain.
    searched: usize,
}

impl Needle {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self { finder: Finder::new(bytes).into_owned(), searched: 0 }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.finder.needle()
    }

    pub(crate) fn next_frame(&mut self, input: &[u8]) -> Option<Frame> {
        let len = self.bytes().len();
        // All but the last byte of the delimiter may be there already.
        let from = self.searched.saturating_sub(len - 1);
        let Some(at) = self.finder.find(&input[from..]) else {
            self.searched = input.len();
            return None;
        };
        let end = from + at;
        self.searched = 0;
        Some(Frame::new(0..end, end + len))
    }
}

impl fmt::Debug for Needle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Needle").field("bytes", &self.bytes()).field("searched", &self.searched).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_searched_for_a_byte_is_not_looked_at_again() {
        let mut byte = Byte::new(b'\n');
        assert_eq!(byte.next_frame(b"abcd"), None);
        // A search from the start would find these.
        assert_eq!(byte.next_frame(b"\n\n\n\ne"), None);
        assert_eq!(byte.next_frame(b"\n\n\n\n\n\n"), Some(Frame::new(0..5, 6)));
        assert_eq!(byte.next_frame(b"\n"), Some(Frame::new(0..0, 1)));
    }

    #[test]
    fn what_was_searched_for_several_bytes_is_not_looked_at_again() {
        let mut needle = Needle::new(b"\r\n.");
        assert_eq!(needle.next_frame(b"abcd\r\n"), None);
        // A search from the start would find the first of these.
        assert_eq!(needle.next_frame(b"\r\n.d\r\n.e"), Some(Frame::new(0..4, 7)));
        assert_eq!(needle.next_frame(b"e\r\n.f"), Some(Frame::new(0..1, 4)));
    }

    #[test]
    fn a_delimiter_is_found_however_it_is_split() {
        let input = b"aab";
        for split in 0..=input.len() {
            let mut needle = Needle::new(b"ab");
            let first = needle.next_frame(&input[..split]);
            let found = first.or_else(|| needle.next_frame(input));
            assert_eq!(found, Some(Frame::new(0..1, 3)));
        }
    }

    #[test]
    fn the_quick_look_agrees_with_a_search() {
        for length in 1..=160 {
            let mut input = vec![b'x'; length];
            assert!(!ends_first_with(&input, b'\n'), "there is none in {length} bytes");
            for at in 0..length {
                input[at] = b'\n';
                input[length - 1] = b'\n';
                assert!(!ends_first_with(&input, b'\n') || at == length - 1, "the first is at {at} of {length}");
                assert_eq!(Byte::new(b'\n').next_frame(&input), Some(Frame::new(0..at, at + 1)));
                input.fill(b'x');
            }
        }
        assert!(!ends_first_with(b"", b'\n'));
    }
}
