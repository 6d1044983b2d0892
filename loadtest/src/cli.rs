//! The command line: its flags, and the plan that they make.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use pants_shard::{Config, Shards};

use crate::cpus::Cpus;
use crate::plan::{CONNECTIONS_MAX, DEPTH_MAX, DURATION_MAX, Extent, Plan, SIZE_MAX, TIMEOUT_MAX};
use crate::target::Target;
use crate::units;

/// Measured for this long if nothing else is said.
const DURATION: Duration = Duration::from_secs(10);

/// The warm-up of a run by the clock. One by count has none, so that every message counts.
const WARMUP: Duration = Duration::from_secs(1);

/// How long the connections have to be closed in good order at the end of a run.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

const AFTER_HELP: &str = "\
Exit status: 0 if every message came back as it was sent; 1 if any failed; 2 if the run did not start, with the reason on
standard error. The first Ctrl-C reports what was measured so far; the second ends the program at once.";

/// Loads a server and says what it did.
#[derive(Debug, Parser)]
#[command(name = "pants-load", version, after_help = AFTER_HELP)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Load an echo server, in a closed loop: a connection sends its next message when a reply has come
    #[command(after_help = AFTER_HELP)]
    Run(RunArguments),
}

/// The flags of `run`.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// What to load, such as tcp://127.0.0.1:4040
    #[arg(value_name = "tcp://HOST:PORT")]
    target: Target,
    /// How many connections
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = connections)]
    connections: usize,
    /// Bytes of a message, such as 64, 16KiB or 1MiB
    #[arg(long, value_name = "BYTES", default_value = "64", value_parser = size)]
    size: usize,
    /// Messages in flight on each connection
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = depth)]
    depth: usize,
    /// How long to measure [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "count")]
    duration: Option<Duration>,
    /// How many messages to send, over all connections, in place of a time
    #[arg(long, value_name = "N")]
    count: Option<NonZeroU64>,
    /// How long to load before measuring; what is sent then is discarded [default: 1s, with --count 0s]
    #[arg(long, value_name = "TIME", value_parser = warmup)]
    warmup: Option<Duration>,
    /// How many shards, each a thread of its own: a number, or auto for one per CPU [default: 1, or one per CPU of --cpus]
    #[arg(long, value_name = "N|auto")]
    shards: Option<Shards>,
    /// The CPUs to pin the shards to, in order, such as 0,1 or 0-3 [default: all that this process may use]
    #[arg(long, value_name = "LIST", conflicts_with = "no_pin")]
    cpus: Option<Cpus>,
    /// Leave it to the kernel on which CPU a shard runs
    #[arg(long)]
    no_pin: bool,
    /// What the messages' bytes are made from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How long to wait for a connection or a reply, up to 60s
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = timeout)]
    timeout: Duration,
    /// Do not compare what comes back with what was sent; it saves one pass over bytes that are in the cache
    #[arg(long)]
    no_verify: bool,
    /// Write the report to this file too, as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// The server's process on this machine, to report its CPU time
    #[arg(long, value_name = "PID")]
    pub server_pid: Option<u32>,
}

impl RunArguments {
    /// The plan that these flags make.
    ///
    /// # Errors
    ///
    /// What is wrong with them, in one line.
    pub fn plan(&self) -> Result<Plan, String> {
        let (extent, warmup) = match self.count {
            Some(count) => (Extent::Count(count.get()), Duration::ZERO),
            None => (Extent::Time(self.duration.unwrap_or(DURATION)), WARMUP),
        };
        let plan = Plan {
            target: self.target.clone(),
            connections: self.connections,
            size: self.size,
            depth: self.depth,
            extent,
            warmup: self.warmup.unwrap_or(warmup),
            timeout: self.timeout,
            seed: self.seed,
            verify: !self.no_verify,
        };
        plan.check().map(|()| plan)
    }

    /// The runtime's configuration. The variables that configure a server, `PANTS_SHARDS` and so on, are not the generator's.
    ///
    /// # Errors
    ///
    /// What is wrong with the flags, in one line.
    pub fn config(&self) -> Result<Config, String> {
        let one = Shards::Count(std::num::NonZeroUsize::MIN);
        let shards = self.shards.unwrap_or(if self.cpus.is_some() { Shards::Auto } else { one });
        let mut builder = Config::builder().shards(shards).pin(!self.no_pin).drain_timeout(DRAIN_TIMEOUT);
        if let Some(cpus) = &self.cpus {
            builder = builder.cpus(cpus.numbers().iter().copied());
        }
        builder.build().map_err(|error| {
            let problems = error.problems().map(|problem| problem.replace("program: runtime.", "--"));
            problems.collect::<Vec<_>>().join("; ")
        })
    }
}

