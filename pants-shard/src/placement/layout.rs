//! How shards are laid over a machine's cores: the order in which they take its CPUs.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use super::PlacementError;
use super::cpu::CpuId;
use super::topology::{Spot, Topology};

/// How shards are laid over the machine's cores.
///
/// Its text form is `spread` or `pack`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Each shard as far from the others as can be: on a core of its own before two share one, and on packages and NUMA
    /// nodes by turns. Of cores of different speed the fast ones come first.
    #[default]
    Spread,
    /// Each shard as near to the others as can be: on all threads of a core before the next core, and on all cores of a NUMA
    /// node before the next node.
    Pack,
}

impl Layout {
    /// The order in which shards take these CPUs.
    pub(super) fn order(self, mut cpus: Vec<CpuId>, topology: &Topology) -> Vec<CpuId> {
        match self {
            Self::Spread => spread(cpus, topology),
            Self::Pack => {
                cpus.sort_by_key(|&cpu| {
                    let Spot { package, node, core, slow } = topology.spot(cpu.get());
                    (package, node, slow, core, cpu)
                });
                cpus
            }
        }
    }
}

/// Takes one CPU after another, each time the one that has the fewest others taken near it.
///
/// That looks at each pair of CPUs, which are at most [`CpuId::LIMIT`].
fn spread(mut left: Vec<CpuId>, topology: &Topology) -> Vec<CpuId> {
    let (mut on_core, mut on_package, mut on_node) = (HashMap::new(), HashMap::new(), HashMap::new());
    let taken = |counts: &HashMap<usize, usize>, place| counts.get(&place).copied().unwrap_or(0);
    let mut order = Vec::with_capacity(left.len());
    while let Some(next) = (0..left.len()).min_by_key(|&index| {
        let Spot { package, node, core, slow } = topology.spot(left[index].get());
        (taken(&on_core, core), slow, taken(&on_package, package), taken(&on_node, node), left[index])
    }) {
        let cpu = left.swap_remove(next);
        let Spot { package, node, core, .. } = topology.spot(cpu.get());
        for (counts, place) in [(&mut on_core, core), (&mut on_package, package), (&mut on_node, node)] {
            *counts.entry(place).or_default() += 1;
        }
        order.push(cpu);
    }
    order
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

#[cfg(test)]
mod tests {
    use super::super::machines::*;
    use super::*;

    fn order(layout: Layout, cpus: impl IntoIterator<Item = usize>, topology: &Topology) -> Vec<usize> {
        let cpus = cpus.into_iter().map(|cpu| CpuId::new(cpu).unwrap()).collect();
        layout.order(cpus, topology).into_iter().map(CpuId::get).collect()
    }

    #[test]
    fn a_virtual_machine_of_two_cores_looks_the_same_either_way() {
        for layout in [Layout::Spread, Layout::Pack] {
            assert_eq!(order(layout, 0..2, &two_core_vm()), [0, 1]);
        }
    }

    #[test]
    fn a_desktop_s_siblings_come_last_when_spread_and_next_when_packed() {
        assert!(order(Layout::Spread, 0..16, &desktop()).into_iter().eq(0..16));
        assert_eq!(order(Layout::Pack, 0..16, &desktop()), [0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15]);
    }

    #[test]
    fn a_server_s_sockets_are_taken_by_turns_or_one_after_the_other() {
        let spread = order(Layout::Spread, 0..64, &two_sockets());
        assert_eq!(spread[..6], [0, 16, 1, 17, 2, 18]);
        assert_eq!(spread[30..36], [15, 31, 32, 48, 33, 49]);
        let packed = order(Layout::Pack, 0..64, &two_sockets());
        assert_eq!(packed[..6], [0, 32, 1, 33, 2, 34]);
        assert_eq!(packed[30..36], [15, 47, 16, 48, 17, 49]);
    }

    #[test]
    fn a_laptop_s_fast_cores_come_first_then_the_slow_ones_then_siblings() {
        let spread = order(Layout::Spread, 0..16, &hybrid_laptop());
        assert_eq!(spread, [0, 2, 4, 6, 8, 9, 10, 11, 12, 13, 14, 15, 1, 3, 5, 7]);
        assert!(order(Layout::Pack, 0..16, &hybrid_laptop()).into_iter().eq(0..16));
    }

    #[test]
    fn a_board_s_fast_cores_come_first_although_they_are_counted_last() {
        for layout in [Layout::Spread, Layout::Pack] {
            assert_eq!(order(layout, 0..8, &big_little()), [4, 5, 6, 7, 0, 1, 2, 3]);
        }
    }

    #[test]
    fn nodes_within_a_package_are_taken_by_turns_too() {
        let topology = four_nodes();
        assert_eq!(order(Layout::Spread, 0..8, &topology), [0, 4, 2, 6, 1, 5, 3, 7]);
        assert!(order(Layout::Pack, 0..8, &topology).into_iter().eq(0..8));
    }

    #[test]
    fn only_siblings_that_the_process_may_use_count() {
        // Of the cores 0 to 3 the second threads only.
        assert_eq!(order(Layout::Spread, [8, 9, 10, 11, 0], &desktop()), [0, 9, 10, 11, 8]);
        assert_eq!(order(Layout::Pack, [8, 9, 10, 11, 0], &desktop()), [0, 8, 9, 10, 11]);
        assert_eq!(order(Layout::Spread, [3, 5, 7], &desktop()), [3, 5, 7]);
    }

    #[test]
    fn without_a_topology_the_order_is_that_of_the_numbers() {
        for layout in [Layout::Spread, Layout::Pack] {
            assert_eq!(order(layout, [3, 0, 2, 7], &Topology::default()), [0, 2, 3, 7]);
        }
    }
}
