//! Several targets, several times each, in turns.

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::compare::figure::{FIGURES, Run};
use crate::count::failure::Kind;
use crate::measure::{Trial, measure};
use crate::progress::Progress;
use crate::report::Report;
use crate::report::outcome::Outcome;
use crate::stats::Random;
use crate::units;

/// What is to be measured, and how often.
#[derive(Clone, Debug)]
pub struct Task {
    /// One for each target; at least one.
    pub trials: Vec<Trial>,
    /// How often each is carried out.
    pub rounds: usize,
}

/// What has been measured.
#[derive(Clone, Debug)]
pub struct Repeated {
    /// The runs of each trial, in the order in which they were made.
    pub runs: Vec<Vec<Report>>,
    /// Why there are no more, if a run could not be made.
    pub failure: Option<String>,
}

/// One run among those of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Which round, from 0 on.
    pub round: usize,
    /// Which trial.
    pub trial: usize,
}

/// The turns of so many trials in so many rounds. Each round has each trial once, in an order that the seed gives: with a fixed
/// one whatever comes first would always run on a machine that was a little younger.
pub fn turns(trials: usize, rounds: usize, seed: u64) -> impl Iterator<Item = Turn> {
    let mut random = Random::new(seed);
    (0..rounds).flat_map(move |round| {
        let mut order: Vec<usize> = (0..trials).collect();
        random.shuffle(&mut order);
        order.into_iter().map(move |trial| Turn { round, trial })
    })
}

/// Carries a task out, and shows each report to `each`. The runs of a round have the same seed, so that they have the same
/// schedule and payload; each round has another one.
pub fn repeat(task: &Task, interrupted: &Arc<AtomicBool>, mut each: impl FnMut(Turn, &Report)) -> Repeated {
    let mut repeated = Repeated { runs: vec![Vec::new(); task.trials.len()], failure: None };
    let (mut progress, runs) = (Progress::new(), task.trials.len() * task.rounds);
    let seed = task.trials.first().map_or(0, |trial| trial.plan.seed);
    for (run, turn) in turns(task.trials.len(), task.rounds, seed).enumerate() {
        if interrupted.load(Ordering::Acquire) {
            break;
        }
        let mut trial = task.trials[turn.trial].clone();
        trial.plan.seed = trial.plan.seed.wrapping_add(turn.round as u64);
        if runs > 1 {
            progress.set_prefix(&format!("run {} of {runs}, {}", run + 1, trial.plan.target));
        }
        let measured = measure(&trial, interrupted, &mut progress);
        // Later it may be the load that has brought the server down.
        let measured = if run == 0 { measured.and_then(answered) } else { measured };
        match measured {
            Ok(report) => {
                each(turn, &report);
                repeated.runs[turn.trial].push(report);
            }
            Err(failure) => {
                repeated.failure = Some(failure);
                break;
            }
        }
    }
    repeated
}

/// The report of a run whose server was there.
///
/// # Errors
///
/// If every connection was refused, in one line.
fn answered(report: Report) -> Result<Report, String> {
    let Outcome { failures, total, .. } = &report.result;
    match failures.kinds.get(&Kind::Refused) {
        Some(refused) if total.connections == 0 && refused.connections == failures.connections() => {
            let first = refused.first.as_deref().unwrap_or("connection refused");
            Err(format!("{}: {first}; is the server there?", report.options.target))
        }
        _ => Ok(report),
    }
}

/// A run in one line.
pub fn line(turn: Turn, report: &Report) -> String {
    let result = &report.result;
    let (rate, response) = (units::count(result.messages_per_s.round() as u64), &result.response);
    let [p50, p99, p99_9] = [response.p50_ns, response.p99_ns, response.p99_9_ns].map(units::latency);
    let figures = match result.messages {
        0 => "no message came back".to_owned(),
        _ => format!("{rate}/s, p50 {p50}, p99 {p99}, p99.9 {p99_9}"),
    };
    let failed = match (result.failures.messages(), result.failures.connections()) {
        (0, 0) => String::new(),
        (messages, connections) => format!(", failed: {messages} messages, {connections} connections"),
    };
    let invalid = report.invalid.first().map(|reason| format!("; INVALID: {reason}")).unwrap_or_default();
    let interrupted = if result.interrupted { "; interrupted" } else { "" };
    format!("round {}, {}: {figures}{failed}{invalid}{interrupted}\n", turn.round + 1, report.options.target)
}

