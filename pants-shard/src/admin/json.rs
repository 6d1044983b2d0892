//! Metrics as JSON, for the page and for programs. Pure.

use serde_json::{Map, Value as Json, json};

use super::series::{SERIES, Value};
use crate::metrics::{Metrics, ShardMetrics};
use crate::placement::CpuId;

/// Up to this many shards the bus is told lane by lane; the lanes grow with the square of the shards.
const LANES_TOLD_MAX: usize = 32;

/// All of `metrics`; `stage` is what the runtime does.
pub(super) fn write(metrics: &Metrics, stage: &str) -> String {
    let shards = metrics.shards.len() + metrics.missing.len();
    let mut text = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "stage": stage,
        "uptime_seconds": metrics.uptime.as_secs_f64(),
        "connection_skew_ratio": metrics.skew(),
        "missing": metrics.missing.iter().map(|shard| shard.index()).collect::<Vec<_>>(),
        "shards": metrics.shards.iter().map(|metrics| shard(metrics, shards <= LANES_TOLD_MAX)).collect::<Vec<_>>(),
    })
    .to_string();
    text.push('\n');
    text
}

fn shard(metrics: &ShardMetrics, with_lanes: bool) -> Json {
    let ShardMetrics { stats, bus, .. } = metrics;
    let series = SERIES.iter().map(|series| (series.name.to_owned(), number((series.value)(metrics))));
    let mut object: Map<String, Json> = series.collect();
    let closed: Map<String, Json> =
        stats.closed.iter().map(|(reason, count)| (reason.to_owned(), json!(count))).collect();
    let lateness = Value::Seconds(std::time::Duration::from_nanos(stats.timer_lateness_total_ns));
    let others = [
        ("shard", json!(metrics.shard.index())),
        ("cpu", json!(metrics.cpu.map(CpuId::get))),
        ("uptime_seconds", json!(metrics.uptime.as_secs_f64())),
        ("connections_closed_total", Json::Object(closed)),
        ("timer_lateness_seconds_sum", number(lateness)),
        ("timer_lateness_seconds_count", json!(stats.timer_lateness_count)),
    ];
    object.extend(others.map(|(name, value)| (name.to_owned(), value)));
    if with_lanes {
        object.insert("bus_received_from".to_owned(), json!(bus.received));
    }
    Json::Object(object)
}

fn number(value: Value) -> Json {
    match value {
        Value::Count(count) => json!(count),
        Value::Seconds(time) => json!(time.as_secs_f64()),
    }
}
