//! One run on the page: what was wrong with it, its charts, its shards, and what was asked for.

use serde::Serialize;

use super::chart::{Chart, Percent};
use super::{charts, fields, label};
use crate::count::failure::Failures;
use crate::report::Report;
use crate::report::outcome::ShardUse;
use crate::server::{ServerUse, ThreadUse};
use crate::units;

/// One run.
#[derive(Debug)]
pub(super) struct RunView {
    /// What it is called where there are several.
    pub(super) heading: String,
    /// What came of it, in a few words.
    pub(super) brief: String,
    pub(super) invalid: Vec<String>,
    pub(super) interrupted: bool,
    pub(super) failures: Vec<Failure>,
    pub(super) warnings: Vec<String>,
    pub(super) charts: Vec<Chart>,
    pub(super) bars: Vec<Bars>,
    pub(super) lists: Vec<List>,
}

/// A kind of failure that occurred.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: &'static str,
    pub(super) messages: String,
    pub(super) connections: String,
    pub(super) first: String,
}

/// A table whose cells have bars.
#[derive(Debug)]
pub(super) struct Bars {
    pub(super) title: &'static str,
    /// The columns' names, and whether their cells have bars.
    pub(super) head: Vec<(&'static str, bool)>,
    pub(super) rows: Vec<Row>,
}

#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) note: String,
    pub(super) cells: Vec<Cell>,
}

#[derive(Debug)]
pub(super) struct Cell {
    pub(super) text: String,
    /// How long its bar is, if it has one.
    pub(super) share: Option<Percent>,
    pub(super) style: &'static str,
}

/// Names and values.
#[derive(Debug)]
pub(super) struct List {
    pub(super) title: &'static str,
    pub(super) fields: Vec<(String, String)>,
}

impl RunView {
    /// The run of this number, counted from 1.
    pub(super) fn new(number: usize, report: &Report) -> Self {
        let result = &report.result;
        let rate = label::rate(result.messages_per_s);
        let (p50, p99) = (units::latency(result.response.p50_ns), units::latency(result.response.p99_ns));
        let asked = report.options.rate_per_s.map(|asked| format!("{}/s asked, ", label::rate(asked)));
        let lists = [
            List::of("Options", &report.options),
            List::of("Environment", &report.environment),
            List::of("In all, warm-up included", &result.total),
            List::of("Schedule", &result.schedule),
            List::of("Server", &result.server),
        ];
        Self {
            heading: format!("Run {number}"),
            brief: format!("{}{rate}/s, p50 {p50}, p99 {p99}", asked.unwrap_or_default()),
            invalid: report.invalid.clone(),
            interrupted: result.interrupted,
            failures: failures(&result.failures),
            warnings: report.warnings.clone(),
            charts: charts::of_run(&format!("run-{number}"), result),
            bars: [shards(&result.shards), result.server.as_ref().and_then(threads)].into_iter().flatten().collect(),
            lists: lists.into_iter().filter(|list| !list.fields.is_empty()).collect(),
        }
    }
}

impl List {
    fn of(title: &'static str, part: &impl Serialize) -> Self {
        Self { title, fields: fields::fields(part) }
    }
}

impl Cell {
    pub(super) fn plain(text: String) -> Self {
        Self { text, share: None, style: "" }
    }

    /// With a bar as long as `value` is beside `longest`.
    pub(super) fn bar(text: String, value: f64, longest: f64, style: &'static str) -> Self {
        let share = if longest > 0.0 { (value / longest).clamp(0.0, 1.0) } else { 0.0 };
        Self { text, share: Some(Percent(share)), style }
    }
}

fn failures(failures: &Failures) -> Vec<Failure> {
    let occurred = failures.kinds.iter();
    let failure = occurred.map(|(kind, count)| Failure {
        kind: kind.name(),
        messages: units::count(count.messages),
        connections: units::count(count.connections),
        first: count.first.clone().unwrap_or_default(),
    });
    failure.collect()
}

/// What each shard of the generator did, side by side; nothing if none measured a message.
fn shards(shards: &[ShardUse]) -> Option<Bars> {
    let messages = shards.iter().map(|shard| shard.messages).max().filter(|most| *most > 0)? as f64;
    let p99 = shards.iter().map(|shard| shard.p99_ns).max()? as f64;
    let row = |shard: &ShardUse, place: String| Row {
        name: format!("shard-{}", shard.shard),
        note: format!("{place}{} connections", units::count(shard.connections)),
        cells: vec![
            Cell::bar(units::count(shard.messages), shard.messages as f64, messages, "one"),
            Cell::plain(units::latency(shard.p50_ns)),
            Cell::bar(units::latency(shard.p99_ns), shard.p99_ns as f64, p99, "two"),
            Cell::bar(label::percent(shard.cpu_share), shard.cpu_share, 1.0, "three"),
        ],
    };
    Some(Bars {
        title: "Generator, by shard",
        head: vec![("Shard", false), ("Messages", true), ("p50", false), ("p99", true), ("CPU", true)],
        rows: shards
            .iter()
            .map(|shard| row(shard, shard.cpu.map_or_else(String::new, |cpu| format!("CPU {cpu}, "))))
            .collect(),
    })
}

/// The server's threads that worked, the busiest first; nothing if none did.
fn threads(server: &ServerUse) -> Option<Bars> {
    let row = |thread: &ThreadUse| Row {
        name: thread.name.clone(),
        note: format!("CPU {}", thread.cpu),
        cells: vec![Cell::bar(label::percent(thread.cpu_share), thread.cpu_share, 1.0, "three")],
    };
    let rows: Vec<Row> = server.threads.iter().map(row).collect();
    (!rows.is_empty()).then_some(Bars {
        title: "Server, by thread",
        head: vec![("Thread", false), ("CPU", true)],
        rows,
    })
}
