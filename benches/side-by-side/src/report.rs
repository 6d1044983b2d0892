//! What a record says, in Markdown: one table for the echo's points, one for every point, and those of the other figures.

use std::fmt::Write as _;

use clap::ValueEnum;

use crate::contestant::{self, Kind, Poller};
use crate::figures::{self, Figure, Standing};
use crate::point::{Point, Work};
use crate::record::{Latency, Load, Record};
use crate::stats::median;
use crate::table::{self, Table, ratio, time, whole};
use crate::targets;

/// The mark of a rate at which the client had no more time.
const HELD_UP: &str = "*";

/// All that a record says.
pub(crate) fn all(record: &Record) -> String {
    let mut text = head(record);
    section(&mut text, "Targets", "", &targets::table(record));
    section(
        &mut text,
        "Echo, all points",
        "The server's CPU per message, and its ratio to the floor's in the same round: the median, and its 95 % interval.",
        &echo(record),
    );
    for point in Work::value_variants().iter().flat_map(|work| record.points(*work)) {
        section(&mut text, &describe(&point), &note(record, &point), &standings(record, &point));
    }
    let counted = "Per message, as a difference of two counts. Allocations are calls of the C library's allocator.";
    section(&mut text, "Counts", counted, &counts(record));
    let half = "Messages by a schedule at half of the floor's rate, the same for all; medians of the rounds.";
    section(&mut text, "Latency at half load", half, &latencies(record, Load::Half));
    let closed = "One connection, which sends its next message when the reply has come; medians of the rounds.";
    section(&mut text, "Round trip", closed, &latencies(record, Load::Closed));
    let idle = "Growth of the server's anonymous memory by connections that have had one message back.";
    section(&mut text, "Memory of idle connections", idle, &memory(record));
    section(&mut text, "Timers", "A million of them; medians of the rounds, per timer.", &timers(record));
    text.push_str("\n## Not measured\n\n");
    for failure in &record.failures {
        let _ = writeln!(text, "* {}, {}: {}", failure.contestant, failure.what, failure.reason);
    }
    for name in contestant::NOT_TO_BE_HAD {
        let _ = writeln!(text, "* {name}, anything: {}", contestant::WHY_NOT);
    }
    text
}

fn section(text: &mut String, title: &str, about: &str, table: &Table) {
    if !table.is_empty() {
        let about = if about.is_empty() { String::new() } else { format!("{about}\n\n") };
        let _ = write!(text, "\n## {title}\n\n{about}{table}");
    }
}

fn head(record: &Record) -> String {
    let machine = &record.machine;
    let versions: Vec<String> =
        record.contestants.iter().map(|entry| format!("{} {}", entry.name, entry.version)).collect();
    format!(
        "{}, {} CPUs; Linux {}; {}; commit {}\n\n{} rounds of {} ms: `{}`\n\n{}\n",
        machine.cpu,
        machine.cpus,
        machine.kernel,
        machine.rustc,
        machine.commit,
        record.rounds,
        record.slice_ms,
        record.command,
        versions.join(", "),
    )
}

/// A point in words.
pub(crate) fn describe(point: &Point) -> String {
    let Point { work, connections, size, depth, trains } = point;
    let size = if size % 1024 == 0 { format!("{} KiB", size / 1024) } else { format!("{size} B") };
    let depth = if *depth == 1 { String::new() } else { format!(", {depth} in flight on each") };
    let trains = if *trains { ", in trains" } else { "" };
    format!("{}: {} × {size}{depth}{trains}", work.name(), whole(f64::from(*connections)))
}

/// What has to be known of a point's figures.
fn note(record: &Record, point: &Point) -> String {
    let mut notes = Vec::new();
    if figures::standings(record, point).iter().any(Standing::is_held_up) {
        notes.push(format!(
            "\\{HELD_UP} The client had no more time: this rate is the client's, and the CPU per message is what counts."
        ));
    }
    let lost = record.slices.iter().filter(|slice| slice.point == *point).map(|slice| slice.lost).sum::<u64>();
    if lost > 0 {
        notes.push(format!(
            "{} datagrams were lost and sent again 200 ms later: the rates say little.",
            whole(lost as f64)
        ));
    }
    if point.depth_in_fact() < point.depth {
        notes.push(format!(
            "{} in flight on each in fact, as more would be past what the kernel gives all TCP sockets together.",
            point.depth_in_fact()
        ));
    }
    notes.join(" ")
}

