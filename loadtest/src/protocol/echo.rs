//! The echo: every byte comes back as it was sent.

use std::rc::Rc;

use crate::plan::sizes::{Draws, Sizes};
use crate::protocol::pattern::{Pattern, Pieces};
use crate::protocol::{Fault, Protocol, Taken, Verdict};

/// One connection's messages, which are pieces of a [`Pattern`], and how much of the oldest has come back.
#[derive(Debug)]
pub struct Echo {
    pattern: Rc<Pattern>,
    pieces: Pieces,
    sizes: Rc<Sizes>,
    draws: Draws,
    /// Whether what comes back is compared with what was sent. It costs one pass over bytes that are in the cache, which is
    /// less than runs over loopback differ by, with messages of 64 bytes and of 16 KiB.
    verify: bool,
    /// Bytes of the oldest message in flight that have come back. Invariant: less than a message; 0 with none in flight.
    filled: usize,
    /// Bytes of that message which were not what was sent.
    wrong: u64,
}

impl Echo {
    /// The echo on the connection of this number.
    pub fn new(pattern: Rc<Pattern>, sizes: Rc<Sizes>, connection: u64, verify: bool) -> Self {
        let (pieces, draws) = (pattern.pieces(connection), Draws::new(pattern.seed(), connection));
        Self { pattern, pieces, sizes, draws, verify, filled: 0, wrong: 0 }
    }

    #[inline]
    fn compare(&mut self, number: u64, size: usize, piece: &[u8]) {
        let message = self.pattern.message(self.pieces, number, size);
        let expected = &message[self.filled..self.filled + piece.len()];
        if piece != expected {
            self.wrong += differing(piece, expected);
        }
    }
}

/// How many bytes are not what was expected. Out of the way of those that are, which are nearly all.
#[cold]
#[inline(never)]
fn differing(piece: &[u8], expected: &[u8]) -> u64 {
    piece.iter().zip(expected).filter(|(byte, expected)| byte != expected).count() as u64
}

impl Protocol for Echo {
    #[inline]
    fn request(&mut self, number: u64) -> &[u8] {
        let size = self.sizes.of(self.draws, number);
        self.pattern.message(self.pieces, number, size)
    }

    #[inline(always)]
    fn take(&mut self, number: u64, data: &[u8]) -> Result<Taken, Fault> {
        let size = self.sizes.of(self.draws, number);
        let piece = &data[..data.len().min(size - self.filled)];
        if self.verify {
            self.compare(number, size, piece);
        }
        self.filled += piece.len();
        let reply = (self.filled == size).then(|| {
            self.filled = 0;
            Verdict { wrong_bytes: std::mem::take(&mut self.wrong), ..Verdict::default() }
        });
        Ok(Taken { used: piece.len(), reply })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo(verify: bool) -> Echo {
        let sizes = Rc::new(Sizes::fixed(64));
        Echo::new(Rc::new(Pattern::new(1, sizes.max())), sizes, 3, verify)
    }

    fn verdict(wrong_bytes: u64) -> Option<Verdict> {
        Some(Verdict { wrong_bytes, ..Verdict::default() })
    }

    #[test]
    fn a_changed_byte_is_found_wherever_it_is() {
        for at in 0..64 {
            let mut echo = echo(true);
            let mut bytes = echo.request(0).to_vec();
            bytes[at] ^= 0x10;
            assert_eq!(echo.take(0, &bytes[..32]).unwrap(), Taken { used: 32, reply: None });
            assert_eq!(echo.take(0, &bytes[32..]).unwrap(), Taken { used: 32, reply: verdict(1) });
            let bytes = echo.request(1).to_vec();
            assert_eq!(echo.take(1, &bytes).unwrap(), Taken { used: 64, reply: verdict(0) }, "it goes on");
        }
    }

    #[test]
    fn messages_that_change_places_are_found() {
        let mut echo = echo(true);
        let (first, second) = (echo.request(0).to_vec(), echo.request(1).to_vec());
        for (number, bytes) in [(0, second), (1, first)] {
            assert!(echo.take(number, &bytes).unwrap().reply.unwrap().wrong_bytes > 8);
        }
    }

    #[test]
    fn what_belongs_to_the_next_reply_is_left_and_without_verification_bytes_only_count() {
        let mut echo = echo(false);
        assert_eq!(echo.take(0, &[0; 100]).unwrap(), Taken { used: 64, reply: verdict(0) });
        assert_eq!(echo.take(1, &[0; 36]).unwrap(), Taken { used: 36, reply: None });
    }
}
