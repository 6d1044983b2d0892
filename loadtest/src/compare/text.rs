//! A comparison for people: a table for each candidate.

use std::fmt::{self, Display, Formatter};

use super::{Candidate, Change, Comparison, FailureChange, Verdict};

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for candidate in &self.candidates {
            let Candidate { name, runs: [one, other], .. } = candidate;
            let how = if candidate.paired { "in pairs, round by round" } else { "not in pairs" };
            writeln!(f, "{name}, {other} runs, beside {}, {one} runs; {how}", self.baseline)?;
            writeln!(f, "  {:<11}{:>12}{:>14}{:>10}  {:<21}", "", "baseline", "candidate", "change", "95 % interval")?;
            for change in &candidate.changes {
                write_change(f, change, self.bound)?;
            }
            write_failures(f, candidate.failures, self.bound)?;
        }
        self.warnings.iter().try_for_each(|warning| writeln!(f, "warning: {warning}"))
    }
}

fn write_change(f: &mut Formatter<'_>, change: &Change, bound: f64) -> fmt::Result {
    let Change { figure, baseline, candidate, ratio, .. } = change;
    let (name, change_percent) = (figure.name(), percent(*ratio));
    write!(f, "  {name:<11}{:>12}{:>14}{change_percent:>10}", figure.show(*baseline), figure.show(*candidate))?;
    let interval = change
        .interval
        .map_or_else(|| "none".to_owned(), |[low, high]| format!("{} to {}", percent(low), percent(high)));
    write!(f, "  {interval:<21}")?;
    match (change.verdict, change.interval) {
        (Verdict::NoDifferenceSeen, Some([low, high])) => {
            // Half of the interval: what is as large as that would just have been seen.
            writeln!(f, "no difference seen; {:.1} % could hide", ((high / low).sqrt() - 1.0) * 100.0)
        }
        (verdict, _) => writeln!(f, "{}", words(verdict, change.regression, bound)),
    }
}

fn write_failures(f: &mut Formatter<'_>, failures: FailureChange, bound: f64) -> fmt::Result {
    let FailureChange { baseline, candidate, verdict, regression } = failures;
    if baseline == 0.0 && candidate == 0.0 {
        return writeln!(f, "  {:<11}{:>12}{:>14}", "failed", "none", "none");
    }
    let share = |share: f64| format!("{:.3} %", share * 100.0);
    let words = words(verdict, regression, bound);
    writeln!(f, "  {:<11}{:>12}{:>14}{:>10}  {:<21}{words}", "failed", share(baseline), share(candidate), "", "")
}

fn words(verdict: Verdict, regression: bool, bound: f64) -> String {
    match verdict {
        Verdict::TooFewRuns => "too few runs to tell".to_owned(),
        Verdict::NoDifferenceSeen => "no difference seen".to_owned(),
        Verdict::Better => "better".to_owned(),
        Verdict::Worse if regression => format!("WORSE by more than {} %", bound * 100.0),
        Verdict::Worse => "worse".to_owned(),
    }
}

/// A ratio as a change, such as +3.2 %.
fn percent(ratio: f64) -> String {
    format!("{:+.1} %", (ratio - 1.0) * 100.0)
}

#[cfg(test)]
mod tests {
    use super::super::tests::side;
    use super::*;
    use crate::stats::Random;

    #[test]
    fn a_comparison_is_a_table_of_lines_that_fit() {
        let mut random = Random::new(3);
        let baseline = side("A.json", &[0, 2, 4, 6, 8, 10, 12, 14], 1.0, &mut random);
        let candidate = side("B.json", &[1, 3, 5, 7, 9, 11, 13, 15], 1.5, &mut random);
        let text = Comparison::new(&baseline, &[candidate], 0.05).to_string();
        assert!(text.lines().all(|line| line.chars().count() <= 110), "{text}");
        assert!(text.contains("in pairs, round by round") && text.contains("WORSE by more than 5 %"), "{text}");
        assert!(text.contains("no difference seen; ") && text.contains("none          none"), "{text}");
    }
}
