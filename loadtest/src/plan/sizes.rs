//! How long messages are: all the same, or drawn from a distribution.

use std::fmt;
use std::str::FromStr;

use crate::plan::SIZE_MAX;
use crate::protocol::pattern::{GAMMA, split_mix};
use crate::units;

/// How many sizes a list may have.
pub const LIST_MAX: usize = 64;

/// The largest weight in a list.
pub const WEIGHT_MAX: u32 = 1_000_000;

/// How many times the mean the longest message of an exponential distribution is. One in nine million draws is longer (e to
/// the -16th), and is cut to this.
pub const EXPONENTIAL_CAP: usize = 16;

/// Keeps the draws of sizes apart from whatever else is drawn for the same connection.
const SALT: u64 = 0x5153_4e75_6d62_6572;

/// How many bytes each message has: 1 to [`SIZE_MAX`].
///
/// A size is a function of the seed, the connection and the message's number, so that nothing about messages in flight need
/// be kept, and a run with the same seed has the same sizes.
///
/// | text | bytes of a message |
/// | --- | --- |
/// | `64`, `16KiB` | always the same |
/// | `uniform:64-1KiB` | each of these, both ends included, equally often |
/// | `exp:512` | the geometric distribution of this mean, which is the exponential one in whole bytes; at most 16 times it |
/// | `64:90,16KiB:10` | each of a list, as often as its weight says |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizes(Shape);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Shape {
    Fixed(usize),
    /// From the first to the second.
    Uniform(usize, usize),
    /// With this mean.
    Exponential(usize),
    /// Sizes with their weights. Invariant: not empty, and no weight is 0.
    List(Box<[(usize, u32)]>),
}

/// The draws of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draws(u64);

impl Draws {
    /// Those of this connection in a run with this seed.
    pub fn new(seed: u64, connection: u64) -> Self {
        Self(nth(seed ^ SALT, connection))
    }
}

impl Sizes {
    /// All messages of this many bytes: 1 to [`SIZE_MAX`].
    pub fn fixed(size: usize) -> Self {
        Self(Shape::Fixed(size))
    }

    /// The bytes of the message of this number on a connection.
    #[inline]
    pub fn of(&self, draws: Draws, number: u64) -> usize {
        match self.0 {
            Shape::Fixed(size) => size,
            _ => self.nth(draws, number),
        }
    }

    /// As [`of`](Self::of), where sizes are drawn. Not inlined, so that a fixed size has the registers to itself.
    #[inline(never)]
    fn nth(&self, draws: Draws, number: u64) -> usize {
        self.draw(nth(draws.0, number))
    }

    /// What this value of 64 random bits means.
    fn draw(&self, bits: u64) -> usize {
        match &self.0 {
            Shape::Fixed(size) => *size,
            Shape::Uniform(least, most) => least + below(bits, (most - least + 1) as u64) as usize,
            Shape::Exponential(mean) => {
                // A geometric variable by inversion: Devroye, "Non-Uniform Random Variate Generation", X.2.
                let failures = (unit(bits).ln() / (-1.0 / *mean as f64).ln_1p()) as usize;
                failures.saturating_add(1).min(self.max())
            }
            Shape::List(list) => {
                let mut left = below(bits, list.iter().map(|(_, weight)| u64::from(*weight)).sum());
                let chosen = list.iter().find(|(_, weight)| match left.checked_sub(u64::from(*weight)) {
                    Some(rest) => {
                        left = rest;
                        false
                    }
                    None => true,
                });
                chosen.map_or(1, |(size, _)| *size)
            }
        }
    }

    /// The least bytes that a message has.
    pub fn min(&self) -> usize {
        match &self.0 {
            Shape::Fixed(size) | Shape::Uniform(size, _) => *size,
            Shape::Exponential(_) => 1,
            Shape::List(list) => list.iter().map(|(size, _)| *size).min().unwrap_or(1),
        }
    }

    /// The most bytes that a message has.
    pub fn max(&self) -> usize {
        match &self.0 {
            Shape::Fixed(size) | Shape::Uniform(_, size) => *size,
            Shape::Exponential(mean) => mean.saturating_mul(EXPONENTIAL_CAP).min(SIZE_MAX),
            Shape::List(list) => list.iter().map(|(size, _)| *size).max().unwrap_or(1),
        }
    }

