//! Machines for tests, as their sysfs describes them.

use std::collections::HashMap;

use super::topology::Topology;

/// The texts of a machine: the file of each CPU's package, the list of its siblings, and the list of CPUs of each node.
fn machine(packages: &[usize], siblings: &[&str], nodes: &[&str]) -> HashMap<String, String> {
    let system = "/sys/devices/system";
    let mut texts = HashMap::new();
    texts.insert(format!("{system}/cpu/online"), format!("0-{}\n", packages.len() - 1));
    for (cpu, (package, siblings)) in packages.iter().zip(siblings).enumerate() {
        let topology = format!("{system}/cpu/cpu{cpu}/topology");
        texts.insert(format!("{topology}/physical_package_id"), format!("{package}\n"));
        texts.insert(format!("{topology}/thread_siblings_list"), format!("{siblings}\n"));
    }
    texts.insert(format!("{system}/node/online"), format!("0-{}\n", nodes.len() - 1));
    for (node, cpus) in nodes.iter().enumerate() {
        texts.insert(format!("{system}/node/node{node}/cpulist"), format!("{cpus}\n"));
    }
    texts
}

fn topology(texts: &HashMap<String, String>) -> Topology {
    Topology::from_sysfs(|path| texts.get(path).cloned())
}

/// Two CPUs of a host that tells its guest nothing of siblings.
pub(super) fn two_core_vm() -> Topology {
    topology(&machine(&[0, 0], &["0", "1"], &["0-1"]))
}

/// Eight cores with two threads each: n and n + 8.
pub(super) fn desktop() -> Topology {
    let siblings = ["0,8", "1,9", "2,10", "3,11", "4,12", "5,13", "6,14", "7,15"];
    topology(&machine(&[0; 16], &[siblings, siblings].concat(), &["0-15"]))
}

/// Two packages of sixteen cores with two threads each: the first threads of all cores are counted before the second ones.
pub(super) fn two_sockets() -> Topology {
    let packages: Vec<_> = (0..64).map(|cpu| cpu % 32 / 16).collect();
    let siblings: Vec<_> = (0..64).map(|cpu| format!("{},{}", cpu % 32, cpu % 32 + 32)).collect();
    let siblings: Vec<_> = siblings.iter().map(String::as_str).collect();
    topology(&machine(&packages, &siblings, &["0-15,32-47", "16-31,48-63"]))
}

/// Two packages of two nodes each, with two cores a node.
pub(super) fn four_nodes() -> Topology {
    let siblings = ["0", "1", "2", "3", "4", "5", "6", "7"];
    topology(&machine(&[0, 0, 0, 0, 1, 1, 1, 1], &siblings, &["0-1", "2-3", "4-5", "6-7"]))
}

/// Four fast cores with two threads each, n and n + 1, and eight slow ones.
pub(super) fn hybrid_laptop() -> Topology {
    let siblings =
        ["0-1", "0-1", "2-3", "2-3", "4-5", "4-5", "6-7", "6-7", "8", "9", "10", "11", "12", "13", "14", "15"];
    let mut texts = machine(&[0; 16], &siblings, &["0-15"]);
    texts.insert("/sys/devices/cpu_core/cpus".to_owned(), "0-7\n".to_owned());
    texts.insert("/sys/devices/cpu_atom/cpus".to_owned(), "8-15\n".to_owned());
    topology(&texts)
}

/// A board with four slow cores and, after them, four fast ones.
pub(super) fn big_little() -> Topology {
    let mut texts = machine(&[0; 8], &["0", "1", "2", "3", "4", "5", "6", "7"], &["0-7"]);
    for cpu in 0..8 {
        let capacity = if cpu < 4 { "530\n" } else { "1024\n" };
        texts.insert(format!("/sys/devices/system/cpu/cpu{cpu}/cpu_capacity"), capacity.to_owned());
    }
    topology(&texts)
}
