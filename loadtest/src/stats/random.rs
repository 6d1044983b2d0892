//! Numbers that look random and are the same for the same seed.

use crate::protocol::pattern::split_mix;

/// A sequence of numbers that a seed makes.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `end`, which must not be 0: each about as likely, since the range is far smaller than 2^64.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        ((u128::from(split_mix(&mut self.0)) * end as u128) >> 64) as usize
    }

    /// Puts things in a random order (Fisher and Yates; Knuth, "The Art of Computer Programming", volume 2, 3.4.2, algorithm P).
    pub(crate) fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            things.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    impl Random {
        /// From 0 to 1, neither included.
        pub(crate) fn unit(&mut self) -> f64 {
            ((split_mix(&mut self.0) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
        }

        /// Normal, with mean 0 and deviation 1 (Box and Muller).
        pub(crate) fn normal(&mut self) -> f64 {
            (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
        }
    }

    #[test]
    fn every_order_of_three_comes_about_as_often() {
        let mut random = Random::new(1);
        let mut seen = std::collections::HashMap::new();
        for _ in 0..6_000 {
            let mut order = [0, 1, 2];
            random.shuffle(&mut order);
            *seen.entry(order).or_insert(0_u32) += 1;
        }
        assert_eq!(seen.len(), 6);
        assert!(seen.values().all(|count| count.abs_diff(1_000) < 150), "{seen:?}");
    }
}
