//! The scaling table of a sweep: what each number of shards did, against the fewest; pure.

use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize};

use crate::stats::usl::{Fit, POINTS_MIN};
use crate::units;

/// What one run of a sweep has shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measurement {
    /// Messages a second.
    pub rate: f64,
    /// The server's CPU time for a message, in nanoseconds.
    pub cpu_ns: Option<f64>,
    /// The 99th percentile of the response times, in nanoseconds.
    pub p99_ns: u64,
    /// Whether the generator was at its limit, so that a faster server would not have shown.
    pub generator_bound: bool,
}

/// One number of shards; of several runs the median.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// How many shards.
    pub n: u32,
    /// Messages a second.
    pub rate: f64,
    /// The lowest of the runs.
    pub rate_min: f64,
    /// The highest of the runs.
    pub rate_max: f64,
    /// The rate, over that of the row with the fewest shards.
    pub speed_up: f64,
    /// The speed-up, over how many times as many shards there are: 1 is linear.
    pub efficiency: f64,
    /// The server's CPU time for a message, in nanoseconds.
    pub cpu_ns: Option<f64>,
    /// The 99th percentile of the response times, in nanoseconds.
    pub p99_ns: u64,
    /// Whether the generator was at its limit in any run, so that the rate is a lower bound.
    pub generator_bound: bool,
}

/// The scaling table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scaling {
    /// A row for each number of shards, fewest first.
    pub rows: Vec<Row>,
    /// The Universal Scalability Law, where there are enough rows that the generator did not limit.
    pub law: Option<Fit>,
}

impl Scaling {
    /// The table of what was measured with each number of shards. Those without a run have no row.
    pub fn new(measured: impl IntoIterator<Item = (u32, Vec<Measurement>)>) -> Self {
        let mut rows: Vec<Row> = measured.into_iter().filter_map(|(n, runs)| Row::new(n, &runs)).collect();
        rows.sort_by_key(|row| row.n);
        if let Some((n, rate)) = rows.first().map(|first| (first.n, first.rate)) {
            for row in &mut rows {
                row.speed_up = if rate > 0.0 { row.rate / rate } else { 0.0 };
                row.efficiency = row.speed_up * f64::from(n) / f64::from(row.n);
            }
        }
        let law = Fit::new(&believed(&rows));
        Self { rows, law }
    }
}

/// The points that say something of the server.
fn believed(rows: &[Row]) -> Vec<(f64, f64)> {
    rows.iter().filter(|row| !row.generator_bound).map(|row| (f64::from(row.n), row.rate)).collect()
}

impl Row {
    fn new(n: u32, runs: &[Measurement]) -> Option<Self> {
        let rates = || runs.iter().map(|run| run.rate);
        let p99 = median(runs.iter().map(|run| run.p99_ns as f64))?;
        Some(Self {
            n,
            rate: median(rates())?,
            rate_min: rates().fold(f64::INFINITY, f64::min),
            rate_max: rates().fold(0.0, f64::max),
            speed_up: 1.0,
            efficiency: 1.0,
            cpu_ns: median(runs.iter().filter_map(|run| run.cpu_ns)),
            p99_ns: p99 as u64,
            generator_bound: runs.iter().any(|run| run.generator_bound),
        })
    }
}

/// The middle one, or the mean of the two in the middle.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let (last, middle) = (values.len().checked_sub(1)?, values.len() / 2);
    Some((values[last / 2] + values[middle]) / 2.0)
}

impl Display for Scaling {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:>5} {:>13}  {:>25} {:>9} {:>11} {:>14} {:>9}",
            "n", "messages/s", "lowest to highest", "speed-up", "efficiency", "CPU a message", "p99"
        )?;
        for row in &self.rows {
            let rate = |rate: f64| units::count(rate.round() as u64);
            let mark = if row.generator_bound { '*' } else { ' ' };
            let range = format!("{} to {}", rate(row.rate_min), rate(row.rate_max));
            let efficiency = format!("{:.0} %", row.efficiency * 100.0);
            let cpu = row.cpu_ns.map_or_else(|| "-".to_owned(), |nanos| units::latency(nanos as u64));
            writeln!(
                f,
                "{:>5} {:>13}{mark} {range:>25} {:>9.2} {efficiency:>11} {cpu:>14} {:>9}",
                row.n,
                rate(row.rate),
                row.speed_up,
                units::latency(row.p99_ns)
            )?;
        }
        if self.rows.iter().any(|row| row.generator_bound) {
            writeln!(f, "* the generator was at its limit: the rate is a lower bound; use more --generator-shards")?;
        }
        match self.law {
            Some(law) => write_law(f, &law),
            None => {
                let points = believed(&self.rows).len();
                writeln!(f, "no fit of the Universal Scalability Law: it takes {POINTS_MIN} points and has {points}")
            }
        }
    }
}

