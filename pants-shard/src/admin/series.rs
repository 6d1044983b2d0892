//! What is counted of each shard, by name: one table for all the formats.

use std::time::Duration;

use crate::metrics::ShardMetrics;

/// One number of each shard.
#[derive(Debug)]
pub(super) struct Series {
    /// Its name after `pants_`, by the rules of Prometheus: its unit, and `_total` for what only grows.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) help: &'static str,
    pub(super) value: fn(&ShardMetrics) -> Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only grows.
    Counter,
    Gauge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Count(u64),
    Seconds(Duration),
}

/// All of them, but for what has labels or is more than a number.
pub(super) const SERIES: &[Series] = &[
    gauge("connections_open", "Connections open now.", |m| count(m.stats.connections_open)),
    counter("connections_accepted_total", "Connections accepted by servers.", |m| count(m.stats.connections_accepted)),
    counter(
        "connections_refused_total",
        "Connections refused by an acceptor, or turned away for want of descriptors.",
        |m| count(m.stats.connections_refused),
    ),
    counter("connections_started_total", "Connections that clients began.", |m| count(m.stats.connections_started)),
    counter("connections_handed_in_total", "Connections that have come from other shards.", |m| {
        count(m.stats.connections_handed_in)
    }),
    counter("connections_handed_out_total", "Connections that have left for other shards.", |m| {
        count(m.stats.connections_handed_out)
    }),
    counter("accept_errors_total", "Failed calls of accept.", |m| count(m.stats.accept_errors)),
    counter("received_bytes_total", "Bytes received.", |m| count(m.stats.bytes_in)),
    counter("sent_bytes_total", "Bytes that the kernel took for sending.", |m| count(m.stats.bytes_out)),
    counter("reads_total", "Calls of recv that brought bytes.", |m| count(m.stats.reads)),
    counter("writes_total", "Calls of send that took bytes.", |m| count(m.stats.writes)),
    counter("datagrams_received_total", "Datagrams received.", |m| count(m.stats.datagrams_in)),
    counter("datagrams_sent_total", "Datagrams that the kernel took for sending.", |m| count(m.stats.datagrams_out)),
    counter("datagrams_dropped_total", "Datagrams that were not sent, or were too long to be received.", |m| {
        count(m.stats.datagrams_dropped)
    }),
    counter("turns_total", "Turns of the event loop.", |m| count(m.stats.turns)),
    counter("sleeps_total", "Waits for events that were free to last.", |m| count(m.stats.sleeps)),
    counter("busy_polls_total", "Busy polls begun.", |m| count(m.stats.busy_polls)),
    counter("busy_poll_hits_total", "Busy polls that work has ended.", |m| count(m.stats.busy_poll_hits)),
    counter(
        "cpu_seconds_total",
        "CPU time of the shard's thread; its rate is the busy share, and over that of the turns it is a turn's time.",
        |m| Value::Seconds(m.cpu_time),
    ),
    gauge("timers_pending", "Timers pending now.", |m| count(m.stats.timers_pending)),
    counter("timers_fired_total", "Timers that have fired.", |m| count(m.stats.timers_fired)),
    gauge("timer_lateness_max_seconds", "How late the latest timer of the program was.", |m| {
        nanos(m.stats.timer_lateness_max_ns)
    }),
    counter(
        "cycle_ticks_skipped_total",
        "Runs of cycles that were skipped because an earlier one came too late.",
        |m| count(m.stats.cycle_ticks_skipped),
    ),
    counter("panics_total", "Callbacks that have panicked.", |m| count(m.stats.panics)),
    counter("stalls_total", "Turns of the event loop that have lasted longer than the watchdog allows.", |m| {
        count(m.stats.stalls)
    }),
    counter("messages_total", "Items delivered to the shard from other threads.", |m| count(m.stats.messages)),
    counter("bus_sent_total", "Messages sent to shards over the bus.", |m| sum(&m.bus.sent)),
    counter("bus_received_total", "Messages from shards over the bus.", |m| sum(&m.bus.received)),
    counter("bus_received_from_outside_total", "Messages over the bus from threads that are no shards.", |m| {
        count(m.bus.received_from_outside)
    }),
    counter("bus_full_total", "Messages that came back because their lane was full.", |m| sum(&m.bus.full)),
    counter("bus_overflowed_total", "Messages that met a full lane and waited for room.", |m| sum(&m.bus.overflowed)),
    counter("bus_wakes_total", "Shards that were woken by messages from this one.", |m| count(m.bus.wakes)),
];

const fn counter(name: &'static str, help: &'static str, value: fn(&ShardMetrics) -> Value) -> Series {
    Series { name, kind: Kind::Counter, help, value }
}

const fn gauge(name: &'static str, help: &'static str, value: fn(&ShardMetrics) -> Value) -> Series {
    Series { name, kind: Kind::Gauge, help, value }
}

fn count(count: u64) -> Value {
    Value::Count(count)
}

fn nanos(nanos: u64) -> Value {
    Value::Seconds(Duration::from_nanos(nanos))
}

fn sum(counts: &[u64]) -> Value {
    Value::Count(counts.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_say_whether_they_only_grow() {
        for (index, series) in SERIES.iter().enumerate() {
            assert!(SERIES[..index].iter().all(|other| other.name != series.name), "{}", series.name);
            assert_eq!(series.name.ends_with("_total"), series.kind == Kind::Counter, "{}", series.name);
            assert!(series.help.ends_with('.') && !series.help.contains(['\\', '\n']), "{}", series.help);
        }
    }
}
