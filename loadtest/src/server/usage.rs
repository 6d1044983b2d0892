//! What a server did in a stretch of time, from what it had done at both ends of it.

use std::cmp::Reverse;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::count::tally::Usage;
use crate::cpus::Cpus;
use crate::server::sample::{Sample, Thread};
use crate::server::syscalls::Syscalls;
use crate::server::watch::Watched;

/// A thread that runs for less than this share of the time has no part in the work.
const IDLE: f64 = 0.01;

/// The most threads that a report lists.
const THREADS_LISTED: usize = 64;

/// The kernel's count of a process's time may differ from the sum of its threads' by this much, for it is in ticks of mostly
/// 10 ms, which are rounded, for user and system apart, at both ends.
const ROUNDING: Duration = Duration::from_millis(40);

/// What a server has done in a stretch of time, its descendants included.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerUse {
    /// Its process.
    pub pid: u32,
    /// How many processes it was: itself, and those that descend from it.
    pub processes: usize,
    /// How long its threads ran, together.
    pub cpu_seconds: f64,
    /// For each measured message, in nanoseconds; `None` if there was none.
    pub cpu_ns_per_message: Option<f64>,
    /// How many threads it had at the end.
    pub thread_count: usize,
    /// Those that worked, the busiest first, at most 64.
    pub threads: Vec<ThreadUse>,
    /// The thread that ran longest.
    pub busiest_thread: String,
    /// How much of the time it ran: 0 to 1.
    pub busiest_share: f64,
    /// Where the threads that worked were seen to run.
    pub ran_on: Cpus,
    /// Where they may run.
    pub allowed: Cpus,
    /// Its memory.
    pub resident: Resident,
    /// What each connection added to its memory, in bytes: what became resident between the first connection and the
    /// window's beginning, divided by the connections that were open then. The kernel's memory for their sockets is not in it.
    /// `None` if it was not seen before, or shrank.
    pub resident_bytes_per_connection: Option<f64>,
    /// Descriptors that it had open at the end; of several processes, the one with the most.
    pub descriptors: u64,
    /// How many it may have open; `None` if as many as it likes.
    pub descriptor_limit: Option<u64>,
    /// How often its threads changed with others on their CPUs.
    pub switches: Switches,
    /// What it asked of the kernel, if that was counted.
    pub syscalls: Option<Syscalls>,
    /// Why it was not counted, if it was asked for.
    pub syscalls_missing: Option<String>,
}

/// What one thread of a server did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ThreadUse {
    /// Its name.
    pub name: String,
    /// How much of the time it ran: 0 to 1.
    pub cpu_share: f64,
    /// The CPU on which it was seen last.
    pub cpu: usize,
}

/// A server's memory, in bytes: what was resident (proc_pid_status(5), `VmRSS`), its descendants' included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resident {
    /// Before the first connection, if it was looked at then.
    pub before_bytes: Option<u64>,
    /// When measuring began.
    pub begin_bytes: u64,
    /// When measuring ended.
    pub end_bytes: u64,
    /// The most that it ever was (`VmHWM`).
    pub peak_bytes: u64,
    /// What was in swap space when measuring ended.
    pub swapped_bytes: u64,
}

/// How often threads changed with others on their CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switches {
    /// They had nothing to do, or had to wait.
    pub voluntary: u64,
    /// Their CPU was taken from them.
    pub involuntary: u64,
}

impl ServerUse {
    /// What a server did from one sample to the other; `None` if it was not there at both ends. `messages` were measured in a `window` about as long as the time between the samples, whose edges are not quite theirs.
    pub fn between(watched: &Watched, messages: u64, window: Duration) -> Option<Self> {
        let (from, to) = (watched.first.as_ref()?, watched.last.as_ref()?);
        let elapsed = to.at.saturating_duration_since(from.at);
        let mut usage = Self { pid: watched.process.id(), processes: to.pids.len(), ..Self::default() };
        usage.add_threads(from, to, elapsed);
        // Outside of the window it may have had nothing to do; within it the work was even.
        let covered = Usage { busy: elapsed, elapsed: window, ..Usage::default() }.share();
        usage.cpu_ns_per_message =
            (messages > 0 && covered > 0.0).then(|| usage.cpu_seconds * 1e9 / (messages as f64 * covered));
        usage.resident = Resident {
            before_bytes: watched.before.as_ref().map(|before| before.resident),
            begin_bytes: from.resident,
            end_bytes: to.resident,
            peak_bytes: to.peak,
            swapped_bytes: to.swapped,
        };
        let grown = usage.resident.before_bytes.and_then(|before| from.resident.checked_sub(before));
        usage.resident_bytes_per_connection =
            grown.filter(|_| watched.connections > 0).map(|grown| grown as f64 / watched.connections as f64);
        usage.descriptors = to.descriptors;
        usage.descriptor_limit = to.descriptor_limit;
        match &watched.syscalls {
            Some(Ok(syscalls)) => usage.syscalls = Some(syscalls.clone()),
            Some(Err(reason)) => usage.syscalls_missing = Some(reason.clone()),
            None => {}
        }
        Some(usage)
    }