    /// The bytes of a message on average; of an exponential distribution, before it is cut.
    pub fn mean(&self) -> f64 {
        match &self.0 {
            Shape::Fixed(size) | Shape::Exponential(size) => *size as f64,
            Shape::Uniform(least, most) => (least + most) as f64 / 2.0,
            Shape::List(list) => {
                let total: f64 = list.iter().map(|(_, weight)| f64::from(*weight)).sum();
                list.iter().map(|(size, weight)| *size as f64 * f64::from(*weight)).sum::<f64>() / total
            }
        }
    }
}

/// As it is written on the command line.
impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = |size: usize| units::exact_size(size as u64);
        match &self.0 {
            Shape::Fixed(size) => f.write_str(&exact(*size)),
            Shape::Uniform(least, most) => write!(f, "uniform:{}-{}", exact(*least), exact(*most)),
            Shape::Exponential(mean) => write!(f, "exp:{}", exact(*mean)),
            Shape::List(list) => list.iter().enumerate().try_for_each(|(index, (size, weight))| {
                write!(f, "{}{}:{weight}", if index == 0 { "" } else { "," }, exact(*size))
            }),
        }
    }
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = if let Some(range) = text.strip_prefix("uniform:") {
            uniform(range)?
        } else if let Some(mean) = text.strip_prefix("exp:") {
            Shape::Exponential(size(mean)?)
        } else if text.contains([':', ',']) {
            list(text)?
        } else {
            Shape::Fixed(size(text)?)
        };
        Ok(Self(shape))
    }
}

fn uniform(range: &str) -> Result<Shape, String> {
    let (least, most) =
        range.split_once('-').ok_or_else(|| format!("expected a range such as uniform:64-1KiB, found {range:?}"))?;
    let (least, most) = (size(least)?, size(most)?);
    if least > most {
        return Err(format!("the range begins above its end: write uniform:{most}-{least}"));
    }
    Ok(Shape::Uniform(least, most))
}

fn list(text: &str) -> Result<Shape, String> {
    let list: Vec<_> = text.split(',').map(weighted).collect::<Result<_, _>>()?;
    if list.len() > LIST_MAX {
        return Err(format!("a list may have {LIST_MAX} sizes, and this one has {}", list.len()));
    }
    Ok(Shape::List(list.into()))
}

fn weighted(text: &str) -> Result<(usize, u32), String> {
    let wrong = || format!("expected a size and its weight, 1 to {WEIGHT_MAX}, such as 64:90, found {text:?}");
    let (bytes, weight) = text.split_once(':').ok_or_else(wrong)?;
    let weight = weight.parse().ok().filter(|weight| (1..=WEIGHT_MAX).contains(weight)).ok_or_else(wrong)?;
    Ok((size(bytes)?, weight))
}

/// The value of this index in the stream of SplitMix64 that begins at `state`, without those before it.
#[inline]
fn nth(state: u64, index: u64) -> u64 {
    split_mix(&mut state.wrapping_add(GAMMA.wrapping_mul(index)))
}

/// A number below `bound`, which is not 0, from 64 random bits. It is uneven by less than `bound` in 2^64 (Lemire, "Fast random
/// integer generation in an interval", ACM TOMACS 29, 2019).
fn below(bits: u64, bound: u64) -> u64 {
    ((u128::from(bits) * u128::from(bound)) >> 64) as u64
}

/// A number above 0 and at most 1, in steps of 2^-53, from 64 random bits: one that has a logarithm.
fn unit(bits: u64) -> f64 {
    ((bits >> 11) + 1) as f64 / (1_u64 << 53) as f64
}

