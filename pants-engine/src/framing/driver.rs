//! The driver: a connection's delimiter, and what it keeps of a frame that has not come whole.

use crate::buffer::read::ReadBuffer;
use crate::framing::delimiter::Delimiter;
use crate::framing::framer::FrameError;
use crate::framing::pattern::Match;
use crate::limits::GATHER_BYTES;

/// Cuts what a connection receives into frames.
///
/// It is driven in a loop whenever something was read, and with an empty [`Input`] when reading resumes or the delimiter
/// has changed outside the loop, as then there may be frames in what is kept:
///
/// ```text
/// let mut framing = take the connection's framing out of its slot;
/// let mut input = Input::new(&read_buffer[..count]);
/// loop {
///     match framing.next(&mut input) {
///         Next::Frame(frame) => call the handler with `frame`,
///         Next::More => break,
///         Next::Overflow, Next::Failed(error) => tell the handler; the connection ends,
///     }
///     if the connection ends: drop the framing, and return;
///     if the handler has set a delimiter: framing.set_delimiter(delimiter);
///     if the handler has paused reading: framing.keep(&mut input), and break;
/// }
/// put the framing back, unless it is idle;
/// ```
///
/// It is out of its slot so that the handler can have the connection and the frame. Frames are cut straight out of the input;
/// only those that began in an earlier read are put together in the buffer. Nothing more may be read while frames are kept
/// because of a pause, so that at most the limit and one read are.
#[derive(Debug)]
pub(crate) struct Framing {
    delimiter: Delimiter,
    buffer: ReadBuffer,
    /// Invariant: the delimiter has seen all that is in `buffer`, and has found no frame.
    starved: bool,
    /// The longest a frame may be, with its delimiter or header.
    limit: usize,
}

/// What one read has brought, and how much of it is taken.
#[derive(Debug)]
pub(crate) struct Input<'i> {
    bytes: &'i [u8],
    /// Invariant: at most the length of `bytes`.
    taken: usize,
}

/// What comes next in a connection's input.
#[derive(Debug)]
pub(crate) enum Next<'a> {
    Frame(Match<'a>),
    /// The input is used up; what may become a frame is kept.
    More,
    /// There is a frame longer than the limit, whole or not. Everything is kept, and can be read.
    Overflow,
    /// The input cannot become a frame. Everything is kept, and can be read.
    Failed(FrameError),
}

impl Framing {
    /// Frames end at `delimiter`, and are at most `limit` bytes long, that included. Without a delimiter they are not limited.
    pub(crate) fn new(delimiter: Delimiter, limit: usize) -> Self {
        Self { delimiter, buffer: ReadBuffer::default(), starved: false, limit }
    }

    /// Changes the delimiter, from the next byte on: what is kept belongs to the next frame.
    pub(crate) fn set_delimiter(&mut self, delimiter: Delimiter) {
        self.delimiter = delimiter;
        self.starved = false;
    }

    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    pub(crate) fn into_delimiter(self) -> Delimiter {
        self.delimiter
    }

    /// The next frame, in the usual case: nothing is kept, the delimiter is a simple one, and the frame is whole in `input`,
    /// at its start. Gives its length and how much it consumes; when it gives nothing, [`next`](Self::next) says what is the
    /// matter.
    #[inline(always)]
    pub(crate) fn next_whole(&mut self, input: &[u8]) -> Option<(usize, usize)> {
        if !self.buffer.is_empty() {
            return None;
        }
        self.delimiter.next_simple(input).filter(|&(_, consumed)| consumed <= self.limit)
    }

    /// Finds the next frame in what is kept and then in `input`.
    pub(crate) fn next<'a, 'i: 'a>(&'a mut self, input: &mut Input<'i>) -> Next<'a> {
        self.buffer.tidy();
        let frame = loop {
            if self.starved {
                if input.is_empty() {
                    return Next::More;
                }
                self.gather(input);
            }
            let bytes = if self.buffer.is_empty() { input.rest() } else { self.buffer.bytes() };
            if bytes.is_empty() {
                return Next::More;
            }
            let end = match self.delimiter.next_frame(bytes) {
                Ok(Some(frame)) if frame.consumed <= self.limit || self.delimiter.is_none() => break frame,
                Ok(None) if bytes.len() <= self.limit => None,
                Ok(_) => Some(Next::Overflow),
                Err(error) => Some(Next::Failed(error)),
            };
            if end.is_some() || self.buffer.is_empty() {
                self.keep(input);
            }
            if let Some(end) = end {
                return end;
            }
            self.starved = true;
        };
        let bytes = if self.buffer.is_empty() {
            input.take(frame.consumed)
        } else if input.take_back(self.buffer.len() - frame.consumed) {
            // The frames behind this one can be cut out of the input again.
            let all = self.buffer.len();
            &self.buffer.consume(all)[..frame.consumed]
        } else {
            self.buffer.consume(frame.consumed)
        };
        Next::Frame(self.delimiter.to_match(bytes, frame.data))
    }

    /// Keeps the rest of `input`, frames and all, until reading resumes.
    pub(crate) fn keep(&mut self, input: &mut Input<'_>) {
        self.buffer.tidy();
        self.buffer.append(input.take(input.rest().len()), self.limit);
        self.starved = false;
    }

    /// What is received and not consumed yet, but for what is left of an input.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffer.bytes()
    }

    /// Whether it has nothing to do: there is no delimiter, and nothing is kept.
    pub(crate) fn is_idle(&self) -> bool {
        self.delimiter.is_none() && self.buffer.is_empty()
    }

    /// Adds some of `input` to the frame that is kept: as much as may be needed, and not much that lies behind it.
    fn gather(&mut self, input: &mut Input<'_>) {
        let rest = input.rest().len();
        let piece = if self.delimiter.wants_all() { rest } else { self.buffer.len().max(GATHER_BYTES).min(rest) };
        self.buffer.append(input.take(piece), self.limit);
        self.starved = false;
    }
}

impl<'i> Input<'i> {
    pub(crate) fn new(bytes: &'i [u8]) -> Self {
        Self { bytes, taken: 0 }
    }

    fn rest(&self) -> &'i [u8] {
        &self.bytes[self.taken..]
    }

    /// How much of it is not taken.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.taken
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn take(&mut self, count: usize) -> &'i [u8] {
        let taken = &self.rest()[..count];
        self.taken += count;
        taken
    }

    /// Gives back the last `count` bytes taken, if they all are from this input.
    fn take_back(&mut self, count: usize) -> bool {
        let Some(taken) = self.taken.checked_sub(count) else { return false };
        self.taken = taken;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_frame_grows_by_pieces_so_that_little_behind_it_is_copied() {
        let read = [b'x'; 10 * GATHER_BYTES];
        let mut framing = Framing::new("\n".into(), 1 << 20);
        framing.keep(&mut Input::new(b"begin"));
        let mut input = Input::new(&read);
        for expected in [5 + GATHER_BYTES, 2 * (5 + GATHER_BYTES), 4 * (5 + GATHER_BYTES), 8 * (5 + GATHER_BYTES)] {
            framing.gather(&mut input);
            assert_eq!(framing.buffer.len(), expected);
        }
        framing.gather(&mut input);
        assert_eq!(framing.buffer.len(), 5 + read.len());
        assert!(input.is_empty());
    }
}
