//! The report of a run: what is written as JSON, and what the summary for people is made from.

use std::time::Duration;

use serde::Serialize;

use crate::cpus::Cpus;
use crate::environment::Environment;
use crate::failure::Failures;
use crate::histogram::Summary;
use crate::plan::{Extent, Plan};
use crate::run::Measured;
use crate::server::{self, ServerUse};
use crate::verdict;

/// The version of the JSON: it grows when a field changes its meaning or goes.
pub const VERSION: u32 = 1;

/// All that a run has shown.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The version of this form.
    pub version: u32,
    /// Where and with what it was made.
    pub environment: Environment,
    /// What was asked for.
    pub options: Options,
    /// What came of it.
    pub result: Outcome,
    /// What to doubt in it.
    pub warnings: Vec<String>,
}

/// What was asked for, defaults included.
#[derive(Clone, Debug, Serialize)]
pub struct Options {
    /// The server.
    pub target: String,
    /// Its address.
    pub address: String,
    /// How messages were paced: `closed` is by the replies.
    #[serde(rename = "loop")]
    pub pacing: &'static str,
    /// Connections.
    pub connections: usize,
    /// Bytes of a message.
    pub size: usize,
    /// Messages in flight on a connection.
    pub depth: usize,
    /// How long was to be measured.
    pub duration_s: Option<f64>,
    /// How many messages were to be sent.
    pub count: Option<u64>,
    /// How long the load ran before anything was measured.
    pub warmup_s: f64,
    /// How long a connection or a reply was waited for.
    pub timeout_s: f64,
    /// Shards.
    pub shards: usize,
    /// Whether each shard stayed on one CPU.
    pub pinned: bool,
    /// What the pattern was made from.
    pub seed: u64,
    /// Whether what came back was compared.
    pub verify: bool,
}

/// What came of a run. What is measured was sent after the warm-up; totals and failures include the warm-up.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Whether the user ended it.
    pub interrupted: bool,
    /// How long was measured.
    pub elapsed_s: f64,
    /// Messages measured: sent in that time, and come back as they were sent.
    pub messages: u64,
    /// How many a second.
    pub messages_per_s: f64,
    /// Bytes a second, in each direction, of the measured messages.
    pub bytes_per_s: f64,
    /// From a message's `write` to its last byte's coming back.
    pub latency: Summary,
    /// What went wrong.
    pub failures: Failures,
    /// All that was sent and received.
    pub total: Total,
    /// Each shard of the generator.
    pub shards: Vec<ShardUse>,
    /// The server, if its process was named and was there to the end.
    pub server: Option<ServerUse>,
}

/// All that was sent and received, the warm-up included.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Total {
    /// Connections that were made.
    pub connections: u64,
    /// Messages sent.
    pub sent: u64,
    /// Messages that came back, right or wrong.
    pub replied: u64,
    /// Messages in flight when the user ended the run.
    pub unfinished: u64,
    /// Bytes of the messages sent.
    pub bytes_out: u64,
    /// Bytes that came back.
    pub bytes_in: u64,
}

/// What one shard of the generator took.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShardUse {
    /// Which shard.
    pub shard: usize,
    /// The CPU it was pinned to.
    pub cpu: Option<usize>,
    /// Where it was allowed to run.
    pub allowed: Cpus,
    /// How much of the measured time it ran: 0 to 1.
    pub cpu_share: f64,
}

impl Report {
    /// What a run has shown.
    pub fn new(plan: &Plan, measured: Measured, environment: Environment) -> Self {
        let options = Options::new(plan, &measured);
        let result = Outcome::new(plan, measured);
        let warnings = verdict::warnings(&result.shards, result.server.as_ref());
        Self { version: VERSION, environment, options, result, warnings }
    }

    /// Whether any message or connection has failed.
    pub fn has_failed(&self) -> bool {
        !self.result.failures.is_empty()
    }

    /// As JSON, with a line break at its end.
    ///
    /// # Errors
    ///
    /// None that this form can cause.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self).map(|json| json + "\n")
    }
}

impl Options {
    fn new(plan: &Plan, measured: &Measured) -> Self {
        let (duration_s, count) = match plan.extent {
            Extent::Time(duration) => (Some(duration.as_secs_f64()), None),
            Extent::Count(count) => (None, Some(count)),
        };
        Self {
            target: plan.target.to_string(),
            address: plan.target.address().to_string(),
            pacing: "closed",
            connections: plan.connections,
            size: plan.size,
            depth: plan.depth,
            duration_s,
            count,
            warmup_s: plan.warmup.as_secs_f64(),
            timeout_s: plan.timeout.as_secs_f64(),
            shards: measured.placement.len(),
            pinned: measured.placement.cpu(0).is_some(),
            seed: plan.seed,
            verify: plan.verify,
        }
    }
}

impl Outcome {
    fn new(plan: &Plan, measured: Measured) -> Self {
        let Measured { tally, elapsed, usages, placement, server, interrupted } = measured;
        let messages = tally.latencies.count();
        let messages_per_s = per_second(messages, elapsed);
        let own = server::own_cpus();
        let shards = usages.iter().zip(placement.iter()).enumerate().map(|(shard, (usage, cpu))| {
            let cpu = cpu.map(pants_shard::CpuId::get);
            let allowed = cpu.map_or_else(|| own.clone(), |cpu| [cpu].into_iter().collect());
            ShardUse { shard, cpu, allowed, cpu_share: usage.share() }
        });
        Self {
            interrupted,
            elapsed_s: elapsed.as_secs_f64(),
            messages,
            messages_per_s,
            bytes_per_s: messages_per_s * plan.size as f64,
            latency: tally.latencies.summary(),
            total: Total {
                connections: tally.connected,
                sent: tally.sent,
                replied: tally.replied,
                unfinished: tally.unfinished(),
                bytes_out: tally.sent * plan.size as u64,
                bytes_in: tally.bytes_in,
            },
            shards: shards.collect(),
            server: server.map(|(process, first, last)| process.usage(&first, &last, messages, elapsed)),
            failures: tally.failures,
        }
    }
}

fn per_second(count: u64, elapsed: Duration) -> f64 {
    if elapsed.is_zero() { 0.0 } else { count as f64 / elapsed.as_secs_f64() }
}
