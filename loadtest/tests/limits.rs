//! Limits that connections meet: told before the run where that is certain, and else with the command that lifts them.

mod support;

use std::collections::BTreeMap;
use std::net::{IpAddr, TcpListener};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::*;

#[test]
fn connections_come_from_the_given_addresses_by_turns() {
    let seen = Arc::new(Mutex::new(BTreeMap::<IpAddr, usize>::new()));
    let peers = Arc::clone(&seen);
    let address = server(move |stream| {
        *peers.lock().unwrap().entry(stream.peer_addr().unwrap().ip()).or_default() += 1;
        echo(stream, |_| ());
    });
    let (ended, json) = load(address, "--connections 12 --count 12 --shards 2 --source 127.0.0.2-127.0.0.4,127.0.0.9");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(json["options"]["sources"], "127.0.0.2-127.0.0.4,127.0.0.9");
    let expected = [2, 3, 4, 9].map(|last| (IpAddr::from([127, 0, 0, last]), 3));
    assert_eq!(*seen.lock().unwrap(), BTreeMap::from(expected));
}

#[test]
fn more_connections_than_descriptors_are_refused_before_the_run() {
    let program = env!("CARGO_BIN_EXE_pants-load");
    let line = format!("ulimit -n 300 && exec {program} run tcp://127.0.0.1:9 --connections 300 --no-pin");
    let output = Command::new("sh").args(["-c", &line]).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), errors.lines().count()), (Some(2), 1), "{errors}");
    assert!(errors.contains("a process may have 300 here") && errors.contains("`ulimit -n 368`"), "{errors}");
}

#[test]
fn sources_that_cannot_be_are_told_in_one_line() {
    for (target, source, part) in [
        ("tcp://127.0.0.1:9", "127.0.0.9-127.0.0.2", "expected addresses such as 127.0.0.2-127.0.0.9"),
        ("tcp://127.0.0.1:9", "192.0.2.1", "--source 192.0.2.1: Cannot assign requested address"),
        ("tcp://127.0.0.1:9", "::1", "--source ::1 is not of the family of 127.0.0.1"),
        ("unix:/tmp/nobody", "127.0.0.2", "--source 127.0.0.2 is of use for TCP alone"),
        ("tcp://192.0.2.1:9", "127.0.0.1 --connections 100000", "descriptors"),
    ] {
        let arguments = ["run", target, "--source"].into_iter().chain(source.split(' '));
        let ended = run(&arguments.collect::<Vec<_>>());
        assert_eq!((ended.code, ended.errors.len()), (Some(2), 1), "{ended:?}");
        assert!(ended.errors[0].contains(part), "{ended:?}");
    }
}

#[test]
fn a_queue_that_is_full_is_told_with_what_makes_it_longer() {
    // Nobody accepts, and one connection may wait for it.
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    rustix::net::listen(&socket, 1).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    let begun = Instant::now();
    let (ended, json) = load(address, "--connections 20 --count 20 --timeout 500ms");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(begun.elapsed() < PATIENCE - Duration::from_secs(1), "it did not wait for the kernel's own timeout");
    assert!(json["result"]["failures"]["kinds"]["timeout"]["connections"].as_u64().unwrap() >= 18, "{json}");
    let warnings = json["warnings"].as_array().unwrap();
    let full = warnings
        .iter()
        .filter_map(|warning| warning.as_str())
        .find(|warning| warning.contains("accept queue was full"));
    assert!(full.is_some_and(|warning| warning.contains("sysctl -w net.core.somaxconn=")), "{warnings:?}");
}

#[test]
fn a_server_that_has_hardly_a_descriptor_left_is_told_with_what_raises_its_limit() {
    // It stands for a server's process: all that is asked of that is how many descriptors it has open, and how many it may. It
    // ends with its input, and that with the test.
    let fill = "exec 3<&0 4<&0 5<&0 6<&0 7<&0 8<&0 9<&0; ulimit -n 10; read end";
    let mut process = Command::new("sh").args(["-c", fill]).stdin(Stdio::piped()).spawn().unwrap();
    let limited = |text: String| text.lines().any(|line| line.starts_with("Max open files            10 "));
    let limit = Instant::now() + PATIENCE;
    while !std::fs::read_to_string(format!("/proc/{}/limits", process.id())).is_ok_and(limited) {
        assert!(Instant::now() < limit, "its limit is not lowered");
        std::thread::sleep(Duration::from_millis(1));
    }
    let address = server(|stream| echo(stream, |_| ()));
    let (ended, json) = load(address, &format!("--connections 2 --count 2 --server-pid {}", process.id()));
    drop(process.stdin.take());
    process.wait().unwrap();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let command = format!("`prlimit --pid {} --nofile=20:20`", process.id());
    let told = |warning: &serde_json::Value| warning.as_str().is_some_and(|text| text.contains(&command));
    assert!(json["warnings"].as_array().unwrap().iter().any(told), "{json}");
}

#[test]
fn a_server_that_turns_connections_away_is_said_to_have_reached_a_limit() {
    let address = server(|stream| drop(stream.peek(&mut [0])));
    let (ended, json) = load(address, "--connections 3 --count 3");
    assert_eq!((ended.code, failures(&json, "reset")), (Some(1), (3, 3)));
    let first = json["result"]["failures"]["kinds"]["reset"]["first"].as_str().unwrap();
    assert!(first.contains("before any reply") && first.contains("--server-pid"), "{first}");
}
