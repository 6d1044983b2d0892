//! Which CPU each shard goes on: the process's CPUs and a policy in, one CPU (or none) per shard out.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use thiserror::Error;

/// A CPU's number, below [`CpuId::LIMIT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuId(usize);

/// How many shards to run.
///
/// Its text form is `auto` or a number from 1 to [`Shards::MAX`].
///
/// ```
/// use pants_shard::Shards;
///
/// assert_eq!("auto".parse::<Shards>()?, Shards::Auto);
/// assert_eq!("4".parse::<Shards>()?.to_string(), "4");
/// # Ok::<(), pants_shard::PlacementError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Shards {
    /// One per listed CPU; without a list, one per CPU that the process may use and keep busy.
    #[default]
    Auto,
    /// This many, 1 to [`Shards::MAX`]; more than there are CPUs is allowed, and they share.
    Count(NonZeroUsize),
}

/// How shards are laid over the machine's cores.
///
/// Its text form is `spread` or `pack`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Each shard as far from the others as can be: on a core of its own before two share one.
    #[default]
    Spread,
    /// Each shard as near to the others as can be: on sibling threads of a core, on one NUMA node.
    Pack,
}

/// What the user asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// How many shards to run.
    pub shards: Shards,
    /// The CPUs to use, in order; `None` means every CPU that the process may use.
    pub cpus: Option<Vec<usize>>,
    /// Whether each shard's thread stays on one CPU.
    pub pin: bool,
    /// How shards are laid over cores when no CPUs are listed.
    pub layout: Layout,
}

/// A CPU, or none, for each shard; there is always at least one shard.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Placement {
    cpus: Vec<Option<CpuId>>,
}

/// A policy that cannot be met; each message says what to change.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlacementError {
    /// The number of shards is less than one.
    #[error("must be at least 1 or \"auto\", not {0}")]
    TooFewShards(i64),
    /// The number of shards is more than [`Shards::MAX`].
    #[error("must be at most {max} or \"auto\", not {0}", max = Shards::MAX)]
    TooManyShards(u64),
    /// The text is not a number of shards.
    #[error("must be \"auto\" or a number from 1 to {max}, not {0:?}", max = Shards::MAX)]
    NotShards(String),
    /// The text is no layout.
    #[error("must be \"spread\" or \"pack\", not {0:?}")]
    NotLayout(String),
    /// The list of CPUs is there, but empty.
    #[error("must name at least one CPU")]
    NoCpus,
    /// The process may not use any CPU that a shard could be pinned to.
    #[error("this process has no CPU to pin to; turn pinning off")]
    NothingAllowed,
    /// A CPU stands in the list more than once.
    #[error("CPU {0} is listed twice; name each CPU once")]
    Duplicate(usize),
    /// A CPU in the list is not one that this process may use.
    #[error("CPU {cpu} is not available to this process, which may use {}", Ranges(.allowed))]
    Unavailable {
        /// The CPU that was asked for.
        cpu: usize,
        /// The CPUs that the process may use.
        allowed: Vec<usize>,
    },
    /// CPUs are listed, but pinning is off, so that they would have no effect.
    #[error("a list of CPUs has no effect while pinning is off; drop the list or turn pinning on")]
    CpusWithoutPin,
}

/// Decides where each shard goes.
///
/// `allowed` is the CPUs that the process may run on, and `quota` is how many CPUs it may keep busy (a cgroup's quota
/// can be less). With pinning, shard *i* gets the CPU at *i* modulo the length of the list; without, it gets none.
///
/// # Errors
///
/// A [`PlacementError`] when there are too many shards, or the list of CPUs is empty, names a CPU twice, names one that
/// is not allowed, or comes with pinning turned off.
///
/// ```
/// use pants_shard::{Layout, Policy, Shards, place};
///
/// let policy = Policy { shards: Shards::Auto, cpus: Some(vec![3, 1]), pin: true, layout: Layout::Spread };
/// let placement = place(&policy, &[0, 1, 2, 3], 4)?;
/// assert_eq!(placement.len(), 2);
/// assert_eq!(placement.cpu(0).map(|cpu| cpu.get()), Some(3));
/// # Ok::<(), pants_shard::PlacementError>(())
/// ```
pub fn place(policy: &Policy, allowed: &[usize], quota: usize) -> Result<Placement, PlacementError> {
    let cpus = match &policy.cpus {
        Some(_) if !policy.pin => return Err(PlacementError::CpusWithoutPin),
        Some(cpus) => check_list(cpus, allowed)?,
        None => allowed.iter().copied().filter_map(CpuId::new).collect(),
    };
    let count = match policy.shards {
        Shards::Count(count) if count.get() > Shards::MAX => {
            return Err(PlacementError::TooManyShards(count.get() as u64));
        }
        Shards::Count(count) => count.get(),
        Shards::Auto if policy.cpus.is_some() => cpus.len(),
        Shards::Auto => allowed.len().min(quota).clamp(1, Shards::MAX),
    };
    if !policy.pin {
        return Ok(Placement { cpus: vec![None; count] });
    }
    if cpus.is_empty() {
        return Err(PlacementError::NothingAllowed);
    }
    Ok(Placement { cpus: cpus.into_iter().map(Some).cycle().take(count).collect() })
}

