//! Where the CPUs of a machine are: which share a core, a NUMA node, a package. Read from the texts of sysfs.

use std::collections::{BTreeMap, BTreeSet};

use super::cpu::kernel_list;

/// Which CPUs share a core, a NUMA node and a package.
///
/// A CPU of which nothing is known, as all of them are in the default, has a core to itself on the only node.
///
/// ```
/// use pants_shard::Topology;
///
/// let topology = Topology::from_sysfs(|path| std::fs::read_to_string(path).ok());
/// assert_eq!(Topology::from_sysfs(|_| None), Topology::default());
/// # let _ = topology;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    spots: BTreeMap<usize, Spot>,
}

/// Where one CPU is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) package: usize,
    pub(super) node: usize,
    /// The lowest CPU of the core. The kernel's own numbers of cores begin anew in every package.
    pub(super) core: usize,
    /// Whether the machine has faster cores than this one.
    pub(super) slow: bool,
}

impl Topology {
    /// Reads the files that `read` gives the texts of, by their full paths, as far as there are any.
    ///
    /// They are, in `/sys/devices/system`, `cpu/online`, of each CPU `topology/physical_package_id`,
    /// `topology/thread_siblings_list` and `cpu_capacity`, and of each NUMA node `cpulist`; and `/sys/devices/cpu_atom/cpus`,
    /// which names the efficiency cores of a processor of Intel's that has cores of two kinds.
    pub fn from_sysfs(read: impl Fn(&str) -> Option<String>) -> Self {
        let list = |path: &str| kernel_list(&read(path).unwrap_or_default()).collect::<Vec<_>>();
        let of_cpu = |cpu: usize, file: &str| format!("/sys/devices/system/cpu/cpu{cpu}/{file}");
        let number = |path: String| read(&path)?.trim().parse::<usize>().ok();

        let cpus = list("/sys/devices/system/cpu/online");
        let mut nodes = BTreeMap::new();
        for node in list("/sys/devices/system/node/online") {
            let cpulist = list(&format!("/sys/devices/system/node/node{node}/cpulist"));
            nodes.extend(cpulist.into_iter().map(|cpu| (cpu, node)));
        }
        let atoms: BTreeSet<_> = list("/sys/devices/cpu_atom/cpus").into_iter().collect();
        let capacities: BTreeMap<_, _> =
            cpus.iter().filter_map(|&cpu| Some((cpu, number(of_cpu(cpu, "cpu_capacity"))?))).collect();
        let most = capacities.values().max();

        let spot = |cpu| Spot {
            // It is -1 where the firmware does not say.
            package: number(of_cpu(cpu, "topology/physical_package_id")).unwrap_or(0),
            node: nodes.get(&cpu).copied().unwrap_or(0),
            core: list(&of_cpu(cpu, "topology/thread_siblings_list")).into_iter().min().unwrap_or(cpu),
            slow: atoms.contains(&cpu) || capacities.get(&cpu).is_some_and(|capacity| Some(capacity) < most),
        };
        Self { spots: cpus.iter().map(|&cpu| (cpu, spot(cpu))).collect() }
    }

    pub(super) fn spot(&self, cpu: usize) -> Spot {
        self.spots.get(&cpu).copied().unwrap_or(Spot { package: 0, node: 0, core: cpu, slow: false })
    }
}

#[cfg(test)]
mod tests {
    use super::super::machines::*;
    use super::*;

    fn spot(package: usize, node: usize, core: usize) -> Spot {
        Spot { package, node, core, slow: false }
    }

    #[test]
    fn a_virtual_machine_of_two_cores_has_no_siblings() {
        let topology = two_core_vm();
        assert_eq!((topology.spot(0), topology.spot(1)), (spot(0, 0, 0), spot(0, 0, 1)));
    }

    #[test]
    fn siblings_share_the_number_of_their_core() {
        let topology = desktop();
        for cpu in 0..16 {
            assert_eq!(topology.spot(cpu), spot(0, 0, cpu % 8));
        }
    }

    #[test]
    fn a_server_s_cpus_are_on_the_node_of_their_package() {
        let topology = two_sockets();
        for cpu in 0..64 {
            let core = cpu % 32;
            assert_eq!(topology.spot(cpu), spot(core / 16, core / 16, core));
        }
    }

    #[test]
    fn efficiency_cores_are_slow_by_either_file() {
        let laptop = hybrid_laptop();
        assert!((0..16).all(|cpu| laptop.spot(cpu).slow == (cpu >= 8)));
        let board = big_little();
        assert!((0..8).all(|cpu| board.spot(cpu).slow == (cpu < 4)));
    }

    #[test]
    fn a_cpu_of_which_no_file_tells_is_a_core_of_its_own() {
        let bare = Topology::from_sysfs(|path| (path == "/sys/devices/system/cpu/online").then(|| "0-3\n".to_owned()));
        for topology in [bare, Topology::default()] {
            assert!((0..5).all(|cpu| topology.spot(cpu) == spot(0, 0, cpu)));
        }
    }

    #[test]
    fn texts_that_make_no_sense_count_as_missing() {
        for text in ["", "\n", "-1\n", "x", "0-", "99999999999999999999999\n", "1024\n"] {
            let topology = Topology::from_sysfs(|path| {
                Some(if path.ends_with("cpu/online") { "0-1".to_owned() } else { text.to_owned() })
            });
            assert_eq!((topology.spot(0).core, topology.spot(1).core), (0, 1), "{text:?}");
            assert_eq!(topology.spot(1).node, 0, "{text:?}");
        }
    }
}
