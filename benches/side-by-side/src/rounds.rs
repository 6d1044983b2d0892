//! The rounds of a point: all contestants stand ready together, and load goes to one after the other, in a new random order
//! every round.

use std::sync::atomic::Ordering;
use std::time::Duration;

use fastrand::Rng;

use crate::builds::CLIENT;
use crate::client::Client;
use crate::contestant::{self, Contestant};
use crate::point::{Point, Work};
use crate::process::Process;
use crate::record::{Record, Slice, Timers};
use crate::server::{self, Server, Setting};

/// How long a program may take that measures itself.
const ALONE: Duration = Duration::from_secs(120);

/// The echo server that proxies stand before.
pub(crate) const BACKEND: &str = "floor-epoll";

/// How many slices, and how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounds {
    pub(crate) rounds: u32,
    pub(crate) slice: Duration,
}

/// The CPUs of a run: one for what is measured, and another one for what loads it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpus {
    pub(crate) server: usize,
    pub(crate) client: usize,
}

/// A contestant that stands ready.
struct Entrant<'a> {
    contestant: &'a Contestant,
    server: Server,
    client: Client,
}

/// Starts the backend of a proxy's point on the client's CPU; nothing for another kind of work.
///
/// # Errors
///
/// In one line.
pub(crate) fn backend(point: &Point, setting: Setting<'_>, cpus: Cpus) -> Result<Option<Server>, String> {
    if point.work != Work::Proxy {
        return Ok(None);
    }
    let echo = contestant::find(BACKEND).expect("the backend is a contestant");
    let behind = Setting { cpu: cpus.client, to: None, ..setting };
    let started = Server::start(echo, &Point { work: Work::Echo, ..*point }, behind);
    started.map(Some).map_err(|error| format!("the server behind the proxies: {error}"))
}

/// Runs all rounds of a point.
pub(crate) fn run(
    record: &mut Record,
    point: &Point,
    contestants: &[&Contestant],
    setting: Setting<'_>,
    cpus: Cpus,
    rounds: Rounds,
    random: &mut Rng,
) {
    let backend = match backend(point, setting, cpus) {
        Ok(backend) => backend,
        Err(error) => return record.fail("all", point, error),
    };
    let setting = Setting { to: backend.as_ref().map(|backend| backend.address), ..setting };
    let mut entrants = Vec::new();
    for contestant in contestants {
        // The first slice is not counted: it warms caches and the allocator.
        let entrant = Entrant::start(contestant, point, setting, cpus).and_then(|mut entrant| {
            entrant.client.run(rounds.slice)?;
            Ok(entrant)
        });
        match entrant {
            Ok(entrant) => entrants.push(entrant),
            Err(error) => record.fail(contestant.name, point, error),
        }
    }
    for round in 0..rounds.rounds {
        random.shuffle(&mut entrants);
        entrants.retain_mut(|entrant| {
            if setting.interrupted.load(Ordering::Relaxed) {
                return false;
            }
            match entrant.slice(point, round, rounds.slice, backend.as_ref().map(|backend| &backend.process)) {
                Ok(slice) => record.slices.push(slice),
                Err(error) => {
                    record.fail(entrant.contestant.name, point, format!("in round {}: {error}", round + 1));
                    return false;
                }
            }
            true
        });
    }
}

impl<'a> Entrant<'a> {
    fn start(contestant: &'a Contestant, point: &Point, setting: Setting<'_>, cpus: Cpus) -> Result<Self, String> {
        let server = Server::start(contestant, point, setting)?;
        let program = setting.programs.path(CLIENT);
        let client = Client::connect(&program, point, server.address, cpus.client, setting.interrupted)?;
        Ok(Self { contestant, server, client })
    }

    fn slice(&mut self, point: &Point, round: u32, time: Duration, behind: Option<&Process>) -> Result<Slice, String> {
        let behind_cpu = || behind.map_or(0, Process::cpu_time);
        let before = (self.server.process.cpu_time(), behind_cpu());
        let said = self.client.run(time)?;
        Ok(Slice {
            point: *point,
            contestant: self.contestant.name.to_owned(),
            round,
            messages: said.messages,
            nanoseconds: said.nanoseconds,
            server_cpu: self.server.process.cpu_time().saturating_sub(before.0),
            client_cpu: said.cpu_nanoseconds + behind_cpu().saturating_sub(before.1),
            lost: said.lost,
        })
    }
}

/// Runs programs that measure themselves, by turns as well.
pub(crate) fn run_alone(
    record: &mut Record,
    point: &Point,
    contestants: &[&Contestant],
    setting: Setting<'_>,
    rounds: u32,
    random: &mut Rng,
) {
    let mut contestants = contestants.to_vec();
    for round in 0..rounds {
        random.shuffle(&mut contestants);
        contestants.retain(|contestant| match alone(contestant, point, setting) {
            Ok(nanoseconds) => {
                record.timers.push(Timers { contestant: contestant.name.to_owned(), round, nanoseconds });
                true
            }
            Err(error) => {
                record.fail(contestant.name, point, error);
                false
            }
        });
    }
}

type Nanoseconds = std::collections::BTreeMap<String, f64>;

fn alone(contestant: &Contestant, point: &Point, setting: Setting<'_>) -> Result<Nanoseconds, String> {
    let line = server::command_alone(contestant, point.work, setting.programs)?;
    let mut process = Process::start(&line, setting.cpu, setting.interrupted)?;
    let said = process.line(ALONE)?;
    process.finish(ALONE)?;
    parse_alone(&said)
}

/// The figures in nanoseconds among what a program says: those whose names end with `_ns`.
fn parse_alone(text: &str) -> Result<Nanoseconds, String> {
    let said: Nanoseconds = serde_json::from_str(text).map_err(|error| format!("it said {text:?}: {error}"))?;
    Ok(said.into_iter().filter_map(|(name, time)| Some((name.strip_suffix("_ns")?.to_owned(), time))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_measures_itself_says_nanoseconds_by_name() {
        let figures = parse_alone(r#"{"insert_cancel_ns": 41.5, "fire_ns": 30, "pending": 1000000}"#).unwrap();
        assert_eq!(figures, [("fire".to_owned(), 30.0), ("insert_cancel".to_owned(), 41.5)].into());
        assert!(parse_alone("listening on").unwrap_err().starts_with("it said \"listening on\""));
    }
}