fn check_list(cpus: &[usize], allowed: &[usize]) -> Result<Vec<CpuId>, PlacementError> {
    if cpus.is_empty() {
        return Err(PlacementError::NoCpus);
    }
    let mut checked = Vec::with_capacity(cpus.len());
    for &cpu in cpus {
        // An id past libc's set is an error even if it were allowed, since it could not be pinned.
        let id = CpuId::new(cpu)
            .filter(|_| allowed.contains(&cpu))
            .ok_or_else(|| PlacementError::Unavailable { cpu, allowed: allowed.to_vec() })?;
        if checked.contains(&id) {
            return Err(PlacementError::Duplicate(cpu));
        }
        checked.push(id);
    }
    Ok(checked)
}

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

impl Shards {
    /// The most shards that a process may have.
    ///
    /// The lanes between shards cost memory with the square of their number: some 20 MB for 64 shards, 230 MB for 256, and
    /// 1.6 GB for this many.
    pub const MAX: usize = 1024;
}

impl fmt::Display for Shards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Count(count) => count.fmt(f),
        }
    }
}

impl FromStr for Shards {
    type Err = PlacementError;

    fn from_str(text: &str) -> Result<Self, PlacementError> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let count: i64 = text.parse().map_err(|_| PlacementError::NotShards(text.to_owned()))?;
        match usize::try_from(count).ok().and_then(NonZeroUsize::new) {
            None => Err(PlacementError::TooFewShards(count)),
            Some(count) if count.get() > Self::MAX => Err(PlacementError::TooManyShards(count.get() as u64)),
            Some(count) => Ok(Self::Count(count)),
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spread => "spread",
            Self::Pack => "pack",
        })
    }
}

impl FromStr for Layout {
    type Err = PlacementError;

    fn from_str(text: &str) -> Result<Self, PlacementError> {
        match text {
            "spread" => Ok(Self::Spread),
            "pack" => Ok(Self::Pack),
            _ => Err(PlacementError::NotLayout(text.to_owned())),
        }
    }
}

impl Default for Placement {
    /// One shard that is not pinned.
    fn default() -> Self {
        Self { cpus: vec![None] }
    }
}

impl Placement {
    /// How many shards there are; 1 to [`Shards::MAX`].
    #[expect(clippy::len_without_is_empty, reason = "a placement always has a shard")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.cpus.len()
    }

    /// The CPU that this shard is pinned to; `None` without pinning, and for a shard that does not exist.
    #[must_use]
    pub fn cpu(&self, shard: usize) -> Option<CpuId> {
        self.cpus.get(shard).copied().flatten()
    }

    /// Each shard's CPU, in the order of the shards.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Option<CpuId>> + '_ {
        self.cpus.iter().copied()
    }
}

