//! Parts of the engine by themselves, without sockets: for the fuzz targets and the benchmarks.
//!
//! From outside they are reached only by sockets and turns, which would make fuzzing slow and its findings hard to repeat, and
//! would cost a benchmark more than what it measures. So this feature hands them out; it is none for programs, and may change at
//! any time.

use crate::buffer::write::{Front, WriteQueue};
use crate::framing::delimiter::Delimiter;
use crate::framing::driver::{Framing, Input, Next};
use crate::framing::framer::FrameError;
use crate::framing::pattern::Match;
use crate::key::Key;
use crate::slab;
use crate::timers::wheel;

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

/// The framing of one connection.
#[derive(Debug)]
pub struct Cutter(Framing);

impl Cutter {
    /// Frames end at `delimiter` and have at most `limit` bytes.
    pub fn new(delimiter: Delimiter, limit: usize) -> Self {
        Self(Framing::new(delimiter, limit))
    }

    /// Cuts what one read has brought as the dispatcher does, and returns how many frames it held and what they add up to, in bytes.
    pub fn feed(&mut self, mut bytes: &[u8]) -> (usize, usize) {
        let (mut frames, mut length) = (0, 0);
        while let Some((data, consumed)) = self.0.next_whole(bytes) {
            (frames, length, bytes) = (frames + 1, length + data, &bytes[consumed..]);
        }
        let mut input = Input::new(bytes);
        while let Next::Frame(frame) = self.0.next(&mut input) {
            (frames, length) = (frames + 1, length + frame.data().len());
        }
        (frames, length)
    }
}

/// A write queue, for bytes.
#[derive(Debug, Default)]
pub struct Writes(WriteQueue);

impl Writes {
    /// Appends `data`.
    pub fn push(&mut self, data: &[u8]) {
        self.0.push(data);
    }

    /// Offers what one system call would get, all of which leaves. Returns how much that was, in bytes.
    pub fn write_out(&mut self) -> usize {
        let Front::Bytes(slices, filled) = self.0.front() else { unreachable!("there are no files") };
        let count = slices[..filled].iter().map(|slice| slice.len()).sum();
        self.0.consume(count);
        count
    }
}

/// Names a value in one of the structures below.
#[derive(Clone, Copy, Debug)]
pub struct Name(Key);

/// A timing wheel.
#[derive(Debug)]
pub struct Wheel<T>(wheel::Wheel<T>);

impl<T> Default for Wheel<T> {
    fn default() -> Self {
        Self(wheel::Wheel::new())
    }
}

impl<T> Wheel<T> {
    /// Adds a value that is due at the tick `deadline`.
    pub fn insert(&mut self, deadline: u64, value: T) -> Name {
        Name(self.0.insert(deadline, value))
    }

    /// Takes a value out before it is due.
    pub fn remove(&mut self, name: Name) -> Option<T> {
        self.0.remove(name.0)
    }

    /// Takes out the next value that is due by the tick `now`.
    pub fn next_due(&mut self, now: u64) -> Option<T> {
        self.0.pop(now, &mut { usize::MAX }).and_then(|key| self.0.remove(key))
    }
}

/// A slab of values with generations.
#[derive(Debug)]
pub struct Slab<T>(slab::Slab<T>);

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self(slab::Slab::new())
    }
}

impl<T> Slab<T> {
    /// Lets a slot to `value`.
    pub fn insert(&mut self, value: T) -> Name {
        Name(self.0.insert(value))
    }

    /// The value of this name, unless it has left.
    pub fn get_mut(&mut self, name: Name) -> Option<&mut T> {
        self.0.get_mut(name.0)
    }

    /// Takes the value of this name out.
    pub fn remove(&mut self, name: Name) -> Option<T> {
        self.0.remove(name.0)
    }
}
