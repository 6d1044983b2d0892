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

/// How long the threads of a process have run so far: the first field of their schedstat, in nanoseconds.
fn time_on_cpu(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let of_task = |path| -> u64 {
        let text = fs::read_to_string(path).unwrap();
        text.split(' ').next().and_then(|field| field.parse().ok()).unwrap_or_else(|| panic!("no time in {text:?}"))
    };
    Duration::from_nanos(tasks.map(|task| of_task(task.path().join("schedstat"))).sum())
}

/// What part of a core the process uses within `window`.
fn share(pid: u32, window: Duration) -> f64 {
    let (begun, before) = (Instant::now(), time_on_cpu(pid));
    thread::sleep(window);
    (time_on_cpu(pid) - before).as_secs_f64() / begun.elapsed().as_secs_f64()
}

#[test]
fn eight_shards_with_a_thousand_idle_connections_use_under_a_thousandth_of_a_core() {
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
    while share(server.pid, GLANCE) > SHARE_MAX {
        assert!(Instant::now() < limit, "it does not come to rest");
    }
    let share = share(server.pid, WINDOW);
    println!("{:.4} % of a core", share * 100.0);
    assert!(share > 0.0, "threads that never run were not measured");
    assert!(share <= SHARE_MAX, "{:.4} % of a core, idle", share * 100.0);
    drop(clients);
    assert_eq!(server.stop().code, Some(0));
}