/// The one line that says what is wrong with a command line.
pub fn describe(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = first.trim_start_matches("error: ").split_whitespace().collect();
    format!("{}; see --help", words.join(" "))
}

fn connections(text: &str) -> Result<usize, String> {
    number(text, CONNECTIONS_MAX)
}

fn depth(text: &str) -> Result<usize, String> {
    number(text, DEPTH_MAX)
}

fn number(text: &str, most: usize) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| format!("must be a number from 1 to {most}"))
}

fn size(text: &str) -> Result<usize, String> {
    let bytes = units::parse_size(text)?;
    let size = usize::try_from(bytes).ok().filter(|size| (1..=SIZE_MAX).contains(size));
    size.ok_or_else(|| format!("must be 1 to {SIZE_MAX} bytes"))
}

fn duration(text: &str) -> Result<Duration, String> {
    time(text, Duration::from_millis(1), DURATION_MAX)
}

fn warmup(text: &str) -> Result<Duration, String> {
    time(text, Duration::ZERO, DURATION_MAX)
}

fn timeout(text: &str) -> Result<Duration, String> {
    time(text, Duration::from_millis(1), TIMEOUT_MAX)
}

fn time(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let time = units::parse_duration(text)?;
    let bounds = || format!("must be {} to {}", units::exact_duration(least), units::exact_duration(most));
    if (least..=most).contains(&time) { Ok(time) } else { Err(bounds()) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(arguments: &[&str]) -> Result<RunArguments, String> {
        let line = ["pants-load", "run", "tcp://127.0.0.1:4040"].iter().chain(arguments);
        match Cli::try_parse_from(line) {
            Ok(Cli { command: Command::Run(run) }) => Ok(run),
            Err(error) => Err(describe(&error)),
        }
    }

    #[test]
    fn the_flags_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_defaults_are_those_of_the_help() {
        let plan = parse(&[]).unwrap().plan().unwrap();
        assert_eq!((plan.connections, plan.size, plan.depth, plan.seed, plan.verify), (50, 64, 1, 1, true));
        assert_eq!((plan.extent, plan.warmup, plan.timeout), (Extent::Time(DURATION), WARMUP, Duration::from_secs(5)));
        let plan = parse(&["--count", "7"]).unwrap().plan().unwrap();
        assert_eq!((plan.extent, plan.warmup), (Extent::Count(7), Duration::ZERO));
        assert_eq!(parse(&[]).unwrap().config().unwrap().placement().len(), 1);
    }

    #[test]
    fn what_is_wrong_is_told_in_one_line() {
        for (arguments, part) in [
            (&["--connections", "0"][..], "'--connections <N>': must be a number from 1 to 1000000"),
            (&["--size", "0"], "must be 1 to 16777216 bytes"),
            (&["--size", "17MiB"], "must be 1 to 16777216 bytes"),
            (&["--depth", "65537"], "must be a number from 1 to 65536"),
            (&["--duration", "10"], "expected a duration such as 10s"),
            (&["--duration", "0s"], "must be 1ms to 168h"),
            (&["--timeout", "61s"], "must be 1ms to 1m"),
            (&["--duration", "1s", "--count", "1"], "cannot be used with"),
            (&["--count", "0"], "--count"),
            (&["--shards", "0"], "must be at least 1"),
            (&["--cpus", "x"], "expected CPU numbers such as 0,1"),
            (&["--cpus", "0", "--no-pin"], "cannot be used with"),
            (&["--flood"], "unexpected argument '--flood'"),
        ] {
            let error = parse(arguments).unwrap_err();
            assert!(error.contains(part) && error.lines().count() == 1, "{arguments:?}: {error}");
        }
        let error = parse(&["--size", "16MiB", "--depth", "5"]).unwrap().plan().unwrap_err();
        assert!(error.contains("80.0 MiB in flight"), "{error}");
        let error = parse(&["--cpus", "0,1023"]).unwrap().config().unwrap_err();
        assert!(error.starts_with("--cpus: CPU 1023 is not available"), "{error}");
    }
}
