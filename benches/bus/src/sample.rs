//! Times of rounds: median, best, and how sure a ratio is. Pure.

/// Resamples of a bootstrap.
const RESAMPLES: usize = 10_000;

/// The median of some numbers.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// The least of some numbers.
pub fn best(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

/// The median of some numbers, and its 95 % interval by the percentile bootstrap (Efron, "Bootstrap Methods", 1979).
pub fn interval(values: &[f64]) -> (f64, f64, f64) {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let resample: Vec<f64> = (0..values.len())
                .map(|_| {
                    // Marsaglia's xorshift, with the same seed every time.
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    values[(random % values.len() as u64) as usize]
                })
                .collect();
            median(&resample)
        })
        .collect();
    medians.sort_by(f64::total_cmp);
    (median(values), medians[RESAMPLES / 40], medians[RESAMPLES - 1 - RESAMPLES / 40])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_and_the_interval_around_it() {
        assert_eq!((median(&[3.0, 1.0, 2.0]), median(&[4.0, 1.0, 2.0, 3.0]), best(&[3.0, 1.0, 2.0])), (2.0, 2.5, 1.0));
        let (middle, low, high) = interval(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert!(low < middle && middle < high && low >= 1.0 && high <= 5.0);
        assert_eq!(interval(&[7.0; 5]), (7.0, 7.0, 7.0));
    }
}
