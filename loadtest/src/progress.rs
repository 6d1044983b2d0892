//! What is shown while a run lasts: one line that changes, on a terminal; plain lines once a second, elsewhere.

use std::ffi::OsStr;
use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::load::control::Snapshot;
use crate::plan::{Extent, Plan, Window};
use crate::units;

/// How often the line on a terminal changes.
const FRAME: Duration = Duration::from_millis(200);

/// How often a plain line comes.
const LINE: Duration = Duration::from_secs(1);

/// How the line on a terminal is made up, with this value of `NO_COLOR`.
fn template(no_color: Option<&OsStr>) -> &'static str {
    if no_color.is_some_and(|value| !value.is_empty()) { "{spinner} {msg}" } else { "{spinner:.green} {msg}" }
}

/// What is shown while a run lasts, on standard error.
#[derive(Debug)]
pub struct Progress {
    /// `None` where lines are plain.
    bar: Option<ProgressBar>,
    connections: usize,
    extent: Extent,
    next: Instant,
    last: Option<(Instant, Snapshot)>,
}

impl Progress {
    /// For this plan; plain where standard error is no terminal, and without colours if `NO_COLOR` is set and not empty
    /// (<https://no-color.org>).
    pub fn new(plan: &Plan) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let template = template(std::env::var_os("NO_COLOR").as_deref());
            let style = ProgressStyle::with_template(template).expect("the templates are right");
            ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_style(style)
        });
        let next = Instant::now() + if bar.is_some() { FRAME } else { LINE };
        Self { bar, connections: plan.connections, extent: plan.extent, next, last: None }
    }

    /// How long to wait at most before the next call of [`show`](Self::show).
    pub fn interval(&self) -> Duration {
        if self.bar.is_some() { FRAME } else { LINE }
    }

    /// Shows how far the run has come, if it is time to.
    pub fn show(&mut self, snapshot: Snapshot, window: Option<Window>, now: Instant) {
        if window.is_some() {
            // The load begins now: from here on there is a rate.
            self.last.get_or_insert((now, snapshot));
        }
        if now < self.next {
            return;
        }
        // Lateness does not add up; a line that was missed is not made up for.
        self.next = (self.next + self.interval()).max(now);
        let text = self.describe(snapshot, window, now);
        self.last = window.map(|_| (now, snapshot));
        match &self.bar {
            Some(bar) => {
                bar.set_message(text);
                bar.tick();
            }
            None => eprintln!("pants-load: {text}"),
        }
    }

    /// The run is over: the line goes.
    pub fn finish(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn describe(&self, snapshot: Snapshot, window: Option<Window>, now: Instant) -> String {
        let Some(window) = window else {
            return format!(
                "{} of {} connections open, {} failed",
                snapshot.connected, self.connections, snapshot.failed
            );
        };
        let (since, before) = self.last.unwrap_or((now, snapshot));
        let seconds = (now - since).as_secs_f64();
        let fresh = snapshot.replied.saturating_sub(before.replied) as f64;
        let rate = if seconds > 0.0 { (fresh / seconds) as u64 } else { 0 };
        let stage = match (now.checked_duration_since(window.from), self.extent) {
            (None, _) => "warm-up".to_owned(),
            (Some(time), Extent::Time(all)) => {
                format!("{:.1} of {:.1} s", time.min(all).as_secs_f64(), all.as_secs_f64())
            }
            (Some(_), Extent::Count(all)) => {
                format!("{} of {} messages", units::count(snapshot.replied), units::count(all))
            }
        };
        format!("{stage}: {} messages/s, {} failed", units::count(rate), snapshot.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::plan;

    #[test]
    fn colours_go_where_they_are_not_wanted() {
        let coloured = |no_color: Option<&str>| template(no_color.map(OsStr::new)).contains("green");
        assert!(coloured(None) && coloured(Some("")));
        assert!(!coloured(Some("1")) && !coloured(Some("0")));
    }

    #[test]
    fn each_stage_has_its_words() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut progress = Progress::new(&plan(50, Extent::Time(10 * second)));
        let at = |replied| Snapshot { connected: 7, replied, ..Snapshot::default() };
        assert_eq!(progress.describe(at(0), None, start), "7 of 50 connections open, 0 failed");
        let window = Some(Window { begin: start, from: start + second, until: None, stop: None });
        progress.last = Some((start, at(0)));
        assert_eq!(progress.describe(at(500), window, start + second / 2), "warm-up: 1,000 messages/s, 0 failed");
        progress.last = Some((start + 2 * second, at(0)));
        assert_eq!(progress.describe(at(500), window, start + 3 * second), "2.0 of 10.0 s: 500 messages/s, 0 failed");
        progress.extent = Extent::Count(1_000);
        assert!(progress.describe(at(500), window, start + 3 * second).starts_with("500 of 1,000 messages: 500 "));
    }
}