/// What all runs of one target have shown, for people: each figure's median and range.
#[derive(Clone, Copy, Debug)]
pub struct Spread<'a>(pub &'a [Report]);

impl Display for Spread<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let whole: Vec<&Report> = self.0.iter().filter(|report| !report.result.interrupted).collect();
        let Some(first) = whole.first() else { return Ok(()) };
        writeln!(f, "{}, {} runs", first.options.target, whole.len())?;
        let runs: Vec<Run> = whole.into_iter().map(Run::from).collect();
        writeln!(f, "  {:<11}{:>14}{:>14}{:>14}", "", "median", "least", "most")?;
        for figure in FIGURES {
            let mut values: Vec<f64> = runs.iter().filter_map(|run| run.value(figure)).collect();
            values.sort_by(f64::total_cmp);
            if let (Some(least), Some(most)) = (values.first(), values.last()) {
                let [median, least, most] = [median(&values), *least, *most].map(|value| figure.show(value));
                writeln!(f, "  {:<11}{median:>14}{least:>14}{most:>14}", figure.name())?;
            }
        }
        let failed = runs.iter().filter(|run| run.failed_share > 0.0).count();
        match failed {
            0 => writeln!(f, "  {:<11}{:>14}", "failed", "none"),
            _ => writeln!(f, "  {:<11}{:>14}", "failed", format!("in {failed} runs")),
        }
    }
}

/// The middle of values that are in order; between two of them if they are even in number.
fn median(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) { f64::midpoint(sorted[half - 1], sorted[half]) } else { sorted[half] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn each_round_has_each_trial_once_and_which_is_first_changes() {
        let all: Vec<Turn> = turns(3, 40, 1).collect();
        let mut first = [0; 3];
        for (round, turns) in all.chunks(3).enumerate() {
            let mut trials: Vec<usize> = turns.iter().map(|turn| turn.trial).collect();
            first[trials[0]] += 1;
            trials.sort_unstable();
            assert!(trials == [0, 1, 2] && turns.iter().all(|turn| turn.round == round));
        }
        assert!(all.len() == 120 && first.iter().all(|count| *count >= 5), "{first:?}");
        assert!(turns(3, 40, 1).eq(all.iter().copied()) && !turns(3, 40, 2).eq(all), "the seed makes the order");
    }

    #[test]
    fn the_spread_has_the_median_and_the_range_of_whole_runs() {
        let mut runs = vec![sample::report(); 5];
        for (run, rate) in runs.iter_mut().zip([5e3, 1e3, 3e3, 4e3, 1.0]) {
            run.result.messages_per_s = rate;
        }
        runs[4].result.interrupted = true;
        let text = Spread(&runs).to_string();
        assert!(text.contains("4 runs") && text.contains("failed               none"), "{text}");
        let rate: Vec<&str> = text.lines().nth(2).unwrap().split_whitespace().collect();
        assert_eq!(rate, ["rate", "3,500/s", "1,000/s", "5,000/s"]);
        assert_eq!(Spread(&[]).to_string(), "");
    }

    #[test]
    fn a_run_s_line_says_what_was_wrong() {
        let mut report = sample::report();
        let turn = Turn { round: 2, trial: 0 };
        assert!(line(turn, &report).starts_with("round 3, tcp://127.0.0.1:4040: 1,000/s, p50 "));
        report.invalid.push("it was late".to_owned());
        report.result.failures.add(Kind::Reset, 3, 1, || None);
        let line = line(turn, &report);
        assert!(line.contains("failed: 3 messages, 1 connections; INVALID: it was late"), "{line}");
    }
}
