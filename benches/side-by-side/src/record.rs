//! What was measured: the record of a run, written as JSON, from which tables, charts and targets are made.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::point::{Point, Work};

/// A whole run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) machine: Machine,
    /// The command line that makes such a run.
    pub(crate) command: String,
    pub(crate) rounds: u32,
    pub(crate) slice_ms: u64,
    /// What the order of the contestants was drawn from.
    pub(crate) seed: u64,
    pub(crate) contestants: Vec<Entry>,
    pub(crate) slices: Vec<Slice>,
    pub(crate) counts: Vec<Count>,
    pub(crate) latencies: Vec<Latency>,
    pub(crate) memory: Vec<Memory>,
    pub(crate) timers: Vec<Timers>,
    /// What was not measured, and why.
    pub(crate) failures: Vec<Failure>,
}

/// Where it ran.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cpus: usize,
    pub(crate) kernel: String,
    pub(crate) rustc: String,
    /// The commit of pants that was measured; empty if that is not known.
    pub(crate) commit: String,
}

/// A contestant that took part.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) version: String,
}

/// What one contestant did in one slice of time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Slice {
    pub(crate) point: Point,
    pub(crate) contestant: String,
    pub(crate) round: u32,
    pub(crate) messages: u64,
    pub(crate) nanoseconds: u64,
    /// What the server's threads have used of their CPU.
    pub(crate) server_cpu: u64,
    /// What has run on the other CPU: the client, and the server behind a proxy.
    pub(crate) client_cpu: u64,
    /// Datagrams that had to be sent again.
    pub(crate) lost: u64,
}

/// What a message costs in counts; `None` with a reason among the failures.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Count {
    pub(crate) point: Point,
    pub(crate) contestant: String,
    /// Instructions in user space.
    pub(crate) instructions: Option<f64>,
    /// Calls of malloc, calloc, realloc, posix_memalign and aligned_alloc.
    pub(crate) allocations: Option<f64>,
    /// System calls by name, most frequent first.
    pub(crate) system_calls: Option<Vec<(String, f64)>>,
}

/// How the messages came whose latency was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Load {
    /// By a schedule, at half of the floor's rate.
    Half,
    /// Each when the reply to the one before it had come.
    Closed,
}

/// The latencies of one round, in nanoseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) point: Point,
    pub(crate) contestant: String,
    pub(crate) round: u32,
    pub(crate) load: Load,
    /// Messages a second that came back.
    pub(crate) rate: f64,
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) p99_9: u64,
    /// The 99.9th percentile of how late the generator itself was: what it adds to the others.
    pub(crate) lag_p99_9: Option<u64>,
}

/// What idle connections hold.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) contestant: String,
    pub(crate) connections: u32,
    /// Anonymous memory of the server by which it has grown.
    pub(crate) bytes: u64,
}

/// What one round of a program took that measures itself: nanoseconds by what it did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Timers {
    pub(crate) contestant: String,
    pub(crate) round: u32,
    pub(crate) nanoseconds: BTreeMap<String, f64>,
}

/// What was not measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) contestant: String,
    /// What of it: a point, or what of a point.
    pub(crate) what: String,
    pub(crate) reason: String,
}

impl Record {
    /// The points of a kind of work that were measured, in the order in which they were.
    pub(crate) fn points(&self, work: Work) -> Vec<Point> {
        let mut points = Vec::new();
        for slice in self.slices.iter().filter(|slice| slice.point.work == work) {
            if !points.contains(&slice.point) {
                points.push(slice.point);
            }
        }
        points
    }

