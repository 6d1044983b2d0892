//! What came of a run, as a report says it.

use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::count::failure::Failures;
use crate::count::histogram::Distribution;
use crate::cpus::Cpus;
use crate::run::Measured;
use crate::server::{self, ServerUse};

/// What came of a run. What is measured was due in the window; totals and failures include what came before and after.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Whether the user ended it.
    pub interrupted: bool,
    /// When the window began, in nanoseconds since 1970 by the wall clock.
    pub started_unix_ns: u64,
    /// How long was measured.
    pub elapsed_s: f64,
    /// Messages measured: due in that time, and come back as they should.
    pub messages: u64,
    /// Messages that came back as they should in that time, whenever they were due, a second: what a slow server has left over
    /// for the time behind it is not among them.
    pub messages_per_s: f64,
    /// Bytes sent a second, of all messages.
    pub bytes_out_per_s: f64,
    /// Bytes received a second, of all messages.
    pub bytes_in_per_s: f64,
    /// From when a message was due to its last byte's coming back; in a closed loop it is due when it is sent.
    pub response: Distribution,
    /// From when a message was sent to its last byte's coming back.
    pub service: Distribution,
    /// In an open loop, how late the generator itself was in looking at the messages that were due.
    pub lag: Option<Distribution>,
    /// How long connections took to be made.
    pub connect: Distribution,
    /// In an open loop, whether the schedule was kept.
    pub schedule: Option<Scheduled>,
    /// What went wrong.
    pub failures: Failures,
    /// All that was sent and received.
    pub total: Total,
    /// The measured time, piece by piece.
    pub intervals: Vec<Interval>,
    /// Each shard of the generator.
    pub shards: Vec<ShardUse>,
    /// The server, if it was to be looked at and was there to the end.
    pub server: Option<ServerUse>,
    /// Whether it was to be looked at and has ended before.
    pub server_ended: bool,
}

/// Whether the schedule of an open loop was kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduled {
    /// Messages that were due in the window.
    pub scheduled: u64,
    /// How many of them were sent.
    pub sent: u64,
}

/// A piece of the measured time, with the messages that came back in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// When it began, in seconds from the window's beginning.
    pub at_s: f64,
    /// How long it was.
    pub seconds: f64,
    /// Messages that came back.
    pub messages: u64,
    /// Messages and connections that failed.
    pub failed: u64,
    /// Response times, in nanoseconds: as many are above as below.
    pub p50_ns: u64,
    /// One in 10 is above.
    pub p90_ns: u64,
    /// One in 100 is above.
    pub p99_ns: u64,
    /// One in 1,000 is above.
    pub p99_9_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

/// All that was sent and received, the warm-up included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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

/// What one shard of the generator did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardUse {
    /// Which shard.
    pub shard: usize,
    /// The CPU it was pinned to.
    pub cpu: Option<usize>,
    /// Where it was allowed to run.
    pub allowed: Cpus,
    /// How much of the measured time it worked: 0 to 1. What it spun in vain, waiting for a message to be due, does not count.
    pub cpu_share: f64,
    /// How much of it it waited for its CPU, on which others ran: 0 to 1.
    #[serde(default)]
    pub waited_share: f64,
    /// Connections that it made.
    pub connections: u64,
    /// Messages that it measured.
    pub messages: u64,
    /// Their response times, in nanoseconds: as many are above as below.
    pub p50_ns: u64,
    /// One in 100 is above.
    pub p99_ns: u64,
}

impl Outcome {
    /// What a run's measurements come to.
    pub fn new(measured: Measured) -> Self {
        let Measured { tally, started, elapsed, intervals, shards, placement, server, interrupted, .. } = measured;
        let messages = tally.response.count() - tally.response.censored();
        let own = server::own_cpus();
        let shards = shards.iter().zip(placement.iter()).enumerate().map(|(shard, (counted, cpu))| {
            let cpu = cpu.map(pants_shard::CpuId::get);
            let response = &counted.tally.response;
            ShardUse {
                shard,
                cpu,
                allowed: cpu.map_or_else(|| own.clone(), |cpu| [cpu].into_iter().collect()),
                cpu_share: counted.usage.share(),
                waited_share: counted.usage.waited_share(),
                connections: counted.tally.connected,
                messages: response.count() - response.censored(),
                p50_ns: response.quantile(0.5),
                p99_ns: response.quantile(0.99),
            }
        });
        // The share of the replies that came in the measured time is that of their bytes.
        let measured_share = if tally.replied == 0 { 0.0 } else { tally.completed as f64 / tally.replied as f64 };
        Self {
            interrupted,
            started_unix_ns: started.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64),
            elapsed_s: elapsed.as_secs_f64(),
            messages,
            messages_per_s: per_second(tally.completed as f64, elapsed),
            bytes_out_per_s: per_second(tally.bytes_out as f64 * measured_share, elapsed),
            bytes_in_per_s: per_second(tally.bytes_in as f64 * measured_share, elapsed),
            response: tally.response.distribution(),
            service: tally.service.distribution(),
            lag: tally.schedule.map(|_| tally.lag.distribution()),
            connect: tally.connect.distribution(),
            schedule: tally.schedule,
            total: Total {
                connections: tally.connected,
                sent: tally.sent,
                replied: tally.replied,
                unfinished: tally.unfinished(),
                bytes_out: tally.bytes_out,
                bytes_in: tally.bytes_in,
            },
            intervals,
            shards: shards.collect(),
            server_ended: server.as_ref().is_some_and(|watched| watched.ended),
            server: server.and_then(|watched| ServerUse::between(&watched, tally.completed, elapsed)),
            failures: tally.failures,
        }
    }
}

fn per_second(count: f64, elapsed: Duration) -> f64 {
    if elapsed.is_zero() { 0.0 } else { count / elapsed.as_secs_f64() }
}
