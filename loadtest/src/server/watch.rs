//! Looking at a server in the course of a run: before the first connection, and when measuring begins and ends.

use std::time::{Duration, Instant};

use crate::load::control::Snapshot;
use crate::plan::Window;
use crate::server::syscalls::{COUNT_TIME, PATIENCE, Syscalls, Tracer};
use crate::server::{Process, Sample};

/// How long the load has to go on after the window so that system calls can be counted.
pub const SYSCALLS_TIME: Duration = COUNT_TIME.saturating_add(PATIENCE);

/// Which server is to be looked at, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The server.
    pub process: Process,
    /// Whether its system calls are to be counted. Then the load has to go on for [`SYSCALLS_TIME`] after the window.
    pub syscalls: bool,
}

/// What was seen of a server. What could not be seen any more is missing.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The server.
    pub process: Process,
    /// Before the first connection.
    pub before: Option<Sample>,
    /// When measuring began.
    pub first: Option<Sample>,
    /// Connections that were open when measuring began.
    pub connections: u64,
    /// When measuring ended.
    pub last: Option<Sample>,
    /// Its system calls after that, or why they are not known; `None` if nobody has asked.
    pub syscalls: Option<Result<Syscalls, String>>,
    /// Whether it was gone when the load was over.
    pub ended: bool,
}

/// Looks at a server when it is time to.
#[derive(Debug)]
pub struct Watch {
    subject: Subject,
    /// Connections that are to be open.
    connections: u64,
    watched: Watched,
    tracing: Option<Tracing>,
}

/// A count of system calls under way.
#[derive(Debug)]
struct Tracing {
    tracer: Tracer,
    since: Instant,
    /// Messages that had come back by then.
    messages: u64,
}

impl Watch {
    /// Looks for the first time. So many `connections` are to be open later.
    pub fn new(subject: Subject, connections: usize) -> Self {
        let process = subject.process;
        let watched = Watched {
            process,
            before: process.sample(),
            first: None,
            connections: 0,
            last: None,
            syscalls: None,
            ended: false,
        };
        Self { subject, connections: connections as u64, watched, tracing: None }
    }

    /// When there is something to do next, if that is known.
    pub fn due(&self, window: Window) -> Option<Instant> {
        match (&self.watched.first, &self.watched.last) {
            (None, _) => Some(window.from),
            (Some(_), None) => window.until,
            _ => self.tracing.as_ref().map(|tracing| tracing.since + COUNT_TIME),
        }
    }

    /// Does what is due. `snapshot` gives how far the run has come.
    pub fn look(&mut self, window: Window, snapshot: impl Fn() -> Snapshot) {
        let now = Instant::now();
        if self.watched.first.is_none() && now >= window.from {
            self.watched.first = self.subject.process.sample();
            // Those that were made may have been closed and made anew.
            self.watched.connections = snapshot().connected.min(self.connections);
        }
        if self.watched.last.is_none() && window.until.is_some_and(|until| now >= until) {
            self.watched.last = self.subject.process.sample();
            if self.subject.syscalls && self.watched.last.is_some() {
                self.begin_to_count(&snapshot);
            }
        }
        if self.tracing.as_ref().is_some_and(|tracing| now >= tracing.since + COUNT_TIME) {
            self.finish_counting(&snapshot);
        }
    }

    /// The load is over, on time or not.
    pub fn end(mut self, snapshot: impl Fn() -> Snapshot) -> Watched {
        self.finish_counting(&snapshot);
        if self.watched.last.is_none() && self.watched.first.is_some() {
            self.watched.last = self.subject.process.sample();
        }
        self.watched.ended = self.subject.process.sample().is_none();
        if self.subject.syscalls && self.watched.syscalls.is_none() {
            self.watched.syscalls = Some(Err("the load was over before they could be counted".to_owned()));
        }
        self.watched
    }

    fn begin_to_count(&mut self, snapshot: impl Fn() -> Snapshot) {
        match Tracer::start(self.subject.process) {
            Ok(tracer) => self.tracing = Some(Tracing { tracer, since: Instant::now(), messages: snapshot().replied }),
            Err(reason) => self.watched.syscalls = Some(Err(reason)),
        }
    }

    fn finish_counting(&mut self, snapshot: impl Fn() -> Snapshot) {
        let Some(Tracing { tracer, since, messages: before }) = self.tracing.take() else { return };
        let counted = tracer.finish(snapshot().replied.saturating_sub(before), since.elapsed());
        self.watched.syscalls = Some(counted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch() -> Watch {
        Watch::new(Subject { process: Process::find(std::process::id()).unwrap(), syscalls: false }, 10)
    }

    fn between(from: Instant, until: Option<Instant>) -> Window {
        Window { begin: from, from, until, stop: until }
    }

    #[test]
    fn a_server_is_looked_at_before_the_load_and_at_both_ends_of_the_window() {
        let mut watch = watch();
        assert!(watch.watched.before.is_some());
        let now = Instant::now();
        let hour = Duration::from_secs(3_600);
        let window = between(now + hour, Some(now + 2 * hour));
        watch.look(window, Snapshot::default);
        assert!(watch.watched.first.is_none() && watch.due(window) == Some(window.from));
        let window = between(now, Some(now + hour));
        watch.look(window, Snapshot::default);
        assert!(watch.watched.first.is_some() && watch.watched.last.is_none() && watch.due(window) == window.until);
        let window = between(now, Some(now));
        watch.look(window, Snapshot::default);
        assert!(watch.watched.last.is_some() && watch.due(window).is_none());
        assert!(watch.end(Snapshot::default).syscalls.is_none());
    }

    #[test]
    fn a_window_without_an_end_of_its_own_ends_with_the_load() {
        let mut watch = watch();
        watch.look(between(Instant::now(), None), Snapshot::default);
        assert!(watch.end(Snapshot::default).last.is_some());
    }

    #[test]
    fn a_load_that_ended_early_leaves_no_time_to_count_system_calls() {
        let mut watch = watch();
        watch.subject.syscalls = true;
        assert!(watch.end(Snapshot::default).syscalls.unwrap().unwrap_err().contains("was over"));
    }
}
