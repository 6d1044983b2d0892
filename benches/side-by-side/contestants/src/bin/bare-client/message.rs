//! The message that all connections send, and what its echo is held against.

/// One message, as many times in a row as a connection may have in flight.
#[derive(Debug)]
pub(crate) struct Message {
    size: usize,
    /// `size` × depth bytes.
    row: Vec<u8>,
    /// How many pieces of echo have been looked at.
    pieces: u32,
    /// How many of them were not what had been sent.
    pub(crate) wrong: u64,
}

/// One piece of echo in so many is compared byte by byte; of the others, the ends.
const PIECES_PER_WHOLE_LOOK: u32 = 256;

impl Message {
    /// A message of `size` bytes that is a line, of which a connection keeps `depth` in flight.
    pub(crate) fn new(size: usize, depth: usize) -> Self {
        let message: Vec<u8> = (b'a'..=b'z').cycle().take(size - 1).chain([b'\n']).collect();
        Self { size, row: message.repeat(depth), pieces: 0, wrong: 0 }
    }

    /// How many bytes a message has.
    #[inline]
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// How many messages a connection keeps in flight.
    pub(crate) fn depth(&self) -> usize {
        self.row.len() / self.size
    }

    /// The bytes of so many whole messages, at most the depth.
    #[inline]
    pub(crate) fn whole(&self, messages: usize) -> &[u8] {
        &self.row[..messages * self.size]
    }

    /// The last `bytes` of a row of whole messages, of which the rest has been sent.
    pub(crate) fn rest(&self, bytes: usize) -> &[u8] {
        let start = (self.size - bytes % self.size) % self.size;
        &self.row[start..start + bytes]
    }

    /// Holds a piece of echo, which begins `begin` bytes into a message, against what was sent.
    #[inline]
    pub(crate) fn look_at(&mut self, begin: usize, piece: &[u8]) {
        self.pieces = self.pieces.wrapping_add(1);
        let row = &self.row[begin..];
        let right = match piece {
            [first, .., last] if !self.pieces.is_multiple_of(PIECES_PER_WHOLE_LOOK) => {
                row.first() == Some(first) && row.get(piece.len() - 1) == Some(last)
            }
            _ => row.starts_with(piece),
        };
        self.wrong += u64::from(!right);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_a_row_ends_with_a_whole_message() {
        let message = Message::new(4, 3);
        assert_eq!(message.whole(2), b"abc\nabc\n");
        assert_eq!(message.rest(8), b"abc\nabc\n");
        assert_eq!(message.rest(7), b"bc\nabc\n");
        assert_eq!(message.rest(1), b"\n");
    }

    #[test]
    fn an_echo_that_is_shifted_or_too_long_is_wrong() {
        let mut message = Message::new(4, 2);
        message.look_at(0, b"abc\nabc\n");
        message.look_at(2, b"c\nabc");
        assert_eq!(message.wrong, 0);
        message.look_at(1, b"abc\n");
        message.look_at(0, b"abc\nabc\nabc\n");
        message.look_at(0, b"b");
        assert_eq!(message.wrong, 3);
    }

    #[test]
    fn one_piece_in_so_many_is_looked_at_whole() {
        let mut message = Message::new(4, 1);
        for _ in 0..PIECES_PER_WHOLE_LOOK {
            message.look_at(0, b"axx\n");
        }
        assert_eq!(message.wrong, 1);
    }
}