/// One row for each point of the echo: how pants stands.
fn echo(record: &Record) -> Table {
    let mut table =
        Table::new(["point", "floor", "pants / floor", "best on epoll", "best on io_uring", "rate / floor"]);
    for point in record.points(Work::Echo) {
        let standings = figures::standings(record, &point);
        let Some(pants) = standings.iter().find(|standing| standing.contestant == "pants") else { continue };
        let floor = standings.iter().find(|standing| standing.contestant == contestant::floor_of(&point));
        let uring = standings.iter().find(|standing| {
            let is_peer =
                |peer: &contestant::Contestant| peer.kind == Kind::Framework && peer.poller == Poller::IoUring;
            contestant::find(&standing.contestant).is_some_and(is_peer)
        });
        let named = |standing: Option<&Standing>| {
            let to_floor = standing.and_then(|standing| Some((&standing.contestant, standing.cpu_to_floor?.median)));
            to_floor.map_or_else(String::new, |(name, ratio)| format!("{name} {ratio:.3}"))
        };
        table.row([
            describe(&point),
            floor.map_or_else(String::new, |floor| time(floor.cpu)),
            ratio(pants.cpu_to_floor),
            named(figures::best_peer(&standings, Figure::Cpu)),
            named(uring),
            ratio(pants.rate_to_floor),
        ]);
    }
    table
}

fn standings(record: &Record, point: &Point) -> Table {
    let each = format!("CPU per {}", point.work.unit());
    let rate = format!("{} a second", plural(point.work.unit()));
    let mut table =
        Table::new(["contestant", &each, "best", "CPU / floor", &rate, "best", "rate / floor", "busy", "client busy"]);
    for standing in figures::standings(record, point) {
        let mark = if standing.is_held_up() { HELD_UP } else { "" };
        table.row([
            standing.contestant,
            time(standing.cpu),
            time(standing.cpu_best),
            ratio(standing.cpu_to_floor),
            format!("{}{mark}", whole(standing.rate)),
            whole(standing.rate_best),
            ratio(standing.rate_to_floor),
            format!("{:.0} %", standing.server_busy * 100.0),
            format!("{:.0} %", standing.client_busy * 100.0),
        ]);
    }
    table
}

fn plural(unit: &str) -> String {
    unit.strip_suffix('y').map_or_else(|| format!("{unit}s"), |stem| format!("{stem}ies"))
}

fn counts(record: &Record) -> Table {
    let mut table =
        Table::new(["point", "contestant", "instructions", "allocations", "system calls", "which"]).with_texts(2);
    let number = |number: Option<f64>| number.map_or_else(|| "not counted".to_owned(), table::count);
    for count in &record.counts {
        let calls = count.system_calls.as_deref().unwrap_or_default();
        let names: Vec<String> = calls.iter().map(|(name, each)| format!("{name} {each:.3}")).collect();
        table.row([
            count.point.to_string(),
            count.contestant.clone(),
            number(count.instructions),
            number(count.allocations),
            number(count.system_calls.as_ref().map(|calls| calls.iter().map(|(_, each)| each).sum())),
            names.join(", "),
        ]);
    }
    table
}

fn latencies(record: &Record, load: Load) -> Table {
    let mut table =
        Table::new(["point", "contestant", "messages a second", "p50", "p99", "p99.9", "p99.9 of the generator's lag"])
            .with_texts(2);
    let mut done: Vec<(Point, &str)> = Vec::new();
    for first in record.latencies.iter().filter(|latency| latency.load == load) {
        let key = (first.point, first.contestant.as_str());
        if done.contains(&key) {
            continue;
        }
        done.push(key);
        let rounds: Vec<&Latency> = record
            .latencies
            .iter()
            .filter(|one| one.load == load && (one.point, one.contestant.as_str()) == key)
            .collect();
        let of = |figure: fn(&Latency) -> f64| median(&rounds.iter().map(|one| figure(one)).collect::<Vec<_>>());
        let lag = of(|one| one.lag_p99_9.map_or(f64::NAN, |lag| lag as f64));
        table.row([
            first.point.to_string(),
            first.contestant.clone(),
            whole(of(|one| one.rate)),
            time(of(|one| one.p50 as f64)),
            time(of(|one| one.p99 as f64)),
            time(of(|one| one.p99_9 as f64)),
            if lag.is_nan() { String::new() } else { time(lag) },
        ]);
    }
    table
}

