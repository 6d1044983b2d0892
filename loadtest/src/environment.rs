//! Where and with what a run was made, so that its numbers mean something later.

use std::fs;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::cpus::Cpus;
use crate::proc::{self, CpuTimes};
use crate::server;

/// Where and with what a run was made. What cannot be found out is missing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// When it was read, just before the run: the date and the time of day in UTC (RFC 3339).
    pub time: String,
    /// The version of this program.
    pub program: String,
    /// The commit that this program was built from.
    pub commit: Option<String>,
    /// Whether it was built without optimisation: then its numbers say little.
    pub debug_build: bool,
    /// The kernel's release.
    pub kernel: Option<String>,
    /// The model of the CPUs.
    pub cpu_model: Option<String>,
    /// How many of them this process may use.
    pub cpus: usize,
    /// The CPUs that are threads of one core, each core with more than one.
    pub siblings: Vec<Cpus>,
    /// How the first CPU's frequency is governed.
    pub governor: Option<String>,
    /// The clock that the kernel reads.
    pub clock_source: Option<String>,
    /// The machine, if it is a virtual one: its product name, or `unknown`.
    pub hypervisor: Option<String>,
    /// How many descriptors this process may have, now and at most; `None` if as many as it likes.
    pub descriptors: Option<u64>,
    /// What it may raise that to.
    pub descriptors_hard: Option<u64>,
    /// The most connections that may wait to be accepted, per listening socket (listen(2)).
    pub somaxconn: Option<u64>,
    /// The first and the last port that connections are given (ip(7)).
    pub port_range: Option<(u16, u16)>,
    /// How many threads wanted to run before the run, on average over 1, 5 and 15 minutes.
    pub load_average: Option<[f64; 3]>,
    /// What happened to the machine in the measured time.
    pub window: Option<Disturbance>,
}

/// What happened to the machine in a stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Disturbance {
    /// How much of its CPUs' time the hypervisor gave to somebody else: 0 to 1.
    pub steal_share: f64,
    /// Pages that were brought in from swap space, or put there, by whomever.
    pub swapped_pages: u64,
}

/// What the machine had been through by some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    times: CpuTimes,
    swapped_pages: u64,
}

impl Environment {
    /// What can be found out.
    pub fn read() -> Self {
        let cpu_info = read("/proc/cpuinfo").unwrap_or_default();
        let limit = read("/proc/self/limits").and_then(|text| proc::parse_descriptor_limit(&text));
        Self {
            time: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            commit: option_env!("PANTS_LOAD_COMMIT").map(str::to_owned),
            debug_build: cfg!(debug_assertions),
            kernel: read("/proc/sys/kernel/osrelease"),
            cpu_model: proc::parse_cpu_model(&cpu_info),
            cpus: server::own_cpus().numbers().len(),
            siblings: read_siblings(),
            governor: read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            clock_source: read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            hypervisor: proc::parse_is_guest(&cpu_info).then(|| {
                // Xen names itself in one file, everybody else in the other.
                let name = read("/sys/hypervisor/type").or_else(|| read("/sys/class/dmi/id/product_name"));
                name.unwrap_or_else(|| "unknown".to_owned())
            }),
            descriptors: limit.and_then(|limit| limit.soft),
            descriptors_hard: limit.and_then(|limit| limit.hard),
            somaxconn: read("/proc/sys/net/core/somaxconn").and_then(|text| text.parse().ok()),
            port_range: read("/proc/sys/net/ipv4/ip_local_port_range").and_then(|text| proc::parse_port_range(&text)),
            load_average: read("/proc/loadavg").and_then(|text| proc::parse_load_average(&text)),
            window: None,
        }
    }
}

impl Moment {
    /// Now; `None` if the kernel does not say.
    pub fn read() -> Option<Self> {
        let times = proc::parse_cpu_times(&read("/proc/stat")?)?;
        // A kernel without swap space may be silent about it.
        let swapped_pages = read("/proc/vmstat").and_then(|text| proc::parse_swaps(&text)).unwrap_or(0);
        Some(Self { times, swapped_pages })
    }

    /// What happened from here to a later moment.
    pub fn until(self, later: Self) -> Disturbance {
        let total = later.times.total.saturating_sub(self.times.total);
        let steal = later.times.steal.saturating_sub(self.times.steal);
        Disturbance {
            steal_share: if total == 0 { 0.0 } else { (steal as f64 / total as f64).min(1.0) },
            swapped_pages: later.swapped_pages.saturating_sub(self.swapped_pages),
        }
    }
}

/// The cores of this machine that have more than one thread.
fn read_siblings() -> Vec<Cpus> {
    let Some(online) = read("/sys/devices/system/cpu/online").and_then(|text| text.parse::<Cpus>().ok()) else {
        return Vec::new();
    };
    let siblings = |cpu: &usize| read(&format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"));
    let mut cores: Vec<Cpus> =
        online.numbers().iter().filter_map(siblings).filter_map(|text| text.parse().ok()).collect();
    cores.retain(|core| core.numbers().len() > 1);
    cores.sort_by(|one, other| one.numbers().cmp(other.numbers()));
    cores.dedup();
    cores
}

/// A file, without the line break at its end.
fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_that_was_stolen_is_of_all_time() {
        let moment = |total, steal, swapped_pages| Moment { times: CpuTimes { total, steal }, swapped_pages };
        let disturbance = moment(1_000, 10, 7).until(moment(1_200, 14, 9));
        assert_eq!(disturbance, Disturbance { steal_share: 0.02, swapped_pages: 2 });
        assert_eq!(moment(5, 5, 5).until(moment(5, 5, 5)), Disturbance::default());
    }

    #[test]
    fn this_machine_says_when_and_where_it_is() {
        let environment = Environment::read();
        assert!(environment.kernel.is_some() && environment.cpus > 0, "{environment:?}");
        assert!(humantime::parse_rfc3339(&environment.time).unwrap() <= SystemTime::now());
        assert!(environment.descriptors.is_none_or(|limit| limit > 0));
        assert!(Moment::read().is_some());
    }
}
