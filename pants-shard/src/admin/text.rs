//! Metrics in Prometheus' text format, version 0.0.4. Pure.

use std::fmt::{self, Display, Write};

use super::series::{Kind, SERIES, Value};
use crate::metrics::{Metrics, ShardMetrics};

/// All of `metrics`; `ready` is whether the runtime serves.
pub(super) fn write(metrics: &Metrics, ready: bool) -> String {
    let mut text = String::new();
    // A string takes all that is written to it.
    let _ = write_runtime(&mut text, metrics, ready).and_then(|()| write_shards(&mut text, metrics));
    text
}

fn write_runtime(text: &mut String, metrics: &Metrics, ready: bool) -> fmt::Result {
    head(text, "build_info", "gauge", "The version, in a label.")?;
    writeln!(text, "pants_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))?;
    let shards = metrics.shards.len() + metrics.missing.len();
    let numbers: [(&str, &str, &dyn Display); 5] = [
        ("uptime_seconds", "How long ago the runtime was started.", &metrics.uptime.as_secs_f64()),
        ("ready", "Whether the runtime serves: 1 if it does, 0 while it drains.", &u8::from(ready)),
        ("shards", "How many shards the runtime has.", &shards),
        ("shards_missing", "How many of them did not answer in time.", &metrics.missing.len()),
        ("connection_skew_ratio", "Connections of the fullest shard over the mean of all.", &metrics.skew()),
    ];
    for (name, help, value) in numbers {
        head(text, name, "gauge", help)?;
        writeln!(text, "pants_{name} {value}")?;
    }
    Ok(())
}

fn write_shards(text: &mut String, metrics: &Metrics) -> fmt::Result {
    for series in SERIES {
        let kind = if series.kind == Kind::Counter { "counter" } else { "gauge" };
        head(text, series.name, kind, series.help)?;
        for shard in &metrics.shards {
            writeln!(text, "pants_{}{{shard=\"{}\"}} {}", series.name, index(shard), (series.value)(shard))?;
        }
    }
    head(text, "connections_closed_total", "counter", "Connections that have closed, by reason.")?;
    for shard in &metrics.shards {
        for (reason, count) in shard.stats.closed.iter() {
            let index = index(shard);
            writeln!(text, "pants_connections_closed_total{{shard=\"{index}\",reason=\"{reason}\"}} {count}")?;
        }
    }
    head(text, "timer_lateness_seconds", "summary", "How late the program's timers were, those with a deadline.")?;
    for shard in &metrics.shards {
        let (index, stats) = (index(shard), &shard.stats);
        let sum = Value::Seconds(std::time::Duration::from_nanos(stats.timer_lateness_total_ns));
        writeln!(text, "pants_timer_lateness_seconds_sum{{shard=\"{index}\"}} {sum}")?;
        writeln!(text, "pants_timer_lateness_seconds_count{{shard=\"{index}\"}} {}", stats.timer_lateness_count)?;
    }
    Ok(())
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(text, "# HELP pants_{name} {help}\n# TYPE pants_{name} {kind}")
}

fn index(shard: &ShardMetrics) -> usize {
    shard.shard.index()
}

impl Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Seconds(time) => time.as_secs_f64().fmt(f),
        }
    }
}
