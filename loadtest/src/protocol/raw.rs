//! Any protocol of one request and one reply: the same bytes again and again, and how to know where a reply ends.

use std::fmt;
use std::sync::Arc;

use memchr::memchr;

use crate::protocol::{Fault, Protocol, Taken, Verdict};

/// The longest delimiter, in bytes.
pub const DELIMITER_MAX: usize = 256;

/// What is sent, and what is expected; the same on every connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// What is sent. Invariant: not empty.
    pub request: Arc<[u8]>,
    /// Where a reply ends.
    pub expect: Expect,
}

/// Where a reply ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Behind this many bytes, at least 1.
    Length(u64),
    /// Behind these bytes.
    Delimiter(Delimiter),
    /// It is these bytes, at least 1. With `false`, it is only as long as they are.
    Exactly(Arc<[u8]>, bool),
}

/// The bytes that a reply ends with: 1 to [`DELIMITER_MAX`].
#[derive(Clone, PartialEq, Eq)]
pub struct Delimiter {
    bytes: Arc<[u8]>,
    /// For each number of its bytes that have come: how many of them may begin another one. This is what finds it in any
    /// pieces without keeping them: Knuth, Morris and Pratt, "Fast pattern matching in strings", SIAM J. Comput. 6, 1977.
    fallback: Arc<[u16]>,
}

impl Delimiter {
    /// These bytes.
    ///
    /// # Errors
    ///
    /// If there is none, or more than [`DELIMITER_MAX`].
    pub fn new(bytes: &[u8]) -> Result<Self, String> {
        if !(1..=DELIMITER_MAX).contains(&bytes.len()) {
            return Err(format!("must be 1 to {DELIMITER_MAX} bytes"));
        }
        let mut fallback = vec![0_u16; bytes.len() + 1];
        let mut begun = 0;
        for (index, byte) in bytes.iter().enumerate().skip(1) {
            while begun > 0 && bytes[begun] != *byte {
                begun = usize::from(fallback[begun]);
            }
            begun += usize::from(bytes[begun] == *byte);
            fallback[index + 1] = begun as u16;
        }
        Ok(Self { bytes: bytes.into(), fallback: fallback.into() })
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where it ends in `data`, if `begun` of its bytes have come before; else how many have come then.
    fn find(&self, data: &[u8], mut begun: usize) -> Result<usize, usize> {
        let mut at = 0;
        while at < data.len() {
            if begun == 0 {
                match memchr(self.bytes[0], &data[at..]) {
                    Some(skipped) => at += skipped,
                    None => return Err(0),
                }
            }
            while begun > 0 && self.bytes[begun] != data[at] {
                begun = usize::from(self.fallback[begun]);
            }
            begun += usize::from(self.bytes[begun] == data[at]);
            at += 1;
            if begun == self.bytes.len() {
                return Ok(at);
            }
        }
        Err(begun)
    }
}

impl fmt::Debug for Delimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Delimiter(\"{}\")", self.bytes.escape_ascii())
    }
}

/// One connection's requests and replies.
#[derive(Debug)]
pub struct Raw {
    exchange: Exchange,
    /// Bytes of the present reply that have come; of one with a delimiter, the bytes of that.
    filled: u64,
    /// Bytes of it that are not what was expected.
    wrong: u64,
}

impl Raw {
    /// A connection on which nothing has been said.
    pub fn new(exchange: Exchange) -> Self {
        Self { exchange, filled: 0, wrong: 0 }
    }

    /// Takes up to the rest of a reply of `length` bytes; how many, and whether it is complete.
    fn fill(&mut self, data: &[u8], length: u64) -> (usize, bool) {
        let used = usize::try_from(length - self.filled).map_or(data.len(), |left| left.min(data.len()));
        self.filled += used as u64;
        (used, self.filled == length)
    }
}

impl Protocol for Raw {
    #[inline]
    fn request(&mut self, _number: u64) -> &[u8] {
        &self.exchange.request
    }

