//! The flags of `sweep`.

use std::time::Duration;

use clap::{Arg, Args, value_parser};

use crate::cli::load::LoadArguments;
use crate::cli::output::OutputArguments;
use crate::cli::server::wait;
use crate::measure::Trial;
use crate::server::command::ServerCommand;
use crate::sweep::{PLACE, Task};
use crate::target::Target;

/// The most shards that a server is started with.
const COUNT_MAX: i64 = 4_096;

/// What `--help` ends with.
pub const AFTER_HELP: &str = "\
Each round starts the server anew for every number, loads it, and stops it. The table shows the median of the rounds; the
speed-up is against the fewest shards. From six numbers on, the Universal Scalability Law is fitted to them.

Exit status: 0 if every message came back as it was sent; 1 if any failed, or a server did; 2 if nothing was measured, with
the reason on standard error. The first Ctrl-C reports what was measured so far; the second ends the program at once.";

/// The flags of `sweep`.
#[derive(Debug, Args)]
pub struct SweepArguments {
    /// What to load, such as tcp://127.0.0.1:4040
    #[arg(value_name = "tcp://HOST:PORT")]
    target: Target,
    /// How the server is started, with an n in braces where the number of shards belongs
    #[arg(long, value_name = "COMMAND", value_parser = command)]
    server_cmd: String,
    /// How long each server may take to be there, up to 10m
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = wait)]
    server_wait: Duration,
    /// The numbers of shards, such as 1,2,4
    #[arg(id = "counts", long = "shards", value_name = "LIST", value_delimiter = ',', required = true,
        value_parser = value_parser!(u32).range(1..=COUNT_MAX))]
    counts: Vec<u32>,
    /// How often each number is measured, in rounds over all of them
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = value_parser!(u16).range(1..))]
    repeat: u16,
    #[command(flatten)]
    load: LoadArguments,
    /// Where results go.
    #[command(flatten)]
    pub output: OutputArguments,
}

impl SweepArguments {
    /// What is to be swept.
    ///
    /// # Errors
    ///
    /// What is wrong with the flags, in one line.
    pub fn task(&self) -> Result<Task, String> {
        let (plan, config) = (self.load.plan(self.target.clone())?, self.load.config()?);
        plan.check_shards(config.placement().len())?;
        Ok(Task {
            trial: Trial { plan, config, server: None },
            command: self.server_cmd.clone(),
            wait: self.server_wait,
            counts: self.counts.clone(),
            rounds: self.repeat,
        })
    }
}

/// The flags of a run, where a sweep has its own: `--shards` are the server's.
pub(crate) fn adapt(flag: Arg) -> Arg {
    match flag.get_id().as_str() {
        "shards" => flag.long("generator-shards"),
        _ => flag,
    }
}

fn command(text: &str) -> Result<String, String> {
    if !text.contains(PLACE) {
        return Err(format!("write {PLACE} where the number of shards belongs, as in 'pants-echo --shards {PLACE}'"));
    }
    text.parse::<ServerCommand>().map(|_| text.to_owned())
}
