//! What a server is asked to hold: `p99<2ms`, or `failures<0.1%`.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;
use std::time::Duration;

use crate::units;

/// What a figure of a trial must be below.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Objective {
    /// A figure of the response times.
    Response(Figure, Duration),
    /// The share of the scheduled messages that failed: 0 to 1.
    Failures(f64),
}

/// A figure of the response times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// The median.
    P50,
    /// The 90th percentile.
    P90,
    /// The 99th percentile.
    P99,
    /// The 99.9th percentile.
    P99_9,
    /// The 99.99th percentile.
    P99_99,
    /// The longest.
    Max,
    /// The mean.
    Mean,
}

impl Figure {
    /// All of them.
    const ALL: [Self; 7] = [Self::P50, Self::P90, Self::P99, Self::P99_9, Self::P99_99, Self::Max, Self::Mean];

    /// As it is written in an objective.
    pub fn name(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P90 => "p90",
            Self::P99 => "p99",
            Self::P99_9 => "p99.9",
            Self::P99_99 => "p99.99",
            Self::Max => "max",
            Self::Mean => "mean",
        }
    }
}

impl FromStr for Objective {
    type Err = String;

    /// Reads `FIGURE<BOUND`; the error is the end of a sentence.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected a target such as 'p99<2ms' or 'failures<0.1%', found {text:?}");
        let (figure, bound) = text.split_once('<').ok_or_else(wrong)?;
        let (figure, bound) = (figure.trim(), bound.trim());
        if figure == "failures" {
            return parse_share(bound).map(Self::Failures);
        }
        let figure = Figure::ALL.into_iter().find(|known| known.name() == figure).ok_or_else(|| {
            let names = Figure::ALL.map(Figure::name).join(", ");
            format!("expected one of {names} or failures before the <, found {figure:?}")
        })?;
        let bound = units::parse_duration(bound)?;
        if bound.is_zero() {
            return Err(format!("nothing is below 0s: {text:?}"));
        }
        Ok(Self::Response(figure, bound))
    }
}

impl Display for Objective {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Response(figure, bound) => write!(f, "{}<{}", figure.name(), units::exact_duration(*bound)),
            Self::Failures(share) => write!(f, "failures<{}", percent(*share)),
        }
    }
}

/// Writes a share such as 0.001 as `0.1%`.
pub(crate) fn percent(share: f64) -> String {
    // Six digits hide what the product adds to a decimal fraction.
    format!("{}%", (share * 1e8).round() / 1e6)
}

/// Reads a share such as `0.1%`, above 0 and at most 100 %.
///
/// # Errors
///
/// What is wrong with it, as the end of a sentence.
pub fn parse_share(text: &str) -> Result<f64, String> {
    let percent = text.trim().strip_suffix('%').and_then(|number| number.parse::<f64>().ok());
    let share = percent.map(|percent| percent / 100.0).filter(|share| *share > 0.0 && *share <= 1.0);
    share.ok_or_else(|| format!("expected a share such as 0.1%, above 0% and at most 100%, found {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objectives_are_read_as_they_are_written() {
        for text in ["p50<1ms", "p99<2ms", "p99.9<10ms", "p99.99<1500us", "max<1s", "mean<250us", "failures<0.1%"] {
            assert_eq!(text.parse::<Objective>().map(|objective| objective.to_string()), Ok(text.to_owned()));
        }
        assert_eq!(" p99 < 2ms ".parse(), Ok(Objective::Response(Figure::P99, Duration::from_millis(2))));
        assert_eq!("failures<5%".parse(), Ok(Objective::Failures(0.05)));
    }

    #[test]
    fn what_is_no_objective_is_told_with_the_part_that_is_wrong() {
        for (text, part) in [
            ("", "'p99<2ms'"),
            ("p99", "'p99<2ms'"),
            ("p99>2ms", "'p99<2ms'"),
            ("p98<2ms", "one of p50, p90, p99, p99.9, p99.99, max, mean or failures"),
            ("p99<2", "a duration such as 10s"),
            ("p99<0s", "nothing is below 0s"),
            ("failures<1", "a share such as 0.1%"),
            ("failures<0%", "above 0%"),
            ("failures<101%", "at most 100%"),
            ("failures<NaN%", "a share such as 0.1%"),
        ] {
            let error = text.parse::<Objective>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
