//! Latencies, in a histogram of bounded size that merges exactly.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
use serde::{Deserialize, Serialize};

use crate::plan::TIMEOUT_MAX;

/// How many decimal digits of a value are kept.
const DIGITS: u8 = 3;

/// The latencies of one shard, from nothing to 60 s.
///
/// It counts in nanoseconds and keeps three digits of every value from 1 µs on, and single nanoseconds below. Its memory,
/// some 200 KiB, does not grow. Two of them merge without loss, since their buckets are the same
/// (Gil Tene's HdrHistogram, <http://hdrhistogram.org>).
#[derive(Clone, Debug, PartialEq)]
pub struct Latencies {
    values: Histogram<u64>,
    /// How many of them are only known to be at least as long as they are recorded.
    censored: u64,
}

/// Latencies in a few KiB, from which they can be made again: an HdrHistogram in its V2 encoding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// Empty if there are none.
    bytes: Vec<u8>,
    censored: u64,
}

/// What a report says of latencies; in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// How many there are, the censored ones among them.
    pub count: u64,
    /// How many of them were at least as long as they are counted: those that were given up.
    pub censored: u64,
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
    /// One in 10,000 is above.
    pub p99_99_ns: u64,
    /// The longest.
    pub max_ns: u64,
    /// All of them: an HdrHistogram in its V2 encoding, in base64.
    pub histogram: String,
}

impl Default for Latencies {
    fn default() -> Self {
        let most = TIMEOUT_MAX.as_nanos() as u64;
        let values = Histogram::new_with_bounds(1, most, DIGITS);
        Self { values: values.expect("the bounds are in order, and the digits at most five"), censored: 0 }
    }
}

impl Latencies {
    /// Counts one. What is past the range counts as its end.
    #[inline]
    pub fn record(&mut self, latency: Duration) {
        self.record_ns(latency.as_nanos() as u64);
    }

    /// As [`record`](Self::record), in nanoseconds.
    #[inline]
    pub fn record_ns(&mut self, nanos: u64) {
        self.values.saturating_record(nanos);
    }

    /// Counts one that was given up after so many nanoseconds.
    pub fn record_censored_ns(&mut self, nanos: u64) {
        self.record_ns(nanos);
        self.censored += 1;
    }

    /// Those of each of these values, in nanoseconds, as often as it is said to have occurred.
    pub fn counted(values: impl Iterator<Item = (u64, u64)>, censored: u64) -> Self {
        let mut latencies = Self { censored, ..Self::default() };
        values.for_each(|(nanos, count)| latencies.values.saturating_record_n(nanos, count));
        latencies
    }

    /// Adds what another shard has counted.
    pub fn merge(&mut self, other: &Self) {
        self.values.add(&other.values).expect("the bounds are the same");
        self.censored += other.censored;
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.values.len()
    }

    /// How many of them were given up.
    pub fn censored(&self) -> u64 {
        self.censored
    }

    /// The longest, in nanoseconds.
    pub fn max(&self) -> u64 {
        self.values.max()
    }

    /// The value that this share of them, 0 to 1, is at most, in nanoseconds; 0 if there are none.
    pub fn quantile(&self, share: f64) -> u64 {
        self.values.value_at_quantile(share)
    }

    /// What a report says of them: all 0 if there are none.
    pub fn distribution(&self) -> Distribution {
        Distribution {
            count: self.count(),
            censored: self.censored,
            mean_ns: self.values.mean(),
            p50_ns: self.quantile(0.5),
            p90_ns: self.quantile(0.9),
            p99_ns: self.quantile(0.99),
            p99_9_ns: self.quantile(0.999),
            p99_99_ns: self.quantile(0.9999),
            max_ns: self.max(),
            histogram: STANDARD.encode(self.encode()),
        }
    }

    /// All of them, in little room.
    pub fn pack(&self) -> Packed {
        let bytes = if self.count() == 0 { Vec::new() } else { self.encode() };
        Packed { bytes, censored: self.censored }
    }

    /// An HdrHistogram in its V2 encoding.
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        V2Serializer::new().serialize(&self.values, &mut bytes).expect("a vector takes all that is written");
        bytes
    }

    fn decode(mut bytes: &[u8], censored: u64) -> Result<Self, String> {
        let read: Histogram<u64> = Deserializer::new()
            .deserialize(&mut bytes)
            .map_err(|error| format!("the histogram cannot be read: {error}"))?;
        let mut latencies = Self { censored, ..Self::default() };
        latencies.values.add(&read).map_err(|error| format!("the histogram does not fit: {error}"))?;
        Ok(latencies)
    }

    /// The histogram itself, for what needs its buckets.
    pub fn values(&self) -> &Histogram<u64> {
        &self.values
    }
}

