//! What one set of runs shows beside another: each figure's difference, how sure it is, and whether it is a regression; pure.

pub mod figure;
pub mod sides;
mod text;

use serde::Serialize;

use crate::stats::bootstrap::{self, Estimate, RUNS_MIN};

pub use figure::Figure;
use figure::{FIGURES, Run};

/// The version of the JSON form.
pub const VERSION: u32 = 1;

/// How likely it is that runs of one and the same thing show any difference at all, by chance, in the comparison of two sides.
pub const ALPHA: f64 = 0.05;

/// A set of runs, by the name of its file.
#[derive(Clone, Debug)]
pub struct Side {
    /// The name.
    pub name: String,
    /// The runs.
    pub runs: Vec<Run>,
}

/// A baseline and what it was compared with.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The version of this form.
    pub version: u32,
    /// The baseline's name.
    pub baseline: String,
    /// How much worse a figure may be, as a share, before that is a regression.
    pub bound: f64,
    /// How likely it was at most that any difference of a candidate would be told by chance.
    pub alpha: f64,
    /// Each candidate, beside the baseline.
    pub candidates: Vec<Candidate>,
    /// What to doubt in it.
    pub warnings: Vec<String>,
}

/// One candidate beside the baseline.
#[derive(Clone, Debug, Serialize)]
pub struct Candidate {
    /// Its name.
    pub name: String,
    /// How many runs the baseline has, and how many the candidate.
    pub runs: [usize; 2],
    /// Whether the runs were made in rounds, so that each was compared with its neighbour in time.
    pub paired: bool,
    /// What has become of each figure that all runs have.
    pub changes: Vec<Change>,
    /// The share of messages that failed.
    pub failures: FailureChange,
}

/// What has become of one figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// Which figure.
    pub figure: Figure,
    /// The geometric mean of the baseline's runs.
    pub baseline: f64,
    /// The geometric mean of the candidate's runs.
    pub candidate: f64,
    /// The candidate's mean by the baseline's.
    pub ratio: f64,
    /// From where to where the ratio may be; `None` if there are too few runs to tell.
    pub interval: Option<[f64; 2]>,
    /// What that means.
    pub verdict: Verdict,
    /// Whether it is worse by more than the bound.
    pub regression: bool,
}

/// What has become of the share of messages and connections that failed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct FailureChange {
    /// The mean share of the baseline's runs.
    pub baseline: f64,
    /// The mean share of the candidate's runs.
    pub candidate: f64,
    /// What that means.
    pub verdict: Verdict,
    /// Whether it is worse by more than the bound.
    pub regression: bool,
}

/// What a difference means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// There are too few runs to tell.
    TooFewRuns,
    /// What difference there is may be chance.
    NoDifferenceSeen,
    /// The candidate is better.
    Better,
    /// The candidate is worse.
    Worse,
}

impl Comparison {
    /// Compares each candidate with the baseline. A figure that is worse by more than `bound`, a share, is a regression.
    pub fn new(baseline: &Side, candidates: &[Side], bound: f64) -> Self {
        let alpha = ALPHA / candidates.len().max(1) as f64;
        let compared: Vec<_> = candidates.iter().map(|side| Candidate::new(baseline, side, bound, alpha)).collect();
        let warnings = compared.iter().zip(candidates);
        let warnings = warnings.flat_map(|(compared, side)| [compared.warnings(), Candidate::gaps(baseline, side)]);
        let warnings = warnings.flatten().collect();
        Self { version: VERSION, baseline: baseline.name.clone(), bound, alpha, candidates: compared, warnings }
    }

    /// Whether any figure of any candidate is worse by more than the bound.
    pub fn has_regression(&self) -> bool {
        let of = |candidate: &Candidate| {
            candidate.failures.regression || candidate.changes.iter().any(|change| change.regression)
        };
        self.candidates.iter().any(of)
    }
}

impl Candidate {
    fn new(baseline: &Side, candidate: &Side, bound: f64, alpha: f64) -> Self {
        let (mut one, mut other) = (baseline.runs.clone(), candidate.runs.clone());
        one.sort_by_key(|run| run.started_unix_ns);
        other.sort_by_key(|run| run.started_unix_ns);
        let paired = are_interleaved(&one, &other);
        let (failures, spent) = FailureChange::new(&one, &other, bound, alpha);
        let changes = changes(&one, &other, paired, bound, alpha - spent);
        Self { name: candidate.name.clone(), runs: [one.len(), other.len()], paired, changes, failures }
    }

