//! Regular expressions as delimiters, and the groups they capture.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use regex::bytes::{CaptureLocations, Regex, RegexBuilder};
use thiserror::Error;

use crate::framing::framer::Frame;
use crate::limits;

/// A regular expression that cuts input into frames, in the syntax of the [`regex`](https://docs.rs/regex/#syntax) crate.
///
/// It is one of bytes: `.` is any byte but a line feed, classes such as `\w` and `(?i)` are of ASCII, and `\xFF` is that
/// byte. Compiling takes time and memory, so a program compiles a pattern once, or once a shard, and gives each connection a
/// clone, which shares it.
///
/// # What has come so far
///
/// Everything received and not consumed yet is searched once when more has come, from its start. That takes time in
/// proportion to the limit on a frame's length, at most, but for a long frame that comes in many pieces, it is often: a
/// byte string as delimiter is searched for where the last search has ended.
///
/// A match is taken as soon as it is there, even if more input would make it longer, or would make one that starts earlier.
/// So `\d+` finds 12 and 3 when "12" and "3" come in two pieces, and 123 when they come in one. Patterns in which no match is
/// part of a longer one, such as `\r?\n` for separating and `\d+;` for matching, always find the same frames. In the same way
/// `$`, `\z` and `\b` look at the end of what has come so far.
///
/// An empty match consumes nothing, and so is no frame; a pattern that matches the empty string, such as `\n*`, waits behind
/// it for ever.
///
/// # Examples
///
/// ```
/// use pants_engine::{Delimiter, Pattern};
///
/// let lines = Pattern::separating(r"\r?\n")?;
/// let delimiter = Delimiter::from(&lines);
/// # Ok::<(), pants_engine::PatternError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Pattern {
    regex: Arc<Regex>,
    frames: Frames,
}

/// Where the frames are.
#[derive(Clone, Copy, Debug)]
enum Frames {
    BeforeMatches,
    AreMatches,
}

/// A regular expression that is wrong, or takes more than 1 MiB when compiled.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("pattern {pattern:?}: {source}")]
pub struct PatternError {
    pattern: String,
    source: regex::Error,
}

impl Pattern {
    /// Frames that end with a match: the handler gets what is before it, and the match is consumed.
    ///
    /// # Errors
    ///
    /// If `pattern` is wrong, or takes too much when compiled.
    pub fn separating(pattern: &str) -> Result<Self, PatternError> {
        Self::new(pattern, compile(pattern), Frames::BeforeMatches)
    }

    /// Frames that are matches, each at the start of the input: the handler gets the whole match.
    ///
    /// Input that matches nowhere is waited behind until it is longer than a frame may be.
    ///
    /// # Errors
    ///
    /// If `pattern` is wrong, or takes too much when compiled.
    pub fn matching(pattern: &str) -> Result<Self, PatternError> {
        // By itself first, so that what is wrong is told of it, and no bracket in it closes the group.
        let anchored = compile(pattern).and_then(|_| {
            // In the verbose syntax, a comment at its end would hide the bracket.
            compile(&format!(r"\A(?:{pattern})")).or_else(|_| compile(&format!("\\A(?:{pattern}\n)")))
        });
        Self::new(pattern, anchored, Frames::AreMatches)
    }

    fn new(pattern: &str, compiled: Result<Regex, regex::Error>, frames: Frames) -> Result<Self, PatternError> {
        match compiled {
            Ok(regex) => Ok(Self { regex: Arc::new(regex), frames }),
            Err(source) => Err(PatternError { pattern: pattern.to_owned(), source }),
        }
    }
}

fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern)
        .unicode(false)
        .size_limit(limits::PATTERN_BYTES)
        .dfa_size_limit(limits::PATTERN_CACHE_BYTES)
        .build()
}

/// A pattern at work on a connection.
#[derive(Debug)]
pub(crate) struct Matcher {
    pattern: Pattern,
    /// The groups of the last frame, by their places in the input it was found in.
    groups: CaptureLocations,
}

impl Matcher {
    pub(crate) fn new(pattern: Pattern) -> Self {
        let groups = pattern.regex.capture_locations();
        Self { pattern, groups }
    }

    pub(crate) fn next_frame(&mut self, input: &[u8]) -> Option<Frame> {
        let found = self.pattern.regex.captures_read(&mut self.groups, input)?;
        let data = match self.pattern.frames {
            Frames::BeforeMatches => 0..found.start(),
            Frames::AreMatches => found.range(),
        };
        (!found.is_empty()).then(|| Frame::new(data, found.end()))
    }

    fn place_of(&self, name: &str) -> Option<usize> {
        self.pattern.regex.capture_names().position(|group| group == Some(name))
    }
}

/// A frame, and what a regular expression captured in finding it.
///
/// Group 0 is the whole match, the others are counted by their opening brackets. A frame that no regular expression found has
/// no groups at all.
#[derive(Clone, Copy)]
pub struct Match<'a> {
    /// What the frame consumed.
    input: &'a [u8],
    data: &'a [u8],
    matcher: Option<&'a Matcher>,
}

impl<'a> Match<'a> {
    /// The frame at `data` of `input`, and what `matcher` remembers of it if that has found it.
    pub(crate) fn new(input: &'a [u8], data: Range<usize>, matcher: Option<&'a Matcher>) -> Self {
        Self { input, data: &input[data], matcher }
    }

