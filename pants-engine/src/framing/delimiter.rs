//! The delimiter: what [`Connection`](crate::Connection)s cut their input by, in all its kinds.

use std::fmt;
use std::ops::Range;

use zerocopy::{FromBytes, Immutable, KnownLayout};

use crate::framing::framer::{Frame, FrameError, Framer};
use crate::framing::length::LengthPrefix;
use crate::framing::needle::{Byte, Needle};
use crate::framing::pattern::{Match, Matcher, Pattern, PatternError};

/// How a connection's input is cut into frames, which its handler gets one at a time.
///
/// | from | a frame is |
/// | --- | --- |
/// | [`Delimiter::none`], the default | whatever has come |
/// | a byte string, `"\r\n"` or `b"\0"` | what is before the byte string, which is consumed |
/// | a number, `512` | that many bytes |
/// | [`Delimiter::of`] | as many bytes as a type of fixed layout has |
/// | a [`LengthPrefix`] | what follows a header that says how much |
/// | a [`Pattern`] | what is before a match of a regular expression, or the match |
/// | [`Delimiter::framer`] | what a [`Framer`] of one's own says |
///
/// An empty byte string and the number 0 are the same as none.
///
/// A frame that comes in many pieces takes time in proportion to its length (and to its delimiter's, if a byte string comes
/// byte by byte), except with a pattern or a framer of one's own.
///
/// # Examples
///
/// ```
/// use pants_engine::{Delimiter, LengthPrefix};
///
/// let lines: Delimiter = "\r\n".into();
/// let records: Delimiter = 512.into();
/// let messages: Delimiter = LengthPrefix::u16_be().into();
/// let words = Delimiter::regex(r"\s")?;
/// # Ok::<(), pants_engine::PatternError>(())
/// ```
#[derive(Default)]
pub struct Delimiter(Kind);

#[derive(Default)]
enum Kind {
    #[default]
    Nothing,
    Byte(Byte),
    Needle(Box<Needle>),
    /// Invariant: not 0.
    Count(usize),
    Length(LengthPrefix),
    Pattern(Box<Matcher>),
    Framer(Box<dyn Framer>),
}

impl Delimiter {
    /// No delimiter: a frame is whatever has come.
    pub fn none() -> Self {
        Self::default()
    }

    /// As many bytes as a `T` has.
    ///
    /// # Examples
    ///
    /// ```
    /// use pants_engine::zerocopy::{self, FromBytes, Immutable, KnownLayout, big_endian::U16};
    /// use pants_engine::Delimiter;
    ///
    /// #[derive(FromBytes, KnownLayout, Immutable)]
    /// #[zerocopy(crate = "pants_engine::zerocopy")]
    /// #[repr(C)]
    /// struct Reading {
    ///     sensor: U16,
    ///     value: U16,
    /// }
    ///
    /// let delimiter = Delimiter::of::<Reading>();
    ///
    /// // In `on_read`:
    /// fn handle(data: &[u8]) {
    ///     let Ok(reading) = Reading::read_from_bytes(data) else { return };
    ///     assert_eq!((reading.sensor.get(), reading.value.get()), (1, 515));
    /// }
    /// # handle(&[0, 1, 2, 3]);
    /// ```
    pub fn of<T: FromBytes + KnownLayout + Immutable>() -> Self {
        size_of::<T>().into()
    }

    /// What is before a match of `pattern`, which is consumed: see [`Pattern::separating`].
    ///
    /// # Errors
    ///
    /// If `pattern` is wrong, or takes too much when compiled.
    pub fn regex(pattern: &str) -> Result<Self, PatternError> {
        Pattern::separating(pattern).map(Self::from)
    }

    /// A match of `pattern`, at the start of what has come: see [`Pattern::matching`].
    ///
    /// # Errors
    ///
    /// If `pattern` is wrong, or takes too much when compiled.
    pub fn regex_match(pattern: &str) -> Result<Self, PatternError> {
        Pattern::matching(pattern).map(Self::from)
    }

    /// What `framer` says.
    pub fn framer(framer: impl Framer) -> Self {
        Self(Kind::Framer(Box::new(framer)))
    }

