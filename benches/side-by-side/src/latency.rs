//! Latencies, by pants-load: at half of the floor's rate, the same for all; and of one connection that waits for each reply.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fastrand::Rng;
use serde::Deserialize;

use crate::builds::GENERATOR;
use crate::contestant::{self, Contestant};
use crate::figures;
use crate::point::Point;
use crate::process::{Line, Process};
use crate::record::{Latency, Load, Record};
use crate::rounds::Cpus;
use crate::server::{Server, Setting};

/// Rounds of a load, and how long each goes on.
pub(crate) const ROUNDS: u32 = 5;
const TIME: &str = "1s";
const WARM_UP: &str = "200ms";

/// How long a round may take: the connections, the load, and what is waited for at its end.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is sent.
#[derive(Clone, Copy, Debug)]
struct Sent {
    load: Load,
    /// Messages a second, unless each waits for a reply.
    rate: Option<f64>,
}

/// Measures all contestants at a point.
pub(crate) fn run(
    record: &mut Record,
    point: &Point,
    contestants: &[&Contestant],
    setting: Setting<'_>,
    cpus: Cpus,
    random: &mut Rng,
) {
    let what = format!("{point}, latency");
    let standings = figures::standings(record, point);
    let floor = standings.iter().find(|standing| standing.contestant == contestant::floor_of(point));
    let mut loads = Vec::new();
    match floor {
        Some(floor) => loads.push(Sent { load: Load::Half, rate: Some((floor.rate / 2.0).floor()) }),
        None => record.fail("all", &what, "the floor's rate is not known, of which half is sent"),
    }
    if *point == Point::LONE {
        loads.push(Sent { load: Load::Closed, rate: None });
    }
    let mut servers = Vec::new();
    for contestant in contestants {
        match Server::start(contestant, point, setting) {
            Ok(server) => servers.push((contestant.name, server)),
            Err(error) => record.fail(contestant.name, &what, error),
        }
    }
    for (round, sent) in (0..ROUNDS).flat_map(|round| loads.iter().map(move |sent| (round, sent))) {
        random.shuffle(&mut servers);
        servers.retain(|(name, server)| {
            if setting.interrupted.load(Ordering::Relaxed) {
                return false;
            }
            match measure(point, *sent, server, setting, cpus) {
                Ok(said) => record.latencies.push(said.latency(point, name, round, sent.load)),
                Err(error) => record.fail(name, &what, error),
            }
            true
        });
    }
}

fn measure(point: &Point, sent: Sent, server: &Server, setting: Setting<'_>, cpus: Cpus) -> Result<Said, String> {
    let report = setting.scratch.join("latency.json");
    let _ = std::fs::remove_file(&report);
    let line = line(&setting.programs.path(GENERATOR), point, sent, &server.address.to_string(), &report);
    Process::start(&line, cpus.client, setting.interrupted)?.finish(PATIENCE)?;
    let text = std::fs::read_to_string(&report).map_err(|error| format!("pants-load left no report: {error}"))?;
    parse(&text)
}

fn line(program: &Path, point: &Point, sent: Sent, address: &str, report: &Path) -> Line {
    let mut line = Line::new(program, ["run", &format!("tcp://{address}"), "--duration", TIME, "--warmup", WARM_UP]);
    let numbers = [("--connections", point.connections.to_string()), ("--size", point.size.to_string())];
    line.arguments.extend(numbers.into_iter().flat_map(|(name, number)| [name.into(), number.into()]));
    line.arguments.extend(sent.rate.iter().flat_map(|rate| ["--rate".into(), rate.to_string().into()]));
    line.arguments.extend(["--json".into(), report.into()]);
    line
}

/// The part of pants-load's report that is looked at.
#[derive(Debug, Deserialize)]
struct Report {
    runs: Vec<Run>,
}

#[derive(Debug, Deserialize)]
struct Run {
    result: Said,
}

#[derive(Debug, Deserialize)]
struct Said {
    messages_per_s: f64,
    response: Quantiles,
    lag: Option<Quantiles>,
}

#[derive(Debug, Deserialize)]
struct Quantiles {
    p50_ns: u64,
    p99_ns: u64,
    p99_9_ns: u64,
}

fn parse(text: &str) -> Result<Said, String> {
    let report: Report = serde_json::from_str(text).map_err(|error| format!("pants-load's report: {error}"))?;
    report.runs.into_iter().next().map(|run| run.result).ok_or_else(|| "pants-load's report has no run".to_owned())
}

impl Said {
    fn latency(&self, point: &Point, contestant: &str, round: u32, load: Load) -> Latency {
        Latency {
            point: *point,
            contestant: contestant.to_owned(),
            round,
            load,
            rate: self.messages_per_s,
            p50: self.response.p50_ns,
            p99: self.response.p99_ns,
            p99_9: self.response.p99_9_ns,
            lag_p99_9: self.lag.as_ref().map(|lag| lag.p99_9_ns),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_has_a_rate_and_a_closed_loop_has_none() {
        let words = |rate| {
            let sent = Sent { load: Load::Half, rate };
            let line = line(Path::new("pants-load"), &Point::LONE, sent, "127.0.0.1:9", Path::new("/r"));
            line.arguments.iter().map(|word| word.to_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
        };
        assert!(words(Some(25_000.0)).ends_with("--connections 1 --size 64 --rate 25000 --json /r"));
        assert!(!words(None).contains("--rate"));
    }

    #[test]
    fn the_report_has_the_quantiles() {
        let quantiles = r#"{"p50_ns": 5, "p99_ns": 9, "p99_9_ns": 11, "max_ns": 12}"#;
        let text = format!(
            r#"{{"version": 2, "runs": [{{"result": {{"messages_per_s": 10.5, "response": {quantiles}, "lag": null}}}}]}}"#
        );
        let latency = parse(&text).unwrap().latency(&Point::LONE, "pants", 3, Load::Closed);
        assert_eq!((latency.p50, latency.p99, latency.p99_9, latency.rate), (5, 9, 11, 10.5));
        assert!(parse(r#"{"runs": []}"#).unwrap_err().contains("no run"));
    }
}
