//! The search for the highest rate at which a server holds a target.
//!
//! Each trial is a short run of its own, in an open loop and with connections of its own, so that what one has left waiting is
//! not the next one's; and with a seed of its own, so that a trial which confirms another does not repeat its schedule.

pub mod bounds;
pub mod findings;
pub mod objective;
pub mod trial;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::measure::{Trial, measure};
use crate::plan::{Arrivals, Extent, Model, Plan};
use crate::progress::Progress;
use crate::report::Report;
use crate::report::record::Record;
use crate::search::bounds::{End, Limits, Search, Step};
use crate::search::findings::Findings;
use crate::search::objective::Objective;
use crate::search::trial::Point;

/// How long the closed loop is measured that shows where to begin.
const PROBE: Duration = Duration::from_secs(1);

/// Where to begin, as a share of what the closed loop did.
const PROBE_SHARE: f64 = 0.01;

/// The messages that a trial must have at least: of fewer the 99th percentile is the longest.
const MESSAGES_MIN: f64 = 100.0;

/// What is searched for, and with what.
#[derive(Clone, Debug)]
pub struct Task {
    /// The load, but for its rate; and the server.
    pub trial: Trial,
    /// How messages follow each other.
    pub arrivals: Arrivals,
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
pub fn probe(task: &Task, interrupted: &Arc<AtomicBool>) -> Result<f64, String> {
    let plan = Plan { model: Model::Closed, extent: Extent::Time(PROBE), ..task.trial.plan.clone() };
    let result = run(task, plan, interrupted)?.result;
    if result.messages == 0 && !result.interrupted {
        let first = result.failures.kinds.iter().next();
        let why = first.map(|(kind, count)| format!(": {}", count.first.as_deref().unwrap_or(kind.name())));
        return Err(format!("no message came back from {}{}", task.trial.plan.target, why.unwrap_or_default()));
    }
    eprintln!("pants-load: a closed loop does {}/s", findings::rate_text(result.messages_per_s));
    Ok(result.messages_per_s)
}

/// Searches, and tells of each trial on standard error. `closed` is what a closed loop did. The record has every trial's
/// report and the findings.
///
/// # Errors
///
/// If a trial cannot be made, in one line.
pub fn search(task: &Task, closed: f64, interrupted: &Arc<AtomicBool>) -> Result<(Record, Findings), String> {
    let lowest = MESSAGES_MIN / task.length.as_secs_f64();
    let from = task.from.unwrap_or((closed * PROBE_SHARE).max(lowest));
    let limits = Limits { from, lowest: lowest.min(from), precision: task.precision, trials: task.trials };
    let (mut search, mut runs, mut points) = (Search::new(limits), Vec::new(), Vec::new());
    let end = loop {
        let rate = match search.next_step() {
            Step::Done(end) => break end,
            Step::Try(rate) => rate,
        };
        let model = Model::Open { rate, arrivals: task.arrivals };
        let seed = task.trial.plan.seed.wrapping_add(points.len() as u64);
        let extent = Extent::Time(task.length);
        let report = run(task, Plan { model, seed, extent, ..task.trial.plan.clone() }, interrupted)?;
        if report.result.interrupted {
            break End::Interrupted;
        }
        let point = Point::new(rate, &report, &task.objectives);
        eprintln!("pants-load: trial {}: {}", points.len() + 1, findings::verdict(&point));
        search.handle_trial(rate, point.judgement);
        runs.push(report);
        points.push(point);
    };
    let objectives = task.objectives.iter().map(ToString::to_string).collect();
    let findings = Findings { objectives, end, lower: search.lower(), upper: search.upper(), points };
    Ok((Record { search: Some(findings.clone()), ..Record::new(runs) }, findings))
}

fn run(task: &Task, plan: Plan, interrupted: &Arc<AtomicBool>) -> Result<Report, String> {
    let mut progress = Progress::new(&plan);
    measure(&Trial { plan, ..task.trial.clone() }, interrupted, &mut progress)
}
