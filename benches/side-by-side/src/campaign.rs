//! The course of a run: what is built, then the rounds of every point, then the counts, the latencies and the memory.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;

use crate::builds::{BACKEND, Binary, CLIENT, GENERATOR, Programs};
use crate::cli::{Arguments, Skip};
use crate::contestant::{Contestant, NOT_TO_BE_HAD, WHY_NOT};
use crate::point::{Point, Work};
use crate::process::INTERRUPTED;
use crate::record::{Entry, Record};
use crate::rounds::{Cpus, Rounds};
use crate::server::Setting;
use crate::{counts, estimate, latency, machine, memory, output, rounds};

/// A directory for what tools and servers read and write, which is removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("side-by-side-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|error| format!("cannot make {}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Measures what is asked for.
///
/// # Errors
///
/// In one line, if nothing could be measured; a contestant that fails is noted in the record.
pub(crate) fn run(arguments: &Arguments, interrupted: &Arc<AtomicBool>) -> Result<Record, String> {
    let cpus = Cpus { server: arguments.server_cpu, client: arguments.client_cpu };
    machine::check_cpus(cpus)?;
    machine::raise_descriptor_limit();
    let points = arguments.points()?;
    let asked = arguments.contestants(&points);
    let programs = Programs::find()?;
    if !arguments.no_build {
        let works: Vec<Work> = points.iter().map(|point| point.work).collect();
        programs.build(&asked, &works, &others(&points, arguments))?;
    }
    let rounds = arguments.rounds();
    let mut record = Record {
        machine: machine::here(&programs),
        command: command(),
        rounds: rounds.rounds,
        slice_ms: rounds.slice.as_millis() as u64,
        seed: arguments.seed,
        ..Record::default()
    };
    let contestants = enter(&mut record, &asked, &programs);
    let scratch = Scratch::new()?;
    let setting = Setting { programs: &programs, cpu: cpus.server, to: None, scratch: &scratch.0, interrupted };
    measure(&mut record, arguments, &steps(arguments, &points), &contestants, setting, cpus)?;
    let is_empty = record.slices.is_empty() && record.timers.is_empty();
    if interrupted.load(Ordering::Relaxed) {
        record.failures.retain(|failure| !failure.reason.ends_with(INTERRUPTED));
        record.fail("all", "the rest of the run", INTERRUPTED);
    }
    if is_empty { Err("nothing was measured".to_owned()) } else { Ok(record) }
}

/// One part of a run, after which the record is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Rounds(Point),
    Counts(Point),
    Latency(Point),
    Memory,
}

impl Step {
    /// Whose work it is.
    fn point(self) -> Point {
        match self {
            Self::Rounds(point) | Self::Counts(point) | Self::Latency(point) => point,
            Self::Memory => Point::USUAL,
        }
    }

    fn estimate(self, contestants: usize, rounds: Rounds) -> Duration {
        match self {
            Self::Rounds(point) => estimate::rounds(&point, contestants, rounds),
            Self::Counts(point) => estimate::counts(&point, contestants),
            Self::Latency(point) => estimate::latency(&point, contestants, latency::ROUNDS),
            Self::Memory => estimate::memory(contestants, memory::CONNECTIONS),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rounds(point) => write!(f, "{point}"),
            Self::Counts(point) => write!(f, "{point}, counts"),
            Self::Latency(point) => write!(f, "{point}, latency"),
            Self::Memory => f.write_str("memory of idle connections"),
        }
    }
}

/// What a run does: the rounds of all points first, by which the rates are known at which latencies are measured.
fn steps(arguments: &Arguments, points: &[Point]) -> Vec<Step> {
    let mut steps: Vec<Step> = points.iter().copied().map(Step::Rounds).collect();
    if arguments.measures(Skip::Counts) {
        steps.extend(points.iter().copied().filter(Point::is_counted).map(Step::Counts));
    }
    if arguments.measures(Skip::Latency) {
        steps.extend(points.iter().copied().filter(Point::has_latency).map(Step::Latency));
    }
    if arguments.measures(Skip::Memory) && points.iter().any(|point| point.work == Work::Echo) {
        steps.push(Step::Memory);
    }
    steps
}

