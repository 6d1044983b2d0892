//! A child process: started on one CPU, listened to, and ended whatever happens.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// How often a wait looks whether it was interrupted.
const LOOK: Duration = Duration::from_millis(20);

/// How long a process may take to end when it was told to; then it is killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the last words of a process that has ended are waited for.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// How many of its last lines are told if it fails.
const LINES_TOLD: usize = 3;

/// What is to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: Vec<(&'static str, &'static str)>,
}

impl Line {
    /// A program with some arguments.
    pub(crate) fn new<A: Into<OsString>>(program: impl Into<PathBuf>, arguments: impl IntoIterator<Item = A>) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Self { program: program.into(), arguments, environment: Vec::new() }
    }

    /// The same, run by a tool: its own arguments first, then the program and its arguments.
    pub(crate) fn under(self, tool: &str, mut arguments: Vec<OsString>) -> Self {
        arguments.push(self.program.into());
        arguments.extend(self.arguments);
        Self { program: tool.into(), arguments, environment: self.environment }
    }
}

/// A process that was started here. It is told to end when it is dropped, and killed if it does not.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    last_words: Arc<Mutex<VecDeque<String>>>,
    listeners: [JoinHandle<()>; 2],
    interrupted: Arc<AtomicBool>,
}

impl Process {
    /// Starts a process that may run on `cpu` alone.
    ///
    /// # Errors
    ///
    /// In one line, which names the program.
    pub(crate) fn start(line: &Line, cpu: usize, interrupted: &Arc<AtomicBool>) -> Result<Self, String> {
        let failed = |error: &dyn std::fmt::Display| format!("cannot start {}: {error}", line.program.display());
        let mut command = Command::new(&line.program);
        command.args(&line.arguments).envs(line.environment.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = on_cpu(cpu, || command.spawn()).map_err(|error| failed(&error))?;
        let (told, lines) = channel();
        let last_words = Arc::default();
        let listeners =
            [listen(child.stdout.take(), &last_words, Some(told)), listen(child.stderr.take(), &last_words, None)];
        let input = child.stdin.take();
        Ok(Self { child, input, lines, last_words, listeners, interrupted: Arc::clone(interrupted) })
    }

    /// The next line of its standard output, which has to come within `wait`.
    ///
    /// # Errors
    ///
    /// In one line: it ended, with its last words; it said nothing in time; or the run was interrupted.
    pub(crate) fn line(&mut self, wait: Duration) -> Result<String, String> {
        let limit = Instant::now() + wait;
        loop {
            match self.lines.recv_timeout(LOOK) {
                Ok(line) => return Ok(line),
                Err(RecvTimeoutError::Disconnected) => return Err(self.how_it_ended()),
                Err(RecvTimeoutError::Timeout) => self.go_on_waiting(limit, wait)?,
            }
        }
    }

    /// Waits for something that looks like `found`, which is asked again and again.
    ///
    /// # Errors
    ///
    /// As [`Process::line`].
    pub(crate) fn wait_until<T>(&mut self, wait: Duration, mut found: impl FnMut() -> Option<T>) -> Result<T, String> {
        let limit = Instant::now() + wait;
        loop {
            if let Some(found) = found() {
                return Ok(found);
            }
            if self.child.try_wait().is_ok_and(|status| status.is_some()) {
                return Err(self.how_it_ended());
            }
            self.go_on_waiting(limit, wait)?;
            thread::sleep(LOOK);
        }
    }

    fn go_on_waiting(&self, limit: Instant, wait: Duration) -> Result<(), String> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(INTERRUPTED.to_owned());
        }
        if Instant::now() < limit { Ok(()) } else { Err(format!("no answer in {wait:?}{}", self.last_words())) }
    }

    /// Writes a line to its standard input.
    ///
    /// # Errors
    ///
    /// How it ended, if it did not read.
    pub(crate) fn tell(&mut self, line: &str) -> Result<(), String> {
        let input = self.input.as_mut().expect("it is open until the end");
        input.write_all(format!("{line}\n").as_bytes()).map_err(|_| self.how_it_ended())
    }

    /// Waits until it has ended by itself, and returns whether it said that all went well.
    ///
    /// # Errors
    ///
    /// If it did not, or was not in time.
    pub(crate) fn finish(mut self, wait: Duration) -> Result<(), String> {
        let limit = Instant::now() + wait;
        loop {
            match self.child.try_wait().map_err(|error| error.to_string())? {
                Some(status) if status.success() => return Ok(()),
                Some(_) => return Err(self.how_it_ended()),
                None => self.go_on_waiting(limit, wait)?,
            }
            thread::sleep(LOOK);
        }
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What its threads and its children's have used of their CPUs, in nanoseconds.
    pub(crate) fn cpu_time(&self) -> u64 {
        tree(self.id()).into_iter().map(|pid| cpu_time(Path::new("/proc").join(pid.to_string()).join("task"))).sum()
    }

    /// Bytes of anonymous memory that it and its children have.
    pub(crate) fn anonymous_memory(&self) -> u64 {
        let of =
            |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).map_or(0, |text| anonymous(&text));
        tree(self.id()).into_iter().map(of).sum()
    }

    /// The process that was started by a tool which is this process: its only child.
    pub(crate) fn only_child(&self) -> Option<u32> {
        tree(self.id()).get(1).copied()
    }

    /// Tells it to end, and does not wait for that.
    pub(crate) fn tell_to_end(&self) {
        // It may have ended by itself.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
    }

    /// Tells its only child to end, upon which it ends itself, and does not wait for that.
    pub(crate) fn tell_child_to_end(&self) {
        let child = self.only_child().and_then(|child| Pid::from_raw(child as i32));
        let _ = child.map(|child| kill_process(child, Signal::TERM));
    }

    /// Waits until it has ended, which it was told to do; kills it if it does not.
    pub(crate) fn wait_for_end(&mut self) {
        self.input = None;
        let limit = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > limit {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Tells it to end, and waits for that. strace would leave the server behind that it runs, and the server is told first.
    pub(crate) fn end(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.tell_child_to_end();
            self.tell_to_end();
            self.wait_for_end();
        }
    }

    fn how_it_ended(&mut self) -> String {
        // Its output is closed, so that it is about to end, if it has not.
        self.end();
        let status = self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        // What a child of it has inherited may stay open; then what has come by now is all.
        let limit = Instant::now() + LAST_WORDS;
        while !self.listeners.iter().all(JoinHandle::is_finished) && Instant::now() < limit {
            thread::sleep(Duration::from_millis(1));
        }
        format!("it ended with {status}{}", self.last_words())
    }

    fn last_words(&self) -> String {
        let lines = self.last_words.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.is_empty() { String::new() } else { format!("; it said: {}", Vec::from(lines.clone()).join(" | ")) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// What is returned where a run was interrupted.
pub(crate) const INTERRUPTED: &str = "interrupted";

/// Runs `f` while this thread may run on `cpu` alone; what it starts inherits that.
fn on_cpu<T>(cpu: usize, f: impl FnOnce() -> std::io::Result<T>) -> std::io::Result<T> {
    let before = sched_getaffinity(None)?;
    let mut only = CpuSet::new();
    only.set(cpu);
    sched_setaffinity(None, &only)?;
    let done = f();
    sched_setaffinity(None, &before)?;
    done
}

/// Reads what a process says, so that it never waits for that, and keeps its last lines.
fn listen(
    from: Option<impl Read + Send + 'static>,
    last_words: &Arc<Mutex<VecDeque<String>>>,
    to: Option<Sender<String>>,
) -> JoinHandle<()> {
    let last_words = Arc::clone(last_words);
    let from = from.expect("it was asked for");
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let mut last_words = last_words.lock().unwrap_or_else(PoisonError::into_inner);
            last_words.push_back(line.clone());
            if last_words.len() > LINES_TOLD {
                last_words.pop_front();
            }
            drop(last_words);
            // Nobody may wait for it.
            let _ = to.as_ref().map(|to| to.send(line));
        }
    })
}

