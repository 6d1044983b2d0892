//! The framing by itself, without an engine or a socket, for the fuzz targets.
//!
//! The driver of the framing is the crate's own, and is reached from outside only by sockets, which would make fuzzing slow
//! and its findings hard to repeat. So this feature hands it out; it is none for programs, and may change at any time.

use crate::framing::delimiter::Delimiter;
use crate::framing::driver::{Framing, Input, Next};
use crate::framing::framer::FrameError;
use crate::framing::pattern::Match;

/// What became of an input.
#[derive(Debug)]
pub struct Cut {
    /// Why the cutting ended.
    pub end: End,
    /// What was received until then and not consumed.
    pub rest: Vec<u8>,
    /// The most bytes that were kept between two pieces.
    pub most_kept: usize,
}

/// Why the cutting of an input ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// There were no more pieces.
    UsedUp,
    /// A frame was longer than the limit.
    Overflow,
    /// The input could not become a frame.
    Failed(FrameError),
}

/// Cuts an input that comes in `pieces`, as the dispatcher does for a connection, and calls `on_match` with each frame. After
/// those for which it returns true, reading pauses, and resumes before the next piece.
pub fn cut<'p>(
    delimiter: Delimiter,
    limit: usize,
    pieces: impl IntoIterator<Item = &'p [u8]>,
    mut on_match: impl FnMut(&Match<'_>) -> bool,
) -> Cut {
    let mut framing = Framing::new(delimiter, limit);
    let mut most_kept = 0;
    for piece in pieces {
        let mut input = Input::new(piece);
        let end = loop {
            match framing.next(&mut input) {
                Next::Frame(frame) => {
                    if on_match(&frame) {
                        framing.keep(&mut input);
                        input = Input::new(b"");
                    }
                }
                Next::More => break None,
                Next::Overflow => break Some(End::Overflow),
                Next::Failed(error) => break Some(End::Failed(error)),
            }
        };
        most_kept = most_kept.max(framing.bytes().len());
        if let Some(end) = end {
            return Cut { end, rest: framing.bytes().to_vec(), most_kept };
        }
    }
    Cut { end: End::UsedUp, rest: framing.bytes().to_vec(), most_kept }
}
