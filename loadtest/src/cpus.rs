//! Sets of CPUs as taskset(1) and the kernel write them: `0-3,8`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The most that a number in a list may be: far more than a kernel supports, and few enough to list.
const CPU_MAX: usize = 65_535;

/// CPUs in the order in which they were named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpus(Vec<usize>);

impl Cpus {
    /// Their numbers.
    pub fn numbers(&self) -> &[usize] {
        &self.0
    }

    /// Adds those of `other` that are missing.
    pub fn add(&mut self, other: &Self) {
        self.0.extend(&other.0);
        self.0.sort_unstable();
        self.0.dedup();
    }

    /// Those that are in both.
    pub fn shared_with(&self, other: &Self) -> Self {
        self.0.iter().copied().filter(|cpu| other.0.contains(cpu)).collect()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<usize> for Cpus {
    fn from_iter<I: IntoIterator<Item = usize>>(numbers: I) -> Self {
        Self(numbers.into_iter().collect())
    }
}

impl FromStr for Cpus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected CPU numbers such as 0,1 or 0-3, found {text:?}");
        let number = |text: &str| text.trim().parse::<usize>().ok().filter(|cpu| *cpu <= CPU_MAX).ok_or_else(wrong);
        let mut cpus = Vec::new();
        for part in text.trim().split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last || cpus.len() > CPU_MAX {
                return Err(wrong());
            }
            cpus.extend(first..=last);
        }
        Ok(Self(cpus))
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, run) in self.0.chunk_by(|a, b| a + 1 == *b).enumerate() {
            let comma = if index > 0 { "," } else { "" };
            match run {
                [first, .., last] => write!(f, "{comma}{first}-{last}")?,
                single => write!(f, "{comma}{}", single[0])?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_and_ranges_are_read_in_their_order() {
        assert_eq!("0-2,8".parse::<Cpus>().unwrap().numbers(), [0, 1, 2, 8]);
        assert_eq!("3,0".parse::<Cpus>().unwrap().numbers(), [3, 0]);
        for wrong in ["", "a", "1-", "2-1", "0,,1", "-1", "65536", "0-18446744073709551615"] {
            assert!(wrong.parse::<Cpus>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_two_sets_share_is_found() {
        let (some, others): (Cpus, Cpus) = ("0-3".parse().unwrap(), "2-5".parse().unwrap());
        assert_eq!(some.shared_with(&others).to_string(), "2-3");
        assert!(some.shared_with(&"9".parse().unwrap()).is_empty());
    }

    proptest! {
        #[test]
        fn a_set_that_is_written_is_read_back(numbers in proptest::collection::btree_set(0_usize..2_000, 1..40)) {
            let cpus: Cpus = numbers.into_iter().collect();
            prop_assert_eq!(cpus.to_string().parse::<Cpus>(), Ok(cpus));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC*|[0-9,-]{0,30}") {
            let _ = text.parse::<Cpus>();
        }
    }
}