impl Packed {
    /// The bytes that they take.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The latencies themselves.
    pub fn unpack(&self) -> Latencies {
        if self.is_empty() {
            return Latencies::default();
        }
        Latencies::decode(&self.bytes, self.censored).expect("they were packed by this program")
    }
}

impl Distribution {
    /// Whether the value at this quantile, 0 to 1, is only known to be at least what it is given as: as many have been given up
    /// as are above it. At 1 that is the longest.
    pub fn is_at_least(&self, quantile: f64) -> bool {
        self.censored > 0 && self.censored as f64 >= (1.0 - quantile) * self.count as f64
    }

    /// The latencies themselves, to merge them with others.
    ///
    /// # Errors
    ///
    /// If the histogram is not what [`Latencies::distribution`] has written, as the end of a sentence.
    pub fn latencies(&self) -> Result<Latencies, String> {
        let bytes = STANDARD.decode(&self.histogram).map_err(|error| format!("the histogram is no base64: {error}"))?;
        Latencies::decode(&bytes, self.censored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_were_given_up_make_the_quantiles_they_reach_lower_bounds() {
        let mut latencies = Latencies::default();
        (0..99).for_each(|_| latencies.record(Duration::from_millis(1)));
        assert!(!latencies.distribution().is_at_least(1.0));
        latencies.record_censored_ns(5_000_000_000);
        let found = latencies.distribution();
        assert_eq!([0.5, 0.9, 0.999, 1.0].map(|quantile| found.is_at_least(quantile)), [false, false, true, true]);
    }

    #[test]
    fn the_quantiles_of_a_plain_series_are_right_to_three_digits() {
        let mut latencies = Latencies::default();
        for micros in 1..=10_000 {
            latencies.record(Duration::from_micros(micros));
        }
        let found = latencies.distribution();
        assert_eq!(found.count, 10_000);
        for (value, expected) in [
            (found.p50_ns, 5_000_000),
            (found.p90_ns, 9_000_000),
            (found.p99_ns, 9_900_000),
            (found.p99_9_ns, 9_990_000),
            (found.p99_99_ns, 9_999_000),
            (found.max_ns, 10_000_000),
            (found.mean_ns as u64, 5_000_500),
        ] {
            assert!(value.abs_diff(expected) * 1_000 <= expected, "{value} is not {expected}");
        }
    }

    #[test]
    fn parts_merge_into_what_the_whole_would_be_even_when_they_were_written_and_read() {
        let (mut whole, mut merged, mut read) = (Latencies::default(), Latencies::default(), Latencies::default());
        for part in 0..4 {
            let mut shard = Latencies::default();
            for step in 0..1_000 {
                let latency = Duration::from_nanos((step * 7_919 + part) * 131 % 90_000_000_000);
                whole.record(latency);
                shard.record(latency);
            }
            whole.record_censored_ns(5_000_000_000);
            shard.record_censored_ns(5_000_000_000);
            merged.merge(&shard);
            read.merge(&shard.distribution().latencies().unwrap());
            assert_eq!(shard.pack().unpack(), shard);
        }
        assert_eq!(Latencies::default().pack().unpack(), Latencies::default());
        assert_eq!(merged, whole);
        assert_eq!(read, whole);
        assert_eq!((merged.count(), merged.censored()), (4_004, 4));
    }

    #[test]
    fn a_histogram_that_is_none_is_told() {
        let latencies = |histogram: &str| {
            let distribution = Distribution { histogram: histogram.to_owned(), ..Distribution::default() };
            distribution.latencies().unwrap_err()
        };
        assert!(latencies("%").contains("no base64"));
        assert!(latencies("AAAA").contains("cannot be read"));
    }

    #[test]
    fn none_at_all_and_far_too_long_are_no_trouble() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.distribution().p99_ns, 0);
        latencies.record(Duration::ZERO);
        latencies.record(Duration::MAX);
        assert_eq!(latencies.count(), 2);
        assert!(latencies.distribution().max_ns >= 60_000_000_000);
    }
}
