//! What is shown while a run lasts: one line that changes, on a terminal; plain lines once a second, elsewhere.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::load::control::Snapshot;
use crate::plan::{Extent, Plan, Window};
use crate::units;

/// How often the line on a terminal changes.
const FRAME: Duration = Duration::from_millis(200);

/// How often a plain line comes.
const LINE: Duration = Duration::from_secs(1);

/// A rate is of this much time: less would make it jump about.
const RATE_TIME: Duration = Duration::from_secs(1);

/// Says something on standard error, in a line of its own. Whoever has closed that does not want to read it, and has the rest of
/// the program done all the same.
pub fn note(text: &str) {
    let _ = stderr().lock().write_all(format!("pants-load: {text}\n").as_bytes());
}

/// What is shown while runs last, on standard error.
#[derive(Debug)]
pub struct Progress {
    /// `None` where lines are plain.
    bar: Option<ProgressBar>,
    /// What is said before everything else, with what parts it from the rest.
    prefix: String,
    connections: usize,
    extent: Extent,
    next: Instant,
    /// Messages that had come back at each look of the last second, since the load began.
    past: VecDeque<(Instant, u64)>,
}

/// How far a run is, in one of its stages.
#[derive(Debug, PartialEq, Eq)]
struct Stage {
    text: String,
    /// How much is done, and of how much.
    done: u64,
    of: u64,
}