/// A process and all that descend from it.
fn tree(root: u32) -> Vec<u32> {
    let mut all = vec![root];
    let mut next = 0;
    while let Some(pid) = all.get(next) {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let children: Vec<u32> = tasks
            .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
            .flat_map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
            .collect();
        all.extend(children);
        next += 1;
    }
    all
}

fn cpu_time(tasks: PathBuf) -> u64 {
    let tasks = std::fs::read_dir(tasks).into_iter().flatten().flatten();
    // The first number is the time on a CPU: Documentation/scheduler/sched-stats.rst of the kernel.
    let of = |text: String| text.split_whitespace().next().and_then(|number| number.parse::<u64>().ok());
    tasks.filter_map(|task| of(std::fs::read_to_string(task.path().join("schedstat")).ok()?)).sum()
}

/// The bytes that the text of `smaps_rollup` has as anonymous.
fn anonymous(text: &str) -> u64 {
    let kib = text.lines().find_map(|line| line.strip_prefix("Anonymous:"));
    kib.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()).map_or(0, |kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(20);

    /// The CPU on which the test's children run: one on which it may run itself.
    fn cpu() -> usize {
        let own = sched_getaffinity(None).unwrap();
        (0..CpuSet::MAX_CPU).find(|cpu| own.is_set(*cpu)).unwrap()
    }

    fn shell(script: &str) -> Process {
        Process::start(&Line::new("sh", ["-c", script]), cpu(), &Arc::default()).unwrap()
    }

    #[test]
    fn a_process_is_told_lines_and_says_lines_on_one_cpu() {
        let mut process = shell("read line; echo got $line; grep Cpus_allowed_list /proc/self/status; read end");
        process.tell("word").unwrap();
        assert_eq!(process.line(WAIT).unwrap(), "got word");
        assert_eq!(process.line(WAIT).unwrap(), format!("Cpus_allowed_list:\t{}", cpu()));
        assert!(process.cpu_time() > 0 && process.anonymous_memory() > 0);
    }

    #[test]
    fn one_that_ends_is_told_with_its_last_words() {
        let mut process = shell("echo one; echo two >&2; exit 3");
        assert_eq!(process.line(WAIT).unwrap(), "one");
        let error = process.line(WAIT).unwrap_err();
        assert!(error.starts_with("it ended with exit status: 3; it said: ") && error.contains("two"), "{error}");
    }

    #[test]
    fn one_that_is_dropped_has_ended() {
        let mut process = shell("echo ready; exec sleep 600");
        process.line(WAIT).unwrap();
        let id = process.id();
        drop(process);
        assert!(!Path::new("/proc").join(id.to_string()).exists());
    }

    #[test]
    fn what_one_that_is_dropped_has_started_ends_too() {
        let mut process = shell("sleep 600 & echo ready; wait");
        process.line(WAIT).unwrap();
        let child = Path::new("/proc").join(process.only_child().unwrap().to_string()).join("cmdline");
        drop(process);
        let limit = Instant::now() + WAIT;
        // Of one that has ended and is not waited for, it is empty.
        while std::fs::read(&child).is_ok_and(|words| !words.is_empty()) {
            assert!(Instant::now() < limit, "it goes on");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn who_interrupts_does_not_wait() {
        let mut process = shell("sleep 600");
        process.interrupted.store(true, Ordering::Relaxed);
        assert_eq!(process.line(WAIT).unwrap_err(), INTERRUPTED);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = Process::start(&Line::new("/no/such/program", [""; 0]), cpu(), &Arc::default()).unwrap_err();
        assert!(error.starts_with("cannot start /no/such/program: No such file"), "{error}");
    }

    #[test]
    fn anonymous_memory_is_read_in_bytes() {
        assert_eq!(anonymous("Rss:  100 kB\nAnonymous:            12 kB\nAnonHugePages: 5 kB\n"), 12 * 1024);
        assert_eq!(anonymous("nothing"), 0);
    }
}
