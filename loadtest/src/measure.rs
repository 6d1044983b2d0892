//! One run, from its start to its report: what every command is made of.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use pants_shard::Config;

use crate::environment::Environment;
use crate::limits::{self, Making};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::report::Report;
use crate::run;
use crate::server::watch::Subject;

/// What one run needs.
#[derive(Clone, Debug)]
pub struct Trial {
    /// What it is to do.
    pub plan: Plan,
    /// The generator's shards.
    pub config: Config,
    /// The server's process, if it is to be looked at.
    pub server: Option<Subject>,
}

/// Carries a trial out and reports. `interrupted` ends it early, with the report of what was measured so far.
///
/// # Errors
///
/// If the shards cannot be started or one of them fails, in one line.
pub fn measure(trial: &Trial, interrupted: &Arc<AtomicBool>, progress: &mut Progress) -> Result<Report, String> {
    let Trial { plan, config, server } = trial;
    let (environment, overflows) = (Environment::read(), limits::overflows());
    let measured = run::run(plan.clone(), config.clone(), *server, Arc::clone(interrupted), progress);
    let measured = measured.map_err(|error| error.to_string())?;
    let mut report = Report::new(plan, measured, environment);
    let making = Making {
        slowest: Duration::from_nanos(report.result.connect.max_ns),
        overflows: limits::overflows().saturating_sub(overflows),
    };
    report.warnings.extend(limits::met(plan, &report.environment, &report.result.failures, making));
    Ok(report)
}
