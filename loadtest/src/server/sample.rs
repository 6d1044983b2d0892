//! What `/proc` says, at one moment, of a process and of all that descend from it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::param::clock_ticks_per_second;

use crate::cpus::Cpus;
use crate::proc;
use crate::server::usage::Switches;

/// The most processes that are looked at: the server's own, and those that descend from it.
const PROCESSES_MAX: usize = 256;

/// The most threads that are looked at.
const THREADS_MAX: usize = 4_096;

/// A process, by its number. What descends from it belongs to it: a server may be started by a script, and may fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process(u32);

/// What a process and its descendants had done by some moment, and what they held.
#[derive(Clone, Debug)]
pub struct Sample {
    pub(super) at: Instant,
    /// Itself first, then its descendants.
    pub(super) pids: Vec<u32>,
    /// How long all of it ran, threads and children that have ended included, in whole ticks of the kernel's clock.
    pub(super) counted: Duration,
    /// Bytes that are resident, the most that ever were, and bytes in swap space.
    pub(super) resident: u64,
    pub(super) peak: u64,
    pub(super) swapped: u64,
    /// Of the process that has most open.
    pub(super) descriptors: u64,
    pub(super) descriptor_limit: Option<u64>,
    pub(super) threads: Vec<Thread>,
}

#[derive(Clone, Debug)]
pub(super) struct Thread {
    pub(super) id: u32,
    pub(super) name: String,
    pub(super) busy: Duration,
    pub(super) cpu: usize,
    pub(super) allowed: Cpus,
    pub(super) switches: Switches,
    pub(super) is_traced: bool,
}

impl Process {
    /// The process of this number.
    ///
    /// # Errors
    ///
    /// If there is none, or it cannot be looked at.
    pub fn find(pid: u32) -> Result<Self, String> {
        let process = Self(pid);
        process.sample().map(|_| process).ok_or_else(|| format!("there is no process {pid} to look at"))
    }

    /// That of a child.
    pub(super) fn new(pid: u32) -> Self {
        Self(pid)
    }

    /// Its number.
    pub fn id(self) -> u32 {
        self.0
    }

    /// What it has done; `None` if it has ended.
    pub fn sample(self) -> Option<Sample> {
        let mut sample = Sample::new(Instant::now());
        let mut pending = vec![self.0];
        while let Some(pid) = pending.pop() {
            if sample.pids.len() < PROCESSES_MAX {
                sample.add_process(pid, &mut pending);
            }
        }
        (!sample.threads.is_empty()).then_some(sample)
    }
}

impl Sample {
    /// Of nothing, yet.
    pub(super) fn new(at: Instant) -> Self {
        Self {
            at,
            pids: Vec::new(),
            counted: Duration::ZERO,
            resident: 0,
            peak: 0,
            swapped: 0,
            descriptors: 0,
            descriptor_limit: None,
            threads: Vec::new(),
        }
    }

    /// Whether a tracer is attached to all of it.
    pub(super) fn is_traced(&self) -> bool {
        self.threads.iter().all(|thread| thread.is_traced)
    }

    /// Adds a process, if it is there, and its children to those that are still to be added.
    fn add_process(&mut self, pid: u32, pending: &mut Vec<u32>) {
        let directory = &Path::new("/proc").join(pid.to_string());
        let Some(stat) = read(directory, "stat").and_then(|text| proc::parse_stat(&text)) else { return };
        let Some(status) = read(directory, "status").and_then(|text| proc::parse_status(&text)) else { return };
        let Ok(tasks) = fs::read_dir(directory.join("task")) else { return };
        self.pids.push(pid);
        self.counted += from_ticks(stat.ticks.saturating_add(stat.children_ticks));
        self.resident += status.resident;
        self.peak += status.peak;
        self.swapped += status.swapped;
        let descriptors = count_descriptors(directory);
        if descriptors >= self.descriptors {
            let limit = read(directory, "limits").and_then(|text| proc::parse_descriptor_limit(&text));
            (self.descriptors, self.descriptor_limit) = (descriptors, limit.and_then(|limit| limit.soft));
        }
        for task in tasks.flatten() {
            if self.threads.len() == THREADS_MAX {
                return;
            }
            let task = task.path();
            self.threads.extend(read_thread(&task));
            pending.extend(read(&task, "children").iter().flat_map(|text| proc::parse_children(text)));
        }
    }
}

/// What the kernel says of one thread; `None` if it has ended.
fn read_thread(task: &Path) -> Option<Thread> {
    let stat = proc::parse_stat(&read(task, "stat")?)?;
    let status = proc::parse_status(&read(task, "status")?)?;
    // One that has ended and was not waited for has no memory.
    if status.resident == 0 {
        return None;
    }
    let exact = read(task, "schedstat").and_then(|text| proc::parse_schedstat(&text)).filter(|busy| !busy.is_zero());
    Some(Thread {
        id: task.file_name()?.to_str()?.parse().ok()?,
        busy: exact.unwrap_or_else(|| from_ticks(stat.ticks)),
        cpu: stat.cpu,
        allowed: status.allowed,
        switches: Switches { voluntary: status.voluntary, involuntary: status.involuntary },
        is_traced: status.tracer != 0,
        name: stat.name,
    })
}

fn count_descriptors(process: &Path) -> u64 {
    let directory = process.join("fd");
    // Since Linux 6.2 the directory's size is the number of its entries; listing 20,000 of them takes milliseconds.
    match fs::metadata(&directory) {
        Ok(metadata) if metadata.len() > 0 => metadata.len(),
        Ok(_) => fs::read_dir(&directory).map_or(0, |entries| entries.count() as u64),
        Err(_) => 0,
    }
}

fn from_ticks(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / clock_ticks_per_second() as f64)
}

fn read(directory: &Path, file: &str) -> Option<String> {
    fs::read_to_string(directory.join(file)).ok()
}

/// The CPUs on which this process's threads may run, unless they are pinned.
pub fn own_cpus() -> Cpus {
    let status = read(Path::new("/proc/self"), "status").and_then(|text| proc::parse_status(&text));
    status.map(|status| status.allowed).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn this_process_can_be_looked_at_and_one_that_is_not_there_is_told() {
        let sample = Process::find(std::process::id()).unwrap().sample().unwrap();
        assert!(sample.resident > 0 && sample.peak >= sample.resident && sample.descriptors > 2, "{sample:?}");
        assert!(Process::find(u32::MAX).unwrap_err().contains("no process 4294967295"));
        assert!(!own_cpus().is_empty());
    }

    #[test]
    fn children_belong_to_a_process_and_one_that_has_ended_is_not_there() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let whole = Process(std::process::id()).sample().unwrap();
        assert!(whole.threads.iter().any(|thread| thread.id == child.id()), "{whole:?}");
        assert!(whole.pids.len() >= 2);
        // The end of its input is that of cat, which is not waited for yet: it is a zombie.
        drop(child.stdin.take());
        let pid = child.id();
        while Process(pid).sample().is_some() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
    }

    #[test]
    fn descriptors_are_counted_one_by_one() {
        let own = Path::new("/proc/self");
        let before = count_descriptors(own);
        let files: Vec<_> = (0..100).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        // Other tests open and close theirs meanwhile.
        assert!(count_descriptors(own) >= before + 50, "{before}");
        drop(files);
    }
}
