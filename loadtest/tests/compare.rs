//! `compare`: what it makes of files of results, and its exit status.

mod support;

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::*;

/// A file of so many results of which each is `change`d from a real one.
fn results(real: &Value, runs: u64, change: impl Fn(u64, &mut Value)) -> ScratchFile {
    let mut record = serde_json::json!({ "version": 2, "runs": [] });
    for number in 0..runs {
        let mut run = real.clone();
        run["result"]["started_unix_ns"] = (number * 2_000_000_000 + 1_700_000_000_000_000_000).into();
        // A little noise, the same for all figures.
        scale(&mut run, 1.0 + (number * 7 % 5) as f64 / 1_000.0);
        change(number, &mut run);
        record["runs"].as_array_mut().unwrap().push(run);
    }
    let file = ScratchFile::new();
    fs::write(file.path(), record.to_string()).unwrap();
    file
}

/// Makes a run slower.
fn scale(run: &mut Value, slower: f64) {
    let result = &mut run["result"];
    result["messages_per_s"] = (result["messages_per_s"].as_f64().unwrap() / slower).into();
    let mean = result["response"]["mean_ns"].as_f64().unwrap() * slower;
    result["response"]["mean_ns"] = mean.into();
    for quantile in ["p50_ns", "p99_ns", "p99_9_ns"] {
        let value = result["response"][quantile].as_u64().unwrap();
        result["response"][quantile] = ((value as f64 * slower) as u64).into();
    }
}

/// The report of a real run.
fn real() -> Value {
    let address = server(|stream| echo(stream, |_| ()));
    load(address, "--connections 2 --count 500").1
}

/// Started behind the run of the same number, so that they take turns.
fn behind(run: &mut Value) {
    let started = run["result"]["started_unix_ns"].as_u64().unwrap();
    run["result"]["started_unix_ns"] = (started + 1_000_000_000).into();
}

#[test]
fn a_slower_candidate_is_a_regression_and_one_within_the_bound_is_none() {
    let real = real();
    let (baseline, json) = (results(&real, 6, |_, _| ()), ScratchFile::new());
    let slower = results(&real, 6, |_, run| {
        behind(run);
        scale(run, 1.2);
    });
    let ended = run(&["compare", baseline.path(), slower.path(), "--json", json.path()]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.output.contains("in pairs, round by round"), "{}", ended.output);
    assert!(ended.output.contains("WORSE by more than 5 %"), "{}", ended.output);
    let comparison: Value = serde_json::from_str(&fs::read_to_string(json.path()).unwrap()).unwrap();
    let rate = &comparison["candidates"][0]["changes"][0];
    assert_eq!(
        (&rate["figure"], &rate["verdict"], &rate["regression"]),
        (&"rate".into(), &"worse".into(), &true.into())
    );
    assert!((rate["ratio"].as_f64().unwrap() - 1.0 / 1.2).abs() < 0.01, "{rate}");

    let ended = run(&["compare", baseline.path(), slower.path(), "--bound", "25%"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let ended = run(&["compare", slower.path(), baseline.path()]);
    assert!(ended.code == Some(0) && ended.output.contains("better"), "{ended:?}");
}

#[test]
fn no_difference_is_said_plainly_with_what_could_have_been_missed() {
    let real = real();
    let baseline = results(&real, 5, |_, _| ());
    let same = results(&real, 5, |number, run| {
        behind(run);
        scale(run, 1.0 + (number % 2) as f64 / 500.0);
    });
    let ended = run(&["compare", baseline.path(), same.path()]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.output.contains("no difference seen; "), "{}", ended.output);
    assert!(!ended.output.contains("warning: "), "{}", ended.output);
}

#[test]
fn runs_that_cannot_be_compared_are_told_in_one_line_unless_forced() {
    let real = real();
    let baseline = results(&real, 5, |_, _| ());
    let other = results(&real, 5, |_, run| run["options"]["connections"] = 9.into());
    let invalid = results(&real, 5, |_, run| run["invalid"] = serde_json::json!(["it was late"]));
    let (old, none) = (ScratchFile::new(), ScratchFile::new());
    fs::write(old.path(), "{\"version\": 1}").unwrap();
    fs::write(none.path(), "nothing").unwrap();
    for (candidate, part) in [
        (Path::new(other.path()), "differ in connections: 2 and 9"),
        (Path::new(invalid.path()), "run 1 is invalid: it was late, and 4 more"),
        (Path::new(old.path()), "version 1"),
        (Path::new(none.path()), "no report of pants-load"),
        (Path::new("/nowhere"), "/nowhere: No such file"),
    ] {
        let ended = run(&["compare", baseline.path(), candidate.to_str().unwrap()]);
        assert_eq!((ended.code, ended.output.as_str()), (Some(2), ""), "{ended:?}");
        assert!(ended.errors.len() == 1 && ended.errors[0].contains(part), "{part}: {ended:?}");
    }
    let ended = run(&["compare", baseline.path(), other.path(), "--force"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.output.contains("warning: ") && ended.output.contains("connections: 2 and 9"), "{ended:?}");
}

#[test]
fn too_few_runs_have_no_interval() {
    let real = real();
    let (baseline, candidate) = (results(&real, 3, |_, _| ()), results(&real, 3, |_, run| scale(run, 2.0)));
    let ended = run(&["compare", baseline.path(), candidate.path()]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.output.contains("no interval can be given"), "{}", ended.output);
    assert!(ended.output.contains("too few runs to tell"), "{}", ended.output);
}

#[test]
fn real_runs_of_one_server_in_turns_are_compared_in_pairs() {
    let targets = [0, 1].map(|_| format!("tcp://{}", server(|stream| echo(stream, |_| ()))));
    let files = [ScratchFile::new(), ScratchFile::new()];
    let ended = run(&[
        "run",
        &targets[0],
        &targets[1],
        "--repeat",
        "5",
        "--count",
        "300",
        "--connections",
        "2",
        "--no-pin",
        "--json",
        files[0].path(),
        "--json",
        files[1].path(),
    ]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    // Whether there is a difference is chance, in one of twenty cases; what is sure is that they can be compared.
    let ended = run(&["compare", files[0].path(), files[1].path(), "--bound", "1000%"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.output.contains("5 runs; in pairs, round by round"), "{}", ended.output);
}