    /// The figures that some runs have, and others do not.
    fn gaps(baseline: &Side, candidate: &Side) -> Vec<String> {
        let runs = || baseline.runs.iter().chain(&candidate.runs);
        let has_gap = |figure: &Figure| {
            runs().any(|run| run.value(*figure).is_some()) && runs().any(|run| run.value(*figure).is_none())
        };
        let gaps = FIGURES.into_iter().filter(has_gap);
        gaps.map(|figure| format!("{}: {} is not compared, since not all runs have it", candidate.name, figure.name()))
            .collect()
    }

    fn warnings(&self) -> Vec<String> {
        let (name, fewest) = (&self.name, self.runs[0].min(self.runs[1]));
        let mut warnings = Vec::new();
        if fewest < RUNS_MIN {
            warnings.push(format!(
                "{name}: {fewest} of {RUNS_MIN} runs that a side needs at least: no interval can be given, and no difference \
                 told from chance; --repeat 10 is better"
            ));
        }
        if !self.paired {
            warnings.push(format!(
                "{name}: its runs and the baseline's do not take turns, so that a drift of the machine would look like a \
                 difference; measure both in one `run A B --repeat`"
            ));
        }
        warnings
    }
}

/// Whether of both sides' runs, in the order in which they were started, each two hold one of either side. Each side is in that
/// order already.
fn are_interleaved(one: &[Run], other: &[Run]) -> bool {
    let starts = |runs: &[Run], round: usize| runs[round].started_unix_ns;
    one.len() == other.len()
        && (1..one.len()).all(|round| {
            let before = starts(one, round - 1).max(starts(other, round - 1));
            before <= starts(one, round).min(starts(other, round))
        })
}

fn changes(one: &[Run], other: &[Run], paired: bool, bound: f64, alpha: f64) -> Vec<Change> {
    let logarithms = |runs: &[Run], figure: Figure| -> Option<Vec<f64>> {
        runs.iter().map(|run| Some(run.value(figure)?.ln())).collect()
    };
    let all = FIGURES.into_iter();
    let known = all.filter_map(|figure| Some((figure, logarithms(one, figure)?, logarithms(other, figure)?)));
    let (mut figures, mut baseline, mut candidate) = (Vec::new(), Vec::new(), Vec::new());
    for (figure, one, other) in known {
        figures.push(figure);
        baseline.push(one);
        candidate.push(other);
    }
    let means = |side: &[Vec<f64>]| side.iter().map(|values| mean(values).exp()).collect::<Vec<_>>();
    let (baseline_means, candidate_means) = (means(&baseline), means(&candidate));
    let estimates = estimates(&baseline, &candidate, paired, alpha);
    let change = |(index, &figure): (usize, &Figure)| {
        let (baseline, candidate) = (baseline_means[index], candidate_means[index]);
        Change::new(figure, baseline, candidate, estimates.get(index).copied(), bound)
    };
    figures.iter().enumerate().map(change).collect()
}

/// An estimate for each figure; none at all if there are too few runs.
fn estimates(baseline: &[Vec<f64>], candidate: &[Vec<f64>], paired: bool, alpha: f64) -> Vec<Estimate> {
    if baseline.iter().chain(candidate).any(|values| values.len() < RUNS_MIN) {
        return Vec::new();
    }
    if !paired {
        return bootstrap::unpaired(baseline, candidate, alpha);
    }
    let difference = |(one, other): (&Vec<f64>, &Vec<f64>)| one.iter().zip(other).map(|(a, b)| b - a).collect();
    bootstrap::paired(&baseline.iter().zip(candidate).map(difference).collect::<Vec<_>>(), alpha)
}

impl Change {
    fn new(figure: Figure, baseline: f64, candidate: f64, estimate: Option<Estimate>, bound: f64) -> Self {
        let ratio = candidate / baseline;
        let worse_by = figure.worsening(ratio);
        let verdict = match estimate {
            None => Verdict::TooFewRuns,
            Some(estimate) if !estimate.is_seen() => Verdict::NoDifferenceSeen,
            Some(_) if worse_by > 0.0 => Verdict::Worse,
            Some(_) => Verdict::Better,
        };
        let interval = estimate.filter(|estimate| estimate.margin.is_finite());
        let ends = |e: Estimate| [(e.difference - e.margin).exp(), (e.difference + e.margin).exp()];
        let regression = verdict == Verdict::Worse && worse_by > bound;
        Self { figure, baseline, candidate, ratio, interval: interval.map(ends), verdict, regression }
    }
}

