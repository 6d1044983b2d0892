//! What was asked for, defaults included, as a report says it.

use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::plan::part::Part;
use crate::plan::{Arrivals, Extent, Model, Plan};

/// How many bytes of a request are shown.
const SHOWN: usize = 256;

/// What was asked for, defaults included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// The server.
    pub target: String,
    /// Its address.
    pub address: String,
    /// What was spoken: `echo`, `http`, `lines` or `raw`.
    pub protocol: String,
    /// What was sent, escaped, where that was always the same; of more than 256 bytes, the first of them.
    pub request: Option<String>,
    /// What sent the messages: the replies before them (`closed`), or the time (`open`).
    pub model: String,
    /// In an open loop, how many messages a second were due.
    pub rate_per_s: Option<f64>,
    /// In an open loop, how they followed each other: `poisson` or `constant`.
    pub arrivals: Option<String>,
    /// Connections.
    pub connections: usize,
    /// Connections that were held beside them.
    pub idle: usize,
    /// Bytes of a message, where the protocol has messages of any size.
    pub size: String,
    /// Messages in flight on a connection.
    pub depth: usize,
    /// How long was to be measured.
    pub duration_s: Option<f64>,
    /// How many messages were to be sent.
    pub count: Option<u64>,
    /// Over how long the connections were opened.
    pub ramp_s: f64,
    /// How long the load ran, after the ramp, before anything was measured.
    pub warmup_s: f64,
    /// How long the load went on after what was measured.
    pub cooldown_s: f64,
    /// After how many messages a connection was closed and made anew.
    pub reconnect_after: Option<u64>,
    /// Whether a connection that had failed was made anew.
    pub reconnect: bool,
    /// How long a connection waited between a reply and its next message.
    pub think: Option<String>,
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
    /// Which part of a test this is, of how many, such as `0/50`, or `0/50, 1/50` if it was merged, if it is not all of it. The connections, the rate and the count
    /// are this part's own.
    pub part: Option<String>,
    /// When the load was to begin, in seconds since 1970 by the wall clock, if it had to wait for that.
    pub start_at: Option<f64>,
    /// The addresses that the connections came from, such as `127.0.0.1-127.0.0.2`; empty where it was left to the kernel.
    pub sources: String,
}

impl Options {
    /// Those of a plan that was carried out by this many shards.
    pub fn new(plan: &Plan, shards: usize, pinned: bool) -> Self {
        let (duration_s, count) = match plan.extent {
            Extent::Time(duration) => (Some(duration.as_secs_f64()), None),
            Extent::Count(count) => (None, Some(count)),
        };
        let (model, rate_per_s, arrivals) = match plan.model {
            Model::Closed => ("closed", None, None),
            Model::Open { rate, arrivals: Arrivals::Poisson } => ("open", Some(rate), Some("poisson".to_owned())),
            Model::Open { rate, arrivals: Arrivals::Constant } => ("open", Some(rate), Some("constant".to_owned())),
        };
        Self {
            target: plan.target.to_string(),
            address: plan.target.address().to_string(),
            protocol: plan.protocol.name().to_owned(),
            request: plan.protocol.request().map(|bytes| bytes[..bytes.len().min(SHOWN)].escape_ascii().to_string()),
            model: model.to_owned(),
            rate_per_s,
            arrivals,
            connections: plan.connections,
            idle: plan.idle,
            size: plan.sizes.to_string(),
            depth: plan.depth,
            duration_s,
            count,
            ramp_s: plan.ramp.as_secs_f64(),
            warmup_s: plan.warmup.as_secs_f64(),
            cooldown_s: plan.cooldown.as_secs_f64(),
            reconnect_after: plan.reconnect_after,
            reconnect: plan.reconnect_failed,
            think: plan.think.map(|think| think.to_string()),
            timeout_s: plan.timeout.as_secs_f64(),
            shards,
            pinned,
            seed: plan.seed,
            verify: plan.verify,
            part: (plan.part != Part::WHOLE).then(|| plan.part.to_string()),
            start_at: plan.start_at.map(|at| at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()),
            sources: plan.sources.to_string(),
        }
    }
}
