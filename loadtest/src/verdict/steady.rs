//! Whether a series of measurements went one way: the test of Mann and Kendall, and the slope of Theil and Sen.

use crate::report::outcome::Interval;

/// Fewer values than this say nothing: the normal approximation of the test needs ten (Gilbert, "Statistical methods for
/// environmental pollution monitoring", 1987, section 16.4).
const FEWEST: usize = 10;

/// More values than this are averaged into as many blocks, since every pair is looked at.
const BLOCKS: usize = 200;

/// The test's statistic is past this, to either side, in one of 200 series of independent values that go nowhere. Two series
/// are tested, so that one steady run in 100 is called unsteady, at most, and fewer by far since the change has to be large
/// too. Where a second resembles the second before it, as on a machine with other work that comes and goes, it is more.
const CRITICAL: f64 = 2.807;

/// A rate that changes by less than this share is steady enough.
pub(super) const RATE_CHANGE: f64 = 0.05;

/// A latency that changes by less than this share is steady enough.
pub(super) const LATENCY_CHANGE: f64 = 0.10;

/// An interval that is shorter than this share of the first one is a remainder.
const WHOLE: f64 = 0.5;

/// The intervals without a remainder at the end, which would be a value like no other.
pub(super) fn whole(intervals: &[Interval]) -> &[Interval] {
    match intervals {
        [first, .., last] if last.seconds < first.seconds * WHOLE => &intervals[..intervals.len() - 1],
        all => all,
    }
}

/// By which share of their median the values changed from the first to the last, if that is no chance and at least `least`.
///
/// The test knows nothing of how the values are distributed, and a single one that is far off does nothing to it (Mann,
/// "Nonparametric tests against trend", Econometrica 13, 1945; Sen, "Estimates of the regression coefficient based on
/// Kendall's tau", Journal of the American Statistical Association 63, 1968).
pub(super) fn drift(values: &[f64], least: f64) -> Option<f64> {
    if values.len() < FEWEST {
        return None;
    }
    let blocks = average(values);
    if statistic(&blocks).abs() < CRITICAL {
        return None;
    }
    let median = median(blocks.clone());
    let change = slope(&blocks) * (blocks.len() - 1) as f64 / median;
    (median > 0.0 && change.abs() >= least).then_some(change)
}

/// The means of runs of equal length, as few values each as will do. What is left at the end is left out.
fn average(values: &[f64]) -> Vec<f64> {
    let length = values.len().div_ceil(BLOCKS);
    values.chunks_exact(length).map(|block| block.iter().sum::<f64>() / length as f64).collect()
}

/// The statistic of Mann and Kendall: about normal, with variance 1, for values that go nowhere.
fn statistic(values: &[f64]) -> f64 {
    let score: f64 = pairs(values).map(|(_, before, after)| sign(after - before)).sum();
    let spread = |count: f64| count * (count - 1.0) * (2.0 * count + 5.0) / 18.0;
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    // Values that are equal leave less to chance.
    let ties: f64 = sorted.chunk_by(|one, other| one == other).map(|tied| spread(tied.len() as f64)).sum();
    let variance = spread(values.len() as f64) - ties;
    // The score moves in steps of two: half of one is taken off, to be compared with what moves in none.
    if variance > 0.0 { (score - sign(score)) / variance.sqrt() } else { 0.0 }
}

/// The median of the slopes of all pairs.
fn slope(values: &[f64]) -> f64 {
    median(pairs(values).map(|(distance, before, after)| (after - before) / distance as f64).collect())
}

/// All pairs of values, with how far apart they are.
fn pairs(values: &[f64]) -> impl Iterator<Item = (usize, f64, f64)> {
    let after = |index: usize| values[index + 1..].iter().enumerate();
    let of = move |(index, before): (usize, &f64)| {
        let before = *before;
        after(index).map(move |(between, value)| (between + 1, before, *value))
    };
    values.iter().enumerate().flat_map(of)
}

