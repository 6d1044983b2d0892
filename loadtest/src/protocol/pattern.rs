//! The bytes of the messages: a piece of one random block each, found again from the connection and the message's number.

/// How many places there are in the block at which a message can begin. A power of two, so that any number is cut to it.
const PLACES: usize = 16 * 1024;

/// How far apart in the block two messages in a row begin. Odd, so that a connection begins one at every place before it comes
/// back to its first; and near the golden section of the places, so that those close in time lie far apart (Knuth, "The Art
/// of Computer Programming", volume 3, 6.4).
const STRIDE: usize = 10_125;

/// What SplitMix64 adds to its state for each value: the golden section of 2^64, made odd.
pub(crate) const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// The printable characters of ASCII but for the blank.
const PRINTABLE: std::ops::RangeInclusive<u8> = b'!'..=b'~';

/// A random block, and which piece of it a message is.
///
/// A message costs no randomness and no copy: it is a slice of the block. A connection's next 16,383 messages all begin
/// elsewhere, so that a lost, repeated or exchanged one is found, as is every changed byte.
#[derive(Clone, Debug)]
pub struct Pattern {
    block: Box<[u8]>,
    seed: u64,
}

/// Which pieces the messages of one connection are: where in the block its first begins.
#[derive(Clone, Copy, Debug)]
pub struct Pieces(usize);

impl Pattern {
    /// The pattern of messages of up to `size_max` bytes that `seed` makes.
    pub fn new(seed: u64, size_max: usize) -> Self {
        let mut block = vec![0; size_max + PLACES];
        let mut state = seed;
        for chunk in block.chunks_mut(8) {
            chunk.copy_from_slice(&split_mix(&mut state).to_le_bytes()[..chunk.len()]);
        }
        Self { block: block.into(), seed }
    }

    /// The same, of printable characters: ASCII from `!` to `~`.
    pub fn printable(seed: u64, size_max: usize) -> Self {
        let mut pattern = Self::new(seed, size_max);
        for byte in &mut pattern.block {
            *byte = PRINTABLE.start() + *byte % (PRINTABLE.end() - PRINTABLE.start() + 1);
        }
        pattern
    }

    /// What it is made from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Which pieces the messages of this connection are.
    pub fn pieces(&self, connection: u64) -> Pieces {
        Pieces(split_mix(&mut (self.seed ^ connection.rotate_left(32))) as usize % PLACES)
    }

    /// The message of this number on a connection, of `size` bytes.
    #[inline]
    pub fn message(&self, Pieces(first): Pieces, number: u64, size: usize) -> &[u8] {
        let place = first.wrapping_add((number as usize).wrapping_mul(STRIDE)) % PLACES;
        &self.block[place..place + size]
    }
}

/// SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, figure 17, with the
/// constants of Vigna's public-domain `splitmix64.c`.
pub(crate) fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(GAMMA);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_the_one_that_it_names() {
        // The first values for the state 1234567, from the test vectors of Rosetta Code's "Splitmix64".
        let mut state = 1_234_567;
        let values: Vec<u64> = (0..3).map(|_| split_mix(&mut state)).collect();
        assert_eq!(values, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    /// A message of 64 bytes.
    fn message(seed: u64, connection: u64, number: u64) -> Vec<u8> {
        let pattern = Pattern::new(seed, 64);
        pattern.message(pattern.pieces(connection), number, 64).to_vec()
    }

    #[test]
    fn a_message_is_the_same_whenever_it_is_asked_for() {
        for (connection, number) in [(0, 0), (0, 1), (9_999, 123_456), (1, u64::MAX)] {
            assert_eq!(message(7, connection, number), message(7, connection, number));
        }
    }

    #[test]
    fn seeds_and_connections_matter() {
        assert_ne!(message(1, 0, 0), message(2, 0, 0));
        assert_ne!(message(1, 0, 0), message(1, 1, 0));
    }

    #[test]
    fn a_connection_s_messages_all_differ_until_it_has_begun_one_everywhere() {
        let pattern = Pattern::new(1, 64);
        let pieces = pattern.pieces(3);
        let seen: std::collections::HashSet<&[u8]> =
            (0..PLACES as u64).map(|number| pattern.message(pieces, number, 64)).collect();
        assert_eq!(seen.len(), PLACES);
        assert_eq!(pattern.message(pieces, 0, 64), pattern.message(pieces, PLACES as u64, 64));
    }

    #[test]
    fn every_size_has_a_message() {
        for size in [1, 7, 8, 9, 100_000] {
            let pattern = Pattern::new(1, size);
            assert_eq!(pattern.message(pattern.pieces(1), 1, size).len(), size);
        }
    }
}
