//! Lines: each request is a line of printable characters, and each reply is one, as it was sent or, unverified, any.

use std::rc::Rc;

use memchr::memchr;

use crate::plan::sizes::{Draws, Sizes};
use crate::protocol::pattern::{Pattern, Pieces};
use crate::protocol::{Fault, Protocol, Taken, Verdict};

/// One connection's lines, which are pieces of a [`Pattern`] with a line feed each, and how much of the oldest has come back.
#[derive(Debug)]
pub struct Lines {
    pattern: Rc<Pattern>,
    pieces: Pieces,
    sizes: Rc<Sizes>,
    draws: Draws,
    /// Whether a reply must be the line that was sent.
    verify: bool,
    /// The latest request.
    line: Vec<u8>,
    /// Bytes of the present reply that have come; 0 between replies.
    filled: usize,
    /// Bytes of it that were not what was sent.
    wrong: u64,
}

impl Lines {
    /// Those of the connection of this number, from a [printable](Pattern::printable) pattern. A size counts the line feed.
    pub fn new(pattern: Rc<Pattern>, sizes: Rc<Sizes>, connection: u64, verify: bool) -> Self {
        let (pieces, draws) = (pattern.pieces(connection), Draws::new(pattern.seed(), connection));
        Self { pattern, pieces, sizes, draws, verify, line: Vec::new(), filled: 0, wrong: 0 }
    }

    /// The request of this number without its line feed.
    fn text(&self, number: u64) -> &[u8] {
        self.pattern.message(self.pieces, number, self.sizes.of(self.draws, number) - 1)
    }

    /// Compares a piece of a reply, without its line feed. What is beyond the end of the line that was sent is wrong too.
    fn compare(&mut self, number: u64, piece: &[u8]) {
        let text = self.text(number);
        let expected = &text[self.filled.min(text.len())..];
        let differing = piece.iter().zip(expected).filter(|(byte, expected)| byte != expected).count();
        let beyond = piece.len().saturating_sub(expected.len());
        self.wrong += (differing + beyond) as u64;
    }
}

impl Protocol for Lines {
    fn request(&mut self, number: u64) -> &[u8] {
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        line.extend_from_slice(self.text(number));
        line.push(b'\n');
        self.line = line;
        &self.line
    }

    fn take(&mut self, number: u64, data: &[u8]) -> Result<Taken, Fault> {
        let end = memchr(b'\n', data);
        let piece = &data[..end.unwrap_or(data.len())];
        if self.verify {
            self.compare(number, piece);
        }
        self.filled += piece.len();
        let Some(end) = end else { return Ok(Taken { used: data.len(), reply: None }) };
        if self.verify {
            // What is missing is as wrong as what is changed.
            self.wrong += self.text(number).len().saturating_sub(self.filled) as u64;
        }
        self.filled = 0;
        let verdict = Verdict { wrong_bytes: std::mem::take(&mut self.wrong), ..Verdict::default() };
        Ok(Taken { used: end + 1, reply: Some(verdict) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::tests::{hear, hear_in_pieces};

    fn lines(sizes: &str, verify: bool) -> Lines {
        let sizes: Rc<Sizes> = Rc::new(sizes.parse().unwrap());
        Lines::new(Rc::new(Pattern::printable(1, sizes.max())), sizes, 3, verify)
    }

    fn verdict(wrong_bytes: u64) -> Verdict {
        Verdict { wrong_bytes, ..Verdict::default() }
    }

    #[test]
    fn a_request_is_a_printable_line_of_its_size() {
        let mut lines = lines("uniform:1-64", true);
        for number in 0..1_000 {
            let size = lines.sizes.of(lines.draws, number);
            let (feed, text) = lines.request(number).split_last().unwrap();
            assert_eq!((text.len() + 1, *feed), (size, b'\n'));
            assert!(text.iter().all(u8::is_ascii_graphic));
        }
    }

    #[test]
    fn changed_shortened_and_lengthened_lines_are_found() {
        let line = lines("16", true).request(0).to_vec();
        let replies: [(Vec<u8>, Verdict); 4] = [
            (line.clone(), verdict(0)),
            ([&[line[0] ^ 1], &line[1..]].concat(), verdict(1)),
            ([&line[..10], b"\n"].concat(), verdict(5)),
            ([&line[..15], b"and more\n"].concat(), verdict(8)),
        ];
        for (data, expected) in replies {
            assert_eq!(hear(lines("16", true), &data).verdicts, [expected], "{}", data.escape_ascii());
            assert_eq!(hear_in_pieces(lines("16", true), &data, &[1]).verdicts, [expected]);
        }
    }

    #[test]
    fn unverified_any_line_is_a_reply() {
        assert_eq!(hear(lines("16", false), b"\nyes\r\n").verdicts, [verdict(0); 2]);
    }

    proptest! {
        #[test]
        fn an_echo_in_any_pieces_is_right(count in 1_u64..20, cuts in proptest::collection::vec(1_usize..90, 1..30)) {
            let mut sender = lines("exp:20", true);
            let data: Vec<u8> = (0..count).flat_map(|number| sender.request(number).to_vec()).collect();
            let heard = hear_in_pieces(lines("exp:20", true), &data, &cuts);
            prop_assert_eq!(heard.verdicts, vec![verdict(0); count as usize]);
        }
    }
}
