//! The edge to the scheduler: what this process may use of the machine, and pinning a thread to a CPU.

use std::{fs, io};

use core_affinity::CoreId;
pub(crate) use rustix::thread::CpuSet;
use rustix::thread::{sched_getaffinity, sched_setaffinity};

use crate::placement::{CpuId, Machine, Topology, quota};

/// What the calling thread may use of the machine.
pub(crate) fn machine() -> Machine {
    let topology = Topology::from_sysfs(|path| fs::read_to_string(path).ok());
    Machine { allowed: allowed(), quota: quota_here(), topology }
}

/// The CPUs that the calling thread may run on; at least one.
///
/// On a machine with more than 1,024 CPUs the kernel refuses to write libc's fixed-size set; then the first ones are
/// assumed, and `pin` reports it if that is wrong.
fn allowed() -> Vec<usize> {
    match core_affinity::get_core_ids() {
        Some(cores) if !cores.is_empty() => cores.into_iter().map(|core| core.id).collect(),
        _ => (0..num_cpus::get().clamp(1, CpuId::LIMIT)).collect(),
    }
}

/// How many CPUs the calling thread may keep busy: its affinity and its cgroups' quota, whichever is less.
///
/// `num_cpus` knows of the process's own cgroup and not of those above it.
fn quota_here() -> usize {
    let groups = quota(|path| fs::read_to_string(path).ok());
    groups.map_or_else(num_cpus::get, |cpus| cpus.min(num_cpus::get()))
}

/// Pins the calling thread to one CPU.
///
/// Threads that it starts later inherit the pin. libc's `CPU_SET` aborts on an id past its set, which is why a `CpuId`
/// cannot hold one.
pub(crate) fn pin(cpu: CpuId) -> io::Result<()> {
    if core_affinity::set_for_current(CoreId { id: cpu.get() }) { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What the calling thread may run on, to be given to others; `None` on a machine with more than 1,024 CPUs.
pub(crate) fn own_cpus() -> Option<CpuSet> {
    sched_getaffinity(None).ok()
}

/// Has the calling thread run on these CPUs, whatever it has inherited.
pub(crate) fn stay_on(cpus: &CpuSet) -> io::Result<()> {
    Ok(sched_setaffinity(None, cpus)?)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_pinned_thread_may_use_that_cpu_only() {
        for id in allowed() {
            let cpu = CpuId::new(id).unwrap();
            let seen = thread::spawn(move || pin(cpu).map(|()| allowed())).join().unwrap();
            assert_eq!(seen.unwrap(), [id]);
        }
    }

    #[test]
    fn a_cpu_that_the_machine_lacks_is_an_error_and_not_an_abort() {
        let last = CpuId::LIMIT - 1;
        if !allowed().contains(&last) {
            let result = thread::spawn(move || pin(CpuId::new(last).unwrap())).join().unwrap();
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn the_quota_is_at_least_one_and_never_more_than_what_is_allowed() {
        assert!((1..=allowed().len()).contains(&quota_here()));
    }
}
