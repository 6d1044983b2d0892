//! Children in process groups of their own, none of which is left behind.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

/// How often a child that was told to end is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// How long a child that is dropped has to end by itself.
const PATIENCE: Duration = Duration::from_secs(5);

/// The groups that are there, for whoever ends this process at once.
static GROUPS: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// A child in a process group of its own, with all that it starts: a Ctrl-C on the terminal does not reach it. It is ended
/// when it is dropped.
#[derive(Debug)]
pub(super) struct Group {
    child: Child,
    id: Pid,
    /// Whether nobody is left of it, so that its number may be another's.
    gone: bool,
}

impl Group {
    /// Starts a child that reads nothing.
    pub(super) fn start(command: &mut Command) -> io::Result<Self> {
        // Under the lock, so that nobody can miss a child that is being started.
        let mut groups = groups();
        let child = command.stdin(Stdio::null()).process_group(0).spawn()?;
        let id = Pid::from_child(&child);
        groups.push(id);
        Ok(Self { child, id, gone: false })
    }

    /// The child itself.
    pub(super) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// How the child ended; `None` if it has not, or if that cannot be known.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        let ended = self.child.try_wait().ok().flatten();
        self.gone = self.gone || ended.is_some() && test_kill_process_group(self.id).is_err();
        ended
    }

    /// Tells the whole group to end by `signal`, and kills what is left of it after `patience`.
    pub(super) fn end(&mut self, signal: Signal, patience: Duration) {
        let limit = Instant::now() + patience;
        self.ended();
        // An error means that nobody is there any more.
        let _ = if self.gone { Ok(()) } else { kill_process_group(self.id, signal) };
        while !self.gone {
            if Instant::now() >= limit {
                let _ = kill_process_group(self.id, Signal::KILL);
                let _ = self.child.wait();
                self.gone = true;
                return;
            }
            thread::sleep(LOOK);
            self.ended();
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end(Signal::TERM, PATIENCE);
        groups().retain(|id| *id != self.id);
    }
}

/// Kills every child that was started here and has not ended, for a process that is about to end itself without unwinding.
/// No child is started afterwards: the lock is kept.
pub fn end_all() {
    let groups = groups();
    for id in groups.iter() {
        let _ = kill_process_group(*id, Signal::KILL);
    }
    std::mem::forget(groups);
}

fn groups() -> MutexGuard<'static, Vec<Pid>> {
    // A list of numbers is right whoever panicked over it.
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;

    /// Starts a shell that says when it is ready; returns it when it has.
    fn shell(script: &str) -> Group {
        let mut group = Group::start(Command::new("sh").args(["-c", script]).stdout(Stdio::piped())).unwrap();
        let mut line = String::new();
        BufReader::new(group.child().stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        group
    }

    fn is_there(id: Pid) -> bool {
        test_kill_process_group(id).is_ok()
    }

    #[test]
    fn what_a_child_has_started_ends_with_it() {
        let group = shell("sleep 600 & sleep 600 & echo ready; wait");
        let id = group.id;
        assert!(is_there(id));
        drop(group);
        assert!(!is_there(id));
    }

    #[test]
    fn one_that_will_not_end_is_killed() {
        let mut group = shell("trap '' TERM; echo ready; exec sleep 600");
        group.end(Signal::TERM, Duration::from_millis(50));
        assert!(group.ended().is_some() && !is_there(group.id));
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        let error = Group::start(&mut Command::new("/no/such/program")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