    pub(crate) fn is_none(&self) -> bool {
        matches!(self.0, Kind::Nothing)
    }

    /// Whether a frame may depend on how much has come, or a search starts from the front: then everything that is there
    /// should be shown at once.
    pub(crate) fn wants_all(&self) -> bool {
        matches!(self.0, Kind::Pattern(_) | Kind::Framer(_))
    }

    /// Finds the first frame in `input`, on the terms of [`Framer::next_frame`]. It lies within `input` and consumes
    /// something.
    pub(crate) fn next_frame(&mut self, input: &[u8]) -> Result<Option<Frame>, FrameError> {
        Ok(match &mut self.0 {
            Kind::Nothing => Some(Frame::new(0..input.len(), input.len())),
            Kind::Byte(byte) => byte.next_frame(input),
            Kind::Needle(needle) => needle.next_frame(input),
            Kind::Count(count) => (*count <= input.len()).then(|| Frame::new(0..*count, *count)),
            Kind::Length(prefix) => prefix.next_frame(input)?,
            Kind::Pattern(matcher) => matcher.next_frame(input),
            Kind::Framer(framer) => match framer.next_frame(input)? {
                Some(frame) => Some(frame.checked(input.len())?),
                None => None,
            },
        })
    }

    /// As [`next_frame`](Self::next_frame), which may be asked again, for those kinds that only count and compare bytes, whose
    /// frames begin where the input does; nothing for the others. Gives the frame's length and how much it consumes.
    #[inline(always)]
    pub(crate) fn next_simple(&mut self, input: &[u8]) -> Option<(usize, usize)> {
        let frame = match &mut self.0 {
            Kind::Byte(byte) => byte.next_frame(input)?,
            Kind::Count(count) => return (*count <= input.len()).then_some((*count, *count)),
            Kind::Needle(needle) => needle.next_frame(input)?,
            _ => return None,
        };
        Some((frame.data.end, frame.consumed))
    }

    /// The frame last found, with what it captured. `input` is what it was found in, at least as much as it consumed.
    pub(crate) fn to_match<'a>(&'a self, input: &'a [u8], data: Range<usize>) -> Match<'a> {
        let matcher = match &self.0 {
            Kind::Pattern(matcher) => Some(&**matcher),
            _ => None,
        };
        Match::new(input, data, matcher)
    }
}

impl From<&[u8]> for Delimiter {
    fn from(bytes: &[u8]) -> Self {
        Self(match bytes {
            [] => Kind::Nothing,
            &[byte] => Kind::Byte(Byte::new(byte)),
            bytes => Kind::Needle(Box::new(Needle::new(bytes))),
        })
    }
}

impl<const N: usize> From<&[u8; N]> for Delimiter {
    fn from(bytes: &[u8; N]) -> Self {
        bytes.as_slice().into()
    }
}

impl From<Vec<u8>> for Delimiter {
    fn from(bytes: Vec<u8>) -> Self {
        bytes.as_slice().into()
    }
}

impl From<&str> for Delimiter {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

impl From<usize> for Delimiter {
    fn from(count: usize) -> Self {
        Self(if count == 0 { Kind::Nothing } else { Kind::Count(count) })
    }
}

impl From<LengthPrefix> for Delimiter {
    fn from(prefix: LengthPrefix) -> Self {
        Self(Kind::Length(prefix))
    }
}

impl From<Pattern> for Delimiter {
    fn from(pattern: Pattern) -> Self {
        Self(Kind::Pattern(Box::new(Matcher::new(pattern))))
    }
}

impl From<&Pattern> for Delimiter {
    fn from(pattern: &Pattern) -> Self {
        pattern.clone().into()
    }
}

impl fmt::Debug for Delimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind: &dyn fmt::Debug = match &self.0 {
            Kind::Nothing => &"none",
            Kind::Byte(byte) => byte,
            Kind::Needle(needle) => needle,
            Kind::Count(count) => count,
            Kind::Length(prefix) => prefix,
            Kind::Pattern(matcher) => matcher,
            Kind::Framer(_) => &"a framer",
        };
        f.debug_tuple("Delimiter").field(kind).finish()
    }
}
