//! `merge`: the results of several processes as one.

mod support;

use std::fs;

use serde_json::Value;

use crate::support::*;

#[test]
fn two_processes_that_are_one_test_have_one_result() {
    let address = server(|stream| echo(stream, |_| ()));
    let target = format!("tcp://{address}");
    let (files, whole) = ([ScratchFile::new(), ScratchFile::new()], ScratchFile::new());
    // They begin together, in a moment, by the clock.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let at = (now.as_secs() + 2).to_string();
    let programs = [("0/2", &files[0]), ("1/2", &files[1])].map(|(part, file)| {
        Program::start(&[
            "run",
            &target,
            "--part",
            part,
            "--start-at",
            &at,
            "--connections",
            "5",
            "--warmup",
            "0s",
            "--duration",
            "1s",
            "--no-pin",
            "--json",
            file.path(),
        ])
    });
    for program in programs {
        let ended = program.join();
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    let ended = run(&["merge", files[0].path(), files[1].path(), "--json", whole.path()]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.output.starts_with("2 parts, the slowest first"), "{}", ended.output);

    let read =
        |file: &ScratchFile| -> Value { serde_json::from_str(&fs::read_to_string(file.path()).unwrap()).unwrap() };
    let [one, other, whole] = [&files[0], &files[1], &whole].map(|file| read(file)["runs"][0].clone());
    let sum = |pointer: &str| {
        let of = |report: &Value| report.pointer(pointer).and_then(Value::as_u64).expect("it is a number");
        assert_eq!(of(&whole), of(&one) + of(&other), "{pointer}");
    };
    for pointer in [
        "/result/messages",
        "/result/response/count",
        "/result/service/count",
        "/result/total/sent",
        "/options/connections",
    ] {
        sum(pointer);
    }
    assert_eq!(whole["options"]["connections"], 5);
    let started = [&one, &other].map(|report| report["result"]["started_unix_ns"].as_u64().unwrap());
    // The wall clock is read a moment apart from the one that the load is timed by.
    let due = (now.as_secs() + 2) * 1_000_000_000;
    assert!(started.iter().all(|started| started.abs_diff(due) < 100_000_000), "they began on time: {started:?}");
    assert_eq!(whole["result"]["started_unix_ns"].as_u64(), started.into_iter().min());
    let warnings = whole["warnings"].as_array().unwrap();
    assert!(!warnings.iter().any(|text| text.as_str().unwrap().contains("all parts at once")), "{warnings:?}");
    assert_eq!(whole["result"]["shards"][1]["shard"], 1);
}

#[test]
fn parts_that_were_not_made_together_or_are_missing_are_told() {
    let address = server(|stream| echo(stream, |_| ()));
    let target = format!("tcp://{address}");
    let files = [ScratchFile::new(), ScratchFile::new()];
    for (part, file) in [("0/3", &files[0]), ("1/3", &files[1])] {
        let fixed = ["run", &target, "--no-pin", "--connections", "3", "--warmup", "0s", "--duration", "100ms"];
        run(&fixed.into_iter().chain(["--part", part, "--json", file.path()]).collect::<Vec<_>>());
    }
    let ended = run(&["merge", files[0].path(), files[1].path()]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.output.contains("1 of 3 parts are missing, the first of them 2/3"), "{}", ended.output);
    assert!(ended.output.contains("were measured by all parts at once"), "{}", ended.output);
}

#[test]
fn what_cannot_be_merged_is_told_in_one_line() {
    let broken = ScratchFile::new();
    fs::write(broken.path(), "{}").unwrap();
    for (file, part) in [("/nowhere", "/nowhere: No such file"), (broken.path(), "no report of pants-load")] {
        let ended = run(&["merge", file]);
        assert_eq!((ended.code, ended.output.as_str()), (Some(2), ""), "{ended:?}");
        assert!(ended.errors.len() == 1 && ended.errors[0].contains(part), "{ended:?}");
    }
}
