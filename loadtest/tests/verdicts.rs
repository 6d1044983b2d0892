//! What pants-load makes of its own results: when a run is invalid, what it warns of, and what it says of its surroundings.

mod support;

use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::*;

fn reasons(json: &Value, list: &str) -> Vec<String> {
    let reasons = json[list].as_array().expect("it is a list");
    reasons.iter().map(|reason| reason.as_str().expect("it is a sentence").to_owned()).collect()
}

#[test]
fn an_open_loop_that_keeps_its_schedule_is_invalid_only_if_the_generator_was_late() {
    let address = server(|stream| echo(stream, |_| ()));
    let (ended, json) = load(address, "--connections 4 --rate 200 --warmup 0s --duration 250ms");
    let lag = json["result"]["lag"]["p99_ns"].as_u64().expect("it is a number");
    let invalid = reasons(&json, "invalid");
    // On a machine that is busy with other tests it may be.
    if lag <= 1_000_000 {
        assert_eq!(invalid, [""; 0], "{json}");
        assert!(ended.code == Some(0) && !ended.output.contains("INVALID"), "{ended:?}");
    } else {
        assert!(invalid.len() == 1 && invalid[0].starts_with("the generator was late: "), "{invalid:?}");
        assert!(ended.code == Some(1) && ended.output.contains("INVALID: the generator was late"), "{ended:?}");
    }
}

#[test]
fn a_rate_that_no_connection_is_free_for_makes_the_run_invalid() {
    let address = slow_server(Duration::from_millis(10));
    // At most a hundred of the thousand.
    let (ended, json) = load(address, "--connections 1 --rate 1k --warmup 0s --duration 1s");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let invalid = reasons(&json, "invalid");
    assert!(invalid.iter().any(|reason| reason.starts_with("the schedule was not kept: ")), "{invalid:?}");
    assert!(ended.output.contains("INVALID: the schedule was not kept"), "{ended:?}");
}

#[test]
fn a_generator_that_stood_still_makes_the_run_invalid() {
    let address = server(|stream| echo(stream, |_| ()));
    let file = ScratchFile::new();
    let target = format!("tcp://{address}");
    let flags = ["--rate", "500", "--connections", "4", "--warmup", "0s", "--duration", "3s", "--json", file.path()];
    let program = Program::start(&[&["run", &target, "--no-pin"][..], &flags].concat());
    program.wait_for_error(" of 3.0 s");
    program.signal(Signal::STOP);
    thread::sleep(Duration::from_millis(300));
    program.signal(Signal::CONT);
    let ended = program.join();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.output.contains("INVALID: the generator was late: the p99 of its lag was "), "{ended:?}");
}

#[test]
fn few_messages_in_a_short_time_are_warned_of_and_not_invalid() {
    let address = server(|stream| echo(stream, |_| ()));
    let (ended, json) = load(address, "--connections 2 --count 50");
    assert_eq!((ended.code, reasons(&json, "invalid")), (Some(0), Vec::new()), "{ended:?}");
    let warnings = reasons(&json, "warnings");
    for part in ["too few messages for p99.9 and p99.99: 0 of 50", "is a short time to measure"] {
        assert!(warnings.iter().any(|warning| warning.contains(part)), "{part} is not in {warnings:?}");
    }
}

#[test]
fn the_environment_of_the_run_is_in_its_report() {
    let address = server(|stream| echo(stream, |_| ()));
    let (_, json) = load(address, "--connections 2 --duration 300ms --warmup 0s");
    let environment = &json["environment"];
    for field in ["time", "program", "kernel", "cpus", "load_average", "somaxconn", "port_range", "siblings", "window"]
    {
        assert!(environment.get(field).is_some_and(|value| !value.is_null()), "{field} is not in {environment}");
    }
    for field in ["commit", "cpu_model", "governor", "clock_source", "hypervisor", "descriptors", "descriptors_hard"] {
        assert!(environment.get(field).is_some(), "{field} is not in {environment}");
    }
    assert!((0.0..=1.0).contains(&environment["window"]["steal_share"].as_f64().unwrap()), "{environment}");
}