fn sign(value: f64) -> f64 {
    if value == 0.0 { 0.0 } else { value.signum() }
}

/// The value in the middle; 0 of none.
fn median(mut values: Vec<f64>) -> f64 {
    let middle = values.len() / 2;
    if values.is_empty() {
        return 0.0;
    }
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers from 0 to 1 that are as good as chance (Vigna's splitmix64).
    struct Chance(u64);

    impl Chance {
        fn next(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
        }
    }

    /// How many series of each kind there are. Few, since the tests are built without optimisation.
    const SERIES: usize = 1_000;

    /// How many of all series of this length are called unsteady, whose values are `noise` of chance.
    fn alarms(length: usize, least: f64, noise: fn(f64, f64) -> f64) -> usize {
        let mut chance = Chance(length as u64);
        let mut is_alarm = || {
            let values: Vec<f64> = (0..length).map(|at| noise(chance.next(), at as f64 / length as f64)).collect();
            drift(&values, least).is_some()
        };
        (0..SERIES).filter(|_| is_alarm()).count()
    }

    #[test]
    fn one_series_in_200_that_goes_nowhere_is_a_false_alarm_whatever_its_noise() {
        // 5 are expected, and with a deviation of 2.2 more than 15 are not chance.
        for length in [10, 30, 60] {
            let even = alarms(length, 0.0, |chance, _| 100.0 + chance);
            let long_tailed = alarms(length, 0.0, |chance, _| 1.0 / (1.001 - chance));
            let in_steps = alarms(length, 0.0, |chance, _| 100.0 + (chance * 4.0).floor());
            assert!(even <= 15 && long_tailed <= 15 && in_steps <= 15, "{length}: {even}, {long_tailed}, {in_steps}");
        }
        // A change that matters is rarer still.
        assert_eq!(alarms(30, RATE_CHANGE, |chance, _| 100.0 + chance), 0);
    }

    #[test]
    fn a_fall_by_a_fifth_is_found_through_noise_of_a_tenth() {
        let found = alarms(20, RATE_CHANGE, |chance, at| (1.0 - 0.2 * at) * (0.95 + 0.1 * chance));
        assert!(found >= 975, "{found} of {SERIES}");
    }

    #[test]
    fn one_value_that_is_far_off_is_no_trend() {
        for at in 0..20 {
            let values: Vec<f64> = (0..20).map(|index| if index == at { 1e6 } else { 100.0 }).collect();
            assert_eq!(drift(&values, RATE_CHANGE), None, "{at}");
        }
    }

    #[test]
    fn the_change_is_that_from_the_first_value_to_the_last() {
        let rising: Vec<f64> = (0..21).map(|index| 90.0 + f64::from(index)).collect();
        assert!((drift(&rising, 0.0).unwrap() - 0.2).abs() < 1e-9);
        let falling: Vec<f64> = rising.into_iter().rev().collect();
        assert!((drift(&falling, 0.0).unwrap() + 0.2).abs() < 1e-9);
        // A long series goes into blocks.
        let long: Vec<f64> = (0..100_000).map(|index| 1e6 + f64::from(index)).collect();
        assert!((drift(&long, 0.0).unwrap() - 0.095).abs() < 0.005);
    }

    #[test]
    fn few_values_equal_ones_and_none_above_nothing_say_nothing() {
        assert_eq!(drift(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0], 0.0), None);
        assert_eq!(drift(&[5.0; 50], 0.0), None);
        assert_eq!(drift(&[0.0; 50], 0.0), None);
        assert_eq!(drift(&[], 0.0), None);
    }

    #[test]
    fn a_remainder_at_the_end_is_left_out() {
        let interval = |seconds| Interval { seconds, ..Interval::default() };
        assert_eq!(whole(&[interval(1.0), interval(1.0), interval(0.2)]).len(), 2);
        assert_eq!(whole(&[interval(1.0), interval(1.0), interval(0.9)]).len(), 3);
        assert_eq!(whole(&[interval(0.2)]).len(), 1);
    }
}
