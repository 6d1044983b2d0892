//! The course of a run: what is built, then the rounds of every point, then the counts, the latencies and the memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fastrand::Rng;

use crate::builds::{BACKEND, Binary, CLIENT, GENERATOR, Programs};
use crate::cli::{Arguments, Skip};
use crate::contestant::{Contestant, Program};
use crate::point::{Point, Work};
use crate::process::INTERRUPTED;
use crate::record::{Entry, Record};
use crate::rounds::Cpus;
use crate::server::Setting;
use crate::{counts, latency, machine, memory, rounds};

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
    let contestants = enter(&mut record, &asked, &programs, !arguments.no_build);
    let scratch = Scratch::new()?;
    let setting = Setting { programs: &programs, cpu: cpus.server, to: None, scratch: &scratch.0, interrupted };
    measure(&mut record, arguments, &points, &contestants, setting, cpus);
    let is_empty = record.slices.is_empty() && record.timers.is_empty();
    if interrupted.load(Ordering::Relaxed) {
        record.failures.retain(|failure| !failure.reason.ends_with(INTERRUPTED));
        record.fail("all", "the rest of the run", INTERRUPTED);
    }
    if is_empty { Err("nothing was measured".to_owned()) } else { Ok(record) }
}

fn measure(
    record: &mut Record,
    arguments: &Arguments,
    points: &[Point],
    contestants: &[&Contestant],
    setting: Setting<'_>,
    cpus: Cpus,
) {
    let mut random = Rng::with_seed(arguments.seed);
    let rounds = arguments.rounds();
    let go_on = || !setting.interrupted.load(Ordering::Relaxed);
    for point in points.iter().take_while(|_| go_on()) {
        let taking_part = taking_part(contestants, point);
        eprintln!("{point}: {} contestants", taking_part.len());
        match point.work {
            Work::Timers => rounds::run_alone(record, point, &taking_part, setting, rounds.rounds, &mut random),
            _ => rounds::run(record, point, &taking_part, setting, cpus, rounds, &mut random),
        }
    }
    let counted = points.iter().filter(|point| point.is_counted() && arguments.measures(Skip::Counts));
    for point in counted.take_while(|_| go_on()) {
        eprintln!("{point}: counts");
        counts::run(record, point, &taking_part(contestants, point), setting, cpus);
    }
    let timed = points.iter().filter(|point| point.has_latency() && arguments.measures(Skip::Latency));
    for point in timed.take_while(|_| go_on()) {
        eprintln!("{point}: latency");
        latency::run(record, point, &taking_part(contestants, point), setting, cpus, &mut random);
    }
    let has_echo = points.iter().any(|point| point.work == Work::Echo);
    if has_echo && arguments.measures(Skip::Memory) && go_on() {
        eprintln!("memory of idle connections");
        memory::run(record, &taking_part(contestants, &Point::USUAL), setting, cpus);
    }
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
fn enter<'a>(record: &mut Record, asked: &[&'a Contestant], programs: &Programs, build: bool) -> Vec<&'a Contestant> {
    let mut entered = Vec::new();
    for contestant in asked {
        let is_built = if build && contestant.program == Program::Gnet { programs.build_gnet() } else { Ok(()) };
        match is_built.and_then(|()| machine::version(contestant, programs)) {
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
        println!("{:<20} {:<20} {}", contestant.name, version, works.join(", "));
    }
    Ok(())
}

/// Makes a directory.
///
/// # Errors
///
/// In one line.
pub(crate) fn make_directory(path: &Path) -> Result<(), String> {
    std::fs::create_dir_all(path).map_err(|error| format!("cannot make the directory {}: {error}", path.display()))
}
