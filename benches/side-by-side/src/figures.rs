//! What the slices of a point say of each contestant: rates, CPU per message, how busy both sides were, and ratios. Pure.

use crate::contestant::{self, Contestant, Kind, Poller};
use crate::point::Point;
use crate::record::{Record, Slice};
use crate::stats::{Ratio, greatest, least, median};

/// A client that is as busy as this, before a server that is not, held it up. Where neither is, both wait: for wakes, or because
/// others use their CPUs.
const BUSY: f64 = 0.9;

/// What a contestant did at a point.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) contestant: String,
    /// Messages a second: the median of the rounds, and the best.
    pub(crate) rate: f64,
    pub(crate) rate_best: f64,
    /// Nanoseconds of the server's CPU per message: the median, and the best.
    pub(crate) cpu: f64,
    pub(crate) cpu_best: f64,
    /// CPU per message by the floor's in the same round.
    pub(crate) cpu_to_floor: Option<Ratio>,
    /// Rate by the floor's in the same round.
    pub(crate) rate_to_floor: Option<Ratio>,
    /// The share of the time that both sides were busy: medians.
    pub(crate) server_busy: f64,
    pub(crate) client_busy: f64,
}

/// Which figure of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Figure {
    /// Messages a second.
    Rate,
    /// Nanoseconds of the server's CPU per message.
    Cpu,
}

impl Figure {
    /// This figure of a slice.
    pub(crate) fn of(self, slice: &Slice) -> f64 {
        match self {
            Self::Rate => slice.messages as f64 * 1e9 / slice.nanoseconds as f64,
            Self::Cpu => slice.server_cpu as f64 / slice.messages as f64,
        }
    }
}

impl Standing {
    /// Whether the rate is the client's, since it was the client that had no more time: then only the CPU per message counts.
    pub(crate) fn is_held_up(&self) -> bool {
        self.server_busy < BUSY && self.client_busy >= BUSY
    }

    fn new(record: &Record, point: &Point, contestant: &str) -> Option<Self> {
        let slices: Vec<&Slice> = record.slices_of(point, contestant).collect();
        let all = |figure: fn(&Slice) -> f64| -> Vec<f64> { slices.iter().map(|slice| figure(slice)).collect() };
        let (rates, cpus) = (all(|slice| Figure::Rate.of(slice)), all(|slice| Figure::Cpu.of(slice)));
        let floor = contestant::floor_of(point);
        (!slices.is_empty()).then(|| Self {
            contestant: contestant.to_owned(),
            rate: median(&rates),
            rate_best: greatest(&rates),
            cpu: median(&cpus),
            cpu_best: least(&cpus),
            cpu_to_floor: ratio(record, point, Figure::Cpu, contestant, floor),
            rate_to_floor: ratio(record, point, Figure::Rate, contestant, floor),
            server_busy: median(&all(|slice| slice.server_cpu as f64 / slice.nanoseconds as f64)),
            client_busy: median(&all(|slice| slice.client_cpu as f64 / slice.nanoseconds as f64)),
        })
    }
}

/// What all contestants did at a point, the least CPU per message first.
pub(crate) fn standings(record: &Record, point: &Point) -> Vec<Standing> {
    let mut names: Vec<&str> = Vec::new();
    for slice in record.slices.iter().filter(|slice| slice.point == *point) {
        if !names.contains(&slice.contestant.as_str()) {
            names.push(&slice.contestant);
        }
    }
    let mut standings: Vec<Standing> = names.iter().filter_map(|name| Standing::new(record, point, name)).collect();
    standings.sort_by(|one, other| one.cpu.total_cmp(&other.cpu));
    standings
}

/// A contestant's figure by another's in the same round. `None` if they have no round in common.
pub(crate) fn ratio(record: &Record, point: &Point, figure: Figure, contestant: &str, by: &str) -> Option<Ratio> {
    let others: Vec<&Slice> = record.slices_of(point, by).collect();
    let pairs: Vec<(f64, f64)> = record
        .slices_of(point, contestant)
        .filter_map(|slice| {
            let other = others.iter().find(|other| other.round == slice.round)?;
            Some((figure.of(slice), figure.of(other)))
        })
        .collect();
    Ratio::of_pairs(&pairs)
}

/// Whether it is one that pants has to be ahead of.
pub(crate) fn is_peer(contestant: &Contestant) -> bool {
    matches!(contestant.kind, Kind::Framework | Kind::Proxy)
}

/// The peer on epoll with the least CPU per message, or with the highest rate.
pub(crate) fn best_peer(standings: &[Standing], figure: Figure) -> Option<&Standing> {
    let peers = standings.iter().filter(|standing| {
        contestant::find(&standing.contestant).is_some_and(|peer| is_peer(peer) && peer.poller == Poller::Epoll)
    });
    match figure {
        Figure::Cpu => peers.min_by(|one, other| one.cpu.total_cmp(&other.cpu)),
        Figure::Rate => peers.max_by(|one, other| one.rate.total_cmp(&other.rate)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::slice;

    fn record() -> Record {
        let mut record = Record::default();
        for round in 0..3 {
            // Every round is slower than the one before it, for all alike.
            let slower = 1_000 * u64::from(round);
            record.slices.push(slice(Point::USUAL, "floor-epoll", round, 18_000, 4_000 + slower));
            record.slices.push(slice(Point::USUAL, "pants", round, 20_000, 4_000 + slower));
            record.slices.push(slice(Point::USUAL, "tokio", round, 15_000, 8_000 + 2 * slower));
            record.slices.push(slice(Point::USUAL, "monoio", round, 25_000, 3_000));
        }
        record
    }

    #[test]
    fn a_ratio_is_that_of_the_same_round_whatever_the_machine_did_meanwhile() {
        let record = record();
        let standings = standings(&record, &Point::USUAL);
        let of = |name: &str| standings.iter().find(|standing| standing.contestant == name).unwrap();
        assert_eq!(of("pants").cpu_to_floor, Some(Ratio { median: 1.0, low: 1.0, high: 1.0 }));
        assert_eq!(of("tokio").cpu_to_floor, Some(Ratio { median: 2.0, low: 2.0, high: 2.0 }));
        assert_eq!((of("pants").cpu, of("pants").cpu_best, of("pants").rate), (5_000.0, 4_000.0, 200_000.0));
        assert_eq!(standings[0].contestant, "monoio");
    }

    #[test]
    fn the_best_peer_is_neither_pants_nor_a_floor_and_polls_by_epoll() {
        let standings = standings(&record(), &Point::USUAL);
        assert_eq!(best_peer(&standings, Figure::Cpu).unwrap().contestant, "tokio");
        assert_eq!(best_peer(&standings, Figure::Rate).unwrap().contestant, "tokio");
        assert!(best_peer(&standings[..1], Figure::Cpu).is_none());
    }

    #[test]
    fn a_rate_is_the_clients_where_the_client_was_busier_than_a_server_that_had_time() {
        let standings = standings(&record(), &Point::USUAL);
        let held_up: Vec<&str> = standings
            .iter()
            .filter(|standing| standing.is_held_up())
            .map(|standing| standing.contestant.as_str())
            .collect();
        assert_eq!(held_up, ["monoio"]);
    }

    #[test]
    fn contestants_without_a_common_round_have_no_ratio() {
        let mut record = record();
        record.slices.retain(|slice| slice.contestant != "pants" || slice.round == 2);
        record.slices.retain(|slice| slice.contestant != "floor-epoll" || slice.round != 2);
        assert_eq!(ratio(&record, &Point::USUAL, Figure::Cpu, "pants", "floor-epoll"), None);
    }
}