    fn take(&mut self, _number: u64, data: &[u8]) -> Result<Taken, Fault> {
        let (used, complete) = match &self.exchange.expect {
            Expect::Length(length) => {
                let length = *length;
                self.fill(data, length)
            }
            Expect::Exactly(reply, verify) => {
                let expected = &reply[self.filled as usize..];
                if *verify {
                    self.wrong += data.iter().zip(expected).filter(|(byte, expected)| byte != expected).count() as u64;
                }
                let length = reply.len() as u64;
                self.fill(data, length)
            }
            Expect::Delimiter(delimiter) => match delimiter.find(data, self.filled as usize) {
                Ok(end) => (end, true),
                Err(begun) => {
                    self.filled = begun as u64;
                    (data.len(), false)
                }
            },
        };
        let reply = complete.then(|| {
            self.filled = 0;
            Verdict { wrong_bytes: std::mem::take(&mut self.wrong), ..Verdict::default() }
        });
        Ok(Taken { used, reply })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::tests::{hear, hear_in_pieces};

    fn raw(expect: Expect) -> Raw {
        Raw::new(Exchange { request: b"PING\r\n".as_slice().into(), expect })
    }

    fn until(delimiter: &[u8]) -> Raw {
        raw(Expect::Delimiter(Delimiter::new(delimiter).unwrap()))
    }

    #[test]
    fn every_request_is_the_same() {
        let mut raw = until(b"\r\n");
        assert_eq!(raw.request(0), b"PING\r\n");
        assert_eq!(raw.request(1), b"PING\r\n");
    }

    #[test]
    fn a_reply_ends_behind_its_delimiter() {
        for (delimiter, data, replies) in [
            ("\r\n", "+PONG\r\n+PONG\r\n", 2),
            ("\r\n", "\r\r\n\n\r\n", 2),
            ("aab", "aaaab", 1),
            ("abab", "ababab", 1),
            ("abac", "ababac", 1),
            (".", "...", 3),
        ] {
            let heard = hear(until(delimiter.as_bytes()), data.as_bytes());
            assert_eq!(heard.verdicts.len(), replies, "{delimiter:?} in {data:?}");
        }
    }

    #[test]
    fn a_reply_of_known_length_is_not_looked_at() {
        let heard = hear(raw(Expect::Length(7)), &[0; 30]);
        assert_eq!((heard.verdicts, heard.is_between), (vec![Verdict::default(); 4], false));
    }

    #[test]
    fn a_reply_that_is_known_is_compared_unless_that_is_not_wanted() {
        for (verify, wrong_bytes) in [(true, 2), (false, 0)] {
            let expect = Expect::Exactly(b"+PONG\r\n".as_slice().into(), verify);
            let heard = hear_in_pieces(raw(expect), b"+PONG\r\n+LONE\r\n+PONG\r\n", &[3]);
            let wrong = heard.verdicts.iter().map(|verdict| verdict.wrong_bytes);
            assert_eq!(wrong.collect::<Vec<_>>(), [0, wrong_bytes, 0]);
        }
    }

    #[test]
    fn a_delimiter_has_its_bounds() {
        assert!(Delimiter::new(b"").is_err() && Delimiter::new(&[0; DELIMITER_MAX + 1]).is_err());
        assert_eq!(Delimiter::new(&[7; DELIMITER_MAX]).unwrap().bytes(), [7; DELIMITER_MAX]);
    }

    proptest! {
        #[test]
        fn delimiters_are_found_in_any_pieces_where_a_search_of_the_whole_finds_them(
            delimiter in "[ab]{1,5}", data in "[ab]{0,80}", cuts in proptest::collection::vec(1_usize..9, 1..30)
        ) {
            let heard = hear_in_pieces(until(delimiter.as_bytes()), data.as_bytes(), &cuts);
            prop_assert_eq!(heard.verdicts.len(), data.matches(&delimiter).count());
        }
    }
}
