//! Short texts for numbers: on axes, in tables and in stripes.

use crate::units;

/// A rate or a count on an axis: `0`, `500`, `20k`, `1.5M`.
pub(super) fn short(number: f64) -> String {
    let (scaled, unit) = match number {
        _ if number >= 999.5e6 => (number / 1e9, "G"),
        _ if number >= 999.5e3 => (number / 1e6, "M"),
        _ if number >= 1e3 => (number / 1e3, "k"),
        _ => (number, ""),
    };
    format!("{}{unit}", plain(scaled))
}

/// A latency on an axis, where it is a round number: `200 µs`, `1 ms`.
pub(super) fn round_latency(nanos: f64) -> String {
    let (scaled, unit) = match nanos {
        _ if nanos >= 0.999e9 => (nanos / 1e9, "s"),
        _ if nanos >= 0.999e6 => (nanos / 1e6, "ms"),
        _ if nanos >= 0.999e3 => (nanos / 1e3, "µs"),
        _ => (nanos, "ns"),
    };
    format!("{} {unit}", plain(scaled))
}

/// A time on an axis: `0`, `30 s`, `2 min`, `1.5 h`.
pub(super) fn time(seconds: f64) -> String {
    match seconds {
        _ if seconds <= 0.0 => "0".to_owned(),
        _ if seconds >= 7_200.0 => format!("{} h", plain(seconds / 3_600.0)),
        _ if seconds > 60.0 => format!("{} min", plain(seconds / 60.0)),
        _ => format!("{} s", plain(seconds)),
    }
}

/// A rate, for a table: whole, with its thousands apart.
pub(super) fn rate(per_second: f64) -> String {
    units::count(per_second.round().max(0.0) as u64)
}

/// A share of 1, in percent.
pub(super) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// A quantile's name: `p50`, `p99.9`; that of 1 is `max`.
pub(super) fn quantile(quantile: f64) -> String {
    if quantile >= 1.0 { "max".to_owned() } else { format!("p{}", plain(quantile * 100.0)) }
}

/// With as many decimals as say something, at most four.
pub(super) fn plain(number: f64) -> String {
    let text = format!("{number:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_short() {
        assert_eq!([0.0, 500.0, 20_000.0, 1.5e6].map(short), ["0", "500", "20k", "1.5M"]);
        assert_eq!([500.0, 2e5, 1e6, 5e9].map(round_latency), ["500 ns", "200 µs", "1 ms", "5 s"]);
        assert_eq!([0.0, 30.0, 120.0, 5_400.0, 7_200.0].map(time), ["0", "30 s", "2 min", "90 min", "2 h"]);
        assert_eq!([0.5, 0.999, 0.9999, 0.99999, 1.0].map(quantile), ["p50", "p99.9", "p99.99", "p99.999", "max"]);
    }
}
