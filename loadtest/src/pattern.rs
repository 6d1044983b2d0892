//! The bytes of the messages: a piece of one random block each, found again from the connection and the message's number.

/// How many places there are in the block at which a message can begin. A power of two, so that a hash is cut to it.
const PLACES: usize = 16 * 1024;

/// A random block, and which piece of it a message is.
///
/// A message costs no randomness and no copy: it is a slice of the block. Two messages in a row begin at unrelated places,
/// so that a lost, repeated or exchanged one is found, as is every changed byte.
#[derive(Clone, Debug)]
pub struct Pattern {
    block: Box<[u8]>,
    size: usize,
    seed: u64,
}

impl Pattern {
    /// The pattern of messages of `size` bytes that `seed` makes.
    pub fn new(seed: u64, size: usize) -> Self {
        let mut block = vec![0; size + PLACES];
        let mut state = seed;
        for chunk in block.chunks_mut(8) {
            chunk.copy_from_slice(&split_mix(&mut state).to_le_bytes()[..chunk.len()]);
        }
        Self { block: block.into(), size, seed }
    }

    /// The message of this number on this connection.
    #[inline]
    pub fn message(&self, connection: u64, number: u64) -> &[u8] {
        let mut state = self.seed ^ connection.rotate_left(32) ^ number;
        let place = split_mix(&mut state) as usize % PLACES;
        &self.block[place..place + self.size]
    }
}

/// SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, figure 17, with the
/// constants of Vigna's public-domain `splitmix64.c`.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
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

    #[test]
    fn a_message_is_the_same_whenever_it_is_asked_for() {
        let (one, same) = (Pattern::new(7, 64), Pattern::new(7, 64));
        for (connection, number) in [(0, 0), (0, 1), (9_999, 123_456)] {
            assert_eq!(one.message(connection, number), same.message(connection, number));
            assert_eq!(one.message(connection, number).len(), 64);
        }
    }

    #[test]
    fn seeds_connections_and_numbers_all_matter() {
        let pattern = Pattern::new(1, 64);
        assert_ne!(pattern.message(0, 0), Pattern::new(2, 64).message(0, 0));
        assert_ne!(pattern.message(0, 0), pattern.message(1, 0));
        for number in 0..1_000 {
            assert_ne!(pattern.message(3, number), pattern.message(3, number + 1));
        }
    }

    #[test]
    fn every_size_has_a_message() {
        for size in [1, 7, 8, 9, 100_000] {
            assert_eq!(Pattern::new(1, size).message(1, 1).len(), size);
        }
    }
}