fn memory(record: &Record) -> Table {
    let mut table = Table::new(["contestant", "connections", "bytes each"]);
    let mut memory: Vec<_> = record.memory.iter().collect();
    memory.sort_by_key(|memory| memory.bytes);
    for memory in memory {
        let each = memory.bytes as f64 / f64::from(memory.connections);
        table.row([memory.contestant.clone(), whole(f64::from(memory.connections)), whole(each)]);
    }
    table
}

fn timers(record: &Record) -> Table {
    let mut table = Table::new(["contestant", "what", "median", "best"]).with_texts(2);
    let mut done: Vec<(&str, &str)> = Vec::new();
    for (contestant, what) in record.timers.iter().flat_map(|one| one.nanoseconds.keys().map(|w| (&one.contestant, w)))
    {
        let key = (contestant.as_str(), what.as_str());
        if done.contains(&key) {
            continue;
        }
        done.push(key);
        let times: Vec<f64> = record.timers_of(contestant, what).map(|(_, time)| time).collect();
        let name = what.replace('_', " + ");
        table.row([contestant.clone(), name, time(median(&times)), time(crate::stats::least(&times))]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::slice;
    use crate::record::{Count, Memory, Timers};

    fn collapse(line: &str) -> String {
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_record_is_told_in_tables_and_what_is_missing_is_named() {
        let mut record = Record { rounds: 3, slice_ms: 300, command: "side-by-side".to_owned(), ..Record::default() };
        for round in 0..3 {
            record.slices.push(slice(Point::USUAL, "floor-epoll", round, 20_000, 4_000));
            record.slices.push(slice(Point::USUAL, "pants", round, 20_000, 4_100));
            record.slices.push(slice(Point::USUAL, "tokio", round, 10_000, 6_000));
        }
        record.counts.push(Count {
            point: Point::USUAL,
            contestant: "pants".to_owned(),
            instructions: Some(119.5),
            allocations: Some(0.0),
            system_calls: Some(vec![("recvfrom".to_owned(), 1.0), ("sendto".to_owned(), 1.0)]),
        });
        record.memory.push(Memory { contestant: "pants".to_owned(), connections: 10_000, bytes: 2_400_000 });
        let nanoseconds = [("insert_cancel".to_owned(), 41.0)].into();
        record.timers.push(Timers { contestant: "pants".to_owned(), round: 0, nanoseconds });
        record.fail("nginx", "anything", "nginx is not installed");
        // However wide the columns are.
        let text = all(&record).lines().map(collapse).collect::<Vec<_>>().join("\n");
        for part in [
            "3 rounds of 300 ms: `side-by-side`",
            "| echo: 50 × 64 B | 4.00 µs | 1.025 (1.025–1.025) | tokio 1.500 |",
            "| tokio | 6.00 µs |",
            "| 100,000* |",
            "\\* The client had no more time",
            "| echo/50x64x1 | pants | 119.5 | 0.00 | 2.00 | recvfrom 1.000, sendto 1.000 |",
            "| pants | 10,000 | 240 |",
            "| pants | insert + cancel | 41.0 ns |",
            "* nginx, anything: nginx is not installed",
            "* gnet, anything: not to be had",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(!text.contains("Latency"), "nothing was measured of it:\n{text}");
    }

    #[test]
    fn a_point_is_told_in_words() {
        assert_eq!(describe(&Point::USUAL), "echo: 50 × 64 B");
        let big = Point { connections: 10_000, size: 16 * 1024, depth: 16, ..Point::USUAL };
        assert_eq!(describe(&big), "echo: 10,000 × 16 KiB, 16 in flight on each");
        assert_eq!((plural("message"), plural("delivery")), ("messages".to_owned(), "deliveries".to_owned()));
    }
}