impl FailureChange {
    /// The change, and how much of `alpha` it took to see it.
    ///
    /// Most runs have no failure and some have a few, which no bootstrap is made for. So a difference is seen where *every* run of
    /// one side failed more than every run of the other. Among n and m runs of the same thing that happens in 2 of the
    /// (n + m choose n) orders (the extreme of Mann and Whitney, "On a test of whether one of two random variables is
    /// stochastically larger than the other", 1947).
    fn new(one: &[Run], other: &[Run], bound: f64, alpha: f64) -> (Self, f64) {
        let ends = |runs: &[Run]| {
            let shares = runs.iter().map(|run| run.failed_share);
            shares.fold((f64::INFINITY, 0.0_f64), |(least, most), share| (least.min(share), most.max(share)))
        };
        let share = |runs: &[Run]| mean(&runs.iter().map(|run| run.failed_share).collect::<Vec<_>>());
        let (baseline, candidate) = (share(one), share(other));
        let by_chance = 2.0 / orders(one.len(), other.len());
        let verdict = if baseline == 0.0 && candidate == 0.0 {
            return (Self { baseline, candidate, verdict: Verdict::NoDifferenceSeen, regression: false }, 0.0);
        } else if by_chance > alpha {
            Verdict::TooFewRuns
        } else if ends(other).0 > ends(one).1 {
            Verdict::Worse
        } else if ends(one).0 > ends(other).1 {
            Verdict::Better
        } else {
            Verdict::NoDifferenceSeen
        };
        let spent = if verdict == Verdict::TooFewRuns { 0.0 } else { by_chance };
        let regression = verdict == Verdict::Worse && candidate > baseline * (1.0 + bound);
        (Self { baseline, candidate, verdict, regression }, spent)
    }
}

