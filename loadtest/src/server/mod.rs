//! The measured process: which of its threads ran for how long, and where.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::param::clock_ticks_per_second;
use serde::{Deserialize, Serialize};

use crate::count::tally::Usage;
use crate::cpus::Cpus;
use crate::proc;

/// The most threads that are looked at.
const THREADS_MAX: usize = 4_096;

/// A thread that runs for less than this share of the time has no part in the work.
const IDLE: f64 = 0.01;

/// A process, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process(u32);

/// What all threads of a process had done by some moment.
#[derive(Clone, Debug)]
pub struct Sample {
    at: Instant,
    threads: Vec<Thread>,
}

#[derive(Clone, Debug)]
struct Thread {
    id: u32,
    name: String,
    busy: Duration,
    cpu: usize,
    allowed: Cpus,
}

/// What a server has done in a stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerUse {
    /// Its process.
    pub pid: u32,
    /// How long its threads ran, together.
    pub cpu_seconds: f64,
    /// For each measured message, in nanoseconds; `None` if there was none.
    pub cpu_ns_per_message: Option<f64>,
    /// The thread that ran longest.
    pub busiest_thread: String,
    /// How much of the time it ran: 0 to 1.
    pub busiest_share: f64,
    /// Where the threads that worked were seen to run.
    pub ran_on: Cpus,
    /// Where they may run.
    pub allowed: Cpus,
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

    /// Its number.
    pub fn pid(self) -> u32 {
        self.0
    }

    /// What its threads have done; `None` if it has ended.
    pub fn sample(self) -> Option<Sample> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0)).ok()?;
        let threads: Vec<Thread> =
            tasks.flatten().take(THREADS_MAX).filter_map(|task| read_thread(&task.path())).collect();
        (!threads.is_empty()).then(|| Sample { at: Instant::now(), threads })
    }

    /// What it has done from one sample to a later one. `messages` were measured in a `window` about as long, whose edges are
    /// not quite the samples'.
    pub fn usage(self, from: &Sample, to: &Sample, messages: u64, window: Duration) -> ServerUse {
        let elapsed = to.at - from.at;
        let mut usage = ServerUse { pid: self.0, ..ServerUse::default() };
        let mut busy = Duration::ZERO;
        for thread in &to.threads {
            // One that is new has all its time from here.
            let before = from.threads.iter().find(|before| before.id == thread.id);
            let ran = Usage { busy: thread.busy.saturating_sub(before.map_or(Duration::ZERO, |t| t.busy)), elapsed };
            busy += ran.busy;
            if ran.share() >= IDLE {
                usage.ran_on.add(&before.map(|before| before.cpu).into_iter().chain([thread.cpu]).collect());
                usage.allowed.add(&thread.allowed);
            }
            if ran.share() > usage.busiest_share {
                usage.busiest_share = ran.share();
                usage.busiest_thread.clone_from(&thread.name);
            }
        }
        usage.cpu_seconds = busy.as_secs_f64();
        // Outside of the window it may have had nothing to do; within it the work was even.
        let covered = Usage { busy: elapsed, elapsed: window }.share();
        usage.cpu_ns_per_message =
            (messages > 0 && covered > 0.0).then(|| usage.cpu_seconds * 1e9 / (messages as f64 * covered));
        usage
    }
}

/// What the kernel says of one thread; `None` if it has ended meanwhile.
fn read_thread(task: &Path) -> Option<Thread> {
    let read = |file: &str| fs::read_to_string(PathBuf::from(task).join(file)).ok();
    let stat = proc::parse_stat(&read("stat")?)?;
    let exact = read("schedstat").and_then(|text| proc::parse_schedstat(&text)).filter(|busy| !busy.is_zero());
    let counted = || Duration::from_secs_f64(stat.ticks as f64 / clock_ticks_per_second() as f64);
    Some(Thread {
        id: task.file_name()?.to_str()?.parse().ok()?,
        busy: exact.unwrap_or_else(counted),
        cpu: stat.cpu,
        allowed: read("status").and_then(|text| proc::parse_allowed(&text)).unwrap_or_default(),
        name: stat.name,
    })
}

/// The CPUs on which this process's threads may run, unless they are pinned.
pub fn own_cpus() -> Cpus {
    fs::read_to_string("/proc/self/status").ok().and_then(|text| proc::parse_allowed(&text)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(id: u32, millis: u64, cpu: usize) -> Thread {
        let busy = Duration::from_millis(millis);
        Thread { id, name: format!("shard-{id}"), busy, cpu, allowed: [cpu].into_iter().collect() }
    }

    #[test]
    fn the_threads_that_worked_are_summed_and_the_busiest_is_named() {
        let at = Instant::now();
        let from = Sample { at, threads: vec![thread(0, 100, 0), thread(1, 100, 1), thread(2, 100, 2)] };
        let later = at + Duration::from_secs(1);
        let to = Sample { at: later, threads: vec![thread(0, 300, 0), thread(1, 1_000, 1), thread(2, 105, 3)] };
        let usage = Process(7).usage(&from, &to, 1_000, Duration::from_secs(1));
        assert_eq!((usage.busiest_thread.as_str(), usage.pid), ("shard-1", 7));
        assert!((usage.busiest_share - 0.9).abs() < 1e-9 && (usage.cpu_seconds - 1.105).abs() < 1e-9);
        assert!((usage.cpu_ns_per_message.unwrap() - 1_105_000.0).abs() < 1.0);
        assert_eq!((usage.ran_on.to_string(), usage.allowed.to_string()), ("0-1".into(), "0-1".into()));
    }

    #[test]
    fn this_process_can_be_looked_at_and_one_that_is_not_there_is_told() {
        assert!(Process::find(std::process::id()).is_ok());
        assert!(Process::find(u32::MAX).unwrap_err().contains("no process 4294967295"));
        assert!(!own_cpus().is_empty());
    }
}