    /// The slices of a contestant at a point, by rounds.
    pub(crate) fn slices_of<'a>(&'a self, point: &'a Point, contestant: &'a str) -> impl Iterator<Item = &'a Slice> {
        self.slices.iter().filter(move |slice| slice.point == *point && slice.contestant == contestant)
    }

    /// The rounds and times of what a contestant's timers do.
    pub(crate) fn timers_of<'a>(&'a self, contestant: &'a str, what: &'a str) -> impl Iterator<Item = (u32, f64)> {
        let timers = self.timers.iter().filter(move |timers| timers.contestant == contestant);
        timers.filter_map(move |timers| Some((timers.round, *timers.nanoseconds.get(what)?)))
    }

    /// Notes that something was not measured, and says so: with the first reason, if there are several.
    pub(crate) fn fail(&mut self, contestant: &str, what: impl ToString, reason: impl Into<String>) {
        let failure = Failure { contestant: contestant.to_owned(), what: what.to_string(), reason: reason.into() };
        let is_it = |one: &Failure| one.contestant == failure.contestant && one.what == failure.what;
        if !self.failures.iter().any(is_it) {
            eprintln!("not measured: {}, {}: {}", failure.contestant, failure.what, failure.reason);
            self.failures.push(failure);
        }
    }

    /// Adds what another run has measured. Its rounds are counted on from those that are there: a ratio is that of two slices of one
    /// round of one run. Of what is measured once, the newer figure stays.
    ///
    /// # Errors
    ///
    /// If it ran on another machine, in one line.
    pub(crate) fn add(&mut self, other: Self) -> Result<(), String> {
        let machine = |record: &Self| (record.machine.cpu.clone(), record.machine.cpus, record.machine.kernel.clone());
        let (mine, theirs) = (machine(self), machine(&other));
        if mine != theirs {
            return Err(format!("records of two machines do not belong together: {mine:?} and {theirs:?}"));
        }
        if self.machine.commit != other.machine.commit {
            self.machine.commit = format!("{}, {}", self.machine.commit, other.machine.commit);
        }
        self.command = format!("{}; {}", self.command, other.command);
        let first = self.next_round();
        self.slices.extend(other.slices.into_iter().map(|one| Slice { round: first + one.round, ..one }));
        self.latencies.extend(other.latencies.into_iter().map(|one| Latency { round: first + one.round, ..one }));
        self.timers.extend(other.timers.into_iter().map(|one| Timers { round: first + one.round, ..one }));
        self.counts.retain(|mine| {
            !other.counts.iter().any(|one| (one.point, &one.contestant) == (mine.point, &mine.contestant))
        });
        self.counts.extend(other.counts);
        self.memory.retain(|mine| !other.memory.iter().any(|one| one.contestant == mine.contestant));
        self.memory.extend(other.memory);
        let is_new = |one: &Entry| !self.contestants.iter().any(|mine| mine.name == one.name);
        let new: Vec<Entry> = other.contestants.into_iter().filter(is_new).collect();
        self.contestants.extend(new);
        self.failures.extend(other.failures);
        Ok(())
    }

    /// The first round that nothing was measured in.
    fn next_round(&self) -> u32 {
        let slices = self.slices.iter().map(|slice| slice.round);
        let latencies = self.latencies.iter().map(|latency| latency.round);
        let timers = self.timers.iter().map(|timers| timers.round);
        slices.chain(latencies).chain(timers).max().map_or(0, |last| last + 1)
    }

    /// Reads records, and puts them together.
    ///
    /// # Errors
    ///
    /// As [`Record::read`] and [`Record::add`].
    pub(crate) fn read_all(paths: &[PathBuf]) -> Result<Self, String> {
        let mut records = paths.iter().map(|path| Self::read(path));
        let mut all = records.next().unwrap_or_else(|| Ok(Self::default()))?;
        for record in records {
            all.add(record?)?;
        }
        Ok(all)
    }

    /// Reads a record.
    ///
    /// # Errors
    ///
    /// In one line, which names the file.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let failed = |reason: String| format!("cannot read the record {}: {reason}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        serde_json::from_str(&text).map_err(|error| failed(error.to_string()))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A slice of so many messages, of which each took the server so many nanoseconds, in a tenth of a second.
    pub(crate) fn slice(point: Point, contestant: &str, round: u32, messages: u64, cpu_each: u64) -> Slice {
        Slice {
            point,
            contestant: contestant.to_owned(),
            round,
            messages,
            nanoseconds: 100_000_000,
            server_cpu: messages * cpu_each,
            client_cpu: 95_000_000,
            lost: 0,
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let mut record = Record { rounds: 3, ..Record::default() };
        record.slices.push(slice(Point::USUAL, "pants", 0, 10, 5_000));
        record.fail("nginx", Point::USUAL, "nginx is not installed");
        let text = serde_json::to_string(&record).unwrap();
        let again: Record = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&again).unwrap(), text);
        assert_eq!(again.points(Work::Echo), [Point::USUAL]);
        assert_eq!(again.slices_of(&Point::USUAL, "pants").count(), 1);
    }

    #[test]
    fn rounds_of_two_runs_stay_apart_when_they_are_put_together() {
        let run = |cpu| {
            let mut record = Record::default();
            record.slices.extend([0, 1].map(|round| slice(Point::USUAL, "pants", round, 10, cpu)));
            record.memory.push(Memory { contestant: "pants".to_owned(), connections: 10, bytes: cpu });
            record.contestants.push(Entry { name: "pants".to_owned(), version: String::new() });
            record
        };
        let mut both = run(4_000);
        both.add(run(5_000)).unwrap();
        assert_eq!(both.slices.iter().map(|slice| slice.round).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!((both.contestants.len(), both.memory.len(), both.memory[0].bytes), (1, 1, 5_000));
        let mut elsewhere = run(6_000);
        elsewhere.machine.cpus = 64;
        assert!(both.add(elsewhere).unwrap_err().contains("two machines"));
    }

    #[test]
    fn a_failure_is_noted_once() {
        let mut record = Record::default();
        record.fail("nginx", "proxy", "nginx is not installed");
        record.fail("nginx", "proxy", "nginx is still not installed");
        assert_eq!(record.failures.len(), 1);
    }
}
