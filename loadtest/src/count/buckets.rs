//! Latencies as a shard counts them: the buckets of an HdrHistogram, and nothing that can be made from them later.

use crate::count::histogram::Latencies;
use crate::plan::TIMEOUT_MAX;

/// The longest latency that is counted as what it is, in nanoseconds.
const MOST_NS: u64 = TIMEOUT_MAX.as_nanos() as u64;

/// Each power of two, in nanoseconds, has this many buckets as a power of two: three digits need 1,000 of them.
const BITS: u32 = 10;

/// Up to here, exclusively, each value has its own bucket.
const EXACT: u64 = 2 << BITS;

/// The latencies of an interval, from nothing to 60 s, in the buckets of [`Latencies`]: they become those without loss.
///
/// Counting one is a third of the instructions of the whole histogram's, and a fresh one costs its shard no more than the
/// pages that are touched later: some 210 KiB, which the kernel has zeroed.
#[derive(Clone, Debug)]
pub struct Buckets {
    counts: Box<[u64]>,
    /// How many of them are only known to be at least as long as they are counted.
    censored: u64,
}

impl Default for Buckets {
    fn default() -> Self {
        Self { counts: vec![0; bucket(MOST_NS) + 1].into(), censored: 0 }
    }
}

impl Buckets {
    /// Counts one, in nanoseconds. What is past the range counts as its end.
    #[inline]
    pub fn record_ns(&mut self, nanos: u64) {
        self.counts[bucket(nanos.min(MOST_NS))] += 1;
    }

    /// Counts one that was given up after so many nanoseconds.
    pub fn record_censored_ns(&mut self, nanos: u64) {
        self.record_ns(nanos);
        self.censored += 1;
    }

    /// All of them.
    pub fn latencies(&self) -> Latencies {
        let counted = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        Latencies::counted(counted.map(|(bucket, count)| (least(bucket), *count)), self.censored)
    }
}

/// The bucket of a value.
#[inline]
fn bucket(nanos: u64) -> usize {
    let shift = (nanos | (EXACT - 1)).ilog2() - BITS;
    ((u64::from(shift) << BITS) + (nanos >> shift)) as usize
}

/// The least value of a bucket.
fn least(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket >> BITS).saturating_sub(1);
    (bucket - (shift << BITS)) << shift
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        for index in 0..=bucket(MOST_NS) {
            assert_eq!(bucket(least(index)), index);
            assert!(index == 0 || bucket(least(index) - 1) == index - 1);
        }
    }

    proptest! {
        #[test]
        fn they_become_the_histogram_of_the_same_values(
            values in proptest::collection::vec((0_u32..36, any::<u64>()), 0..200), censored in any::<bool>()
        ) {
            let (mut buckets, mut expected) = (Buckets::default(), Latencies::default());
            // Of every order of magnitude.
            for nanos in values.into_iter().map(|(bits, value)| (value >> (63 - bits)).min(MOST_NS)) {
                if censored {
                    buckets.record_censored_ns(nanos);
                    expected.record_censored_ns(nanos);
                } else {
                    buckets.record_ns(nanos);
                    expected.record_ns(nanos);
                }
            }
            prop_assert_eq!(buckets.latencies().distribution(), expected.distribution());
        }
    }

    #[test]
    fn what_is_far_too_long_counts_as_the_end_of_the_range() {
        let mut buckets = Buckets::default();
        buckets.record_ns(u64::MAX);
        let found = buckets.latencies().distribution();
        assert!((found.count, found.max_ns >= MOST_NS) == (1, true), "{found:?}");
    }
}
