//! Latencies, in a histogram of bounded size that merges exactly.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::plan::TIMEOUT_MAX;

/// How many decimal digits of a value are kept.
const DIGITS: u8 = 3;

/// The latencies of one shard, from nothing to 60 s.
///
/// It counts in nanoseconds and keeps three digits of every value from 1 µs on, and single nanoseconds below. Its memory,
/// some 200 KiB, does not grow. Two of them merge without loss, since their buckets are the same
/// (Gil Tene's HdrHistogram, <http://hdrhistogram.org>).
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

/// What a report says of latencies; in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// How many there are.
    pub count: u64,
    /// Their mean.
    pub mean_ns: f64,
    /// As many are above as below.
    pub p50_ns: u64,
    /// One in 10 is above.
    pub p90_ns: u64,
    /// One in 100 is above.
    pub p99_ns: u64,
    /// One in 1,000 is above.
    pub p99_9_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        let most = TIMEOUT_MAX.as_nanos() as u64;
        Self(Histogram::new_with_bounds(1, most, DIGITS).expect("the bounds are in order, and the digits at most five"))
    }
}

impl Latencies {
    /// Counts one. What is past the range counts as its end.
    #[inline]
    pub fn record(&mut self, latency: Duration) {
        self.0.saturating_record(latency.as_nanos() as u64);
    }

    /// Adds what another shard has counted.
    pub fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("the bounds are the same");
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// What a report says of them: all 0 if there are none.
    pub fn summary(&self) -> Summary {
        let quantile = |quantile| self.0.value_at_quantile(quantile);
        Summary {
            count: self.0.len(),
            mean_ns: self.0.mean(),
            p50_ns: quantile(0.5),
            p90_ns: quantile(0.9),
            p99_ns: quantile(0.99),
            p99_9_ns: quantile(0.999),
            max_ns: self.0.max(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quantiles_of_a_plain_series_are_right_to_three_digits() {
        let mut latencies = Latencies::default();
        for micros in 1..=10_000 {
            latencies.record(Duration::from_micros(micros));
        }
        let summary = latencies.summary();
        assert_eq!(summary.count, 10_000);
        for (value, expected) in [
            (summary.p50_ns, 5_000_000),
            (summary.p90_ns, 9_000_000),
            (summary.p99_ns, 9_900_000),
            (summary.p99_9_ns, 9_990_000),
            (summary.max_ns, 10_000_000),
            (summary.mean_ns as u64, 5_000_500),
        ] {
            assert!(value.abs_diff(expected) * 1_000 <= expected, "{value} is not {expected}");
        }
    }

    #[test]
    fn parts_merge_into_what_the_whole_would_be() {
        let (mut whole, mut merged) = (Latencies::default(), Latencies::default());
        for part in 0..4 {
            let mut shard = Latencies::default();
            for step in 0..1_000 {
                let latency = Duration::from_nanos((step * 7_919 + part) * 131 % 90_000_000_000);
                whole.record(latency);
                shard.record(latency);
            }
            merged.merge(&shard);
        }
        assert_eq!(merged.0, whole.0);
        assert_eq!(merged.summary(), whole.summary());
    }

    #[test]
    fn none_at_all_and_far_too_long_are_no_trouble() {
        assert_eq!(Latencies::default().summary(), Summary::default());
        let mut latencies = Latencies::default();
        latencies.record(Duration::ZERO);
        latencies.record(Duration::MAX);
        assert_eq!(latencies.count(), 2);
        assert!(latencies.summary().max_ns >= 60_000_000_000);
    }
}
