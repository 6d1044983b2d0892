//! Tables of whatever fields a part of a report has, so that none that is added to a report is forgotten on the page.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::label;
use crate::units;

/// The names and values of all fields that have one, in order. The end of a name says its unit: `_s`, `_ns`, `_bytes`, `_share`.
pub(super) fn fields(part: &impl Serialize) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    if let Ok(value) = serde_json::to_value(part) {
        add(&mut fields, "", &value);
    }
    fields
}

fn add(fields: &mut Vec<(String, String)>, name: &str, value: &Value) {
    match value {
        Value::Null => {}
        Value::Object(parts) => {
            for (part, value) in parts {
                let name = if name.is_empty() { part.clone() } else { format!("{name} {part}") };
                add(fields, &name, value);
            }
        }
        // Lists of things with fields, such as threads, have tables of their own.
        Value::Array(parts) if parts.iter().any(Value::is_object) => {}
        value => {
            let text = text(name, value);
            if !text.is_empty() {
                fields.push((label_of(name), text));
            }
        }
    }
}

fn text(name: &str, value: &Value) -> String {
    match value {
        Value::Null | Value::Object(_) => String::new(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().map(|part| text(name, part)).collect::<Vec<_>>().join(", "),
        Value::Number(number) => match (number.as_u64(), number.as_f64()) {
            (Some(whole), _) if is_a_name(name) => whole.to_string(),
            (_, Some(number)) => amount(name, number),
            _ => number.to_string(),
        },
    }
}

/// Whether a number is one by which something is called, and not an amount.
fn is_a_name(name: &str) -> bool {
    ["pid", "seed", "port_range", "version"].contains(&name)
}

fn amount(name: &str, number: f64) -> String {
    if name.ends_with("_ns") || name.contains("_ns_per_") {
        units::latency(number as u64)
    } else if name.ends_with("_bytes") || name.contains("_bytes_per_") {
        units::bytes(number as u64)
    } else if name.ends_with("_share") {
        format!("{} %", label::plain((number * 1e4).round() / 1e2))
    } else if name.ends_with("_per_s") {
        format!("{}/s", grouped(number))
    } else if name.ends_with("_s") || name.ends_with("_seconds") {
        Duration::try_from_secs_f64(number).map_or_else(
            |_| number.to_string(),
            |time| {
                if time.subsec_nanos() % 1_000_000 == 0 { units::exact_duration(time) } else { format!("{number:.2}s") }
            },
        )
    } else {
        grouped(number)
    }
}

fn grouped(number: f64) -> String {
    if number.fract() == 0.0 && number >= 0.0 { units::count(number as u64) } else { label::plain(number) }
}

/// A field's name without its unit, as words.
fn label_of(name: &str) -> String {
    let ends = ["_per_s", "_ns", "_bytes", "_share", "_seconds", "_s"];
    let bare = ends.into_iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
    bare.replace("_ns_per_", "_per_").replace("_bytes_per_", "_per_").replace('_', " ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_field_is_there_with_the_unit_that_its_name_says() {
        let part = json!({
            "target": "tcp://a", "warmup_s": 1.0, "window_s": 1.2345678, "cpu_ns_per_message": 1500.0, "rss_bytes": 2048, "cpu_share": 0.123,
            "seed": 12345, "connections": 12345, "commit": null, "threads": [{ "name": "shard-0" }], "verify": true, "part": { "index": 0, "of": 2 },
            "cpus": [0, 1], "rate_per_s": 40_000.0
        });
        let expected = [
            ("commit", ""),
            ("threads", ""),
            ("target", "tcp://a"),
            ("warmup", "1s"),
            ("window", "1.23s"),
            ("cpu per message", "1.50 µs"),
            ("rss", "2.0 KiB"),
            ("cpu", "12.3 %"),
            ("seed", "12345"),
            ("connections", "12,345"),
            ("verify", "yes"),
            ("part of", "2"),
            ("cpus", "0, 1"),
            ("rate", "40,000/s"),
        ];
        let found = fields(&part);
        for (name, value) in expected {
            let field = found.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value);
            assert_eq!(field, value, "{name} in {found:?}");
        }
    }
}
