//! How far a difference between two sets of runs may be from the truth: the studentised bootstrap, for several figures at
//! once.
//!
//! A mean difference is divided by its standard error, and how large that quotient gets by chance alone is seen from the runs
//! themselves, drawn anew with replacement: the bootstrap-t of Efron and Tibshirani, "An Introduction to the Bootstrap", 1993,
//! 12.5, in its symmetric form (Hall, "On symmetric bootstrap confidence intervals", 1988). With five to ten runs the
//! percentile bootstrap would be too sure of itself, and a permutation test could not decide at all.
//!
//! Whoever looks at seven figures finds a difference in one of them seven times as often. So all figures are drawn together,
//! and their intervals are made wide enough to hold *together*, each as likely to fail as any other: the smallest of the p values
//! (Westfall and Young, "Resampling-Based Multiple Testing", 1993; Beran, "Balanced simultaneous confidence sets", 1988). This
//! takes account of figures that say nearly the same, as a rate and a mean latency do, where Bonferroni's correction does not.

use crate::stats::Random;

/// The fewest runs of a side from which anything can be said.
pub const RUNS_MIN: usize = 4;

/// How often the runs are drawn anew. Davison and Hinkley, "Bootstrap Methods and their Application", 1997, 2.5.2, have some 1,000
/// suffice for one interval; the tails that several figures need are thinner.
const RESAMPLES: usize = 9_999;

/// No standard error is smaller. The figures are logarithms, mostly of values of a histogram whose bins are up to 1/1024 wide:
/// runs that agree by rounding alone are not known any better than that, over the root of 12.
const RESOLUTION: f64 = 1.0 / 1024.0 / 3.464;

/// No interval is narrower than if the standard error were known for certain: the normal distribution's 97.5 % quantile.
const QUOTIENT_MIN: f64 = 1.96;

/// What is drawn is the same every time, so that the same runs give the same answer.
const SEED: u64 = 0x7061_6e74_732d_6c64;

/// A mean difference, and how far from it the truth may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The mean difference.
    pub difference: f64,
    /// Half the width of its confidence interval; infinite where the runs are too few to tell.
    pub margin: f64,
}

impl Estimate {
    /// Whether there is a difference: the interval does not hold 0.
    pub fn is_seen(self) -> bool {
        self.difference.abs() > self.margin
    }
}

/// The mean of each figure's `differences`, one for each pair of runs. The intervals hold the truth all at once, but for a share
/// of `alpha` of the cases.
pub fn paired(differences: &[Vec<f64>], alpha: f64) -> Vec<Estimate> {
    simultaneous([&[], differences], alpha, RESAMPLES)
}

/// The difference of each figure's means, the candidate's less the baseline's, of runs that have nothing to do with each other.
/// Figures are in the same order on both sides; `alpha` is that of [`paired`].
pub fn unpaired(baseline: &[Vec<f64>], candidate: &[Vec<f64>], alpha: f64) -> Vec<Estimate> {
    simultaneous([baseline, candidate], alpha, RESAMPLES)
}

/// What is looked at: for each side the values of each figure, one a run. A side without figures counts as 0.
type Sides<'a> = [&'a [Vec<f64>]; 2];

fn simultaneous(sides: Sides<'_>, alpha: f64, resamples: usize) -> Vec<Estimate> {
    let runs = sides.map(|figures| figures.first().map_or(0, Vec::len));
    let observed = mean_differences(sides, &runs.map(|runs| (0..runs).collect()));
    let mut random = Random::new(SEED);
    let mut quotients = vec![Vec::with_capacity(resamples); observed.len()];
    for _ in 0..resamples {
        let picks = runs.map(|runs| (0..runs).map(|_| random.below(runs)).collect());
        for (figure, (mean, error)) in mean_differences(sides, &picks).into_iter().enumerate() {
            quotients[figure].push((mean - observed[figure].0).abs() / error);
        }
    }
    let critical = critical_values(&quotients, alpha);
    let estimates = observed.into_iter().zip(critical);
    estimates.map(|((difference, error), critical)| Estimate { difference, margin: critical * error }).collect()
}

/// The mean difference of each figure and its standard error, of the runs that were picked.
fn mean_differences(sides: Sides<'_>, picks: &[Vec<usize>; 2]) -> Vec<(f64, f64)> {
    let moments = |side: usize, figure: usize| sides[side].get(figure).map_or((0.0, 0.0), |v| moments(v, &picks[side]));
    let figures = 0..sides[1].len();
    let differences = figures.map(|figure| {
        let (baseline, candidate) = (moments(0, figure), moments(1, figure));
        (candidate.0 - baseline.0, (candidate.1 + baseline.1).sqrt().max(RESOLUTION))
    });
    differences.collect()
}

