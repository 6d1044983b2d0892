//! The same load against a server with more and more shards: one server after the other, round by round.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::measure::{Trial, measure};
use crate::progress::{Progress, note};
use crate::repeat::turns;
use crate::report::Report;
use crate::report::options::Options;
use crate::report::record::doubts;
use crate::scaling::{Measurement, Scaling};
use crate::server::command::ServerCommand;
use crate::server::watch::Subject;
use crate::units;
use crate::verdict::SATURATED;

/// What stands for the number in the server's command.
pub const PLACE: &str = "{n}";

/// What is swept, and how often.
#[derive(Debug)]
pub struct Task {
    /// The load.
    pub trial: Trial,
    /// The command that starts the server, with [`PLACE`] where the number belongs.
    pub command: String,
    /// How long a server may take to be there.
    pub wait: Duration,
    /// The numbers, in the order of the first round.
    pub counts: Vec<u32>,
    /// How often all of them are measured.
    pub rounds: u16,
}

/// What a sweep has come to.
#[derive(Debug)]
pub struct Swept {
    /// The reports of its runs, in the order in which they were made.
    pub runs: Vec<Report>,
    /// The table of them.
    pub scaling: Scaling,
    /// Why it ended before its time, if a server or a run failed.
    pub failure: Option<String>,
}

/// Sweeps, and tells of each run on standard error. What was measured before a failure or an interruption is not lost; the run
/// that it ended is left out.
pub fn sweep(task: &Task, interrupted: &Arc<AtomicBool>, progress: &mut Progress) -> Swept {
    let mut measured: BTreeMap<u32, Vec<Measurement>> = BTreeMap::new();
    let (mut runs, mut failure) = (Vec::new(), None);
    for turn in turns(task.counts.len(), task.rounds.into(), task.trial.plan.seed) {
        let n = task.counts[turn.trial];
        progress.set_prefix(&format!("round {} of {}, n = {n}", turn.round + 1, task.rounds));
        let report = match run(task, n, interrupted, progress) {
            Ok(report) => report,
            Err(error) => {
                failure = Some(format!("with n = {n}: {error}"));
                break;
            }
        };
        if interrupted.load(Ordering::Acquire) {
            break;
        }
        let measurement = Measurement::new(&report);
        let rate = units::count(measurement.rate.round() as u64);
        note(&format!("round {} of {}, n = {n}: {rate}/s", turn.round + 1, task.rounds));
        measured.entry(n).or_default().push(measurement);
        runs.push(report);
    }
    Swept { runs, scaling: Scaling::new(measured), failure }
}

impl Display for Swept {
    /// The load in a line, the table, and what to doubt in it.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(Options { target, model, connections, depth, .. }) = self.runs.first().map(|run| &run.options) {
            write!(f, "{target}: {model} loop, {connections} connections, {depth} in flight on each; ")?;
            writeln!(f, "{} runs", self.runs.len())?;
        }
        write!(f, "{}", self.scaling)?;
        doubts(&self.runs).iter().try_for_each(|doubt| writeln!(f, "{doubt}"))
    }
}

/// One run against a server of its own.
fn run(task: &Task, n: u32, interrupted: &Arc<AtomicBool>, progress: &mut Progress) -> Result<Report, String> {
    let command: ServerCommand = task.command.replace(PLACE, &n.to_string()).parse()?;
    let mut server = command.start(&task.trial.plan.target, task.wait, interrupted)?;
    let subject = Subject { process: server.process(), syscalls: false };
    let report = measure(&Trial { server: Some(subject), ..task.trial.clone() }, interrupted, progress)?;
    server.check().map(|()| report)
}

impl Measurement {
    fn new(report: &Report) -> Self {
        let result = &report.result;
        Self {
            rate: result.messages_per_s,
            cpu_ns: result.server.as_ref().and_then(|server| server.cpu_ns_per_message),
            p99_ns: result.response.p99_ns,
            generator_bound: result.shards.iter().any(|shard| shard.cpu_share >= SATURATED),
        }
    }
}
