//! The targets of the project: each with its bound, what was measured, and whether that meets it.

use crate::contestant::{self, Contestant, Kind, Poller};
use crate::figures::{self, Figure};
use crate::point::{Point, Work};
use crate::record::{Latency, Load, Record};
use crate::stats::{Ratio, median};
use crate::table::{self, Table};

/// Something that is to be reached.
struct Target {
    what: &'static str,
    bound: Bound,
    measure: fn(&Record) -> Option<Measured>,
}

/// How much it may be, or has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
    /// The 95 % interval of the ratio must reach down to it: for what is measured at so many points that some median of them is
    /// always off.
    ReachedDownTo(f64),
}

/// What was measured. Of several points it is the one that is farthest from its bound.
#[derive(Clone, Debug, PartialEq)]
struct Measured {
    /// Of a ratio, the median.
    value: f64,
    /// The 95 % interval, of a ratio.
    interval: Option<(f64, f64)>,
    /// Where, and beside whom.
    place: String,
}

use Bound::{AtLeast, AtMost, ReachedDownTo};

const TARGETS: &[Target] = &[
    Target {
        what: "echo: instructions per message",
        bound: AtMost(120.0),
        measure: |record| {
            let count = record.counts.iter().find(|count| count.point == Point::USUAL && count.contestant == PANTS)?;
            Some(Measured::count(count.instructions?, Point::USUAL.to_string()))
        },
    },
    Target {
        what: "echo: CPU per message / floor, at every point",
        bound: ReachedDownTo(1.03),
        measure: |record| worst(record, Work::Echo, ReachedDownTo(1.03), |point| to_floor(record, point, Figure::Cpu)),
    },
    Target {
        what: "echo: CPU per message / every peer on epoll, at every point",
        bound: ReachedDownTo(1.0),
        measure: |record| {
            worst(record, Work::Echo, ReachedDownTo(1.0), |point| to_peers(record, point, Figure::Cpu, is_on_epoll))
        },
    },
    Target {
        what: "echo: rate / every peer on epoll, at every point",
        bound: AtLeast(1.0),
        measure: |record| {
            worst(record, Work::Echo, AtLeast(1.0), |point| to_peers(record, point, Figure::Rate, is_on_epoll))
        },
    },
    Target {
        what: "one connection, busy polling: p50 / the same server sleeping",
        bound: AtMost(0.5),
        measure: |record| round_trip(record, |name| name == PANTS),
    },
    Target {
        what: "one connection, busy polling: p50 / best peer's default",
        bound: AtMost(1.0),
        measure: |record| round_trip(record, is_framework),
    },
    Target {
        what: "proxy: CPU per message / floor, at every point",
        bound: AtMost(1.05),
        measure: |record| worst(record, Work::Proxy, AtMost(1.05), |point| to_floor(record, point, Figure::Cpu)),
    },
    Target {
        what: "proxy: CPU per message / HAProxy and nginx, at every point",
        bound: AtMost(1.0),
        measure: |record| {
            worst(record, Work::Proxy, AtMost(1.0), |point| to_peers(record, point, Figure::Cpu, figures::is_peer))
        },
    },
    Target {
        what: "churn: connections a second / floor",
        bound: AtLeast(0.97),
        measure: |record| worst(record, Work::Churn, AtLeast(0.97), |point| to_floor(record, point, Figure::Rate)),
    },
    Target {
        what: "churn: connections a second / every peer",
        bound: AtLeast(1.0),
        measure: |record| {
            worst(record, Work::Churn, AtLeast(1.0), |point| to_peers(record, point, Figure::Rate, figures::is_peer))
        },
    },
    Target {
        what: "10,000 connections of 64 B: p99.9 at half load / floor",
        bound: AtMost(1.0),
        measure: |record| {
            let point = Point { connections: 10_000, ..Point::USUAL };
            let pairs = pairs(record, &point, Load::Half, [PANTS, contestant::floor_of(&point)], |one| one.p99_9);
            Some(Measured::ratio(Ratio::of_pairs(&pairs)?, point.to_string()))
        },
    },
    Target {
        what: "memory of an idle connection, in bytes",
        bound: AtMost(256.0),
        measure: |record| Some(Measured::count(bytes_each(record, |name| name == PANTS)?.0, String::new())),
    },
    Target {
        what: "memory of an idle connection / best peer",
        bound: AtMost(1.0),
        measure: |record| {
            let (peer, name) = bytes_each(record, is_framework)?;
            Some(Measured::count(bytes_each(record, |name| name == PANTS)?.0 / peer, name))
        },
    },
    Target {
        what: "timers: insert + cancel with a million pending, in nanoseconds",
        bound: AtMost(50.0),
        measure: |record| Some(Measured::count(insert_cancel(record, PANTS)?, String::new())),
    },
    Target {
        what: "timers: insert + cancel / tokio",
        bound: AtMost(1.0),
        measure: |record| {
            let tokio = insert_cancel(record, "tokio-timers")?;
            Some(Measured::count(insert_cancel(record, PANTS)? / tokio, String::new()))
        },
    },
    Target {
        what: "a million idle time-outs under traffic: rate / without them",
        bound: AtLeast(0.98),
        measure: |record| {
            let point = record.points(Work::IdleTimeouts).into_iter().next()?;
            let ratio = figures::ratio(record, &point, Figure::Rate, "pants-idle-timeouts", PANTS)?;
            Some(Measured::ratio(ratio, point.to_string()))
        },
    },
    Target {
        what: "UDP: CPU per datagram / one a call",
        bound: AtMost(0.95),
        measure: |record| {
            let point = record.points(Work::Udp).into_iter().find(|point| point.depth > 1 && !point.trains)?;
            to_floor(record, &point, Figure::Cpu).pop()
        },
    },
    Target {
        what: "UDP in trains, with GRO and GSO: datagrams per CPU second / one a call",
        bound: AtLeast(5.0),
        measure: |record| {
            let point = record.points(Work::Udp).into_iter().find(|point| point.trains)?;
            // The inverse of the CPU per datagram.
            let ratio = figures::ratio(record, &point, Figure::Cpu, contestant::floor_of(&point), PANTS)?;
            Some(Measured::ratio(ratio, point.to_string()))
        },
    },
    Target {
        what: "broadcast on two shards: system calls that send, per delivery",
        bound: AtMost(1.0),
        measure: |record| {
            let is_it = |point: &Point, name: &str| point.work == Work::Broadcast && name == "pants-two-shards";
            let count = record.counts.iter().find(|count| is_it(&count.point, &count.contestant))?;
            let sends = count.system_calls.as_ref()?.iter().filter(|(name, _)| name.starts_with("send"));
            // What is counted beyond the last delivery rounds to nothing.
            let each: f64 = sends.map(|(_, each)| each).sum();
            Some(Measured::count((each * 100.0).round() / 100.0, count.point.to_string()))
        },
    },
];