/// Writes numbers as taskset(1) does: `0-3,8`.
struct Ranges<'a>(&'a [usize]);

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

    fn count(shards: usize) -> Shards {
        Shards::Count(NonZeroUsize::new(shards).unwrap())
    }

    fn numbers(placement: &Placement) -> Vec<Option<usize>> {
        placement.iter().map(|cpu| cpu.map(CpuId::get)).collect()
    }

    /// Every list of CPUs in which each number below `limit` stands at most once, in rising order.
    fn subsets(limit: usize) -> impl Iterator<Item = Vec<usize>> {
        (0..1_usize << limit).map(move |mask| (0..limit).filter(|cpu| mask >> cpu & 1 == 1).collect())
    }

    #[test]
    fn auto_takes_the_lesser_of_affinity_and_quota_and_at_least_one() {
        for allowed in subsets(4) {
            for quota in 0..6 {
                for pin in [false, true] {
                    let policy = Policy { shards: Shards::Auto, cpus: None, pin, layout: Layout::Spread };
                    let placed = place(&policy, &allowed, quota);
                    if pin && allowed.is_empty() {
                        assert_eq!(placed, Err(PlacementError::NothingAllowed));
                    } else {
                        assert_eq!(placed.unwrap().len(), allowed.len().min(quota).max(1));
                    }
                }
            }
        }
    }

    #[test]
    fn pinned_shards_go_round_the_cpus_and_may_outnumber_them() {
        for allowed in subsets(4).filter(|allowed| !allowed.is_empty()) {
            for shards in 1..10 {
                let policy = Policy { shards: count(shards), cpus: None, pin: true, layout: Layout::Spread };
                let placement = place(&policy, &allowed, 1).unwrap();
                let expected: Vec<_> = (0..shards).map(|shard| Some(allowed[shard % allowed.len()])).collect();
                assert_eq!(numbers(&placement), expected);
            }
        }
    }

    #[test]
    fn a_list_keeps_its_order_and_sets_the_number_of_shards() {
        let policy = Policy { shards: Shards::Auto, cpus: Some(vec![3, 0, 2]), pin: true, layout: Layout::Spread };
        let placement = place(&policy, &[0, 1, 2, 3], 1).unwrap();
        assert_eq!(numbers(&placement), [Some(3), Some(0), Some(2)]);
        assert_eq!(placement.cpu(1), CpuId::new(0));
        assert_eq!(placement.cpu(3), None);
    }

    #[test]
    fn every_short_list_is_placed_or_refused_for_the_first_thing_wrong() {
        let allowed = [0, 2];
        let mut lists = vec![vec![]];
        for a in 0..4 {
            lists.push(vec![a]);
            lists.extend((0..4).map(|b| vec![a, b]));
        }
        for list in lists {
            let policy = Policy { shards: count(2), cpus: Some(list.clone()), pin: true, layout: Layout::Spread };
            let placed = place(&policy, &allowed, 2);
            let stranger = list.iter().copied().find(|cpu| !allowed.contains(cpu));
            match (list.as_slice(), stranger) {
                ([], _) => assert_eq!(placed, Err(PlacementError::NoCpus)),
                (_, Some(cpu)) => {
                    assert_eq!(placed, Err(PlacementError::Unavailable { cpu, allowed: allowed.to_vec() }));
                }
                ([a, b], None) if a == b => assert_eq!(placed, Err(PlacementError::Duplicate(*a))),
                (list, None) => {
                    assert_eq!(numbers(&placed.unwrap()), [list.first().copied(), list.last().copied()]);
                }
            }
        }
    }

    #[test]
    fn without_pinning_no_shard_has_a_cpu_and_a_list_is_refused() {
        let mut policy = Policy { shards: count(3), cpus: None, pin: false, layout: Layout::Spread };
        assert_eq!(numbers(&place(&policy, &[0, 1], 2).unwrap()), [None; 3]);
        policy.cpus = Some(vec![0]);
        assert_eq!(place(&policy, &[0, 1], 2), Err(PlacementError::CpusWithoutPin));
    }

    #[test]
    fn a_cpu_past_libcs_set_is_unavailable_even_where_it_is_allowed() {
        assert_eq!(CpuId::new(1023).map(CpuId::get), Some(1023));
        assert_eq!(CpuId::new(1024), None);
        let policy = Policy { shards: Shards::Auto, cpus: Some(vec![1024]), pin: true, layout: Layout::Spread };
        let error = place(&policy, &[1023, 1024], 2).unwrap_err();
        assert_eq!(error.to_string(), "CPU 1024 is not available to this process, which may use 1023-1024");
    }

    #[test]
    fn a_refused_cpu_is_told_with_compact_ranges() {
        for (allowed, text) in [
            (vec![0, 1], "0-1"),
            (vec![5], "5"),
            (vec![8, 0, 1, 2, 3], "0-3,8"),
            (vec![0, 2, 4, 5], "0,2,4-5"),
            (vec![], "none"),
        ] {
            let policy = Policy { shards: Shards::Auto, cpus: Some(vec![99]), pin: true, layout: Layout::Spread };
            let error = place(&policy, &allowed, 2).unwrap_err();
            assert_eq!(error.to_string(), format!("CPU 99 is not available to this process, which may use {text}"));
        }
    }

    #[test]
    fn every_number_of_shards_in_range_is_read_and_written_back() {
        for shards in 1..=Shards::MAX {
            assert_eq!(shards.to_string().parse(), Ok(count(shards)));
            assert_eq!(count(shards).to_string(), shards.to_string());
        }
        assert_eq!(Shards::Auto.to_string().parse(), Ok(Shards::Auto));
    }

    #[test]
    fn a_number_of_shards_out_of_range_is_refused_in_text_and_in_code() {
        let error = |text: &str| text.parse::<Shards>().unwrap_err().to_string();
        assert_eq!(error("0"), "must be at least 1 or \"auto\", not 0");
        assert_eq!(error("-2"), "must be at least 1 or \"auto\", not -2");
        assert_eq!(error("1025"), "must be at most 1024 or \"auto\", not 1025");
        assert_eq!(error("many"), "must be \"auto\" or a number from 1 to 1024, not \"many\"");
        let policy = Policy { shards: count(1025), cpus: None, pin: false, layout: Layout::Spread };
        assert_eq!(place(&policy, &[0], 1), Err(PlacementError::TooManyShards(1025)));
    }

    proptest! {
        #[test]
        fn no_text_makes_reading_a_number_of_shards_panic(text in "\\PC*|-?[0-9]{0,30}") {
            let _ = text.parse::<Shards>();
        }
    }
}
