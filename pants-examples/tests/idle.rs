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

/// How often its threads may run in a second, all together. Where it takes 50 µs to wake a thread and to have it sleep again, that is
/// a four-thousandth of a core.
const RUNS_PER_SECOND_MAX: f64 = 5.0;

/// How often the threads of a process have been given a CPU so far: the third field of their schedstat (proc(5)).
fn runs_so_far(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let of_task = |path| -> u64 {
        let text = fs::read_to_string(path).unwrap();
        let field = text.split_whitespace().nth(2).and_then(|field| field.parse().ok());
        field.unwrap_or_else(|| panic!("no count in {text:?}"))
    };
    tasks.map(|task| of_task(task.path().join("schedstat"))).sum()
}

/// How often its threads run in a second of `window`.
fn runs_per_second(pid: u32, window: Duration) -> f64 {
    let before = runs_so_far(pid);
    thread::sleep(window);
    (runs_so_far(pid) - before) as f64 / window.as_secs_f64()
}

#[test]
fn eight_shards_with_a_thousand_idle_connections_hardly_wake() {
    let flags = ["--shards", "8", "--no-pin", "--balance", "rebalance", "--admin", ANY_PORT, "--idle-timeout", "1m"];
    let server = Server::start(&flags);
    let clients: Vec<TcpStream> = (0..CONNECTIONS)
        .map(|_| {
            let mut client = client(server.address);
            assert_echoes(&mut client, b"hello");
            client
        })
        .collect();
    assert!(runs_so_far(server.pid) > CONNECTIONS as u64 / 2, "the threads that serve were not counted");
    // Shards have yet to find out that they are level, and the watchdog that they rest.
    let limit = Instant::now() + PATIENCE;
    while runs_per_second(server.pid, GLANCE) > RUNS_PER_SECOND_MAX {
        assert!(Instant::now() < limit, "it does not come to rest");
    }
    let runs = runs_per_second(server.pid, WINDOW);
    println!("{runs:.1} runs a second");
    assert!(runs <= RUNS_PER_SECOND_MAX, "its threads run {runs:.1} times a second, idle");
    drop(clients);
    assert_eq!(server.stop().code, Some(0));
}