/// Whose targets they are.
const PANTS: &str = "pants";

/// All targets of which anything was measured.
pub(crate) fn table(record: &Record) -> Table {
    let mut rows = Table::new(["target", "bound", "measured", "where", ""]);
    for target in TARGETS {
        let Some(measured) = (target.measure)(record) else { continue };
        let interval = measured.interval.map_or_else(String::new, |(low, high)| format!(" ({low:.3}–{high:.3})"));
        let value =
            if measured.interval.is_some() { format!("{:.3}", measured.value) } else { table::count(measured.value) };
        let bound = match target.bound {
            AtMost(bound) => format!("≤ {bound}"),
            AtLeast(bound) => format!("≥ {bound}"),
            ReachedDownTo(bound) => format!("≤ {bound} within the interval"),
        };
        let verdict = if measured.meets(target.bound) { "met" } else { "missed" };
        rows.row([target.what.to_owned(), bound, format!("{value}{interval}"), measured.place, verdict.to_owned()]);
    }
    rows
}

impl Measured {
    fn count(value: f64, place: String) -> Self {
        Self { value, interval: None, place }
    }

    fn ratio(ratio: Ratio, place: String) -> Self {
        Self { value: ratio.median, interval: Some((ratio.low, ratio.high)), place }
    }

    /// What of it is held to a bound.
    fn held_to(&self, bound: Bound) -> f64 {
        match bound {
            AtMost(_) | AtLeast(_) => self.value,
            ReachedDownTo(_) => self.interval.map_or(self.value, |(low, _)| low),
        }
    }

    fn meets(&self, bound: Bound) -> bool {
        match bound {
            AtMost(most) | ReachedDownTo(most) => self.held_to(bound) <= most,
            AtLeast(least) => self.held_to(bound) >= least,
        }
    }
}

/// The measurement of a kind of work's points that is farthest from its bound.
fn worst(record: &Record, work: Work, bound: Bound, measure: impl Fn(&Point) -> Vec<Measured>) -> Option<Measured> {
    let measured = record.points(work).into_iter().flat_map(|point| measure(&point));
    let in_order = |one: &Measured, other: &Measured| one.held_to(bound).total_cmp(&other.held_to(bound));
    match bound {
        AtMost(_) | ReachedDownTo(_) => measured.max_by(in_order),
        AtLeast(_) => measured.min_by(in_order),
    }
}

