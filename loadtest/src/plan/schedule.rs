//! When the messages of an open loop are due: computed from the seed, whatever becomes of the messages. Pure.

use crate::plan::Arrivals;
use crate::protocol::pattern::split_mix;

/// Nanoseconds in a second.
const SECOND_NS: f64 = 1e9;

/// Values that [`split_mix`] gives as a fraction: the 53 bits that a `f64` has room for.
const FRACTION: f64 = 1.0 / (1_u64 << 53) as f64;

/// The part of a schedule that is one shard's: a cursor over when its messages are due, in nanoseconds from the load's
/// beginning.
///
/// It does not drift: a constant schedule is computed from the message's number, and the sum of a Poisson schedule's gaps keeps
/// the fractions of nanoseconds. The schedules of all shards together are that of one shard with the whole rate: constant ones
/// interleave, and Poisson processes add up to one (Kingman, "Poisson Processes", 1993, 2.2).
#[derive(Clone, Debug)]
pub struct Schedule {
    gaps: Gaps,
    next: u64,
}

#[derive(Clone, Debug)]
enum Gaps {
    Poisson {
        /// The state of the generator.
        state: u64,
        mean_ns: f64,
        /// What is missing from `next`. Invariant: 0 to 1.
        fraction: f64,
    },
    Constant {
        /// The number of the message at the cursor among those of all shards.
        number: u64,
        shards: u64,
        gap_ns: f64,
    },
}

impl Schedule {
    /// What is one of `shards` shards' of `rate` messages a second. The rate is above 0.
    pub fn new(rate: f64, arrivals: Arrivals, seed: u64, shard: usize, shards: usize) -> Self {
        let (shard, shards) = (shard as u64, shards as u64);
        let gaps = match arrivals {
            Arrivals::Poisson => Gaps::Poisson {
                // Seeds in a row give states that have nothing to do with each other.
                state: split_mix(&mut (seed ^ shard.rotate_left(32))),
                mean_ns: SECOND_NS * shards as f64 / rate,
                fraction: 0.0,
            },
            Arrivals::Constant => Gaps::Constant { number: shard, shards, gap_ns: SECOND_NS / rate },
        };
        let mut schedule = Self { gaps, next: 0 };
        match schedule.gaps {
            // The wait for the first message is as random as any other.
            Gaps::Poisson { .. } => schedule.advance(),
            Gaps::Constant { number, gap_ns, .. } => schedule.next = (number as f64 * gap_ns) as u64,
        }
        schedule
    }

    /// When the message at the cursor is due.
    #[inline]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Moves the cursor to the message after it.
    pub fn advance(&mut self) {
        match &mut self.gaps {
            Gaps::Poisson { state, mean_ns, fraction } => {
                let gap = exponential(state) * *mean_ns + *fraction;
                *fraction = gap.fract();
                self.next += gap as u64;
            }
            Gaps::Constant { number, shards, gap_ns } => {
                *number += *shards;
                self.next = (*number as f64 * *gap_ns) as u64;
            }
        }
    }
}

/// A random value of the exponential distribution with the mean 1, by inversion (Knuth, "The Art of Computer Programming",
/// volume 2, 3.4.1).
pub fn exponential(state: &mut u64) -> f64 {
    // Never the logarithm of 0.
    -(1.0 - uniform(state)).ln()
}

