//! The flags of `run`.

use std::time::{Duration, SystemTime};

use clap::Args;

use crate::cli::load::LoadArguments;
use crate::cli::number;
use crate::cli::output::{OutputArguments, Outputs};
use crate::cli::server::ServerArguments;
use crate::measure::Trial;
use crate::plan::part::Part;
use crate::repeat::Task;
use crate::server::watch::SYSCALLS_TIME;
use crate::target::Target;
use crate::units;

/// The most runs of a target.
const REPEAT_MAX: usize = 10_000;

/// The furthest that the beginning of a load may be ahead.
const START_AHEAD_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The flags of `run`.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// What to load, such as tcp://127.0.0.1:4040. Several are loaded in turns, each with its own --json
    #[arg(value_name = "tcp://HOST:PORT", required = true)]
    targets: Vec<Target>,
    /// Load each target this often. With several targets a round loads each of them once, in an order that the seed gives, so
    /// that a drift of the machine is no difference between them
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = repeat)]
    repeat: usize,
    /// Begin the load, its warm-up included, at this time, such as 2026-11-23T12:00:00Z or seconds since 1970, at most a day
    /// ahead; the connections are made before
    #[arg(long, value_name = "TIME", value_parser = start_at, conflicts_with = "repeat")]
    start_at: Option<SystemTime>,
    /// Be one of several processes that make one test, such as 0/50 for the first of fifty: take a share of the connections, of
    /// the rate and of the count. `merge` makes one result of theirs
    #[arg(long, value_name = "I/N")]
    part: Option<Part>,
    #[command(flatten)]
    load: LoadArguments,
    /// The server's process.
    #[command(flatten)]
    pub server: ServerArguments,
    #[command(flatten)]
    output: OutputArguments,
}

impl RunArguments {
    /// What is to be measured, and how often; the servers' processes are not looked for.
    ///
    /// # Errors
    ///
    /// What is wrong with the flags, in one line.
    pub fn task(&self) -> Result<Task, String> {
        if self.start_at.is_some() && self.targets.len() > 1 {
            return Err("--start-at: it is for one target, and there are several".to_owned());
        }
        let trials = self.targets.iter().map(|target| self.trial(target));
        Ok(Task { trials: trials.collect::<Result<_, _>>()?, rounds: self.repeat })
    }

    fn trial(&self, target: &Target) -> Result<Trial, String> {
        let mut plan = self.load.plan(target.clone())?.of_part(self.part.unwrap_or(Part::WHOLE))?;
        plan.start_at = self.start_at;
        if self.server.counts_syscalls() {
            plan.cooldown = plan.cooldown.max(SYSCALLS_TIME);
        }
        Ok(Trial { plan, config: self.load.config()?, server: None })
    }

    /// Creates the files that results go to, of each target its own.
    ///
    /// # Errors
    ///
    /// If one cannot be created, or a flag does not name one for each target, in one line.
    pub fn open_outputs(&self) -> Result<Vec<Outputs>, String> {
        self.output.open_each(self.targets.len())
    }
}

fn repeat(text: &str) -> Result<usize, String> {
    number(text, REPEAT_MAX)
}

fn start_at(text: &str) -> Result<SystemTime, String> {
    let time = units::parse_time(text)?;
    match time.duration_since(SystemTime::now()) {
        Ok(ahead) if ahead > START_AHEAD_MAX => Err("is more than a day ahead".to_owned()),
        _ => Ok(time),
    }
}
