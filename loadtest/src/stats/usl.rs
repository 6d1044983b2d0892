//! The Universal Scalability Law: how throughput grows with the number of shards, and where it ends.
//!
//! X(N) = λN / (1 + σ(N−1) + κN(N−1)): λ is what one does alone, σ the share of the work that queues for something shared, κ
//! what it costs each to agree with each other one (Gunther, "Guerrilla Capacity Planning", Springer 2007, chapters 4 to 6).

use serde::{Deserialize, Serialize};

/// The fewest different N to which the law is fitted: Gunther asks for six, to have something left over for three unknowns.
pub const POINTS_MIN: usize = 6;

/// The law, fitted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// What one does alone: messages a second.
    pub lambda: f64,
    /// Contention: at least 0.
    pub sigma: f64,
    /// The cost of agreement: at least 0.
    pub kappa: f64,
    /// The root mean square of measured over fitted rate, minus 1.
    pub residual: f64,
}

impl Fit {
    /// Fits the law to rates by N. `None` for fewer than [`POINTS_MIN`] different N, and if a number is not above 0.
    ///
    /// N/X is linear in 1/λ, σ/λ and κ/λ. Dividing each equation by its own N/X makes the residuals the relative errors of X,
    /// so that ordinary least squares minimise what is wanted without iteration. That σ and κ are at least 0 is met by leaving
    /// out each, and both, and taking the best fit of those that meet it: with two bounds that is the exact minimum (Lawson and
    /// Hanson, "Solving Least Squares Problems", 1974, chapter 23).
    pub fn new(points: &[(f64, f64)]) -> Option<Self> {
        let mut distinct: Vec<f64> = points.iter().map(|(n, _)| *n).collect();
        distinct.sort_by(f64::total_cmp);
        distinct.dedup();
        let usable = points.iter().all(|(n, rate)| *n > 0.0 && *rate > 0.0 && n.is_finite() && rate.is_finite());
        if distinct.len() < POINTS_MIN || !usable {
            return None;
        }
        let choices: [&[usize]; 4] = [&[0, 1, 2], &[0, 1], &[0, 2], &[0]];
        let fits = choices.into_iter().filter_map(|terms| Self::with_terms(points, terms));
        fits.min_by(|one, other| one.residual.total_cmp(&other.residual))
    }

    /// What the law says of `n`: messages a second.
    pub fn rate(&self, n: f64) -> f64 {
        self.lambda * n / (1.0 + self.sigma * (n - 1.0) + self.kappa * n * (n - 1.0))
    }

    /// The N beyond which more is less: √((1−σ)/κ). `None` where more is never less.
    pub fn peak(&self) -> Option<f64> {
        (self.kappa > 0.0).then(|| ((1.0 - self.sigma).max(0.0) / self.kappa).sqrt().max(1.0))
    }

    /// The least squares with these terms of the denominator; `None` if a coefficient is out of range.
    fn with_terms(points: &[(f64, f64)], terms: &[usize]) -> Option<Self> {
        // The normal equations, of which those of absent terms say that the coefficient is 0.
        let mut matrix = [[0.0; 4]; 3];
        for (index, row) in matrix.iter_mut().enumerate() {
            row[index] = if terms.contains(&index) { 0.0 } else { 1.0 };
        }
        for &(n, rate) in points {
            let scaled = [1.0, n - 1.0, n * (n - 1.0)].map(|term| term * rate / n);
            for &row in terms {
                for &column in terms {
                    matrix[row][column] += scaled[row] * scaled[column];
                }
                matrix[row][3] += scaled[row];
            }
        }
        let [base, contention, agreement] = solve(matrix)?;
        let fit = Self { lambda: base.recip(), sigma: contention / base, kappa: agreement / base, residual: 0.0 };
        let possible = fit.lambda > 0.0 && fit.lambda.is_finite() && fit.sigma >= 0.0 && fit.kappa >= 0.0;
        let squares = points.iter().map(|(n, rate)| (rate / fit.rate(*n) - 1.0).powi(2)).sum::<f64>();
        possible.then(|| Self { residual: (squares / points.len() as f64).sqrt(), ..fit })
    }
}