/// A random value from 0 to 1, without 1.
pub fn uniform(state: &mut u64) -> f64 {
    (split_mix(state) >> 11) as f64 * FRACTION
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARDS: usize = 3;

    fn times(schedule: Schedule) -> impl Iterator<Item = u64> {
        std::iter::successors(Some(schedule), |schedule| {
            let mut schedule = schedule.clone();
            schedule.advance();
            Some(schedule)
        })
        .map(|schedule| schedule.next())
    }

    /// How far a sample is from the exponential distribution of this mean: Kolmogorov's and Smirnov's statistic, times the
    /// root of the sample's size.
    fn distance_from_exponential(mut sample: Vec<f64>, mean: f64) -> f64 {
        sample.sort_by(f64::total_cmp);
        let count = sample.len() as f64;
        let furthest = sample.iter().enumerate().map(|(index, value)| {
            let expected = 1.0 - (-value / mean).exp();
            (expected - index as f64 / count).max((index + 1) as f64 / count - expected)
        });
        furthest.fold(0.0, f64::max) * count.sqrt()
    }

    fn gaps(arrivals: Arrivals, seed: u64, count: usize) -> Vec<f64> {
        let all: Vec<u64> = times(Schedule::new(1_000.0, arrivals, seed, 0, 1)).take(count + 1).collect();
        all.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect()
    }

    #[test]
    fn the_gaps_of_a_poisson_schedule_are_exponential() {
        // 1.95 is exceeded once in a thousand samples (Smirnov, "Table for estimating the goodness of fit", 1948).
        for seed in 0..20 {
            let distance = distance_from_exponential(gaps(Arrivals::Poisson, seed, 10_000), 1e6);
            assert!(distance < 1.95, "seed {seed}: {distance}");
        }
        assert!(distance_from_exponential(gaps(Arrivals::Constant, 1, 10_000), 1e6) > 30.0, "the test sees something");
        assert!(distance_from_exponential(gaps(Arrivals::Poisson, 1, 10_000), 1.1e6) > 3.0, "the test sees the mean");
    }

    #[test]
    fn the_gaps_of_a_poisson_schedule_are_independent() {
        // The correlation of neighbours has a standard deviation of one over the root of their number.
        for seed in 0..20 {
            let gaps: Vec<f64> = gaps(Arrivals::Poisson, seed, 10_000).iter().map(|gap| gap / 1e6 - 1.0).collect();
            let correlation = gaps.windows(2).map(|pair| pair[0] * pair[1]).sum::<f64>() / gaps.len() as f64;
            assert!(correlation.abs() < 0.04, "seed {seed}: {correlation}");
        }
    }

    #[test]
    fn the_mean_rate_is_the_one_asked_for_even_where_gaps_are_a_few_nanoseconds() {
        const COUNT: usize = 1_000_000;
        for rate in [0.5, 1_000.0, 1.5e6, 9e7] {
            let last = times(Schedule::new(rate, Arrivals::Poisson, 7, 0, 1)).nth(COUNT - 1).unwrap();
            let mean = last as f64 / COUNT as f64 * rate / SECOND_NS;
            // Four standard deviations of the mean of a million gaps.
            assert!((mean - 1.0).abs() < 0.004, "{rate}: {mean}");
        }
    }

    #[test]
    fn a_constant_schedule_has_not_drifted_after_hours() {
        // A third of a second cannot be written, and three hours have 32,400 of them.
        let mut schedule = Schedule::new(3.0, Arrivals::Constant, 1, 0, 1);
        for _ in 0..32_400 {
            schedule.advance();
        }
        assert_eq!(schedule.next(), 3 * 3_600 * 1_000_000_000);
    }

    #[test]
    fn shards_interleave_a_constant_schedule_and_have_poisson_schedules_of_their_own() {
        let of_shards = |arrivals, count: usize| -> Vec<Vec<u64>> {
            (0..SHARDS)
                .map(|shard| times(Schedule::new(1_000.0, arrivals, 1, shard, SHARDS)).take(count).collect())
                .collect()
        };
        let mut all = of_shards(Arrivals::Constant, 100).concat();
        all.sort_unstable();
        assert!(all.iter().copied().eq((0..300).map(|number| number * 1_000_000)));

        let shards = of_shards(Arrivals::Poisson, 10_000);
        assert!(shards[0] != shards[1] && shards[1] != shards[2]);
        let end = shards.iter().map(|times| times[9_999]).min().unwrap();
        let mut all = shards.concat();
        all.retain(|time| *time <= end);
        all.sort_unstable();
        let gaps = all.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        assert!(distance_from_exponential(gaps, 1e6) < 1.95, "together they are one Poisson process");
    }

    #[test]
    fn a_seed_has_one_schedule_and_another_seed_another() {
        let schedule =
            |seed| -> Vec<u64> { times(Schedule::new(50_000.0, Arrivals::Poisson, seed, 1, 4)).take(1_000).collect() };
        assert_eq!(schedule(5), schedule(5));
        assert_ne!(schedule(5), schedule(6));
    }
}
