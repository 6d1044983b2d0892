//! `run` with several targets and rounds, at a given time, and as one part of several.

mod support;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::support::*;

/// The reports in a file of results.
fn runs(file: &ScratchFile) -> Vec<Value> {
    let json: Value = serde_json::from_str(&std::fs::read_to_string(file.path()).unwrap()).unwrap();
    json["runs"].as_array().unwrap().clone()
}

fn target(address: SocketAddr) -> String {
    format!("tcp://{address}")
}

#[test]
fn each_round_loads_every_target_once_and_each_target_has_its_own_file() {
    let targets = [server(|stream| echo(stream, |_| ())), server(|stream| echo(stream, |_| ()))].map(target);
    let files = [ScratchFile::new(), ScratchFile::new()];
    let flags = ["--repeat", "5", "--count", "200", "--connections", "2", "--no-pin", "--seed", "7"];
    let outputs = ["--json", files[0].path(), "--json", files[1].path()];
    let ended = run(&["run", &targets[0], &targets[1]].into_iter().chain(flags).chain(outputs).collect::<Vec<_>>());
    assert_eq!(ended.code, Some(0), "{ended:?}");

    let results = [runs(&files[0]), runs(&files[1])];
    let mut starts = Vec::new();
    for (side, (runs, target)) in results.iter().zip(&targets).enumerate() {
        assert_eq!(runs.len(), 5);
        for (round, run) in runs.iter().enumerate() {
            assert_eq!(run["options"]["target"], target.as_str());
            assert_eq!(
                run["options"]["seed"],
                7 + round as u64,
                "both have the same seed in a round, and no other round has"
            );
            assert_eq!(run["result"]["messages"], 200);
            starts.push((run["result"]["started_unix_ns"].as_u64().unwrap(), side));
        }
    }
    starts.sort_unstable();
    assert!(starts.chunks(2).all(|round| round[0].1 != round[1].1), "they take turns: {starts:?}");

    let lines: Vec<&str> = ended.output.lines().filter(|line| line.starts_with("round ")).collect();
    assert_eq!(lines.len(), 10, "{}", ended.output);
    for target in &targets {
        assert!(ended.output.contains(&format!("{target}, 5 runs")), "{}", ended.output);
    }
    assert!(ended.output.contains("median"), "{}", ended.output);
}

#[test]
fn what_does_not_fit_several_targets_is_told_in_one_line() {
    let (one, two) = ("tcp://127.0.0.1:1", "tcp://127.0.0.1:2");
    for (arguments, part) in [
        (&["run", one, two, "--json", "/nowhere/A"][..], "--json: expected a file for each target"),
        (
            &["run", one, two, two, "--server-pid", "1", "--server-pid", "2"],
            "expected one for all targets, or one for each of 3",
        ),
        (&["run", one, "--repeat", "0"], "must be a number from 1 to 10000"),
        (&["run", one, "--repeat", "2", "--start-at", "1795435200"], "cannot be used with"),
        (&["run", one, two, "--start-at", "100"], "--start-at: it is for one target"),
        (&["run", one, "--start-at", "soon"], "expected a time such as"),
        (&["run", one, "--start-at", "2999-01-01T00:00:00Z"], "more than a day ahead"),
        (&["run", one, "--part", "50/50"], "expected a part such as 0/50"),
        (&["run", one, "--part", "0/50", "--connections", "20"], "more parts than --connections"),
    ] {
        let ended = run(arguments);
        assert_eq!((ended.code, ended.output.as_str()), (Some(2), ""), "{arguments:?}: {ended:?}");
        assert!(ended.errors.len() == 1 && ended.errors[0].contains(part), "{arguments:?}: {ended:?}");
    }
}

#[test]
fn a_load_begins_at_the_time_that_was_given_and_its_connections_are_made_before() {
    let first_byte: Arc<Mutex<Option<SystemTime>>> = Arc::default();
    let made: Arc<Mutex<Vec<SystemTime>>> = Arc::default();
    let (seen, accepted) = (Arc::clone(&first_byte), Arc::clone(&made));
    let address = server(move |stream| {
        accepted.lock().unwrap().push(SystemTime::now());
        echo(stream, |_| {
            seen.lock().unwrap().get_or_insert_with(SystemTime::now);
        });
    });
    let begin = SystemTime::now() + Duration::from_millis(1_500);
    let seconds = begin.duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let at = format!("{}", seconds.ceil());
    let begin = UNIX_EPOCH + Duration::from_secs_f64(seconds.ceil());
    let (ended, json) = load(address, &format!("--connections 3 --count 30 --shards 2 --start-at {at}"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let made = made.lock().unwrap().clone();
    assert!(made.len() == 3 && made.iter().all(|made| *made < begin), "{made:?}");
    assert!(first_byte.lock().unwrap().unwrap() >= begin, "nothing is sent before");
    assert_eq!(json["options"]["start_at"].as_f64().unwrap(), seconds.ceil());
    assert!(!ended.output.contains("after --start-at"), "{}", ended.output);
}

#[test]
fn a_load_that_begins_late_tells_how_late() {
    let address = server(|stream| echo(stream, |_| ()));
    let (ended, json) = load(address, "--connections 1 --count 3 --start-at 2026-01-01T00:00:00Z");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let warnings = json["warnings"].as_array().unwrap();
    assert!(warnings.iter().any(|warning| warning.as_str().unwrap().contains("after --start-at")), "{json}");
}

#[test]
fn the_parts_of_a_test_make_the_whole_and_send_other_bytes() {
    let heard: Arc<Mutex<HashSet<Vec<u8>>>> = Arc::default();
    let hear = Arc::clone(&heard);
    let address = server(move |stream| {
        let mut first = Vec::new();
        echo(stream, |data| {
            if first.len() < 64 {
                first.extend_from_slice(data);
                if first.len() >= 64 {
                    hear.lock().unwrap().insert(first[..64].to_vec());
                }
            }
        });
    });
    let (mut connections, mut messages) = (0, 0);
    for part in ["0/3", "1/3", "2/3"] {
        let (ended, json) = load(address, &format!("--connections 10 --count 100 --part {part}"));
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(json["options"]["part"], part);
        connections += json["options"]["connections"].as_u64().unwrap();
        messages += json["result"]["messages"].as_u64().unwrap();
    }
    assert_eq!((connections, messages), (10, 100));
    assert_eq!(heard.lock().unwrap().len(), 10, "each connection's first message is another one");
}

#[test]
fn one_process_can_be_the_server_of_all_targets() {
    let targets = [server(|stream| echo(stream, |_| ())), server(|stream| echo(stream, |_| ()))].map(target);
    let files = [ScratchFile::new(), ScratchFile::new()];
    let pid = std::process::id().to_string();
    let ended = run(&[
        "run",
        &targets[0],
        &targets[1],
        "--count",
        "2000",
        "--connections",
        "2",
        "--no-pin",
        "--server-pid",
        &pid,
        "--json",
        files[0].path(),
        "--json",
        files[1].path(),
    ]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for file in &files {
        assert_eq!(runs(file)[0]["result"]["server"]["pid"].to_string(), pid, "{ended:?}");
    }
}