fn size(text: &str) -> Result<usize, String> {
    let bytes = units::parse_size(text)?;
    let size = usize::try_from(bytes).ok().filter(|size| (1..=SIZE_MAX).contains(size));
    size.ok_or_else(|| format!("must be 1 to {SIZE_MAX} bytes"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sizes(text: &str) -> Sizes {
        text.parse().unwrap()
    }

    fn drawn(sizes: &Sizes, count: u64) -> Vec<usize> {
        let draws = Draws::new(1, 0);
        (0..count).map(|number| sizes.of(draws, number)).collect()
    }

    #[test]
    fn every_form_is_read_and_written_back() {
        for text in ["64", "16KiB", "1MiB", "uniform:64-1KiB", "uniform:5-5", "exp:512", "64:90,16KiB:10", "7:1"] {
            assert_eq!(sizes(text).to_string(), text);
        }
        assert_eq!(sizes("1024B").to_string(), "1KiB");
    }

    #[test]
    fn what_is_wrong_is_told_with_what_to_write() {
        let long = vec!["1:1"; LIST_MAX + 1].join(",");
        for (text, part) in [
            ("0", "must be 1 to 16777216 bytes"),
            ("17MiB", "must be 1 to 16777216 bytes"),
            ("big", "expected a size such as 64"),
            ("uniform:64", "uniform:64-1KiB"),
            ("uniform:9-8", "write uniform:8-9"),
            ("exp:0", "must be 1 to 16777216 bytes"),
            ("64:90,16KiB", "such as 64:90, found \"16KiB\""),
            ("64:0", "its weight, 1 to 1000000"),
            ("64,32", "its weight"),
            ("normal:64", "found \"normal\""),
            (&long, "may have 64 sizes, and this one has 65"),
        ] {
            let error = text.parse::<Sizes>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn each_distribution_has_its_mean_and_keeps_within_its_ends() {
        for text in ["64", "uniform:1-1000", "exp:512", "exp:1", "exp:3", "64:90,16KiB:10", "1:1,2:1,3:2"] {
            let (sizes, count) = (sizes(text), 200_000);
            let drawn = drawn(&sizes, count);
            assert!(drawn.iter().all(|size| (sizes.min()..=sizes.max()).contains(size)), "{text}");
            let mean = drawn.iter().sum::<usize>() as f64 / count as f64;
            // Six standard errors of the widest of them, whose deviation is 2.7 times its mean.
            assert!((mean / sizes.mean() - 1.0).abs() < 6.0 * 2.7 / (count as f64).sqrt(), "{text}: {mean}");
        }
        assert_eq!(sizes("exp:16MiB").max(), SIZE_MAX);
    }

    #[test]
    fn both_ends_of_a_range_and_all_of_a_list_occur_as_often_as_they_should() {
        for (text, expected) in [("uniform:3-5", [1.0, 1.0, 1.0]), ("3:1,4:2,5:6", [1.0, 2.0, 6.0])] {
            let drawn = drawn(&sizes(text), 90_000);
            let total: f64 = expected.iter().sum();
            for (size, weight) in (3..).zip(expected) {
                let share = drawn.iter().filter(|drawn| **drawn == size).count() as f64 / drawn.len() as f64;
                assert!((share - weight / total).abs() < 0.01, "{text}: {size} is {share} of all");
            }
        }
    }

    #[test]
    fn the_seed_and_the_connection_and_the_number_make_the_size() {
        let sizes = sizes("uniform:1-1000000");
        let of = |seed, connection, number| sizes.of(Draws::new(seed, connection), number);
        assert_eq!(of(1, 2, 3), of(1, 2, 3));
        for other in [of(2, 2, 3), of(1, 3, 3), of(1, 2, 4)] {
            assert_ne!(of(1, 2, 3), other);
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_what_is_read_is_written_so_that_it_reads_the_same(
            text in "\\PC*|(uniform:|exp:)?[0-9]{1,9}(KiB|MiB)?([-:,][0-9]{1,4}){0,3}"
        ) {
            if let Ok(sizes) = text.parse::<Sizes>() {
                prop_assert_eq!(sizes.to_string().parse(), Ok(sizes));
            }
        }

        #[test]
        fn every_draw_is_in_range(least in 1_usize..SIZE_MAX, more in 0_usize..SIZE_MAX, bits: u64) {
            let most = (least + more).min(SIZE_MAX);
            for shape in [Shape::Uniform(least, most), Shape::Exponential(least), Shape::List([(least, 3), (most, 1)].into())] {
                let sizes = Sizes(shape);
                prop_assert!((sizes.min()..=sizes.max()).contains(&sizes.draw(bits)), "{sizes}");
            }
        }
    }
}
