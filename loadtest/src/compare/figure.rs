//! The figures that are compared, as plain numbers, and which way each of them is good.

use serde::Serialize;

use crate::units;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// Messages a second.
    Rate,
    /// The mean response time, in nanoseconds.
    Mean,
    /// Its median.
    P50,
    /// What one response in 100 is above.
    P99,
    /// What one response in 1,000 is above.
    #[serde(rename = "p99_9")]
    P99_9,
    /// The server's processor time for a message, in nanoseconds.
    ServerCpu,
}

/// Every figure, in the order of the reports and of [`Run::values`].
pub const FIGURES: [Figure; 6] =
    [Figure::Rate, Figure::Mean, Figure::P50, Figure::P99, Figure::P99_9, Figure::ServerCpu];

/// What is compared of one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// When it was started, in nanoseconds since 1970.
    pub started_unix_ns: u64,
    /// Each figure; `None` where the run does not have it.
    pub values: [Option<f64>; FIGURES.len()],
    /// Messages and connections that failed, as a share of all.
    pub failed_share: f64,
}

impl Figure {
    /// What a report calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Mean => "mean",
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::P99_9 => "p99.9",
            Self::ServerCpu => "server CPU",
        }
    }

    /// A value of it for people.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Rate => format!("{}/s", units::count(value.round() as u64)),
            _ => units::latency(value.round() as u64),
        }
    }

    /// By how much it is worse, as a share, when it is `ratio` of what it was; less than 0 where it is better.
    pub fn worsening(self, ratio: f64) -> f64 {
        match self {
            Self::Rate => 1.0 - ratio,
            _ => ratio - 1.0,
        }
    }
}

impl Run {
    /// What this figure was, unless the run does not have it or it was 0, of which there is no ratio.
    pub fn value(&self, figure: Figure) -> Option<f64> {
        self.values[figure as usize].filter(|value| value.is_finite() && *value > 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_s_values_are_in_the_order_of_the_figures() {
        for (index, figure) in FIGURES.into_iter().enumerate() {
            let mut run = Run::default();
            run.values[index] = Some(1.0);
            assert_eq!(run.value(figure), Some(1.0));
        }
    }

    #[test]
    fn less_is_worse_for_a_rate_and_better_for_the_rest() {
        assert!((Figure::Rate.worsening(0.9) - 0.1).abs() < 1e-9);
        assert!((Figure::P99.worsening(1.1) - 0.1).abs() < 1e-9);
        assert!(Figure::ServerCpu.worsening(0.9) < 0.0);
    }
}
