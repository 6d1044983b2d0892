//! What a server costs that has nothing to do: next to nothing, with everything on that looks after it.

mod support;

use std::fs;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::*;

const CONNECTIONS: usize = 1_000;

/// How long it is measured.
const WINDOW: Duration = Duration::from_secs(4);

/// Where it is looked at to find out whether it is at rest.
const GLANCE: Duration = Duration::from_secs(1);

/// A thousandth of a core.
const SHARE_MAX: f64 = 0.001;

/// How often its threads may run in a second, all together. A share alone hides many short runs, and this alone a long one.
const RUNS_PER_SECOND_MAX: f64 = 5.0;

/// What the threads of a process have had of the CPUs, as their schedstats say (proc(5)).
struct Usage {
    /// How long they have run: the first field, in nanoseconds.
    time: u64,
    /// How often they have been given a CPU: the third field.
    runs: u64,
}

impl Usage {
    fn so_far(pid: u32) -> Self {
        let mut usage = Self { time: 0, runs: 0 };
        for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap();
            let fields: Vec<u64> = text.split_whitespace().map(|field| field.parse().unwrap()).collect();
            usage.time += fields[0];
            usage.runs += fields[2];
        }
        usage
    }
}

/// What part of a core the process uses within `window`, and how often its threads run in a second of it.
fn measure(pid: u32, window: Duration) -> (f64, f64) {
    let (begun, before) = (Instant::now(), Usage::so_far(pid));
    thread::sleep(window);
    let (after, seconds) = (Usage::so_far(pid), begun.elapsed().as_secs_f64());
    let share = Duration::from_nanos(after.time - before.time).as_secs_f64() / seconds;
    (share, (after.runs - before.runs) as f64 / seconds)
}

#[test]
fn eight_shards_with_a_thousand_idle_connections_hardly_wake_and_use_under_a_thousandth_of_a_core() {
    let flags = ["--shards", "8", "--no-pin", "--balance", "rebalance", "--admin", ANY_PORT, "--idle-timeout", "1m"];
    let server = Server::start(&flags);
    let clients: Vec<TcpStream> = (0..CONNECTIONS)
        .map(|_| {
            let mut client = client(server.address);
            assert_echoes(&mut client, b"hello");
            client
        })
        .collect();
    // Shards have yet to find out that they are level, and the watchdog that they rest.
    let limit = Instant::now() + PATIENCE;
    while measure(server.pid, GLANCE).0 > SHARE_MAX {
        assert!(Instant::now() < limit, "it does not come to rest");
    }
    let (share, runs) = measure(server.pid, WINDOW);
    println!("{:.4} % of a core, {runs:.1} runs a second", share * 100.0);
    assert!(share > 0.0 && runs > 0.0, "threads that never run were not measured");
    assert!(share <= SHARE_MAX, "{:.4} % of a core, idle", share * 100.0);
    assert!(runs <= RUNS_PER_SECOND_MAX, "its threads run {runs:.1} times a second, idle");
    drop(clients);
    assert_eq!(server.stop().code, Some(0));
}
