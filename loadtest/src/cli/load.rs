//! The flags that shape the load, and the plan that they make.

use std::num::NonZeroU64;
use std::time::Duration;

use clap::Args;
use pants_shard::{Config, Shards};

use crate::cli::protocol::ProtocolArguments;
use crate::cli::{number, time};
use crate::cpus::Cpus;
use crate::plan::part::Part;
use crate::plan::think::Think;
use crate::plan::{Arrivals, CONNECTIONS_MAX, DEPTH_MAX, DURATION_MAX, Extent, Model, Plan, RATE_MAX, TIMEOUT_MAX};
use crate::sources::Sources;
use crate::target::Target;
use crate::units;

/// Measured for this long if nothing else is said.
const DURATION: Duration = Duration::from_secs(10);

/// The warm-up of a run by the clock. One by count has none, so that every message counts.
const WARMUP: Duration = Duration::from_secs(1);

/// How long the connections have to be closed in good order at the end of a run.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// The flags that shape the load.
#[derive(Debug, Args)]
pub struct LoadArguments {
    /// How many connections
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = connections)]
    connections: usize,
    /// How many connections to hold beside them, on which nothing is said
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = idle)]
    idle: usize,
    /// Send so many messages a second, over all connections, whatever becomes of them (an open loop), such as 200, 50k or 1.5M
    /// [default: a connection sends its next message when a reply has come (a closed loop)]
    #[arg(long, value_name = "RATE", value_parser = rate)]
    rate: Option<f64>,
    /// How the messages of an open loop follow each other: at random, as those of many users, or at equal distances
    #[arg(long, value_name = "poisson|constant", default_value = "poisson", requires = "rate")]
    arrivals: Arrivals,
    /// How long a connection of a closed loop waits between a reply and its next message, such as 5ms, or exp:5ms for a mean of
    /// that
    #[arg(long, value_name = "TIME|exp:TIME", conflicts_with = "rate")]
    think: Option<Think>,
    #[command(flatten)]
    protocol: ProtocolArguments,
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
    #[arg(long, value_name = "TIME", value_parser = stretch)]
    warmup: Option<Duration>,
    /// How long to go on with the load after measuring
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = stretch)]
    cooldown: Duration,
    /// Open the connections evenly over this time, before the warm-up, and load each as soon as it is made [default: 0s, all
    /// are made before the load begins]
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = stretch, hide_default_value = true)]
    ramp: Duration,
    /// Close each connection after so many messages, and open it anew
    #[arg(long, value_name = "N")]
    reconnect_after: Option<NonZeroU64>,
    /// Open a connection that has failed anew, 100 ms later
    #[arg(long)]
    reconnect: bool,
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
    /// Addresses of this machine that the connections come from, by turns, such as 127.0.0.2-127.0.0.9; each has ports for
    /// some 28,000 connections to the target [default: the kernel's choice, or as many of 127.0.0.0/8 as are needed to reach
    /// a target there]
    #[arg(long, value_name = "LIST")]
    source: Option<Sources>,
}

impl LoadArguments {
    /// The plan that these flags make for `target`.
    ///
    /// # Errors
    ///
    /// What is wrong with them, in one line.
    pub fn plan(&self, target: Target) -> Result<Plan, String> {
        self.plan_at(self.rate, target)
    }

    /// The plan that these flags make for `target`, at this rate, or in a closed loop.
    ///
    /// # Errors
    ///
    /// What is wrong with them, in one line.
    pub(crate) fn plan_at(&self, rate: Option<f64>, target: Target) -> Result<Plan, String> {
        let (extent, warmup) = match self.count {
            Some(count) => (Extent::Count(count.get()), Duration::ZERO),
            None => (Extent::Time(self.duration.unwrap_or(DURATION)), WARMUP),
        };
        let (protocol, sizes) = self.protocol.language(&target, !self.no_verify)?;
        let plan = Plan {
            target,
            protocol,
            connections: self.connections,
            idle: self.idle,
            sizes,
            depth: self.depth,
            model: rate.map_or(Model::Closed, |rate| Model::Open { rate, arrivals: self.arrivals }),
            extent,
            ramp: self.ramp,
            warmup: self.warmup.unwrap_or(warmup),
            cooldown: self.cooldown,
            reconnect_after: self.reconnect_after.map(NonZeroU64::get),
            reconnect_failed: self.reconnect,
            think: self.think,
            timeout: self.timeout,
            seed: self.seed,
            verify: !self.no_verify,
            start_at: None,
            part: Part::WHOLE,
            first_connection: 0,
            sources: self.source.clone().unwrap_or_default(),
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

fn connections(text: &str) -> Result<usize, String> {
    number(text, CONNECTIONS_MAX)
}

fn depth(text: &str) -> Result<usize, String> {
    number(text, DEPTH_MAX)
}

fn duration(text: &str) -> Result<Duration, String> {
    time(text, Duration::from_millis(1), DURATION_MAX)
}

fn stretch(text: &str) -> Result<Duration, String> {
    time(text, Duration::ZERO, DURATION_MAX)
}

fn idle(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number <= CONNECTIONS_MAX);
    number.ok_or_else(|| format!("must be a number from 0 to {CONNECTIONS_MAX}"))
}

pub(crate) fn rate(text: &str) -> Result<f64, String> {
    let rate = units::parse_rate(text)?;
    if rate > 0.0 && rate <= RATE_MAX { Ok(rate) } else { Err(format!("must be more than 0 and at most {RATE_MAX}")) }
}

fn timeout(text: &str) -> Result<Duration, String> {
    time(text, Duration::from_millis(1), TIMEOUT_MAX)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli;

    /// The flags alone.
    #[derive(Debug, Parser)]
    struct Flags {
        #[command(flatten)]
        load: LoadArguments,
    }

    fn parse(arguments: &[&str]) -> Result<LoadArguments, String> {
        let parsed = Flags::try_parse_from(["pants-load"].iter().chain(arguments));
        parsed.map(|flags| flags.load).map_err(|error| cli::describe(&error))
    }

    fn plan(arguments: &[&str]) -> Result<Plan, String> {
        parse(arguments).unwrap().plan("tcp://127.0.0.1:4040".parse().unwrap())
    }

    #[test]
    fn the_defaults_are_those_of_the_help() {
        let made = plan(&[]).unwrap();
        assert_eq!((made.connections, made.sizes.max(), made.depth, made.seed, made.verify), (50, 64, 1, 1, true));
        assert_eq!((made.extent, made.warmup, made.timeout), (Extent::Time(DURATION), WARMUP, Duration::from_secs(5)));
        let made = plan(&["--count", "7"]).unwrap();
        assert_eq!((made.extent, made.warmup), (Extent::Count(7), Duration::ZERO));
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
        let error = plan(&["--size", "16MiB", "--depth", "5"]).unwrap_err();
        assert!(error.contains("80.0 MiB in flight"), "{error}");
        let error = parse(&["--cpus", "0,1023"]).unwrap().config().unwrap_err();
        assert!(error.starts_with("--cpus: CPU 1023 is not available"), "{error}");
    }
}
