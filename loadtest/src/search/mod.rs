//! The search for the highest rate at which a server holds a target.
//!
//! Each trial is a short run of its own, in an open loop and with connections of its own, so that what one has left waiting is
//! not the next one's; and with a seed of its own, so that a trial which confirms another does not repeat its schedule.

pub mod bounds;
pub mod findings;
pub mod objective;
pub mod trial;

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::measure::{Trial, measure};
use crate::plan::{Extent, Model, Plan};
use crate::progress::{Progress, note};
use crate::report::Report;
use crate::report::options::Options;
use crate::report::record::doubts;
use crate::search::bounds::{End, Limits, Search, Step};
use crate::search::findings::Findings;
use crate::search::objective::Objective;
use crate::search::trial::Point;

/// How long the closed loop is measured that shows where to begin.
const PROBE: Duration = Duration::from_secs(1);

/// Where to begin, as a share of what the closed loop did: most servers hold that, and it is few steps from what they do not.
const PROBE_SHARE: f64 = 0.25;

/// The messages that a trial must have at least: of fewer the 99th percentile is the longest.
const MESSAGES_MIN: f64 = 100.0;

/// What is searched for, and with what.
#[derive(Clone, Debug)]
pub struct Task {
    /// The load, in an open loop of any rate; and the server.
    pub trial: Trial,
    /// What must hold.
    pub objectives: Vec<Objective>,
    /// How long each trial is measured.
    pub length: Duration,
    /// The first rate, in messages a second; a closed loop shows it otherwise.
    pub from: Option<f64>,
    /// How near the bounds must be, as a share of the lower one.
    pub precision: f64,
    /// How many trials may be made.
    pub trials: usize,
}

/// What a closed loop does, in messages a second: whether anybody answers, and where to begin.
///
/// # Errors
///
/// If it cannot be made, or the server answers nothing at all, in one line.
pub fn probe(task: &Task, interrupted: &Arc<AtomicBool>, progress: &mut Progress) -> Result<f64, String> {
    let plan = Plan { model: Model::Closed, extent: Extent::Time(PROBE), ..task.trial.plan.clone() };
    progress.set_prefix("closed loop");
    let result = run(task, plan, interrupted, progress)?.result;
    if result.messages == 0 && !result.interrupted {
        let first = result.failures.kinds.iter().next();
        let why = first.map(|(kind, count)| format!(": {}", count.first.as_deref().unwrap_or(kind.name())));
        return Err(format!("no message came back from {}{}", task.trial.plan.target, why.unwrap_or_default()));
    }
    note(&format!("a closed loop does {}/s", findings::rate_text(result.messages_per_s)));
    Ok(result.messages_per_s)
}

/// What a search has come to.
#[derive(Debug)]
pub struct Searched {
    /// The reports of its trials, in the order in which they were made.
    pub runs: Vec<Report>,
    /// What follows from them.
    pub findings: Findings,
    /// Why it ended before its time, if a trial could not be made.
    pub failure: Option<String>,
}

/// Searches, and tells of each trial on standard error. `closed` is what a closed loop did. What was found before a failure or
/// an interruption is not lost; the trial that it ended is left out.
pub fn search(task: &Task, closed: f64, interrupted: &Arc<AtomicBool>, progress: &mut Progress) -> Searched {
    let lowest = MESSAGES_MIN / task.length.as_secs_f64();
    let from = task.from.unwrap_or((closed * PROBE_SHARE).max(lowest));
    let limits = Limits { from, lowest: lowest.min(from), precision: task.precision, trials: task.trials };
    let (mut search, mut runs, mut points, mut failure) = (Search::new(limits), Vec::new(), Vec::new(), None);
    let end = loop {
        let rate = match search.next_step() {
            Step::Done(end) => break end,
            Step::Try(rate) => rate,
        };
        progress.set_prefix(&format!("trial {}, {}/s", points.len() + 1, findings::rate_text(rate)));
        let report = match run(task, task.plan(rate, points.len()), interrupted, progress) {
            Ok(report) if !report.result.interrupted => report,
            ended => {
                failure = ended.err();
                break End::Interrupted;
            }
        };
        let point = Point::new(rate, &report, &task.objectives);
        note(&format!("trial {}: {}", points.len() + 1, findings::verdict(&point)));
        search.handle_trial(rate, point.judgement);
        runs.push(report);
        points.push(point);
    };
    let objectives = task.objectives.iter().map(ToString::to_string).collect();
    let findings = Findings { objectives, end, lower: search.lower(), upper: search.upper(), points };
    Searched { runs, findings, failure }
}

impl Searched {
    /// The reports of the trials that held at the highest rate.
    fn deciding(&self) -> impl Iterator<Item = &Report> {
        let decides = |point: &Point| Some(point.asked) == self.findings.lower;
        self.runs.iter().zip(&self.findings.points).filter(move |(_, point)| decides(point)).map(|(run, _)| run)
    }
}

impl Display for Searched {
    /// The load in a line, the curve, the answer, and what to doubt in it.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(Options { target, arrivals, connections, depth, duration_s, .. }) =
            self.runs.first().map(|run| &run.options)
        {
            let (arrivals, length) = (arrivals.as_deref().unwrap_or_default(), duration_s.unwrap_or_default());
            writeln!(
                f,
                "{target}: open loop, {arrivals} arrivals, {connections} connections, at most {depth} in flight on each;"
            )?;
            writeln!(f, "{} trials of {length} s", self.runs.len())?;
        }
        write!(f, "{}", self.findings)?;
        let doubts = doubts(self.deciding());
        if let (Some(lower), false) = (self.findings.lower, doubts.is_empty()) {
            writeln!(f, "of the trials at {}/s:", findings::rate_text(lower))?;
        }
        doubts.iter().try_for_each(|doubt| writeln!(f, "  {doubt}"))
    }
}

impl Task {
    /// What the trial of this number does, from 0.
    fn plan(&self, rate: f64, number: usize) -> Plan {
        let plan = self.trial.plan.clone();
        Plan {
            model: plan.model.at(rate),
            extent: Extent::Time(self.length),
            seed: plan.seed.wrapping_add(number as u64),
            ..plan
        }
    }
}

fn run(task: &Task, plan: Plan, interrupted: &Arc<AtomicBool>, progress: &mut Progress) -> Result<Report, String> {
    let report = measure(&Trial { plan, ..task.trial.clone() }, interrupted, progress)?;
    if report.result.server_ended { Err("the server's process has ended".to_owned()) } else { Ok(report) }
}
