//! A report to test with: an ordinary run, of plausible numbers that are always the same.

use std::time::Duration;

use crate::count::failure::Failures;
use crate::count::histogram::Latencies;
use crate::environment::Environment;
use crate::plan::{Arrivals, Extent, Model, tests::plan};
use crate::report::Report;
use crate::report::options::Options;
use crate::report::outcome::{Interval, Outcome, ShardUse, Total};
use crate::server::{Resident, ServerUse, ThreadUse};

/// Seconds that were measured.
const SECONDS: u64 = 10;

/// Messages a second.
const RATE: u64 = 1_000;

/// A run of ten seconds at a thousand messages a second, in a closed loop.
pub(crate) fn report() -> Report {
    let measured = Duration::from_secs(SECONDS);
    let (response, service) = (latencies(40), latencies(30));
    let intervals = (0..SECONDS).map(interval).collect();
    let result = Outcome {
        interrupted: false,
        started_unix_ns: 1_795_000_000_000_000_000,
        elapsed_s: measured.as_secs_f64(),
        messages: SECONDS * RATE,
        messages_per_s: RATE as f64,
        bytes_out_per_s: 64e3,
        bytes_in_per_s: 64e3,
        response: response.distribution(),
        service: service.distribution(),
        lag: None,
        connect: Latencies::default().distribution(),
        schedule: None,
        failures: Failures::default(),
        total: Total {
            connections: 50,
            sent: 11_000,
            replied: 11_000,
            unfinished: 0,
            bytes_out: 704_000,
            bytes_in: 704_000,
        },
        intervals,
        shards: (0..2).map(shard).collect(),
        server: Some(server()),
        server_ended: false,
    };
    let options = Options::new(&plan(50, Extent::Time(measured)), 2, true);
    Report { environment: Environment::read(), options, result, invalid: Vec::new(), warnings: Vec::new() }
}

/// The same in an open loop.
pub(crate) fn open_report() -> Report {
    let mut report = report();
    let mut plan = plan(50, Extent::Time(Duration::from_secs(SECONDS)));
    plan.model = Model::Open { rate: RATE as f64, arrivals: Arrivals::Poisson };
    report.options = Options::new(&plan, 2, true);
    report.result.lag = Some(latencies(2).distribution());
    report.result.schedule =
        Some(crate::report::outcome::Scheduled { scheduled: SECONDS * RATE, sent: SECONDS * RATE });
    report
}

/// Latencies of about so many microseconds, with a long tail.
fn latencies(micros: u64) -> Latencies {
    let mut latencies = Latencies::default();
    for number in 0..SECONDS * RATE {
        let share = (number as f64 + 0.5) / (SECONDS * RATE) as f64;
        latencies.record(Duration::from_secs_f64(micros as f64 * 1e-6 / (1.0 - share).powf(0.4)));
    }
    latencies
}

fn interval(second: u64) -> Interval {
    let slow = second % 4;
    Interval {
        at_s: second as f64,
        seconds: 1.0,
        messages: RATE + 20 * slow,
        failed: 0,
        p50_ns: 52_000 + 900 * slow,
        p90_ns: 101_000 + 2_000 * slow,
        p99_ns: 252_000 + 22_000 * slow,
        p99_9_ns: 634_000 + 90_000 * slow,
        max_ns: 1_400_000 + 400_000 * slow,
    }
}

fn shard(shard: usize) -> ShardUse {
    ShardUse {
        shard,
        cpu: Some(shard),
        allowed: [shard].into_iter().collect(),
        cpu_share: 0.31 + 0.04 * shard as f64,
        waited_share: 0.01,
        connections: 25,
        messages: 5_000,
        p50_ns: 52_000,
        p99_ns: 252_000 + 8_000 * shard as u64,
    }
}

fn server() -> ServerUse {
    ServerUse {
        pid: 4_711,
        cpu_seconds: 2.5,
        cpu_ns_per_message: Some(2_500.0),
        busiest_thread: "shard-0".to_owned(),
        busiest_share: 0.13,
        threads: (0..2).map(thread).collect(),
        resident: Resident { end_bytes: 12 << 20, peak_bytes: 13 << 20, ..Resident::default() },
        resident_bytes_per_connection: Some(1_300.0),
        descriptors: 57,
        ran_on: [0, 1].into_iter().collect(),
        ..ServerUse::default()
    }
}

fn thread(number: usize) -> ThreadUse {
    ThreadUse { name: format!("shard-{number}"), cpu_share: 0.13 - 0.02 * number as f64, cpu: number }
}
