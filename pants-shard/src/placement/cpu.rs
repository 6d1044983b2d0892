//! The numbers of CPUs, and lists of them as the kernel and its tools write them: `0-3,8`.

use std::fmt;

/// A CPU's number, below [`CpuId::LIMIT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuId(usize);

impl CpuId {
    /// The number of CPUs in libc's `cpu_set_t`; see `CPU_SET(3)`. A CPU past it cannot be pinned.
    pub const LIMIT: usize = 1024;

    /// The CPU with this number, unless it is [`CpuId::LIMIT`] or more.
    #[must_use]
    pub fn new(id: usize) -> Option<Self> {
        (id < Self::LIMIT).then_some(Self(id))
    }

    /// The CPU's number, as the kernel counts.
    #[must_use]
    pub fn get(self) -> usize {
        self.0
    }
}

impl fmt::Display for CpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Reads one part of a list, a number or two with a dash between them: the first and the last that it names.
pub(crate) fn cpu_range(text: &str) -> Option<(usize, usize)> {
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    (first <= last).then_some((first, last))
}

/// Reads a list that the kernel has written. What is no range, or is past the numbers of CPUs, is left out.
pub(super) fn kernel_list(text: &str) -> impl Iterator<Item = usize> {
    text.trim().split(',').filter_map(cpu_range).flat_map(|(first, last)| first..=last.min(CpuId::LIMIT - 1))
}

/// Writes numbers as a list.
pub(super) struct Ranges<'a>(pub(super) &'a [usize]);

impl fmt::Display for Ranges<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted = self.0.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.is_empty() {
            return f.write_str("none");
        }
        for (index, run) in sorted.chunk_by(|a, b| a + 1 == *b).enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            match run {
                [first, .., last] => write!(f, "{first}-{last}")?,
                single => write!(f, "{}", single[0])?,
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
    fn a_kernels_list_is_read_and_what_is_none_is_left_out() {
        for (text, cpus) in [
            ("0\n", vec![0]),
            ("0-3,8\n", vec![0, 1, 2, 3, 8]),
            ("5,5-6", vec![5, 5, 6]),
            ("\n", vec![]),
            ("-1", vec![]),
            ("3-1,x,+1,2", vec![2]),
            ("1022-99999999", vec![1022, 1023]),
            ("1024,99999999999999999999999", vec![]),
        ] {
            assert_eq!(kernel_list(text).collect::<Vec<_>>(), cpus, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_as_ranges_is_read_back_in_order(cpus in proptest::collection::btree_set(0..CpuId::LIMIT, 1..40)) {
            let cpus: Vec<_> = cpus.into_iter().collect();
            let read: Vec<_> = kernel_list(&Ranges(&cpus).to_string()).collect();
            prop_assert_eq!(read, cpus);
        }
    }
}
