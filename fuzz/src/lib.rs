//! What the targets share: how an input comes, plain references of what it should be cut into, and the comparison.

use arbitrary::Arbitrary;
use pants_engine::internals::{self, End};
use pants_engine::{Delimiter, FrameError};

/// Inputs up to this length are fed byte by byte as well.
const BYTEWISE_MAX: usize = 4096;

/// How an input comes, and what its reader does meanwhile.
#[derive(Arbitrary, Debug)]
pub struct Course {
    /// The lengths of the pieces, over and over; the whole is one piece if there are none. A piece may be empty.
    pieces: Vec<u16>,
    /// After which frames the reader pauses, over and over.
    pauses: Vec<bool>,
}

impl Course {
    /// `input` in its pieces.
    pub fn split<'i>(&self, input: &'i [u8]) -> Vec<&'i [u8]> {
        let mut pieces = Vec::new();
        let mut rest = input;
        if self.pieces.iter().any(|&length| length > 0) {
            for &length in self.pieces.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, behind) = rest.split_at(usize::from(length).min(rest.len()));
                pieces.push(piece);
                rest = behind;
            }
        } else {
            pieces.push(rest);
        }
        pieces
    }

    /// Says for one frame after another whether the reader pauses.
    pub fn pauses(&self) -> impl FnMut() -> bool {
        let mut pauses = self.pauses.iter().cycle();
        move || pauses.next().copied().unwrap_or(false)
    }
}

/// A reference finds the first frame of an input: its data, and the bytes it consumes.
pub type Found<'i> = Result<Option<(&'i [u8], usize)>, FrameError>;

/// What an input should be cut into.
#[derive(Debug)]
pub struct Expected<'i> {
    frames: Vec<&'i [u8]>,
    /// The bytes of all frames.
    consumed: usize,
    end: End,
}

impl<'i> Expected<'i> {
    /// Cuts the whole of `input` into what `first` finds, in frames of at most `limit` bytes.
    pub fn new(input: &'i [u8], limit: usize, first: impl Fn(&'i [u8]) -> Found<'i>) -> Self {
        let mut expected = Self { frames: Vec::new(), consumed: 0, end: End::UsedUp };
        loop {
            let rest = &input[expected.consumed..];
            match first(rest) {
                Ok(Some((data, consumed))) if consumed <= limit => {
                    expected.frames.push(data);
                    expected.consumed += consumed;
                }
                Ok(None) if rest.len() <= limit => return expected,
                Ok(_) => return Self { end: End::Overflow, ..expected },
                Err(error) => return Self { end: End::Failed(error), ..expected },
            }
        }
    }

    /// Checks that `input` is cut into this in one piece, byte by byte, and as it comes by `course`.
    pub fn check(&self, input: &[u8], limit: usize, course: &Course, delimiter: impl Fn() -> Delimiter) {
        self.check_pieces(input, limit, &[input], || false, delimiter());
        self.check_pieces(input, limit, &course.split(input), course.pauses(), delimiter());
        if input.len() <= BYTEWISE_MAX {
            self.check_pieces(input, limit, &input.chunks(1).collect::<Vec<_>>(), || false, delimiter());
        }
    }

    fn check_pieces(
        &self,
        input: &[u8],
        limit: usize,
        pieces: &[&[u8]],
        mut pauses: impl FnMut() -> bool,
        delimiter: Delimiter,
    ) {
        let mut expected = self.frames.iter();
        let cut = internals::cut(delimiter, limit, pieces.iter().copied(), |frame| {
            assert_eq!(Some(&frame.data()), expected.next());
            assert!(frame.is_empty() && frame.get(0).is_none());
            pauses()
        });
        assert_eq!(expected.next(), None, "a frame is missing");
        assert_eq!(cut.end, self.end);
        // An end may be clear before all is there.
        let left = &input[self.consumed..];
        assert!(left.starts_with(&cut.rest) && (cut.end != End::UsedUp || cut.rest == left));
        assert!(cut.most_kept <= limit + longest(pieces), "{} bytes were kept", cut.most_kept);
    }
}

/// The length of the longest piece.
pub fn longest(pieces: &[&[u8]]) -> usize {
    pieces.iter().map(|piece| piece.len()).max().unwrap_or(0)
}

/// `compact` with each of its bytes 0xFD become many bytes, so that inputs longer than what the driver gathers at a time are short
/// for the fuzzer.
pub fn stretch(compact: &[u8]) -> Vec<u8> {
    let run = [0x20; 700];
    let pieces = compact.iter().map(|byte| if *byte == 0xFD { &run[..] } else { std::slice::from_ref(byte) });
    pieces.take(20_000).flatten().copied().take(100_000).collect()
}
