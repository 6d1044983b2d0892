//! What a search has found: the throughput-latency curve, the bounds, and the answer in a sentence.

use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize};

use crate::search::bounds::{End, Judgement};
use crate::search::objective::percent;
use crate::search::trial::Point;
use crate::units;

/// What a search has found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    /// What was to hold, all of it.
    pub objectives: Vec<String>,
    /// Why the search was over.
    pub end: End,
    /// The highest rate that held below all that failed, in messages a second.
    pub lower: Option<f64>,
    /// The lowest rate that failed.
    pub upper: Option<f64>,
    /// Every trial, in the order in which they were made.
    pub points: Vec<Point>,
}

impl Findings {
    /// Whether the highest rate was found.
    pub fn is_found(&self) -> bool {
        self.end == End::Found
    }

    /// What was to hold, in one text.
    pub fn target(&self) -> String {
        self.objectives.join(" and ")
    }

    /// The answer, as one sentence.
    pub fn answer(&self) -> String {
        let targets = self.target();
        let name = |rate: Option<f64>| rate.map(|rate| format!("{}/s", rate_text(rate)));
        let (lower, upper) = (name(self.lower), name(self.upper));
        let between = match (&lower, &upper) {
            (Some(lower), Some(upper)) => format!("{lower} held and {upper} did not"),
            (Some(lower), None) => format!("{lower} held"),
            (None, Some(upper)) => format!("{upper} did not hold"),
            (None, None) => "no trial was made to its end".to_owned(),
        };
        let (lower, upper) = (lower.unwrap_or_default(), upper.unwrap_or_default());
        match self.end {
            End::Found => format!("{targets} hold up to {lower}, and not at {upper}; two trials of each say so"),
            End::NothingHeld => format!("{targets} do not hold even at {upper}"),
            End::Unlimited => format!("{targets} hold at {lower}, and no higher rate can be asked for"),
            End::Generator => {
                let above = |point: &&Point| self.lower.is_none_or(|lower| point.asked > lower);
                let spoilt = self.points.iter().filter(|point| point.judgement == Judgement::Spoilt).filter(above);
                let lowest = spoilt.min_by(|one, other| one.asked.total_cmp(&other.asked));
                let (at, why) = lowest.map(|point| (rate_text(point.asked), point.why.join(", "))).unwrap_or_default();
                format!("the generator is the limit, at {at}/s: {why}; use more --shards; of the server, {between}")
            }
            End::TrialsUsed => {
                format!(
                    "not found in {} trials: {between}, but the two are not confirmed; use more --trials-max",
                    self.points.len()
                )
            }
            End::Interrupted => format!("interrupted: so far {between}"),
        }
    }
}

impl Display for Findings {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:>13} {:>13} {:>9} {:>9} {:>9} {:>8}  held",
            "asked/s", "achieved/s", "p50", "p99", "p99.9", "failed"
        )?;
        let mut points: Vec<&Point> = self.points.iter().collect();
        // Stable: trials of the same rate stay in the order in which they were made.
        points.sort_by(|one, other| one.asked.total_cmp(&other.asked));
        points.iter().try_for_each(|point| writeln!(f, "{}", row(point)))?;
        writeln!(f, "{}", self.answer())
    }
}

fn row(point: &Point) -> String {
    let rates = [point.asked, point.achieved].map(rate_text);
    let times = [point.p50_ns, point.p99_ns, point.p99_9_ns];
    // Of no messages there are no times.
    let times = times.map(|nanos| if point.achieved > 0.0 { units::latency(nanos) } else { "-".to_owned() });
    // Two digits of a share are enough beside the others; the JSON has all.
    let failed = percent((point.failures * 1e4).round() / 1e4);
    let ([asked, achieved], [p50, p99, p99_9]) = (rates, times);
    format!("{asked:>13} {achieved:>13} {p50:>9} {p99:>9} {p99_9:>9} {failed:>8}  {}", held(point))
}

/// What a trial came to, as a part of a sentence.
pub(crate) fn verdict(point: &Point) -> String {
    format!("{}/s, held: {}", rate_text(point.asked), held(point))
}

/// Whether it held, and if not, why.
fn held(point: &Point) -> String {
    let why = point.why.join(", ");
    match point.judgement {
        Judgement::Held => "yes".to_owned(),
        Judgement::Failed => format!("no, {why}"),
        Judgement::Spoilt => format!("unknown, {why}"),
    }
}

/// A rate with as many digits as people want.
pub(crate) fn rate_text(rate: f64) -> String {
    if rate < 100.0 { format!("{rate:.1}") } else { units::count(rate.round() as u64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(asked: f64, judgement: Judgement, why: &str) -> Point {
        let why = if why.is_empty() { vec![] } else { vec![why.to_owned()] };
        let (p50_ns, p99_ns, p99_9_ns) = (50_000, 1_000_000, 999_000_000);
        Point { asked, achieved: asked - 1.0, p50_ns, p99_ns, p99_9_ns, failures: 0.000_12, judgement, why }
    }

    fn findings(end: End) -> Findings {
        Findings {
            objectives: vec!["p99<2ms".to_owned(), "failures<0.1%".to_owned()],
            end,
            lower: Some(2_000.0),
            upper: Some(2_039.0),
            points: vec![
                point(1_000.0, Judgement::Held, ""),
                point(2_039.0, Judgement::Failed, "p99 3.00 ms"),
                point(2_000.0, Judgement::Held, ""),
                point(1_500.0, Judgement::Spoilt, "late"),
                point(2_100.0, Judgement::Spoilt, "late"),
                point(4_000.0, Judgement::Spoilt, "later"),
            ],
        }
    }

    #[test]
    fn the_curve_is_in_the_order_of_the_rates_with_its_columns_in_line() {
        let text = findings(End::Found).to_string();
        let lines: Vec<_> = text.lines().collect();
        let asked: Vec<_> = lines[1..7].iter().map(|line| line.split_whitespace().next().unwrap()).collect();
        assert_eq!(asked, ["1,000", "1,500", "2,000", "2,039", "2,100", "4,000"], "{text}");
        let column = lines[0].chars().count() - "held".len();
        for (line, verdict) in lines[1..5].iter().zip(["yes", "unknown, late", "yes", "no, p99 3.00 ms"]) {
            assert_eq!(line.chars().skip(column).collect::<String>(), verdict, "{text}");
        }
    }

    #[test]
    fn every_end_has_its_sentence() {
        for (end, sentence) in [
            (End::Found, "p99<2ms and failures<0.1% hold up to 2,000/s, and not at 2,039/s; two trials of each say so"),
            (End::NothingHeld, "do not hold even at 2,039/s"),
            (End::Unlimited, "hold at 2,000/s, and no higher rate can be asked for"),
            (
                End::Generator,
                "the generator is the limit, at 2,100/s: late; use more --shards; of the server, 2,000/s held",
            ),
            (End::TrialsUsed, "not found in 6 trials: 2,000/s held and 2,039/s did not"),
            (End::Interrupted, "interrupted: so far 2,000/s held and 2,039/s did not"),
        ] {
            let text = findings(end).to_string();
            assert!(text.lines().last().unwrap().contains(sentence), "{text}");
        }
        let nothing = Findings { lower: None, upper: None, points: vec![], ..findings(End::Interrupted) };
        assert!(nothing.to_string().ends_with("so far no trial was made to its end\n"), "{nothing}");
    }
}
