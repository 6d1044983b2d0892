//! The flags of `search`.

use std::time::Duration;

use clap::{Arg, Args, value_parser};

use crate::cli::load::{self, LoadArguments};
use crate::cli::output::OutputArguments;
use crate::cli::server::ServerArguments;
use crate::cli::time;
use crate::measure::Trial;
use crate::plan::Arrivals;
use crate::search::Task;
use crate::search::objective::{Objective, parse_share};
use crate::target::Target;

/// The most that may fail where no target says so: a percentile of the few that came back would say little.
const FAILURES_MAX: Objective = Objective::Failures(0.001);

/// The narrowest space between the bounds: short trials do not tell rates apart that are nearer.
const PRECISION_MIN: f64 = 0.005;

/// For the plan of a search, whose trials have their own.
const ANY_RATE: f64 = 1.0;

/// The shortest trial.
const TRIAL_MIN: Duration = Duration::from_millis(100);

/// The longest trial.
const TRIAL_MAX: Duration = Duration::from_secs(60 * 60);

/// What `--help` ends with.
pub const AFTER_HELP: &str = "\
A trial is a short run in an open loop. The rate doubles until a trial misses a target; then the space between the highest
rate that held and the lowest that did not is halved until it is as narrow as --precision, and a second trial of either has
to agree, with a third where it does not. A trial fails, too, if over 1 % of its messages found no free connection: use
enough --connections. A miss that the generator may have caused, since it was late or at its limit, says nothing of the
server; where that is so of all rates above those that held, the generator is the limit, and the search says so.

Exit status: 0 if the rate was found; 1 if not, with what is known of it; 2 if the search did not start, with the reason on
standard error. The first Ctrl-C reports what was found so far; the second ends the program at once.";

/// The flags of `search`.
#[derive(Debug, Args)]
pub struct SearchArguments {
    /// What to load, such as tcp://127.0.0.1:4040
    #[arg(value_name = "tcp://HOST:PORT")]
    target: Target,
    /// What the server must hold: p50, p90, p99, p99.9, p99.99, max or mean of the response times below a time, such as
    /// 'p99<2ms', or 'failures<0.1%', which holds anyway; several must all hold
    #[arg(long, value_name = "TARGET", required = true)]
    slo: Vec<Objective>,
    /// How long to measure each trial
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = length)]
    trial: Duration,
    /// The rate of the first trial, in messages a second [default: a quarter of what a closed loop does]
    #[arg(long, value_name = "RATE", value_parser = load::rate)]
    from: Option<f64>,
    /// How near the rate that holds and the one that does not must be: 0.5% to 50%
    #[arg(long, value_name = "SHARE", default_value = "2%", value_parser = precision)]
    precision: f64,
    /// How many trials may be made
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = value_parser!(u16).range(1..))]
    trials_max: u16,
    #[command(flatten)]
    load: LoadArguments,
    /// The server's process.
    #[command(flatten)]
    pub server: ServerArguments,
    /// Where results go.
    #[command(flatten)]
    pub output: OutputArguments,
}

impl SearchArguments {
    /// What is to be searched for.
    ///
    /// # Errors
    ///
    /// What is wrong with the flags, in one line.
    pub fn task(&self) -> Result<Task, String> {
        let mut objectives = self.slo.clone();
        if !objectives.iter().any(|objective| matches!(objective, Objective::Failures(_))) {
            objectives.push(FAILURES_MAX);
        }
        let plan = self.load.plan_at(Some(self.from.unwrap_or(ANY_RATE)), self.target.clone())?;
        let config = self.load.config()?;
        plan.check_shards(config.placement().len())?;
        Ok(Task {
            trial: Trial { plan, config, server: None },
            objectives,
            length: self.trial,
            from: self.from,
            precision: self.precision,
            trials: self.trials_max.into(),
        })
    }
}

/// The flags of a run, where a search has its own: it says itself how fast and how long a trial is.
pub(crate) fn adapt(flag: Arg) -> Arg {
    match flag.get_id().as_str() {
        "rate" | "duration" | "count" | "server_syscalls" => flag.hide(true).conflicts_with("slo"),
        "warmup" => flag.default_value("500ms").help("How long to load before each trial is measured"),
        // It needs no --rate here.
        "arrivals" => Arg::new("arrivals")
            .long("arrivals")
            .value_name("poisson|constant")
            .default_value("poisson")
            .value_parser(value_parser!(Arrivals))
            .help("How messages follow each other: at random, as those of many users, or at equal distances"),
        _ => flag,
    }
}

fn length(text: &str) -> Result<Duration, String> {
    time(text, TRIAL_MIN, TRIAL_MAX)
}

fn precision(text: &str) -> Result<f64, String> {
    let share = parse_share(text)?;
    let fits = (PRECISION_MIN..=0.5).contains(&share);
    if fits { Ok(share) } else { Err("must be 0.5% to 50%".to_owned()) }
}