/// Takes the steps one by one.
///
/// # Errors
///
/// If the record cannot be written, in one line.
fn measure(
    record: &mut Record,
    arguments: &Arguments,
    steps: &[Step],
    contestants: &[&Contestant],
    setting: Setting<'_>,
    cpus: Cpus,
) -> Result<(), String> {
    let mut random = Rng::with_seed(arguments.seed);
    let rounds = arguments.rounds();
    let estimate = |steps: &[Step]| -> Duration {
        steps.iter().map(|step| step.estimate(taking_part(contestants, &step.point()).len(), rounds)).sum()
    };
    for (index, step) in steps.iter().enumerate() {
        if setting.interrupted.load(Ordering::Relaxed) {
            break;
        }
        let (point, taking_part) = (step.point(), taking_part(contestants, &step.point()));
        let left = estimate::words(estimate(&steps[index..]));
        eprintln!("{} of {}, about {left} left: {step}, {} contestants", index + 1, steps.len(), taking_part.len());
        match step {
            Step::Rounds(_) if point.work == Work::Timers => {
                rounds::run_alone(record, &point, &taking_part, setting, rounds.rounds, &mut random);
            }
            Step::Rounds(_) => rounds::run(record, &point, &taking_part, setting, cpus, rounds, &mut random),
            Step::Counts(_) => counts::run(record, &point, &taking_part, setting, cpus),
            Step::Latency(_) => latency::run(record, &point, &taking_part, setting, cpus, &mut random),
            Step::Memory => memory::run(record, &taking_part, setting, cpus),
        }
        if let Some(directory) = &arguments.output {
            output::write_record(directory, record)?;
        }
    }
    Ok(())
}

fn taking_part<'a>(contestants: &[&'a Contestant], point: &Point) -> Vec<&'a Contestant> {
    contestants.iter().copied().filter(|contestant| contestant.takes_part(point)).collect()
}

/// What else is needed besides the contestants.
fn others(points: &[Point], arguments: &Arguments) -> Vec<Binary> {
    let mut others = vec![CLIENT];
    if points.iter().any(|point| point.work == Work::Proxy) {
        others.push(BACKEND);
    }
    if points.iter().any(Point::has_latency) && arguments.measures(Skip::Latency) {
        others.push(GENERATOR);
    }
    others
}

/// Notes the contestants with their versions; returns those that are there.
fn enter<'a>(record: &mut Record, asked: &[&'a Contestant], programs: &Programs) -> Vec<&'a Contestant> {
    let mut entered = Vec::new();
    for contestant in asked {
        match machine::version(contestant, programs) {
            Ok(version) => {
                record.contestants.push(Entry { name: contestant.name.to_owned(), version });
                entered.push(*contestant);
            }
            Err(error) => record.fail(contestant.name, "anything", error),
        }
    }
    entered
}

/// The command that makes such a run.
fn command() -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let run = "cargo run --release --manifest-path benches/side-by-side/Cargo.toml --bin side-by-side --";
    format!("{run} {}", arguments.join(" ")).trim_end_matches(" --").trim_end().to_owned()
}

/// Prints all contestants, with their versions and their work.
///
/// # Errors
///
/// In one line.
pub(crate) fn list(contestants: &[Contestant]) -> Result<(), String> {
    let programs = Programs::find()?;
    for contestant in contestants {
        let version = machine::version(contestant, &programs).unwrap_or_else(|error| format!("not to be had: {error}"));
        let works: Vec<&str> = contestant.works.iter().map(|work| work.name()).collect();
        println!("{:<22} {:<20} {}", contestant.name, version, works.join(", "));
    }
    for name in NOT_TO_BE_HAD {
        println!("{name:<22} {WHY_NOT}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn rates_are_known_before_latencies_are_measured_by_them() {
        let arguments = Arguments::parse_from(["side-by-side", "echo", "--points", "50x64x1"]);
        let point = Point::USUAL;
        let all = [Step::Rounds(point), Step::Counts(point), Step::Latency(point), Step::Memory];
        assert_eq!(steps(&arguments, &[point]), all);
        let arguments = Arguments::parse_from(["side-by-side", "--skip", "counts,latency"]);
        assert_eq!(steps(&arguments, &[point]), [Step::Rounds(point), Step::Memory]);
    }
}
