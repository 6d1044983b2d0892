//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::contestant::{self, Contestant};
use crate::point::{Point, Work};
use crate::rounds::Rounds;

/// The fewest rounds of which a median and its interval say anything.
const ROUNDS_MIN: i64 = 3;

/// What `--quick` runs: rounds, milliseconds of a slice, and points.
const QUICK_ROUNDS: u32 = 3;
const QUICK_SLICE: u64 = 50;
const QUICK_POINTS: [&str; 2] = ["echo/1x64x1", "echo/50x64x1"];

/// The same work on pants, on its peers and on the kernel's floor, by turns in one run.
///
/// Every contestant stands ready, and load goes to one after the other for a slice of time, in a new random order every round; what
/// counts is the ratio of two slices of the same round. What is measured runs on one CPU, what loads it on another one.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub(crate) struct Arguments {
    /// The kinds of work [default: all]
    pub(crate) works: Vec<Work>,
    /// Rounds of every point
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u32).range(ROUNDS_MIN..))]
    pub(crate) rounds: u32,
    /// How long a slice is, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub(crate) slice: u64,
    /// Only these contestants: names as of --list, or what they begin with
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = name)]
    pub(crate) only: Vec<String>,
    /// Only these points: connections x bytes x depth, or the first of these numbers, such as 50x64x1, 10000 or udp/50
    #[arg(long, value_name = "POINTS", value_delimiter = ',')]
    pub(crate) points: Vec<String>,
    /// Leave these figures out
    #[arg(long, value_name = "FIGURES", value_delimiter = ',')]
    pub(crate) skip: Vec<Skip>,
    /// Write the record (JSON), the tables (Markdown) and the chart (SVG) into this directory; the record after every point, so
    /// that a run that is broken off keeps what it has
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) output: Option<PathBuf>,
    /// Measure nothing: make tables and chart of this record, or of several runs on one machine: --from a.json --from b.json
    #[arg(long, value_name = "FILE", conflicts_with_all = ["works", "quick", "list"])]
    pub(crate) from: Vec<PathBuf>,
    /// See whether everything works, within seconds: three rounds of 50 ms at two points of the echo, or at those of --points
    #[arg(long)]
    pub(crate) quick: bool,
    /// Run what is built
    #[arg(long)]
    pub(crate) no_build: bool,
    /// The CPU of what is measured
    #[arg(long, value_name = "CPU", default_value_t = 0)]
    pub(crate) server_cpu: usize,
    /// The CPU of what loads it
    #[arg(long, value_name = "CPU", default_value_t = 1)]
    pub(crate) client_cpu: usize,
    /// What the order of the contestants is drawn from
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// List the contestants, with their versions and their work
    #[arg(long)]
    pub(crate) list: bool,
}

/// What may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Skip {
    /// Instructions, allocations and system calls.
    Counts,
    /// p50, p99 and p99.9.
    Latency,
    /// Memory of idle connections.
    Memory,
}

fn name(text: &str) -> Result<String, String> {
    let names = || contestant::ALL.iter().map(|contestant| contestant.name).collect::<Vec<_>>().join(", ");
    let is_known = contestant::ALL.iter().any(|contestant| contestant.is_called(text));
    is_known.then(|| text.to_owned()).ok_or_else(|| format!("no contestant has this name; there are {}", names()))
}

impl Arguments {
    /// The points to be measured.
    ///
    /// # Errors
    ///
    /// If there is none, in one line.
    pub(crate) fn points(&self) -> Result<Vec<Point>, String> {
        let works = match &self.works[..] {
            [] if self.quick => &[Work::Echo],
            [] => Work::value_variants(),
            works => works,
        };
        let filters = match &self.points[..] {
            [] if self.quick => QUICK_POINTS.map(str::to_owned).to_vec(),
            filters => filters.to_vec(),
        };
        let is_asked = |point: &Point| filters.is_empty() || filters.iter().any(|filter| point.matches(filter));
        let points: Vec<Point> = works.iter().flat_map(|work| Point::all(*work)).filter(is_asked).collect();
        if points.is_empty() {
            return Err(format!("there is no point {}; one is {}", filters.join(" or "), Point::USUAL));
        }
        Ok(points)
    }

    /// The contestants that are asked for and do any of this work.
    pub(crate) fn contestants(&self, points: &[Point]) -> Vec<&'static Contestant> {
        let is_asked =
            |contestant: &&Contestant| self.only.is_empty() || self.only.iter().any(|name| contestant.is_called(name));
        let takes_part = |contestant: &&Contestant| points.iter().any(|point| contestant.takes_part(point));
        contestant::ALL.iter().filter(is_asked).filter(takes_part).collect()
    }

    /// How many rounds, and how long their slices are.
    pub(crate) fn rounds(&self) -> Rounds {
        let (rounds, slice) = if self.quick { (QUICK_ROUNDS, QUICK_SLICE) } else { (self.rounds, self.slice) };
        Rounds { rounds, slice: Duration::from_millis(slice) }
    }

    /// Whether figures of this kind are measured.
    pub(crate) fn measures(&self, what: Skip) -> bool {
        !self.quick && !self.skip.contains(&what)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Arguments {
        Arguments::try_parse_from(["side-by-side"].into_iter().chain(line.split_whitespace())).unwrap()
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn everything_is_measured_unless_something_is_asked_for() {
        let all = parse("").points().unwrap();
        assert!(all.len() > 30 && all.iter().any(|point| point.work == Work::Broadcast));
        assert_eq!(parse("echo --points 50x64x1").points().unwrap()[0], Point::USUAL);
        assert!(parse("udp --points 7").points().unwrap_err().contains("no point 7"));
    }

    #[test]
    fn contestants_are_chosen_by_name_and_by_work() {
        let of = |line: &str| {
            let arguments = parse(line);
            let chosen = arguments.contestants(&arguments.points().unwrap());
            chosen.iter().map(|contestant| contestant.name).collect::<Vec<_>>()
        };
        assert_eq!(of("echo --only floor-epoll,pants --points 50x64x1"), ["floor-epoll", "pants"]);
        assert_eq!(of("timers"), ["pants", "tokio-timers"]);
        let wrong = Arguments::try_parse_from(["side-by-side", "--only", "nobody"]).unwrap_err();
        assert!(wrong.to_string().contains("no contestant has this name"), "{wrong}");
    }

    #[test]
    fn a_quick_run_is_two_points_and_no_more_figures() {
        let quick = parse("--quick");
        assert_eq!(quick.points().unwrap(), [Point::LONE, Point::USUAL]);
        assert_eq!(quick.rounds().rounds, 3);
        assert!(!quick.measures(Skip::Counts) && parse("").measures(Skip::Counts));
        assert!(!parse("--skip counts,latency").measures(Skip::Latency));
    }
}
