//! Which CPU each shard goes on: a policy and what the process may use in, one CPU (or none) per shard out.

mod cpu;
mod layout;
#[cfg(test)]
mod machines;
mod quota;
mod topology;

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use thiserror::Error;

use self::cpu::Ranges;

pub(crate) use self::cpu::cpu_range;
pub(crate) use self::quota::quota;

pub use self::cpu::CpuId;
pub use self::layout::Layout;
pub use self::topology::Topology;

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

/// What the user asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// How many shards to run.
    pub shards: Shards,
    /// The CPUs to use, in order; `None` means every CPU that the process may use, in the order of the layout.
    pub cpus: Option<Vec<usize>>,
    /// Whether each shard's thread stays on one CPU.
    pub pin: bool,
    /// How shards are laid over cores when no CPUs are listed.
    pub layout: Layout,
}

/// What the process may use of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// The CPUs that it may run on.
    pub allowed: Vec<usize>,
    /// How many CPUs it may keep busy: a cgroup's quota, rounded up, can be less than there are.
    pub quota: usize,
    /// Where the CPUs are.
    pub topology: Topology,
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
/// `auto` is one shard for every CPU that the process may run on, the sibling threads of a core among them, or as many as
/// the quota lets it keep busy. With pinning, shards take the CPUs in the order of the list, or else of the layout; if there are
/// more shards, they begin anew. Without pinning, a shard has none.
///
/// # Errors
///
/// A [`PlacementError`] when there are too many shards, or the list of CPUs is empty, names a CPU twice, names one that
/// is not allowed, or comes with pinning turned off.
///
/// ```
/// use pants_shard::{Layout, Machine, Policy, Shards, Topology, place};
///
/// let policy = Policy { shards: Shards::Auto, cpus: Some(vec![3, 1]), pin: true, layout: Layout::Spread };
/// let machine = Machine { allowed: vec![0, 1, 2, 3], quota: 4, topology: Topology::default() };
/// let placement = place(&policy, &machine)?;
/// assert_eq!(placement.len(), 2);
/// assert_eq!(placement.cpu(0).map(|cpu| cpu.get()), Some(3));
/// # Ok::<(), pants_shard::PlacementError>(())
/// ```
pub fn place(policy: &Policy, machine: &Machine) -> Result<Placement, PlacementError> {
    let Machine { allowed, quota, topology } = machine;
    let cpus = match &policy.cpus {
        Some(_) if !policy.pin => return Err(PlacementError::CpusWithoutPin),
        Some(cpus) => check_list(cpus, allowed)?,
        None => policy.layout.order(allowed.iter().copied().filter_map(CpuId::new).collect(), topology),
    };
    let count = match policy.shards {
        Shards::Count(count) if count.get() > Shards::MAX => {
            return Err(PlacementError::TooManyShards(count.get() as u64));
        }
        Shards::Count(count) => count.get(),
        Shards::Auto if policy.cpus.is_some() => cpus.len(),
        Shards::Auto => cpus.len().min(*quota).clamp(1, Shards::MAX),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::machines::*;
    use super::*;

    fn machine(allowed: &[usize], quota: usize) -> Machine {
        Machine { allowed: allowed.to_vec(), quota, topology: Topology::default() }
    }

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
                    let placed = place(&policy, &machine(&allowed, quota));
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
                let placement = place(&policy, &machine(&allowed, 1)).unwrap();
                let expected: Vec<_> = (0..shards).map(|shard| Some(allowed[shard % allowed.len()])).collect();
                assert_eq!(numbers(&placement), expected);
            }
        }
    }

    #[test]
    fn a_container_gets_shards_for_its_quota_rounded_up_on_cpus_of_its_set() {
        // A quota of 1.5 is one of 2 by now.
        let policy = |layout| Policy { shards: Shards::Auto, cpus: None, pin: true, layout };
        for (allowed, quota, spread, packed) in [
            (vec![0, 1, 2, 3, 4, 5, 6, 7], 2, vec![0, 2], vec![0, 1]),
            (vec![3, 5, 7], 8, vec![3, 5, 7], vec![3, 5, 7]),
            (vec![3, 5, 7], 2, vec![3, 5], vec![3, 5]),
            (vec![2, 3, 4, 5], 2, vec![2, 4], vec![2, 3]),
        ] {
            let machine = Machine { allowed, quota, topology: hybrid_laptop() };
            for (layout, expected) in [(Layout::Spread, spread), (Layout::Pack, packed)] {
                let placement = place(&policy(layout), &machine).unwrap();
                assert!(numbers(&placement).into_iter().eq(expected.into_iter().map(Some)), "{machine:?}");
            }
        }
    }

    #[test]
    fn a_list_keeps_its_order_whatever_the_layout() {
        for layout in [Layout::Spread, Layout::Pack] {
            let policy = Policy { shards: Shards::Auto, cpus: Some(vec![32, 1, 0]), pin: true, layout };
            let machine = Machine { allowed: (0..64).collect(), quota: 1, topology: two_sockets() };
            assert_eq!(numbers(&place(&policy, &machine).unwrap()), [Some(32), Some(1), Some(0)]);
        }
    }

    #[test]
    fn a_list_keeps_its_order_and_sets_the_number_of_shards() {
        let policy = Policy { shards: Shards::Auto, cpus: Some(vec![3, 0, 2]), pin: true, layout: Layout::Spread };
        let placement = place(&policy, &machine(&[0, 1, 2, 3], 1)).unwrap();
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
            let placed = place(&policy, &machine(&allowed, 2));
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
        assert_eq!(numbers(&place(&policy, &machine(&[0, 1], 2)).unwrap()), [None; 3]);
        policy.cpus = Some(vec![0]);
        assert_eq!(place(&policy, &machine(&[0, 1], 2)), Err(PlacementError::CpusWithoutPin));
    }

    #[test]
    fn a_cpu_past_libcs_set_is_unavailable_even_where_it_is_allowed() {
        assert_eq!(CpuId::new(1023).map(CpuId::get), Some(1023));
        assert_eq!(CpuId::new(1024), None);
        let policy = Policy { shards: Shards::Auto, cpus: Some(vec![1024]), pin: true, layout: Layout::Spread };
        let error = place(&policy, &machine(&[1023, 1024], 2)).unwrap_err();
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
            let error = place(&policy, &machine(&allowed, 2)).unwrap_err();
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
        assert_eq!(place(&policy, &machine(&[0], 1)), Err(PlacementError::TooManyShards(1025)));
    }

    proptest! {
        #[test]
        fn every_cpu_is_taken_once_before_any_is_taken_twice(
            allowed in proptest::collection::btree_set(0_usize..64, 1..64),
            (quota, shards) in (1_usize..80, proptest::option::of(1_usize..130)),
            machine in 0_usize..6,
            pack in any::<bool>(),
        ) {
            let topology = [two_core_vm, desktop, two_sockets, four_nodes, hybrid_laptop, big_little][machine]();
            let layout = if pack { Layout::Pack } else { Layout::Spread };
            let policy = Policy { shards: shards.map_or(Shards::Auto, count), cpus: None, pin: true, layout };
            let machine = Machine { allowed: allowed.iter().copied().collect(), quota, topology };
            let placed: Vec<_> = numbers(&place(&policy, &machine).unwrap()).into_iter().map(Option::unwrap).collect();
            prop_assert_eq!(placed.len(), shards.unwrap_or(quota.min(allowed.len())));
            for round in placed.chunks(allowed.len()) {
                let distinct: BTreeSet<_> = round.iter().copied().collect();
                prop_assert!(distinct.len() == round.len() && distinct.is_subset(&allowed));
            }
        }

        #[test]
        fn no_text_makes_reading_a_number_of_shards_panic(text in "\\PC*|-?[0-9]{0,30}") {
            let _ = text.parse::<Shards>();
        }
    }
}
