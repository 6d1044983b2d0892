//! A server compared with itself, forty times over: how often is a difference told that is not there? It takes some minutes:
//! `cargo test --release -p loadtest --test same -- --ignored --nocapture`.

mod support;

use serde_json::Value;

use crate::support::*;

/// How many comparisons are made.
const COMPARISONS: usize = 40;

/// How many of them may tell a difference. One in twenty does at most, two in forty: more than six by chance would come about
/// once in three hundred times (the binomial distribution with 40 and 0.05).
const DIFFERENCES_MAX: usize = 6;

/// The figures of which a difference was told, with the ratio.
fn differences(target: &str, seed: usize) -> Vec<String> {
    let files = [ScratchFile::new(), ScratchFile::new()];
    let (json, seed) = (ScratchFile::new(), seed.to_string());
    let load = "--no-pin --connections 4 --repeat 5 --warmup 50ms --duration 200ms";
    let outputs = ["--seed", &seed, "--json", files[0].path(), "--json", files[1].path()];
    let ended = run(&["run", target, target].into_iter().chain(load.split(' ')).chain(outputs).collect::<Vec<_>>());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let ended = run(&["compare", files[0].path(), files[1].path(), "--bound", "1000%", "--json", json.path()]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let comparison: Value = serde_json::from_str(&std::fs::read_to_string(json.path()).unwrap()).unwrap();
    let candidate = &comparison["candidates"][0];
    assert_eq!((&candidate["paired"], &candidate["runs"]), (&true.into(), &serde_json::json!([5, 5])), "{comparison}");
    let changes = candidate["changes"].as_array().unwrap();
    let told = changes.iter().filter(|change| change["verdict"] == "better" || change["verdict"] == "worse");
    told.map(|change| format!("{} {}", change["figure"], change["ratio"])).collect()
}

#[test]
#[ignore = "it makes 400 runs of a quarter of a second"]
fn of_forty_comparisons_of_a_server_with_itself_at_most_six_tell_a_difference() {
    let target = format!("tcp://{}", server(|stream| echo(stream, |_| ())));
    let mut wrong = 0;
    for comparison in 0..COMPARISONS {
        let told = differences(&target, comparison);
        wrong += usize::from(!told.is_empty());
        println!("{}: {}", comparison + 1, if told.is_empty() { "none".to_owned() } else { told.join(", ") });
    }
    println!("{wrong} of {COMPARISONS} told a difference");
    assert!(wrong <= DIFFERENCES_MAX, "{wrong} of {COMPARISONS}");
}