impl Progress {
    /// Plain where standard error is no terminal, or one that cannot go back in its line; without colours if `NO_COLOR` is set and
    /// not empty (<https://no-color.org>).
    pub fn new() -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let bar = (stderr().is_terminal() && !dumb).then(|| {
            let template = template(std::env::var_os("NO_COLOR").as_deref());
            let style = ProgressStyle::with_template(template).expect("the templates are right");
            let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
            bar.with_style(style.progress_chars("━╸─"))
        });
        Self {
            bar,
            prefix: String::new(),
            connections: 0,
            extent: Extent::Count(0),
            next: Instant::now(),
            past: VecDeque::new(),
        }
    }

    /// Says something before everything else from now on, such as which of several runs it is; with an empty text nothing.
    pub fn set_prefix(&mut self, text: &str) {
        self.prefix = if text.is_empty() { String::new() } else { format!("{text}: ") };
    }

    /// A run begins.
    pub fn begin(&mut self, plan: &Plan) {
        (self.connections, self.extent) = (plan.connections, plan.extent);
        self.past.clear();
        self.next = Instant::now() + self.interval();
        if let Some(bar) = &self.bar {
            bar.reset();
        }
    }

    /// How long to wait at most before the next call of [`show`](Self::show).
    pub fn interval(&self) -> Duration {
        if self.bar.is_some() { FRAME } else { LINE }
    }

    /// Shows how far the run has come, if it is time to.
    pub fn show(&mut self, snapshot: Snapshot, window: Option<Window>, now: Instant) {
        if window.is_some() && self.past.is_empty() {
            // The load begins now: from here on there is a rate.
            self.past.push_back((now, snapshot.replied));
        }
        if now < self.next {
            return;
        }
        // Lateness does not add up; a line that was missed is not made up for.
        self.next = (self.next + self.interval()).max(now);
        let stage = self.stage(snapshot, window, now);
        let pace = self.pace(snapshot, window, now);
        let text = format!("{}{}{pace}", self.prefix, stage.text);
        match &self.bar {
            Some(bar) => {
                bar.set_length(stage.of.max(1));
                bar.set_position(stage.done.min(stage.of));
                bar.set_message(text);
                bar.tick();
            }
            None => note(&text),
        }
    }

    /// The run is over: the line goes.
    pub fn finish(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn stage(&self, snapshot: Snapshot, window: Option<Window>, now: Instant) -> Stage {
        let Some(window) = window else {
            let (done, of) = (snapshot.connected, self.connections as u64);
            return Stage {
                text: format!("{} of {} connections open", units::count(done), units::count(of)),
                done,
                of,
            };
        };
        let timed = |name: &str, time: Duration, all: Duration| {
            let text = format!("{name}{:.1} of {:.1} s", time.min(all).as_secs_f64(), all.as_secs_f64());
            Stage { text, done: time.as_millis() as u64, of: all.as_millis() as u64 }
        };
        let measured = now.checked_duration_since(window.from);
        match (measured, self.extent) {
            (None, _) => timed("warm-up ", now.saturating_duration_since(window.begin), window.from - window.begin),
            (Some(time), Extent::Time(all)) if time <= all => timed("", time, all),
            (Some(_), Extent::Time(_)) => Stage { text: "waiting for the last replies".to_owned(), done: 1, of: 1 },
            (Some(_), Extent::Count(of)) => {
                let done = snapshot.replied;
                Stage { text: format!("{} of {} messages", units::count(done), units::count(of)), done, of }
            }
        }
    }

    /// How the load goes; before it has begun, only what has failed.
    fn pace(&mut self, snapshot: Snapshot, window: Option<Window>, now: Instant) -> String {
        let failed = format!(", {} failed", units::count(snapshot.failed));
        if window.is_none() {
            return failed;
        }
        // Of those that are too old, the youngest stays, so that what is left covers the time.
        while self.past.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= RATE_TIME) {
            self.past.pop_front();
        }
        let (since, before) = self.past.front().copied().unwrap_or((now, snapshot.replied));
        self.past.push_back((now, snapshot.replied));
        let seconds = now.saturating_duration_since(since).as_secs_f64();
        let fresh = snapshot.replied.saturating_sub(before) as f64;
        let rate = if seconds > 0.0 { (fresh / seconds) as u64 } else { 0 };
        let latencies = snapshot.p50_ns.zip(snapshot.p99_ns);
        let latencies =
            latencies.map(|(p50, p99)| format!(", p50 {}, p99 {}", units::latency(p50), units::latency(p99)));
        format!(": {}/s{failed}{}", units::count(rate), latencies.unwrap_or_default())
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

/// How the line on a terminal is made up, with this value of `NO_COLOR`. What does not fit its width is cut.
fn template(no_color: Option<&OsStr>) -> &'static str {
    if no_color.is_some_and(|value| !value.is_empty()) {
        "{bar:12} {wide_msg}"
    } else {
        "{bar:12.green/dim} {wide_msg}"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::plan;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(replied: u64) -> Snapshot {
        Snapshot { connected: 7, replied, ..Snapshot::default() }
    }

    #[test]
    fn colours_go_where_they_are_not_wanted() {
        let coloured = |no_color: Option<&str>| template(no_color.map(OsStr::new)).contains("green");
        assert!(coloured(None) && coloured(Some("")));
        assert!(!coloured(Some("1")) && !coloured(Some("0")));
    }

    #[test]
    fn each_stage_has_its_words_and_its_part_of_the_bar() {
        let start = Instant::now();
        let mut progress = Progress::new();
        progress.begin(&plan(50, Extent::Time(10 * SECOND)));
        let window = Some(Window { begin: start, from: start + SECOND, until: None, stop: None });
        let stage = |progress: &Progress, window, now| {
            let Stage { text, done, of } = progress.stage(at(500), window, now);
            (text, done, of)
        };
        assert_eq!(stage(&progress, None, start), ("7 of 50 connections open".to_owned(), 7, 50));
        assert_eq!(stage(&progress, window, start + SECOND / 2), ("warm-up 0.5 of 1.0 s".to_owned(), 500, 1_000));
        assert_eq!(stage(&progress, window, start + 3 * SECOND), ("2.0 of 10.0 s".to_owned(), 2_000, 10_000));
        assert_eq!(stage(&progress, window, start + 12 * SECOND), ("waiting for the last replies".to_owned(), 1, 1));
        progress.extent = Extent::Count(1_000);
        assert_eq!(stage(&progress, window, start + 3 * SECOND), ("500 of 1,000 messages".to_owned(), 500, 1_000));
    }

    #[test]
    fn the_rate_is_that_of_the_last_second() {
        let start = Instant::now();
        let mut progress = Progress::new();
        let window = Some(Window { begin: start, from: start, until: None, stop: None });
        assert_eq!(progress.pace(at(0), None, start), ", 0 failed");
        progress.past.push_back((start, 0));
        assert_eq!(progress.pace(at(500), window, start + SECOND / 2), ": 1,000/s, 0 failed");
        assert_eq!(progress.pace(at(600), window, start + SECOND), ": 600/s, 0 failed");
        let last = Snapshot { failed: 1_234, p50_ns: Some(52_800), p99_ns: Some(252_000), ..at(900) };
        let text = progress.pace(last, window, start + 3 * SECOND / 2);
        assert_eq!(text, ": 400/s, 1,234 failed, p50 52.8 µs, p99 252 µs");
    }

    #[test]
    fn an_hour_of_looks_takes_no_more_memory_than_a_second_of_them() {
        let start = Instant::now();
        let mut progress = Progress::new();
        let window = Some(Window { begin: start, from: start, until: None, stop: None });
        for frame in 0..18_000 {
            progress.pace(at(u64::from(frame)), window, start + frame * FRAME);
        }
        assert!(progress.past.len() <= 7, "{}", progress.past.len());
    }
}