fn write_law(f: &mut Formatter<'_>, law: &Fit) -> fmt::Result {
    let Fit { lambda, sigma, kappa, residual } = law;
    let lambda = units::count(lambda.round() as u64);
    write!(f, "Universal Scalability Law: one does {lambda}/s, contention {:.2} %, ", sigma * 100.0)?;
    writeln!(f, "agreement {:.4} %, residual {:.1} %", kappa * 100.0, residual * 100.0)?;
    match law.peak() {
        Some(peak) => {
            writeln!(f, "its peak is at n = {peak:.0}, with {}/s", units::count(law.rate(peak).round() as u64))
        }
        None => writeln!(f, "it has no peak: more shards never do less"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rate: f64) -> Measurement {
        Measurement { rate, cpu_ns: Some(4_000.0), p99_ns: 1_000_000, generator_bound: false }
    }

    #[test]
    fn each_row_is_the_median_of_its_runs_against_the_fewest_shards() {
        let scaling = Scaling::new([
            (4, vec![run(300.0), run(290.0)]),
            (1, vec![run(90.0), run(100.0), run(120.0)]),
            (2, vec![]),
        ]);
        let [one, four] = &scaling.rows[..] else { panic!("{scaling:?}") };
        assert_eq!((one.n, one.rate, one.rate_min, one.rate_max), (1, 100.0, 90.0, 120.0));
        assert_eq!((one.speed_up, one.efficiency), (1.0, 1.0));
        assert_eq!((four.rate, four.speed_up), (295.0, 2.95));
        assert!((four.efficiency - 0.7375).abs() < 1e-9);
    }

    #[test]
    fn a_sweep_that_begins_with_two_takes_those_for_linear() {
        let scaling = Scaling::new([(2, vec![run(200.0)]), (8, vec![run(600.0)])]);
        assert_eq!((scaling.rows[1].speed_up, scaling.rows[1].efficiency), (3.0, 0.75));
    }

    #[test]
    fn a_rate_that_the_generator_has_limited_is_marked_and_not_fitted() {
        let bound = Measurement { generator_bound: true, ..run(100.0) };
        let rows = (1..=6).map(|n| (n, vec![run(100.0 * f64::from(n))]));
        let fitted = Scaling::new(rows.clone());
        assert!(fitted.law.is_some() && !fitted.to_string().contains('*'), "{fitted}");
        let marked = Scaling::new(rows.chain([(7, vec![run(600.0), bound])]));
        assert_eq!(marked.law, fitted.law);
        assert!(marked.to_string().contains("* the generator was at its limit"), "{marked}");
        let too_few = Scaling::new([(1, vec![bound]), (2, vec![run(200.0)])]);
        assert!(too_few.to_string().contains("it takes 6 points and has 1"), "{too_few}");
    }

    #[test]
    fn the_table_s_columns_stay_in_line_and_within_a_hundred_columns() {
        let mut measured: Vec<_> = (1..=6).map(|n| (n, vec![run(12_345_678.0 * f64::from(n))])).collect();
        measured[2].1[0].generator_bound = true;
        measured[3].1[0].cpu_ns = None;
        let text = Scaling::new(measured).to_string();
        let widths: Vec<_> = text.lines().take(7).map(|line| line.chars().count()).collect();
        assert!(widths.iter().all(|width| *width == widths[0] && *width <= 100), "{widths:?}\n{text}");
    }

    #[test]
    fn a_server_that_gave_no_answer_is_a_row_of_zeros() {
        let scaling = Scaling::new([(1, vec![run(0.0)]), (2, vec![run(0.0)])]);
        assert_eq!((scaling.rows[1].speed_up, scaling.law), (0.0, None));
    }
}
