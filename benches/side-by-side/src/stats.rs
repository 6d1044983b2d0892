//! What is made of the figures of several rounds: their median, their best, and how sure a ratio is. Pure.

use fastrand::Rng;
use serde::Serialize;

/// Resamples of a bootstrap.
const RESAMPLES: usize = 10_000;

/// What is drawn is the same every time, so that the same rounds give the same answer.
const SEED: u64 = 0x7369_6465_6279;

/// A median, and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// The median of some numbers; not a number for none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    median_of_sorted(&sorted)
}

fn median_of_sorted(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// The least of some numbers.
pub(crate) fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

/// The greatest of some numbers.
pub(crate) fn greatest(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

impl Ratio {
    /// The median of the ratios of pairs, one pair a round, and its 95 % interval by the percentile bootstrap (Efron,
    /// "Bootstrap Methods: Another Look at the Jackknife", 1979). `None` without pairs.
    pub(crate) fn of_pairs(pairs: &[(f64, f64)]) -> Option<Self> {
        let ratios: Vec<f64> = pairs.iter().filter(|(_, by)| *by > 0.0).map(|(value, by)| value / by).collect();
        if ratios.is_empty() {
            return None;
        }
        let mut random = Rng::with_seed(SEED);
        let mut resample = vec![0.0; ratios.len()];
        let mut medians = Vec::with_capacity(RESAMPLES);
        for _ in 0..RESAMPLES {
            resample.fill_with(|| ratios[random.usize(..ratios.len())]);
            resample.sort_by(f64::total_cmp);
            medians.push(median_of_sorted(&resample));
        }
        medians.sort_by(f64::total_cmp);
        let tail = RESAMPLES / 40;
        Some(Self { median: median(&ratios), low: medians[tail], high: medians[RESAMPLES - 1 - tail] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!((median(&[3.0, 1.0, 2.0]), median(&[4.0, 1.0, 2.0, 3.0])), (2.0, 2.5));
        assert_eq!((least(&[3.0, 1.0, 2.0]), greatest(&[3.0, 1.0, 2.0])), (1.0, 3.0));
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn the_interval_is_around_the_median_of_the_ratios() {
        let ratio = Ratio::of_pairs(&[(1.0, 1.0), (4.0, 2.0), (9.0, 3.0), (8.0, 2.0), (5.0, 1.0)]).unwrap();
        assert_eq!(ratio.median, 3.0);
        assert!(ratio.low < 3.0 && ratio.high > 3.0 && ratio.low >= 1.0 && ratio.high <= 5.0, "{ratio:?}");
    }

    #[test]
    fn rounds_that_agree_have_an_interval_without_width() {
        assert_eq!(Ratio::of_pairs(&[(2.0, 1.0); 5]), Some(Ratio { median: 2.0, low: 2.0, high: 2.0 }));
    }

    #[test]
    fn nothing_is_said_of_no_rounds() {
        assert_eq!(Ratio::of_pairs(&[]), None);
        assert_eq!(Ratio::of_pairs(&[(1.0, 0.0)]), None);
    }
}