fn to_floor(record: &Record, point: &Point, figure: Figure) -> Vec<Measured> {
    let ratio = figures::ratio(record, point, figure, PANTS, contestant::floor_of(point));
    ratio.map(|ratio| Measured::ratio(ratio, point.to_string())).into_iter().collect()
}

/// By each of the peers that are asked for.
fn to_peers(record: &Record, point: &Point, figure: Figure, is_asked: fn(&Contestant) -> bool) -> Vec<Measured> {
    let peers = record.contestants.iter().map(|entry| entry.name.as_str());
    let peers = peers.filter(|name| contestant::find(name).is_some_and(is_asked));
    let ratio = |peer| {
        let ratio = figures::ratio(record, point, figure, PANTS, peer)?;
        Some(Measured::ratio(ratio, format!("{point}, {peer}")))
    };
    peers.filter_map(ratio).collect()
}

fn is_on_epoll(contestant: &Contestant) -> bool {
    figures::is_peer(contestant) && contestant.poller == Poller::Epoll
}

fn is_framework(name: &str) -> bool {
    contestant::find(name).is_some_and(|contestant| contestant.kind == Kind::Framework)
}

/// A figure of two contestants' latencies, by rounds that both have.
fn pairs(record: &Record, point: &Point, load: Load, names: [&str; 2], figure: fn(&Latency) -> u64) -> Vec<(f64, f64)> {
    let [one, other] = names.map(|name| {
        let is_it =
            move |latency: &&Latency| latency.point == *point && latency.load == load && latency.contestant == name;
        record.latencies.iter().filter(is_it).collect::<Vec<_>>()
    });
    let partner = |round: u32| other.iter().find(|latency| latency.round == round);
    one.iter().filter_map(|mine| Some((figure(mine) as f64, figure(partner(mine.round)?) as f64))).collect()
}

/// The round trip of busy polling by the best of those that are asked for.
fn round_trip(record: &Record, is_asked: impl Fn(&str) -> bool) -> Option<Measured> {
    let p50 = |name: &str| {
        let trips = record.latencies.iter().filter(|one| one.load == Load::Closed && one.contestant == name);
        median(&trips.map(|one| one.p50 as f64).collect::<Vec<_>>())
    };
    let names = record.contestants.iter().map(|entry| entry.name.as_str()).filter(|name| is_asked(name));
    let best = names.filter(|name| !p50(name).is_nan()).min_by(|one, other| p50(one).total_cmp(&p50(other)))?;
    let pairs = pairs(record, &Point::LONE, Load::Closed, ["pants-busy-poll", best], |one| one.p50);
    Some(Measured::ratio(Ratio::of_pairs(&pairs)?, best.to_owned()))
}

/// The bytes of an idle connection, least of those that are asked for, and whose they are.
fn bytes_each(record: &Record, is_asked: impl Fn(&str) -> bool) -> Option<(f64, String)> {
    let asked = record.memory.iter().filter(|memory| is_asked(&memory.contestant));
    let least = asked.min_by_key(|memory| memory.bytes)?;
    Some((least.bytes as f64 / f64::from(least.connections), least.contestant.clone()))
}

