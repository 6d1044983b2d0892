//! In what two reports were not made alike: options, and machines; pure.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::environment::Environment;
use crate::report::Report;
use crate::report::options::Options;

/// What shapes the load little or not at all: where it goes and comes from, and what its bytes are.
pub const FREE: [&str; 6] = ["target", "address", "sources", "seed", "part", "start_at"];

/// What makes figures more or less exact, and shapes them where the generator is at its limit.
pub const MINOR: [&str; 7] = ["duration_s", "count", "warmup_s", "cooldown_s", "timeout_s", "shards", "pinned"];

/// What of the environment must be the same for figures to be comparable.
const MACHINE: [&str; 6] = ["kernel", "cpu_model", "cpus", "commit", "program", "debug_build"];

/// The options that differ, but for those of `free`, each as `connections: 50 and 100`. Every option counts that is not
/// excepted, so that one which is added later does too.
pub fn options(one: &Options, other: &Options, free: &[&str]) -> Vec<String> {
    differences(&without_host(one), &without_host(other), |name| !free.contains(&name))
}

/// The options without the name of the server in an HTTP request: it is that of the target, which is free.
fn without_host(options: &Options) -> Options {
    let host = options.target.strip_prefix("http://").and_then(|rest| rest.split('/').next());
    let request = options.request.as_ref().map(|request| match host {
        Some(host) => request.replacen(&format!("Host: {host}\\r\\n"), "", 1),
        None => request.clone(),
    });
    Options { request, ..options.clone() }
}

/// In what the machines and the programs differ.
pub fn environments(one: &Environment, other: &Environment) -> Vec<String> {
    differences(one, other, |name| MACHINE.contains(&name))
}

/// Why a run says nothing about the server, if so, as the end of a sentence.
pub fn defect(report: &Report) -> Option<String> {
    if let Some(reason) = report.invalid.first() {
        return Some(format!("is invalid: {reason}"));
    }
    if report.result.interrupted {
        return Some("was interrupted".to_owned());
    }
    (report.result.messages == 0).then(|| "has no message".to_owned())
}

fn differences(one: &impl Serialize, other: &impl Serialize, counts: impl Fn(&str) -> bool) -> Vec<String> {
    let (one, other) = (fields(one), fields(other));
    let found = one.iter().filter(|(name, value)| counts(name) && other.get(*name) != Some(value));
    found.map(|(name, value)| format!("{name}: {value} and {}", other.get(name).unwrap_or(&Value::Null))).collect()
}

/// The fields of a struct, by their names.
fn fields(value: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn every_option_counts_but_those_that_are_excepted() {
        let one = sample::report().options;
        let other = Options { connections: 100, seed: 9, duration_s: Some(1.0), ..one.clone() };
        assert_eq!(options(&one, &other, &[]).len(), 3);
        assert_eq!(options(&one, &other, &[&FREE[..], &MINOR].concat()), ["connections: 50 and 100"]);
        assert_eq!(options(&one, &one, &[]), Vec::<String>::new());
    }

    #[test]
    fn two_servers_may_have_two_names_in_a_request_that_is_otherwise_the_same() {
        let http = |host: &str, path: &str| Options {
            target: format!("http://{host}{path}"),
            protocol: "http".to_owned(),
            request: Some(format!("GET {path} HTTP/1.1\\r\\nHost: {host}\\r\\n\\r\\n")),
            ..sample::report().options
        };
        assert_eq!(options(&http("one:80", "/"), &http("other:81", "/"), &FREE), Vec::<String>::new());
        let found = options(&http("one:80", "/"), &http("one:80", "/a"), &FREE);
        assert!(found.len() == 1 && found[0].starts_with("request: "), "{found:?}");
    }

    #[test]
    fn the_names_of_the_exceptions_are_names_of_options_and_of_the_environment() {
        let report = sample::report();
        let (options, environment) = (fields(&report.options), fields(&report.environment));
        assert!(FREE.iter().chain(&MINOR).all(|name| options.contains_key(*name)), "{options:?}");
        assert!(MACHINE.iter().all(|name| environment.contains_key(*name)), "{environment:?}");
    }

    #[test]
    fn a_run_that_says_nothing_is_told_why() {
        let mut report = sample::report();
        assert_eq!(defect(&report), None);
        report.result.messages = 0;
        assert_eq!(defect(&report).unwrap(), "has no message");
        report.result.interrupted = true;
        assert_eq!(defect(&report).unwrap(), "was interrupted");
        report.invalid.push("it was late".to_owned());
        assert_eq!(defect(&report).unwrap(), "is invalid: it was late");
    }
}
