//! What a framer is: the trait for a program's own, and what it answers.

use std::borrow::Cow;
use std::ops::Range;

use thiserror::Error;

/// Finds the frames of a protocol of one's own: see [`Delimiter::framer`](crate::Delimiter::framer).
///
/// A framer belongs to one connection, and moves with it to other threads.
///
/// # Examples
///
/// Netstrings, such as `5:hello,`:
///
/// ```
/// use pants_engine::{Delimiter, Frame, FrameError, Framer};
///
/// struct Netstrings;
///
/// impl Framer for Netstrings {
///     fn next_frame(&mut self, input: &[u8]) -> Result<Option<Frame>, FrameError> {
///         let Some(colon) = input.iter().take(10).position(|&byte| byte == b':') else {
///             return if input.len() < 10 { Ok(None) } else { Err(FrameError::invalid("a netstring has no length")) };
///         };
///         let length: Option<usize> = str::from_utf8(&input[..colon]).ok().and_then(|digits| digits.parse().ok());
///         let length = length.ok_or(FrameError::invalid("a netstring's length is not a number"))?;
///         let data = colon + 1..colon + 1 + length;
///         match input.get(data.end) {
///             Some(b',') => Ok(Some(Frame::new(data.clone(), data.end + 1))),
///             Some(_) => Err(FrameError::invalid("a netstring does not end with a comma")),
///             None => Ok(None),
///         }
///     }
/// }
///
/// let delimiter = Delimiter::framer(Netstrings);
/// # let frame = Netstrings.next_frame(b"5:hello,2:").unwrap();
/// # assert_eq!(frame, Some(Frame::new(2..7, 8)));
/// ```
pub trait Framer: Send + 'static {
    /// Finds the first frame in `input`, which is everything received and not consumed yet, and never empty.
    ///
    /// After `Ok(None)` it is called again when there is more: with the same bytes, and others behind them. So it may
    /// remember how far it has looked; one that looks at everything again takes, for a frame that comes in many pieces,
    /// time in the square of its length. After a frame, `input` starts behind what that frame consumed.
    ///
    /// # Errors
    ///
    /// Input that cannot become a frame, whatever follows. The connection cannot go on.
    fn next_frame(&mut self, input: &[u8]) -> Result<Option<Frame>, FrameError>;
}

/// Where a frame is in the input: the handler gets its data, and what it consumed is gone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// The part that the handler gets: what is left without the header, or without the delimiter. It may be empty.
    pub data: Range<usize>,
    /// The bytes from the input's start to the frame's end, its trailer included: at least one, and at least `data.end`.
    pub consumed: usize,
}

impl Frame {
    /// A frame with its data at `data`, which takes `consumed` bytes from the input's start.
    ///
    /// Nothing is checked here. A frame that is not within its input, does not contain its data, or consumes nothing is a
    /// [`FrameError::Invalid`] when the framer gives it.
    pub fn new(data: Range<usize>, consumed: usize) -> Self {
        Self { data, consumed }
    }

    /// The frame, if it is one of an input of `available` bytes.
    pub(crate) fn checked(self, available: usize) -> Result<Self, FrameError> {
        let Self { data, consumed } = &self;
        if *consumed > 0 && *consumed <= available && data.start <= data.end && data.end <= *consumed {
            return Ok(self);
        }
        let (start, end) = (data.start, data.end);
        Err(FrameError::invalid(format!(
            "the framer gave a frame of {consumed} bytes, with its data at {start}..{end}, for an input of {available}"
        )))
    }
}

/// Input that cannot become a frame.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The peer announces more data than a frame may have.
    #[error("a frame is longer than {limit} bytes")]
    TooLong {
        /// The longest data that a frame may have, in bytes.
        limit: usize,
    },
    /// The peer, or the framer, does not keep to the protocol.
    #[error("invalid frame: {0}")]
    Invalid(Cow<'static, str>),
}

impl FrameError {
    /// The input breaks the protocol, as `what` says.
    pub fn invalid(what: impl Into<Cow<'static, str>>) -> Self {
        Self::Invalid(what.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_accepted_exactly_if_it_is_one_of_its_input() {
        for (start, end, consumed) in (0..5).flat_map(|a| (0..5).flat_map(move |b| (0..5).map(move |c| (a, b, c)))) {
            for available in 0..5 {
                let within = (0..=available).contains(&consumed) && (start..=consumed).contains(&end);
                let frame = Frame::new(start..end, consumed);
                match frame.clone().checked(available) {
                    Ok(checked) => assert!(within && consumed > 0 && checked == frame, "{frame:?} of {available}"),
                    Err(error) => assert!(!within || consumed == 0, "{frame:?} of {available}: {error}"),
                }
            }
        }
    }

    #[test]
    fn an_invalid_frame_is_told_with_its_numbers() {
        let error = Frame::new(2..9, 10).checked(8).unwrap_err();
        let text = "invalid frame: the framer gave a frame of 10 bytes, with its data at 2..9, for an input of 8";
        assert_eq!(error.to_string(), text);
    }
}
