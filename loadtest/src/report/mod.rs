//! The report of a run: what is written as JSON, and what the summary for people is made from.

pub mod agreement;
pub mod options;
pub mod outcome;
pub mod record;
#[cfg(test)]
pub(crate) mod sample;

use serde::{Deserialize, Serialize};

use crate::environment::Environment;
use crate::plan::Plan;
use crate::report::options::Options;
use crate::report::outcome::Outcome;
use crate::run::Measured;
use crate::verdict::{self, Verdict};

/// The version of the JSON: it grows when a field changes its meaning or goes.
pub const VERSION: u32 = 2;

/// All that a run has shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Where and with what it was made.
    pub environment: Environment,
    /// What was asked for.
    pub options: Options,
    /// What came of it.
    pub result: Outcome,
    /// Why it says nothing about the server, if so.
    pub invalid: Vec<String>,
    /// What to doubt in it.
    pub warnings: Vec<String>,
}

impl Report {
    /// What a run has shown.
    pub fn new(plan: &Plan, measured: Measured, mut environment: Environment) -> Self {
        environment.window = measured.disturbance;
        let options = Options::new(plan, measured.placement.len(), measured.placement.cpu(0).is_some());
        let late = verdict::late_start(plan.lateness(measured.started));
        let gone = measured.gone_after.map(verdict::gone);
        let result = Outcome::new(measured);
        let Verdict { mut invalid, mut warnings } = Verdict::of(&options, &result, &environment);
        // A server whose process ended is the reason itself.
        invalid.extend(gone.filter(|_| !result.server_ended));
        warnings.extend(late);
        Self { environment, options, result, invalid, warnings }
    }

    /// Whether it says something about the server.
    pub fn is_valid(&self) -> bool {
        self.invalid.is_empty()
    }

    /// Whether any message or connection has failed.
    pub fn has_failed(&self) -> bool {
        !self.result.failures.is_empty()
    }
}