    /// What [`on_read`](crate::Handler::on_read) would get.
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// What group `index` captured; `None` if there is no such group or it had no part in the match.
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        let (start, end) = self.matcher?.groups.get(index)?;
        self.input.get(start..end)
    }

    /// What the group `(?<name>…)` captured; `None` if there is no such group or it had no part in the match.
    pub fn name(&self, name: &str) -> Option<&'a [u8]> {
        self.get(self.matcher?.place_of(name)?)
    }

    /// The number of groups, the whole match included; 0 if no regular expression found this frame.
    pub fn len(&self) -> usize {
        self.matcher.map_or(0, |matcher| matcher.groups.len())
    }

    /// Whether no regular expression found this frame.
    pub fn is_empty(&self) -> bool {
        self.matcher.is_none()
    }
}

impl fmt::Debug for Match<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups: Vec<_> = (0..self.len()).map(|index| self.get(index)).collect();
        f.debug_struct("Match").field("data", &self.data).field("groups", &groups).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(pattern: Pattern, input: &[u8]) -> Option<Frame> {
        Matcher::new(pattern).next_frame(input)
    }

    #[test]
    fn a_separating_pattern_gives_what_is_before_its_match() {
        let pattern = Pattern::separating(r"\r?\n").unwrap();
        assert_eq!(first(pattern.clone(), b"abc\r\nd"), Some(Frame::new(0..3, 5)));
        assert_eq!(first(pattern.clone(), b"\nd"), Some(Frame::new(0..0, 1)));
        assert_eq!(first(pattern, b"abc\r"), None);
    }

    #[test]
    fn a_matching_pattern_gives_its_match_at_the_start_and_nowhere_else() {
        let pattern = Pattern::matching("(?m)^[a-z]+;|!").unwrap();
        assert_eq!(first(pattern.clone(), b"abc;d"), Some(Frame::new(0..4, 4)));
        assert_eq!(first(pattern.clone(), b"1\nabc;"), None);
        // Both sides of the alternative are bound to the start.
        assert_eq!(first(pattern, b"1!"), None);
    }

    #[test]
    fn a_comment_at_the_end_of_a_matching_pattern_hides_nothing() {
        let pattern = Pattern::matching("(?x) [a-z]+ ; # a word").unwrap();
        assert_eq!(first(pattern.clone(), b"abc;"), Some(Frame::new(0..4, 4)));
        assert_eq!(first(pattern, b"1abc;"), None);
    }

    #[test]
    fn an_empty_match_is_no_frame() {
        for pattern in [Pattern::separating("x*").unwrap(), Pattern::matching("x*").unwrap()] {
            assert_eq!(first(pattern.clone(), b"abc"), None);
            assert!(first(pattern, b"xx").is_some());
        }
        assert_eq!(first(Pattern::separating(r"\b").unwrap(), b" abc"), None);
    }

    #[test]
    fn a_match_at_the_end_of_the_input_is_taken_as_it_is() {
        assert_eq!(first(Pattern::matching(r"\d+").unwrap(), b"12"), Some(Frame::new(0..2, 2)));
    }

    #[test]
    fn patterns_are_of_bytes() {
        assert_eq!(first(Pattern::separating(r"\xFF.").unwrap(), b"a\xFF\xFE"), Some(Frame::new(0..1, 3)));
        assert_eq!(first(Pattern::matching(r"(?i)\w+ä").unwrap(), "aBä".as_bytes()), Some(Frame::new(0..4, 4)));
    }

    #[test]
    fn a_wrong_pattern_is_told_as_it_was_written() {
        for pattern in ["a)|(b", "(", "[z-a]"] {
            for error in [Pattern::separating(pattern).unwrap_err(), Pattern::matching(pattern).unwrap_err()] {
                assert!(error.to_string().starts_with(&format!("pattern {pattern:?}: ")), "{error}");
                assert!(!error.to_string().contains(r"\A"), "{error}");
            }
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "compiling up to the limit takes too long")]
    fn a_pattern_that_would_take_too_much_memory_is_refused() {
        assert!(Pattern::separating(r"(?:[a-z]{1000}){1000}").is_err());
        assert!(Pattern::matching(r"(?:[a-z]{1000}){1000}").is_err());
    }

    #[test]
    fn groups_are_reached_by_number_and_by_name() {
        let mut matcher = Matcher::new(Pattern::separating(r"(?<sign>[+-])?(\d+);").unwrap());
        let input = b"ab-12;cd";
        let frame = matcher.next_frame(input).unwrap();
        let found = Match::new(&input[..frame.consumed], frame.data, Some(&matcher));
        assert_eq!(found.data(), b"ab");
        assert_eq!((found.len(), found.is_empty()), (3, false));
        assert_eq!([0, 1, 2, 3].map(|index| found.get(index)), [Some(&b"-12;"[..]), Some(b"-"), Some(b"12"), None]);
        assert_eq!((found.name("sign"), found.name("2"), found.name("")), (Some(&b"-"[..]), None, None));
        let input = b"7;";
        let frame = matcher.next_frame(input).unwrap();
        let found = Match::new(&input[..frame.consumed], frame.data, Some(&matcher));
        assert_eq!([0, 1, 2].map(|index| found.get(index)), [Some(&b"7;"[..]), None, Some(b"7")]);
        assert_eq!(found.name("sign"), None);
    }

    #[test]
    fn a_frame_that_no_pattern_found_has_no_groups() {
        let found = Match::new(b"abc\n", 0..3, None);
        assert_eq!(found.data(), b"abc");
        assert_eq!((found.len(), found.is_empty(), found.get(0), found.name("a")), (0, true, None, None));
    }
}