/// The mean of the values that were picked, and its variance.
fn moments(values: &[f64], picks: &[usize]) -> (f64, f64) {
    let count = picks.len() as f64;
    let mean = picks.iter().map(|&pick| values[pick]).sum::<f64>() / count;
    let squares: f64 = picks.iter().map(|&pick| (values[pick] - mean).powi(2)).sum();
    (mean, squares / (count - 1.0) / count)
}

/// The value for each figure that its quotient does not exceed. In a share of `alpha` of the draws any figure does.
fn critical_values(quotients: &[Vec<f64>], alpha: f64) -> Vec<f64> {
    let Some(draws) = quotients.first().map(Vec::len) else { return Vec::new() };
    let mut smallest = vec![draws; draws];
    let mut sorted = quotients.to_vec();
    for (figure, sorted) in quotients.iter().zip(&mut sorted) {
        sorted.sort_by(f64::total_cmp);
        for (smallest, quotient) in smallest.iter_mut().zip(figure) {
            // The figure's p value in this draw, in draws: how many are as large.
            *smallest = draws.min(*smallest).min(draws - sorted.partition_point(|other| other < quotient));
        }
    }
    smallest.sort_unstable();
    // The p value, in draws, that the smallest of all reaches by chance in a share of `alpha`.
    let level = smallest[((alpha * draws as f64) as usize).min(draws - 1)];
    sorted.iter().map(|sorted| sorted[draws - level].max(QUOTIENT_MIN)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many comparisons a simulation makes, unless the variable says how many, and from how many draws each. Few, since the
    /// tests are built without optimisation; a thorough one is
    /// `PANTS_LOAD_COMPARISONS=4000 cargo test --release -p loadtest --lib bootstrap`. With 4,000 comparisons and 1,999 draws the
    /// share of wrong ones was 0.2 to 3.7 %, the largest with normal noise and ten runs a side, and a real difference was found
    /// in 97.7 %.
    const COMPARISONS: usize = 40;
    const COMPARISONS_VARIABLE: &str = "PANTS_LOAD_COMPARISONS";
    const DRAWS: usize = 399;

    /// Six figures of a run, as logarithms, of which half say nearly the same.
    const FIGURES: usize = 6;

    /// How far apart two runs of the same thing may be, as a deviation: 3 %.
    const NOISE: f64 = 0.03;

    /// The noise of one figure in one run.
    type Noise = fn(&mut Random) -> f64;

    const NOISES: [(&str, Noise); 4] = [
        ("normal", |random| NOISE * random.normal()),
        ("lognormal", |random| NOISE * random.normal().exp()),
        // Student's t with two degrees of freedom: its variance is infinite.
        ("heavy tail", |random| NOISE * random.normal() / (-random.unit().ln()).sqrt()),
        // One run in ten is far off, as when something else ran meanwhile.
        ("outliers", |random| NOISE * random.normal() + if random.unit() < 0.1 { 0.5 } else { 0.0 }),
    ];

    /// The figures of one run at a time at which the machine is this much faster.
    fn run(random: &mut Random, noise: Noise, drift: f64) -> [f64; FIGURES] {
        let common = noise(random);
        std::array::from_fn(|figure| drift + if figure < 3 { common + 0.1 * noise(random) } else { noise(random) })
    }

    /// The figures of both sides' runs, made in rounds, in each of which either may come first.
    fn rounds(random: &mut Random, noise: Noise, drift: f64, effect: f64, rounds: usize) -> [Vec<Vec<f64>>; 2] {
        let mut sides = [vec![Vec::new(); FIGURES], vec![Vec::new(); FIGURES]];
        let mut pace = 0.0;
        for _ in 0..rounds {
            let mut order = [0, 1];
            random.shuffle(&mut order);
            for side in order {
                pace += drift * (1.0 + random.normal());
                let figures = run(random, noise, pace + side as f64 * effect);
                sides[side].iter_mut().zip(figures).for_each(|(values, figure)| values.push(figure));
            }
        }
        sides
    }

    fn compare_pairs([baseline, candidate]: &[Vec<Vec<f64>>; 2]) -> Vec<Estimate> {
        let differences = |(a, b): (&Vec<f64>, &Vec<f64>)| a.iter().zip(b).map(|(a, b)| b - a).collect();
        let differences: Vec<Vec<f64>> = baseline.iter().zip(candidate).map(differences).collect();
        simultaneous([&[], &differences], 0.05, DRAWS)
    }

    fn compare_sides([baseline, candidate]: &[Vec<Vec<f64>>; 2]) -> Vec<Estimate> {
        simultaneous([baseline, candidate], 0.05, DRAWS)
    }

    /// In how many of all comparisons a difference is seen that `counts`.
    fn share(mut compare: impl FnMut(&mut Random) -> Vec<Estimate>, counts: fn(&[Estimate]) -> bool) -> f64 {
        let comparisons =
            std::env::var(COMPARISONS_VARIABLE).map_or(COMPARISONS, |number| number.parse().expect("a number"));
        let mut random = Random::new(7);
        (0..comparisons).filter(|_| counts(&compare(&mut random))).count() as f64 / comparisons as f64
    }

    fn any(estimates: &[Estimate]) -> bool {
        estimates.iter().any(|estimate| estimate.is_seen())
    }

    #[test]
    fn of_comparisons_with_itself_at_most_one_in_twenty_sees_any_difference() {
        for (name, noise) in NOISES {
            for runs in [5, 10] {
                let paired = share(|random| compare_pairs(&rounds(random, noise, 0.0, 0.0, runs)), any);
                assert!(paired <= 0.05, "{name}, {runs} pairs: {paired}");
                let unpaired = share(|random| compare_sides(&rounds(random, noise, 0.0, 0.0, runs)), any);
                assert!(unpaired <= 0.05, "{name}, {runs} runs a side: {unpaired}");
            }
        }
    }

    #[test]
    fn a_machine_that_gets_slower_all_the_time_looks_like_a_difference_only_where_runs_are_not_paired() {
        for runs in [5, 10] {
            let paired = share(|random| compare_pairs(&rounds(random, NOISES[0].1, 0.02, 0.0, runs)), any);
            assert!(paired <= 0.05, "{runs} pairs: {paired}");
        }
        // All of the baseline's runs came first.
        let one_after_the_other = |random: &mut Random| {
            let [early, _] = rounds(random, NOISES[0].1, 0.02, 0.0, 10);
            let [_, late] = rounds(random, NOISES[0].1, 0.02, 0.4, 10);
            compare_sides(&[early, late])
        };
        assert!(share(one_after_the_other, any) > 0.5);
    }

    #[test]
    fn ten_pairs_show_a_difference_of_10_percent_in_noise_of_3_percent() {
        let compare = |random: &mut Random| compare_pairs(&rounds(random, NOISES[0].1, 0.005, 1.1_f64.ln(), 10));
        for figure in [|e: &[Estimate]| e[0].is_seen(), |e: &[Estimate]| e[FIGURES - 1].is_seen()] {
            let found = share(compare, figure);
            assert!(found > 0.9, "{found}");
        }
    }

    #[test]
    fn the_intervals_hold_the_true_difference_all_at_once() {
        const TRUTH: f64 = 0.2;
        let compare = |random: &mut Random| compare_pairs(&rounds(random, NOISES[0].1, 0.0, TRUTH, 10));
        let held = share(compare, |all| all.iter().all(|e| (e.difference - TRUTH).abs() <= e.margin));
        assert!(held >= 0.95, "{held}");
    }

    #[test]
    fn a_figure_that_cannot_be_told_leaves_the_others_their_intervals() {
        let mut random = Random::new(1);
        let mut differences: Vec<Vec<f64>> = vec![(0..8).map(|_| 0.1 + NOISE * random.normal()).collect()];
        let alone = paired(&differences, 0.05)[0];
        // Seven runs agree to the last digit, and one is far off.
        differences.push([vec![0.0; 7], vec![3.0]].concat());
        let [together, odd] = paired(&differences, 0.05)[..] else { panic!("there are two") };
        assert!(together.margin < 1.3 * alone.margin && together.is_seen(), "{alone:?} {together:?}");
        assert!(!odd.is_seen() && odd.margin > 1.0, "{odd:?}");
    }

    #[test]
    fn runs_that_agree_to_the_last_digit_show_what_is_larger_than_a_bin() {
        for (difference, seen) in [(0.0, false), (0.000_1, false), (0.01, true)] {
            let estimate = paired(&[vec![difference; 5]], 0.05)[0];
            assert!(estimate.is_seen() == seen && (estimate.difference - difference).abs() < 1e-12, "{estimate:?}");
        }
        assert!(paired(&[], 0.05).is_empty());
    }

    #[test]
    fn the_same_runs_give_the_same_answer() {
        let sides = rounds(&mut Random::new(1), NOISES[1].1, 0.01, 0.02, 6);
        assert_eq!(unpaired(&sides[0], &sides[1], 0.05), unpaired(&sides[0], &sides[1], 0.05));
    }
}
