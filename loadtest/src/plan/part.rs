//! One process's part of a test that several processes make together.

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::str::FromStr;

/// The most parts of a test.
pub const PARTS_MAX: usize = 10_000;

/// One of several parts, by its number from 0 on, as Kubernetes numbers the pods of an indexed job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    index: usize,
    of: NonZeroUsize,
}

impl Part {
    /// The whole test, in one part.
    pub const WHOLE: Self = Self { index: 0, of: NonZeroUsize::MIN };

    /// Its number, from 0 on.
    pub fn index(self) -> usize {
        self.index
    }

    /// How many parts there are.
    pub fn of(self) -> usize {
        self.of.get()
    }

    /// Which of `total` things are this part's: as many as every other's, or one more.
    pub fn share(self, total: u64) -> Range<u64> {
        let bound = |index: usize| (u128::from(total) * index as u128 / self.of.get() as u128) as u64;
        bound(self.index)..bound(self.index + 1)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "expected a part such as 0/50, the first of fifty, up to 49/50 and {PARTS_MAX} parts, found {text:?}"
            )
        };
        let (index, of) = text.split_once('/').ok_or_else(wrong)?;
        let of: NonZeroUsize = of.parse().ok().filter(|of: &NonZeroUsize| of.get() <= PARTS_MAX).ok_or_else(wrong)?;
        let index = index.parse().ok().filter(|index| *index < of.get()).ok_or_else(wrong)?;
        Ok(Self { index, of })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_have_everything_once() {
        for of in [1, 2, 7, 50] {
            for total in [0, 1, 49, 1_000, u64::MAX] {
                let parts = (0..of).map(|index| format!("{index}/{of}").parse::<Part>().unwrap());
                let shares: Vec<Range<u64>> = parts.map(|part| part.share(total)).collect();
                assert!(shares[0].start == 0 && shares[of - 1].end == total);
                assert!(shares.windows(2).all(|pair| pair[0].end == pair[1].start), "they have no gaps");
                let lengths = || shares.iter().map(|share| share.end - share.start);
                assert!(lengths().max().unwrap() - lengths().min().unwrap() <= 1, "they are even");
            }
        }
        assert_eq!(Part::WHOLE.share(7), 0..7);
    }

    #[test]
    fn a_part_is_read_as_it_is_written() {
        for text in ["0/1", "0/50", "49/50"] {
            assert_eq!(text.parse::<Part>().unwrap().to_string(), text);
        }
        for wrong in ["", "1", "50/50", "-1/2", "0/0", "1/x", "0/10001"] {
            assert!(wrong.parse::<Part>().unwrap_err().contains("0/50"), "{wrong}");
        }
    }
}