fn insert_cancel(record: &Record, contestant: &str) -> Option<f64> {
    let times: Vec<f64> = record.timers_of(contestant, "insert_cancel").map(|(_, time)| time).collect();
    (!times.is_empty()).then(|| median(&times))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::slice;
    use crate::record::{Entry, Memory};

    fn row(record: &Record, what: &str) -> String {
        let text = table(record).to_string();
        text.lines().find(|line| line.contains(what)).unwrap_or_else(|| panic!("no {what} in {text}")).to_owned()
    }

    #[test]
    fn the_median_is_held_to_a_bound_and_its_interval_only_where_that_is_said() {
        let ratio = |value, low, high| Measured { value, interval: Some((low, high)), place: String::new() };
        assert!(ratio(1.05, 1.02, 1.08).meets(ReachedDownTo(1.03)));
        assert!(!ratio(1.05, 1.04, 1.08).meets(ReachedDownTo(1.03)));
        assert!(ratio(1.03, 1.0, 1.1).meets(AtMost(1.03)) && !ratio(1.04, 1.0, 1.1).meets(AtMost(1.03)));
        assert!(ratio(0.97, 0.9, 1.0).meets(AtLeast(0.97)) && !ratio(0.96, 0.9, 1.0).meets(AtLeast(0.97)));
        assert!(Measured::count(120.0, String::new()).meets(AtMost(120.0)));
    }

    #[test]
    fn every_peer_is_one_to_be_ahead_of_and_not_only_the_best() {
        let mut record = Record::default();
        for (name, cpus) in [("pants", [100, 200, 300]), ("mio", [90, 180, 900]), ("tokio", [150, 150, 150])] {
            record.contestants.push(Entry { name: name.to_owned(), version: String::new() });
            for (round, cpu) in (0..).zip(cpus) {
                record.slices.push(slice(Point::USUAL, name, round, 20_000, cpu));
            }
        }
        let measured = to_peers(&record, &Point::USUAL, Figure::Cpu, is_on_epoll);
        let places: Vec<&str> = measured.iter().map(|measured| measured.place.as_str()).collect();
        assert_eq!(places, ["echo/50x64x1, mio", "echo/50x64x1, tokio"]);
        let worst = worst(&record, Work::Echo, AtMost(1.0), |_| measured.clone()).unwrap();
        assert!(worst.place.ends_with("tokio") && worst.value > 1.3, "{worst:?}");
    }

    #[test]
    fn the_worst_point_decides_and_is_named() {
        let mut record = Record::default();
        record.contestants.push(Entry { name: "mio".to_owned(), version: String::new() });
        for round in 0..3 {
            for (point, cpu) in [(Point::LONE, 4_100), (Point::USUAL, 4_400)] {
                record.slices.push(slice(point, "floor-epoll", round, 20_000, 4_000));
                record.slices.push(slice(point, "pants", round, 20_000, cpu));
                record.slices.push(slice(point, "mio", round, 20_000, 4_200));
            }
        }
        let line = row(&record, "CPU per message / floor");
        assert!(
            line.contains("1.100 (1.100–1.100)") && line.contains("echo/50x64x1 ") && line.contains("missed"),
            "{line}"
        );
        let line = row(&record, "CPU per message / every peer");
        assert!(line.contains("1.048") && line.contains("echo/50x64x1, mio") && line.contains("missed"), "{line}");
        assert!(row(&record, "rate / every peer").contains("met"));
    }

    #[test]
    fn busy_polling_is_held_to_the_same_server_and_to_the_best_peer() {
        let mut record = Record::default();
        for (name, p50) in [("pants", 40_000), ("pants-busy-poll", 18_000), ("tokio", 50_000), ("glommio", 30_000)] {
            record.contestants.push(Entry { name: name.to_owned(), version: String::new() });
            for round in 0..3 {
                let (point, contestant) = (Point::LONE, name.to_owned());
                let (p99, p99_9, lag_p99_9) = (p50 * 2, p50 * 3, None);
                let load = Load::Closed;
                record.latencies.push(Latency {
                    point,
                    contestant,
                    round,
                    load,
                    rate: 1.0,
                    p50,
                    p99,
                    p99_9,
                    lag_p99_9,
                });
            }
        }
        let line = row(&record, "the same server sleeping");
        assert!(line.contains("0.450") && line.contains("met"), "{line}");
        let line = row(&record, "best peer's default");
        assert!(line.contains("0.600") && line.contains("glommio"), "{line}");
    }

    #[test]
    fn memory_is_held_to_its_bound_and_to_the_peers() {
        let mut record = Record::default();
        for (name, bytes) in [("pants", 2_300_000), ("floor-epoll", 10_000), ("tokio", 4_600_000)] {
            record.memory.push(Memory { contestant: name.to_owned(), connections: 10_000, bytes });
        }
        assert!(row(&record, "in bytes").contains("230"));
        assert!(row(&record, "idle connection / best peer").contains("0.50"));
    }

    #[test]
    fn idle_timeouts_are_held_to_the_same_program_without_them() {
        let point = Point { work: Work::IdleTimeouts, ..Point::USUAL };
        let mut record = Record::default();
        for round in 0..3 {
            record.slices.push(slice(point, "pants", round, 20_000, 4_000));
            record.slices.push(slice(point, "pants-idle-timeouts", round, 19_000, 4_200));
        }
        let line = row(&record, "idle time-outs");
        assert!(line.contains("0.950") && line.contains("missed"), "{line}");
    }

    #[test]
    fn what_was_not_measured_is_neither_met_nor_missed() {
        assert!(table(&Record::default()).is_empty());
    }
}