/// Solves three equations, each with its right side in the fourth column, by elimination with pivots.
fn solve(mut matrix: [[f64; 4]; 3]) -> Option<[f64; 3]> {
    for column in 0..3 {
        let pivot = (column..3).max_by(|a, b| matrix[*a][column].abs().total_cmp(&matrix[*b][column].abs()))?;
        matrix.swap(column, pivot);
        let divisor = matrix[column][column];
        if divisor == 0.0 {
            return None;
        }
        matrix[column] = matrix[column].map(|value| value / divisor);
        let equation = matrix[column];
        for (index, row) in matrix.iter_mut().enumerate() {
            let factor = row[column];
            if index != column {
                row.iter_mut().zip(equation).for_each(|(value, own)| *value -= factor * own);
            }
        }
    }
    Some(matrix.map(|row| row[3]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NS: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 24.0, 32.0];

    fn law(sigma: f64, kappa: f64) -> Fit {
        Fit { lambda: 1_000.0, sigma, kappa, residual: 0.0 }
    }

    /// The law's rates, each off by `noise` up or down in turn.
    fn points(law: Fit, noise: f64) -> Vec<(f64, f64)> {
        let signs = [1.0, -1.0].into_iter().cycle();
        NS.into_iter().zip(signs).map(|(n, sign)| (n, law.rate(n) * (1.0 + sign * noise))).collect()
    }

    #[test]
    fn exact_points_give_back_the_law_they_came_from() {
        for (sigma, kappa) in [(0.05, 0.001), (0.0, 0.0), (0.2, 0.0), (0.0, 0.004), (0.9, 0.1)] {
            let fit = Fit::new(&points(law(sigma, kappa), 0.0)).unwrap();
            assert!((fit.lambda / 1_000.0 - 1.0).abs() < 1e-6, "{fit:?}");
            assert!((fit.sigma - sigma).abs() < 1e-6 && (fit.kappa - kappa).abs() < 1e-6, "{sigma} {kappa}: {fit:?}");
            assert!(fit.residual < 1e-6, "{fit:?}");
        }
    }

    #[test]
    fn noise_of_two_percent_is_the_residual_and_moves_the_peak_a_little() {
        let exact = law(0.05, 0.002);
        let fit = Fit::new(&points(exact, 0.02)).unwrap();
        assert!((0.01..0.02).contains(&fit.residual), "{fit:?}");
        let (found, known) = (fit.peak().unwrap(), exact.peak().unwrap());
        assert!((found / known - 1.0).abs() < 0.1, "{found} is not near {known}: {fit:?}");
    }

    #[test]
    fn growth_beyond_the_line_is_noise_and_not_negative_contention() {
        let faster = NS.map(|n| (n, 1_000.0 * n.powf(1.02)));
        let fit = Fit::new(&faster).unwrap();
        assert_eq!((fit.sigma, fit.kappa, fit.peak()), (0.0, 0.0, None), "{fit:?}");
    }

    #[test]
    fn the_peak_is_where_the_rate_is_highest() {
        let law = law(0.05, 0.002);
        let peak = law.peak().unwrap();
        assert!(law.rate(peak) > law.rate(peak * 0.9) && law.rate(peak) > law.rate(peak * 1.1));
        assert_eq!(Fit { sigma: 1.5, ..law }.peak(), Some(1.0), "it only gets worse");
    }

    #[test]
    fn too_few_points_and_impossible_ones_have_no_fit() {
        let all = points(law(0.1, 0.001), 0.0);
        assert!(Fit::new(&all[..6]).is_some());
        assert_eq!(Fit::new(&all[..5]), None);
        let repeated: Vec<_> = all[..5].iter().chain(&all[..5]).copied().collect();
        assert_eq!(Fit::new(&repeated), None, "ten points at five places are five");
        let mut silent = all;
        silent[3].1 = 0.0;
        assert_eq!(Fit::new(&silent), None);
    }
}