/// In how many orders the runs of both sides can come, those of a side being alike.
fn orders(one: usize, other: usize) -> f64 {
    (1..=one).map(|run| (other + run) as f64 / run as f64).product()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::stats::Random;

    const SECOND: u64 = 1_000_000_000;

    /// Runs that were started in these seconds, whose figures are off by 2 % of noise, and which are this much slower.
    pub(crate) fn side(name: &str, started: &[u64], slower: f64, random: &mut Random) -> Side {
        let run = |second: &u64| {
            let mut noisy = |value: f64| Some(value * (0.02 * random.normal()).exp());
            let latency = slower * 1e5;
            Run {
                started_unix_ns: second * SECOND,
                values: [
                    noisy(1e5 / slower),
                    noisy(latency),
                    noisy(latency),
                    noisy(2.0 * latency),
                    noisy(5.0 * latency),
                    noisy(7e3),
                ],
                failed_share: 0.0,
            }
        };
        Side { name: name.to_owned(), runs: started.iter().map(run).collect() }
    }

    /// The even seconds or the odd ones.
    fn turns(first: u64, runs: u64) -> Vec<u64> {
        (0..runs).map(|run| 2 * run + first).collect()
    }

    #[test]
    fn a_figure_that_some_runs_do_not_have_is_told() {
        let mut random = Random::new(1);
        let baseline = side("A", &turns(0, 5), 1.0, &mut random);
        let mut candidate = side("B", &turns(1, 5), 1.0, &mut random);
        candidate.runs[3].values[Figure::ServerCpu as usize] = None;
        let comparison = Comparison::new(&baseline, &[candidate], 0.05);
        assert_eq!(comparison.warnings, ["B: server CPU is not compared, since not all runs have it"]);
    }

    fn of(comparison: &Comparison, figure: Figure) -> &Change {
        comparison.candidates[0].changes.iter().find(|change| change.figure == figure).unwrap()
    }

    #[test]
    fn a_slower_candidate_is_worse_in_rate_and_latency_and_the_same_in_what_did_not_change() {
        let mut random = Random::new(1);
        let (a, b) = (side("A", &turns(0, 10), 1.0, &mut random), side("B", &turns(1, 10), 1.2, &mut random));
        let comparison = Comparison::new(&a, &[b], 0.05);
        let rate = of(&comparison, Figure::Rate);
        assert!((rate.ratio - 1.0 / 1.2).abs() < 0.02 && rate.interval.unwrap()[1] < 1.0, "{rate:?}");
        for figure in [Figure::Rate, Figure::Mean, Figure::P50, Figure::P99, Figure::P99_9] {
            assert!(of(&comparison, figure).regression && of(&comparison, figure).verdict == Verdict::Worse);
        }
        assert_eq!(of(&comparison, Figure::ServerCpu).verdict, Verdict::NoDifferenceSeen);
        assert!(comparison.has_regression() && comparison.candidates[0].paired);
        assert_eq!(comparison.warnings, Vec::<String>::new());
    }

    #[test]
    fn what_is_worse_within_the_bound_or_better_is_no_regression() {
        let mut random = Random::new(1);
        for (slower, verdict) in [(1.2, Verdict::Worse), (0.8, Verdict::Better)] {
            let (a, b) = (side("A", &turns(0, 10), 1.0, &mut random), side("B", &turns(1, 10), slower, &mut random));
            let comparison = Comparison::new(&a, &[b], 0.3);
            assert_eq!(of(&comparison, Figure::P99).verdict, verdict);
            assert!(!comparison.has_regression());
        }
    }

    #[test]
    fn runs_that_do_not_take_turns_are_not_paired_and_that_is_told() {
        let mut random = Random::new(1);
        let a = side("A", &turns(0, 5), 1.0, &mut random);
        for (started, paired) in [
            (vec![1, 3, 5, 7, 9], true),
            // Which one of a round comes first does not matter, nor in which order the file has them.
            (vec![8, 1, 2, 5, 6], true),
            (vec![11, 13, 15, 17, 19], false),
            (vec![1, 3, 5, 7], false),
        ] {
            let comparison = Comparison::new(&a, &[side("B", &started, 1.0, &mut random)], 0.05);
            assert_eq!(comparison.candidates[0].paired, paired, "{started:?}");
            assert_eq!(comparison.warnings.iter().any(|warning| warning.contains("drift")), !paired);
        }
    }

    #[test]
    fn three_runs_have_no_interval_and_no_regression() {
        let mut random = Random::new(1);
        let (a, b) = (side("A", &turns(0, 3), 1.0, &mut random), side("B", &turns(1, 3), 2.0, &mut random));
        let comparison = Comparison::new(&a, &[b], 0.05);
        let rate = of(&comparison, Figure::Rate);
        assert_eq!((rate.interval, rate.verdict, rate.regression), (None, Verdict::TooFewRuns, false));
        assert!(comparison.warnings[0].contains("3 of 4 runs"), "{:?}", comparison.warnings);
    }

    #[test]
    fn a_figure_that_any_run_lacks_is_left_out() {
        let mut random = Random::new(1);
        let (a, mut b) = (side("A", &turns(0, 5), 1.0, &mut random), side("B", &turns(1, 5), 1.0, &mut random));
        b.runs[2].values[Figure::ServerCpu as usize] = None;
        let comparison = Comparison::new(&a, &[b], 0.05);
        assert!(comparison.candidates[0].changes.iter().all(|change| change.figure != Figure::ServerCpu));
        assert_eq!(comparison.candidates[0].changes.len(), FIGURES.len() - 1);
    }

    #[test]
    fn failures_differ_where_every_run_of_one_side_has_more() {
        let mut random = Random::new(1);
        for (failed, verdict) in [
            ([[0.0; 5], [0.0; 5]], Verdict::NoDifferenceSeen),
            ([[0.0; 5], [0.001, 0.002, 0.003, 0.004, 0.005]], Verdict::Worse),
            ([[0.0; 5], [0.9, 0.9, 0.9, 0.9, 0.0]], Verdict::NoDifferenceSeen),
            ([[0.2; 5], [0.1; 5]], Verdict::Better),
        ] {
            let mut sides = [side("A", &turns(0, 5), 1.0, &mut random), side("B", &turns(1, 5), 1.0, &mut random)];
            for (side, failed) in sides.iter_mut().zip(failed) {
                side.runs.iter_mut().zip(failed).for_each(|(run, failed)| run.failed_share = failed);
            }
            let comparison = Comparison::new(&sides[0], &sides[1..], 0.05);
            assert_eq!(comparison.candidates[0].failures.verdict, verdict, "{failed:?}");
            assert_eq!(comparison.has_regression(), verdict == Verdict::Worse, "{failed:?}");
        }
        assert_eq!((orders(5, 5), orders(2, 3)), (252.0, 10.0));
    }

    #[test]
    fn the_more_candidates_there_are_the_wider_are_the_intervals() {
        let mut random = Random::new(1);
        let (a, b) = (side("A", &turns(0, 8), 1.0, &mut random), side("B", &turns(1, 8), 1.0, &mut random));
        let width =
            |comparison: &Comparison| of(comparison, Figure::Rate).interval.map(|[low, high]| high / low).unwrap();
        let one = Comparison::new(&a, std::slice::from_ref(&b), 0.05);
        let three = Comparison::new(&a, &[b.clone(), b.clone(), b], 0.05);
        assert!(width(&three) > width(&one));
    }
}