    fn add_threads(&mut self, from: &Sample, to: &Sample, elapsed: Duration) {
        self.thread_count = to.threads.len();
        let mut busy = Duration::ZERO;
        for thread in &to.threads {
            // One that is new has all its time from here.
            let before = from.threads.iter().find(|before| before.id == thread.id);
            let ran = thread.busy.saturating_sub(before.map_or(Duration::ZERO, |t| t.busy));
            let ran = Usage { busy: ran, elapsed, ..Usage::default() };
            busy += ran.busy;
            self.switches.add(thread.switches, before.map(|before| before.switches).unwrap_or_default());
            if ran.share() >= IDLE {
                self.ran_on.add(&before.map(|before| before.cpu).into_iter().chain([thread.cpu]).collect());
                self.allowed.add(&thread.allowed);
                self.threads.push(thread.used(ran.share()));
            }
        }
        self.threads.sort_by_key(|thread| Reverse((thread.cpu_share * 1e6) as u64));
        self.threads.truncate(THREADS_LISTED);
        if let Some(busiest) = self.threads.first() {
            self.busiest_thread.clone_from(&busiest.name);
            self.busiest_share = busiest.cpu_share;
        }
        // Threads and children that have come and gone between the samples are in the processes' own count alone.
        let counted = to.counted.saturating_sub(from.counted);
        let busy = if counted > busy + ROUNDING { counted } else { busy };
        self.cpu_seconds = busy.as_secs_f64();
    }
}

impl Thread {
    fn used(&self, cpu_share: f64) -> ThreadUse {
        ThreadUse { name: self.name.clone(), cpu_share, cpu: self.cpu }
    }
}

impl Switches {
    fn add(&mut self, to: Self, from: Self) {
        self.voluntary += to.voluntary.saturating_sub(from.voluntary);
        self.involuntary += to.involuntary.saturating_sub(from.involuntary);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::server::Process;

    const SECOND: Duration = Duration::from_secs(1);

    fn thread(id: u32, millis: u64, cpu: usize) -> Thread {
        Thread {
            id,
            name: format!("shard-{id}"),
            busy: Duration::from_millis(millis),
            cpu,
            allowed: [cpu].into_iter().collect(),
            switches: Switches { voluntary: millis, involuntary: 1 },
            is_traced: false,
        }
    }

    fn sample(at: Instant, threads: Vec<Thread>) -> Sample {
        let counted = threads.iter().map(|thread| thread.busy).sum();
        Sample { threads, counted, resident: 50_000, peak: 70_000, ..Sample::new(at) }
    }

    fn watched(first: Sample, last: Option<Sample>) -> Watched {
        let process = Process::find(std::process::id()).unwrap();
        Watched { process, before: None, first: Some(first), connections: 0, last, syscalls: None, ended: false }
    }

    #[test]
    fn the_threads_that_worked_are_summed_and_the_busiest_comes_first() {
        let at = Instant::now();
        let first = sample(at, vec![thread(0, 100, 0), thread(1, 100, 1), thread(2, 100, 2)]);
        let last = sample(at + SECOND, vec![thread(0, 300, 0), thread(1, 1_000, 1), thread(2, 105, 3)]);
        let usage = ServerUse::between(&watched(first, Some(last)), 1_000, SECOND).unwrap();
        assert_eq!((usage.busiest_thread.as_str(), usage.pid), ("shard-1", std::process::id()));
        assert!((usage.busiest_share - 0.9).abs() < 1e-9 && (usage.cpu_seconds - 1.105).abs() < 1e-9);
        assert!((usage.cpu_ns_per_message.unwrap() - 1_105_000.0).abs() < 1.0);
        assert_eq!((usage.ran_on.to_string(), usage.allowed.to_string()), ("0-1".into(), "0-1".into()));
        let names: Vec<&str> = usage.threads.iter().map(|thread| thread.name.as_str()).collect();
        assert_eq!((names, usage.thread_count), (vec!["shard-1", "shard-0"], 3));
        assert_eq!(usage.switches, Switches { voluntary: 1_105, involuntary: 0 });
    }

    #[test]
    fn threads_that_came_and_went_are_in_the_sum_and_rounding_is_not() {
        let at = Instant::now();
        let spent = |extra: u64| {
            let first = sample(at, vec![thread(0, 0, 0)]);
            let mut last = sample(at + SECOND, vec![thread(0, 500, 0)]);
            last.counted += Duration::from_millis(extra);
            ServerUse::between(&watched(first, Some(last)), 1, SECOND).unwrap().cpu_seconds
        };
        assert!((spent(300) - 0.8).abs() < 1e-9);
        assert!((spent(20) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn what_became_resident_since_before_the_connections_is_theirs() {
        let at = Instant::now();
        let mut watched = watched(sample(at, vec![thread(0, 0, 0)]), Some(sample(at + SECOND, vec![thread(0, 0, 0)])));
        let each = |watched: &Watched, connections| {
            let watched = Watched { connections, ..watched.clone() };
            ServerUse::between(&watched, 1, SECOND).unwrap().resident_bytes_per_connection
        };
        assert_eq!(each(&watched, 10), None, "it was not looked at before");
        watched.before = Some(Sample { resident: 30_000, ..sample(at, Vec::new()) });
        assert_eq!((each(&watched, 10), each(&watched, 0)), (Some(2_000.0), None));
        watched.before = Some(Sample { resident: 60_000, ..sample(at, Vec::new()) });
        assert_eq!(each(&watched, 10), None, "it shrank");
    }

    #[test]
    fn a_server_that_was_gone_at_the_end_did_nothing_that_is_known() {
        let first = sample(Instant::now(), vec![thread(0, 0, 0)]);
        assert_eq!(ServerUse::between(&watched(first, None), 1, SECOND), None);
    }
}
