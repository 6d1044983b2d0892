//! How long a connection of a closed loop waits between a reply and its next message.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::plan::schedule::{exponential, uniform};
use crate::units;

/// The longest think time.
pub const THINK_MAX: Duration = Duration::from_secs(3_600);

/// How long a connection waits between a reply and its next message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Think {
    /// Always as long.
    Fixed(Duration),
    /// Exponentially distributed, with this mean.
    Exponential(Duration),
}

impl Think {
    /// How long the next one is. `state` is that of the generator.
    pub fn next(self, state: &mut u64) -> Duration {
        match self {
            Self::Fixed(time) => time,
            Self::Exponential(mean) => mean.mul_f64(exponential(state)),
        }
    }

    /// How long the first one is: what is left of one that has begun some time before, so that the connections do not come
    /// in step.
    pub fn first(self, state: &mut u64) -> Duration {
        match self {
            Self::Fixed(time) => time.mul_f64(uniform(state)),
            // It has no memory.
            Self::Exponential(_) => self.next(state),
        }
    }
}

impl fmt::Display for Think {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(time) => write!(f, "{}", units::exact_duration(*time)),
            Self::Exponential(mean) => write!(f, "exp:{}", units::exact_duration(*mean)),
        }
    }
}

impl FromStr for Think {
    type Err = String;

    /// Reads `5ms`, or `exp:5ms`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (make, time): (fn(Duration) -> Self, _) = match text.strip_prefix("exp:") {
            Some(mean) => (Self::Exponential, mean),
            None => (Self::Fixed, text),
        };
        let time = units::parse_duration(time)?;
        if time.is_zero() || time > THINK_MAX {
            return Err(format!("must be more than nothing and at most {}", units::exact_duration(THINK_MAX)));
        }
        Ok(make(time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_written_back() {
        for text in ["5ms", "exp:5ms", "1h"] {
            assert_eq!(text.parse::<Think>().unwrap().to_string(), text);
        }
        for (text, part) in [("0s", "more than nothing"), ("2h", "at most 1h"), ("exp:", "expected a duration")] {
            assert!(text.parse::<Think>().unwrap_err().contains(part), "{text}");
        }
    }

    #[test]
    fn the_mean_is_the_one_asked_for_and_the_first_is_a_part_of_one() {
        let mean = |think: fn(&mut u64) -> Duration| {
            let mut state = 1;
            (0..100_000).map(|_| think(&mut state).as_secs_f64()).sum::<f64>() / 100_000.0
        };
        let second = Duration::from_secs(1);
        assert!((mean(|state| Think::Exponential(Duration::from_secs(1)).next(state)) - 1.0).abs() < 0.014);
        assert!((mean(|state| Think::Fixed(Duration::from_secs(1)).first(state)) - 0.5).abs() < 0.004);
        assert_eq!(Think::Fixed(second).next(&mut 1), second);
    }
}
