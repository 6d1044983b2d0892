//! What a server asks of the kernel, counted by strace(1).
//!
//! It stops every system call twice, so that the server is a good deal slower under it: nothing else is measured meanwhile,
//! and where calls serve several messages at a time, there are more of them to a message than without it or fewer.

use std::io::Read;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::server::Process;
use crate::server::group::Group;

/// How long system calls are counted: a multiple of the time between two looks at how many messages there were.
pub const COUNT_TIME: Duration = Duration::from_secs(1);

/// How long strace may take to attach itself, or to leave.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(5);

/// What a server asked of the kernel in a stretch of time after the measured one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Syscalls {
    /// How long it was counted.
    pub seconds: f64,
    /// Messages that came back meanwhile.
    pub messages: u64,
    /// System calls.
    pub calls: u64,
    /// To each message; `None` if there was none.
    pub per_message: Option<f64>,
    /// By their names, the most frequent first.
    pub by_name: Vec<Calls>,
}

/// How often one system call was called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calls {
    /// Its name.
    pub name: String,
    /// How often.
    pub calls: u64,
}

/// A strace that counts the system calls of a process.
#[derive(Debug)]
pub struct Tracer(Group);

impl Tracer {
    /// Begins to count; returns when every thread of the process is attached.
    ///
    /// # Errors
    ///
    /// If strace is not there, or may not trace the process, in one line.
    pub fn start(process: Process) -> Result<Self, String> {
        let sample = || process.sample().ok_or("the server has ended");
        let mut command = Command::new("strace");
        command.args(["-c", "-f", "-q", "-o", "/dev/stdout"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        for pid in &sample()?.pids {
            command.arg("-p").arg(pid.to_string());
        }
        let group = Group::start(&mut command).map_err(|error| format!("strace cannot be started: {error}"))?;
        let mut tracer = Self(group);
        let limit = Instant::now() + PATIENCE;
        while !sample()?.is_traced() {
            if tracer.0.ended().is_some() {
                return Err(tracer.complaint());
            }
            if Instant::now() >= limit {
                return Err("strace did not attach itself in time".to_owned());
            }
            thread::sleep(LOOK);
        }
        Ok(tracer)
    }

    /// Ends the count: `messages` have come back in the `time` since it began.
    ///
    /// # Errors
    ///
    /// If strace has nothing to say, in one line.
    pub fn finish(mut self, messages: u64, time: Duration) -> Result<Syscalls, String> {
        self.0.end(Signal::INT, PATIENCE);
        let mut table = String::new();
        // It has ended, and its table is smaller than what a pipe holds.
        let read = self.0.child().stdout.take().map(|mut stdout| stdout.read_to_string(&mut table));
        match (read, parse_table(&table)) {
            (Some(Ok(_)), Some(by_name)) => Ok(Syscalls::new(by_name, messages, time)),
            _ => Err(self.complaint()),
        }
    }

    fn complaint(&mut self) -> String {
        let mut said = String::new();
        let read = self.0.child().stderr.take().map(|mut stderr| stderr.read_to_string(&mut said));
        match (read, said.lines().last()) {
            (Some(Ok(_)), Some(last)) => format!("{last}; see ptrace(2) for who may trace"),
            _ => "strace counted nothing".to_owned(),
        }
    }
}

impl Syscalls {
    fn new(by_name: Vec<Calls>, messages: u64, time: Duration) -> Self {
        let calls = by_name.iter().map(|one| one.calls).sum();
        let per_message = (messages > 0).then(|| calls as f64 / messages as f64);
        Self { seconds: time.as_secs_f64(), messages, calls, per_message, by_name }
    }
}

/// Reads the table that `strace -c` prints; `None` if it is not one. Its columns are the share of the time, the seconds, the
/// microseconds a call, the calls, the errors if there were any, and the name.
fn parse_table(text: &str) -> Option<Vec<Calls>> {
    let mut rules = 0;
    let mut by_name = Vec::new();
    for line in text.lines() {
        if line.starts_with("---") {
            rules += 1;
            continue;
        }
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        // The table is between the two rules; the sum follows the second.
        if rules == 1
            && let [_, _, _, calls, .., name] = fields[..]
        {
            by_name.push(Calls { name: name.to_owned(), calls: calls.parse().ok()? });
        }
    }
    by_name.sort_by(|one, other| other.calls.cmp(&one.calls).then_with(|| one.name.cmp(&other.name)));
    (rules == 2).then_some(by_name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TABLE: &str = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.000600           6       100           recvfrom
 40.00    0.000400           1       400        12 epoll_wait
  0.00    0.000000           0       100           sendto
------ ----------- ----------- --------- --------- ----------------
100.00    0.001000           1       600        12 total
";

    #[test]
    fn the_table_is_read_and_the_most_frequent_call_comes_first() {
        let syscalls = Syscalls::new(parse_table(TABLE).unwrap(), 100, COUNT_TIME);
        let names: Vec<_> = syscalls.by_name.iter().map(|one| (one.name.as_str(), one.calls)).collect();
        assert_eq!(names, [("epoll_wait", 400), ("recvfrom", 100), ("sendto", 100)]);
        assert_eq!((syscalls.calls, syscalls.per_message), (600, Some(6.0)));
        assert_eq!(Syscalls::new(Vec::new(), 0, COUNT_TIME).per_message, None);
    }

    #[test]
    fn a_part_of_a_table_is_none() {
        for cut in [0, 60, 200, TABLE.rfind("---").unwrap() - 70] {
            assert_eq!(parse_table(&TABLE[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn calls_of_a_child_are_counted_or_it_is_said_why_not() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let counted = Tracer::start(Process::new(child.id())).and_then(|tracer| {
            use std::io::Write;
            let mut input = child.stdin.take().unwrap();
            // A process that waits in a system call is only seen to have called it when it returns.
            input.write_all(b"x").unwrap();
            drop(input);
            child.wait().unwrap();
            tracer.finish(1, COUNT_TIME)
        });
        match counted {
            Ok(syscalls) => assert!(syscalls.by_name.iter().any(|one| one.name == "read"), "{syscalls:?}"),
            Err(reason) => assert!(reason.contains("strace") && reason.lines().count() == 1, "{reason}"),
        }
        let _ = child.kill();
        child.wait().unwrap();
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC*|(---|[0-9. a-z]{0,30}|\n){0,12}") {
            let _ = parse_table(&text);
        }
    }
}
