//! Results of several processes that loaded one server together, as one result; pure.
//!
//! Histograms and counts add up exactly. Of the quantiles of an interval only bounds can be had from the parts', so that an
//! interval has the highest of any part.

mod doubts;
mod text;

use crate::count::histogram::{Distribution, Latencies};
use crate::merge::doubts::{doubts, gather};
use crate::report::Report;
use crate::report::options::Options;
use crate::report::outcome::{Interval, Outcome, Scheduled, ShardUse, Total};
use crate::report::record::Record;
use crate::server::ServerUse;
use crate::verdict;

/// Nanoseconds in a second.
const SECOND_NS: f64 = 1e9;

/// The results of several processes as those of one.
#[derive(Clone, Debug)]
pub struct Merged {
    /// The first run is made of the first of each part, and so on.
    pub record: Record,
    /// What each part had of each run, for people.
    portions: Vec<Vec<Portion>>,
}

/// What one part had of a merged run.
#[derive(Clone, Debug)]
struct Portion {
    name: String,
    shards: usize,
    messages_per_s: f64,
    p50_ns: u64,
    p99_ns: u64,
    failed: u64,
}

/// A part's report of the run, by the name of its file.
type Part<'a> = (&'a str, &'a Report);

impl Merged {
    /// Merges the runs of each number in these records, which are named after their files.
    ///
    /// # Errors
    ///
    /// If they have no run, or not as many as each other; if one is there twice, or is that of a search or a sweep; or if a
    /// histogram cannot be read.
    pub fn new(records: &[(String, Record)]) -> Result<Self, String> {
        let Some((first, Record { runs, .. })) = records.first() else {
            return Err("there is nothing to merge".to_owned());
        };
        if runs.is_empty() {
            return Err(format!("{first}: there is no run in it"));
        }
        if let Some((name, other)) = records.iter().find(|(_, record)| record.runs.len() != runs.len()) {
            return Err(format!("{name}: it has {} runs, and {first} has {}", other.runs.len(), runs.len()));
        }
        for (index, (name, record)) in records.iter().enumerate() {
            record.check_alone(name)?;
            if let Some((twin, _)) = records[..index].iter().find(|(_, other)| other.runs == record.runs) {
                return Err(format!("{twin} and {name}: this is one result twice, and it would count twice"));
            }
        }
        let parts = |run: usize| records.iter().map(|(name, record)| (name.as_str(), &record.runs[run])).collect();
        let all: Vec<Vec<Part<'_>>> = (0..runs.len()).map(parts).collect();
        let merged = all.iter().map(|parts| merge(parts)).collect::<Result<_, _>>()?;
        let portions = all.iter().map(|parts| parts.iter().map(|part| Portion::new(*part)).collect()).collect();
        Ok(Self { record: Record::new(merged), portions })
    }
}

impl Portion {
    fn new((name, report): Part<'_>) -> Self {
        let result = &report.result;
        Self {
            name: name.to_owned(),
            shards: result.shards.len(),
            messages_per_s: result.messages_per_s,
            p50_ns: result.response.p50_ns,
            p99_ns: result.response.p99_ns,
            failed: result.failures.messages() + result.failures.connections(),
        }
    }
}

/// One report of all parts' reports, of which there is at least one.
fn merge(parts: &[Part<'_>]) -> Result<Report, String> {
    let invalid = gather(parts, |report| report.invalid.clone());
    let mut warnings = doubts(parts);
    // What the parts have too little of, the whole may have enough of.
    warnings.extend(gather(parts, |report| {
        let mut outdated = verdict::of_sample(&report.options, &report.result);
        outdated.extend(doubts::missing(&[("", report)]));
        report.warnings.iter().filter(|warning| !outdated.contains(warning)).cloned().collect()
    }));
    let result = outcome(parts, &mut warnings)?;
    let (options, environment) = (options(parts), parts[0].1.environment.clone());
    warnings.extend(verdict::of_sample(&options, &result));
    Ok(Report { environment, options, result, invalid, warnings })
}

/// The first part's, with the numbers of all.
fn options(parts: &[Part<'_>]) -> Options {
    let all = || parts.iter().map(|(_, report)| &report.options);
    Options {
        connections: all().map(|options| options.connections).sum(),
        idle: all().map(|options| options.idle).sum(),
        shards: all().map(|options| options.shards).sum(),
        rate_per_s: all().map(|options| options.rate_per_s).sum(),
        count: all().map(|options| options.count).sum(),
        part: doubts::parts_of(parts),
        ..parts[0].1.options.clone()
    }
}

fn outcome(parts: &[Part<'_>], warnings: &mut Vec<String>) -> Result<Outcome, String> {
    let all = || parts.iter().map(|(_, report)| &report.result);
    let response = add(parts, |result| Some(&result.response))?;
    let messages = all().map(|result| result.messages).sum();
    let mut failures = parts[0].1.result.failures.clone();
    all().skip(1).for_each(|result| failures.merge(&result.failures));
    Ok(Outcome {
        interrupted: all().any(|result| result.interrupted),
        started_unix_ns: all().map(|result| result.started_unix_ns).min().unwrap_or_default(),
        elapsed_s: all().map(|result| result.elapsed_s).fold(0.0, f64::max),
        messages,
        messages_per_s: all().map(|result| result.messages_per_s).sum(),
        bytes_out_per_s: all().map(|result| result.bytes_out_per_s).sum(),
        bytes_in_per_s: all().map(|result| result.bytes_in_per_s).sum(),
        response: response.unwrap_or_default(),
        service: add(parts, |result| Some(&result.service))?.unwrap_or_default(),
        lag: add(parts, |result| result.lag.as_ref())?,
        connect: add(parts, |result| Some(&result.connect))?.unwrap_or_default(),
        schedule: all().map(|result| result.schedule).reduce(add_schedules).flatten(),
        failures,
        total: all().map(|result| result.total).fold(Total::default(), add_totals),
        intervals: intervals(parts),
        shards: shards(parts),
        server: server(parts, messages, warnings),
        server_ended: all().any(|result| result.server_ended),
    })
}

/// The sum of one of the parts' distributions, if every part has it.
fn add(parts: &[Part<'_>], of: fn(&Outcome) -> Option<&Distribution>) -> Result<Option<Distribution>, String> {
    let mut sum = Latencies::default();
    for (name, report) in parts {
        let Some(distribution) = of(&report.result) else { return Ok(None) };
        sum.merge(&distribution.latencies().map_err(|error| format!("{name}: {error}"))?);
    }
    Ok(Some(sum.distribution()))
}

fn add_schedules(one: Option<Scheduled>, other: Option<Scheduled>) -> Option<Scheduled> {
    let (one, other) = (one?, other?);
    Some(Scheduled { scheduled: one.scheduled + other.scheduled, sent: one.sent + other.sent })
}

fn add_totals(one: Total, other: Total) -> Total {
    Total {
        connections: one.connections + other.connections,
        sent: one.sent + other.sent,
        replied: one.replied + other.replied,
        unfinished: one.unfinished + other.unfinished,
        bytes_out: one.bytes_out + other.bytes_out,
        bytes_in: one.bytes_in + other.bytes_in,
    }
}

/// The parts' intervals, laid over each other by the wall clock: each goes where its middle is. They are as long as the longest
/// of any part.
fn intervals(parts: &[Part<'_>]) -> Vec<Interval> {
    let all = || parts.iter().map(|(_, report)| &report.result);
    let began = all().map(|result| result.started_unix_ns).min().unwrap_or_default();
    let length = all().flat_map(|result| &result.intervals).map(|interval| interval.seconds).fold(0.0, f64::max);
    let mut merged: Vec<Interval> = Vec::new();
    for result in all() {
        let behind = (result.started_unix_ns - began) as f64 / SECOND_NS;
        for interval in &result.intervals {
            let place = ((behind + interval.at_s + interval.seconds / 2.0) / length) as usize;
            // A part that began hours later would make a list of as many empty ones; it is no part of this test.
            if place > merged.len() + INTERVALS_AHEAD_MAX {
                continue;
            }
            while merged.len() <= place {
                merged.push(Interval { at_s: merged.len() as f64 * length, ..Interval::default() });
            }
            add_interval(&mut merged[place], interval);
        }
    }
    merged
}

/// The most empty intervals between those of two parts.
const INTERVALS_AHEAD_MAX: usize = 10_000;

fn add_interval(sum: &mut Interval, more: &Interval) {
    sum.seconds = sum.seconds.max(more.seconds);
    sum.messages += more.messages;
    sum.failed += more.failed;
    for (sum, more) in [
        (&mut sum.p50_ns, more.p50_ns),
        (&mut sum.p90_ns, more.p90_ns),
        (&mut sum.p99_ns, more.p99_ns),
        (&mut sum.p99_9_ns, more.p99_9_ns),
        (&mut sum.max_ns, more.max_ns),
    ] {
        *sum = (*sum).max(more);
    }
}

/// The shards of all parts, numbered on.
fn shards(parts: &[Part<'_>]) -> Vec<ShardUse> {
    let all = parts.iter().flat_map(|(_, report)| &report.result.shards);
    all.enumerate().map(|(shard, usage)| ShardUse { shard, ..usage.clone() }).collect()
}

/// What the server did, if all parts that saw it saw the same process. Each saw all of its work, and only its own messages.
fn server(parts: &[Part<'_>], messages: u64, warnings: &mut Vec<String>) -> Option<ServerUse> {
    let mut seen = parts.iter().filter_map(|(_, report)| report.result.server.as_ref().map(|server| (server, report)));
    let (server, report) = seen.next()?;
    if seen.any(|(other, _)| other.pid != server.pid) {
        warnings
            .push("the parts have looked at different processes of the server: look into their own results".to_owned());
        return None;
    }
    let share = report.result.messages as f64 / messages.max(1) as f64;
    let connections: u64 = parts.iter().map(|(_, part)| part.result.total.connections).sum();
    let connection_share = report.result.total.connections as f64 / connections.max(1) as f64;
    Some(ServerUse {
        cpu_ns_per_message: server.cpu_ns_per_message.map(|nanos| nanos * share),
        resident_bytes_per_connection: server.resident_bytes_per_connection.map(|bytes| bytes * connection_share),
        // They were counted behind the measured time, when the other parts may have gone.
        syscalls: None,
        ..server.clone()
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::count::failure::Kind;
    use crate::report::sample;
    use crate::scaling::Scaling;

    /// A part of a test, which began this much later than the first.
    pub(crate) fn part(index: usize, of: usize, behind: Duration) -> Report {
        let mut report = sample::report();
        report.options.part = Some(format!("{index}/{of}"));
        report.result.started_unix_ns += behind.as_nanos() as u64;
        report
    }

    pub(crate) fn record(name: &str, report: Report) -> (String, Record) {
        (name.to_owned(), Record::new(vec![report]))
    }

    fn merged(parts: &[(String, Record)]) -> Report {
        Merged::new(parts).unwrap().record.runs.remove(0)
    }

    #[test]
    fn counts_rates_and_histograms_add_up_exactly() {
        let (one, mut other) = (part(0, 2, Duration::ZERO), part(1, 2, Duration::from_millis(3)));
        let mut slow = Latencies::default();
        (0..5_000).for_each(|micros| slow.record(Duration::from_micros(micros)));
        slow.record_censored_ns(5_000_000_000);
        other.result.response = slow.distribution();
        other.result.failures.add(Kind::Reset, 3, 1, || Some("it was".to_owned()));
        let whole = merged(&[record("A", one.clone()), record("B", other.clone())]);

        let mut expected = one.result.response.latencies().unwrap();
        expected.merge(&slow);
        assert_eq!(whole.result.response, expected.distribution());
        assert_eq!(whole.result.response.censored, 1);
        assert_eq!(whole.result.messages, one.result.messages + other.result.messages);
        assert_eq!(whole.result.messages_per_s, one.result.messages_per_s + other.result.messages_per_s);
        assert_eq!(whole.result.total.sent, 2 * one.result.total.sent);
        assert_eq!(whole.result.failures.of(Kind::Reset), other.result.failures.of(Kind::Reset));
        assert_eq!((whole.options.connections, whole.options.shards, &whole.options.part), (100, 4, &None));
        let numbers: Vec<usize> = whole.result.shards.iter().map(|shard| shard.shard).collect();
        assert_eq!(numbers, [0, 1, 2, 3]);
        assert_eq!(whole.result.elapsed_s, one.result.elapsed_s);
        let cpu = |report: &Report| report.result.server.as_ref().unwrap().cpu_ns_per_message.unwrap();
        assert_eq!(cpu(&whole), cpu(&one) / 2.0, "both saw the same work");
    }

    #[test]
    fn schedules_and_lags_add_up_if_all_have_them() {
        let open = sample::open_report();
        let mut other = open.clone();
        other.options.seed += 1;
        let whole = merged(&[record("A", open.clone()), record("B", other)]);
        let (schedule, whole_schedule) = (open.result.schedule.unwrap(), whole.result.schedule.unwrap());
        assert_eq!(whole_schedule.scheduled, 2 * schedule.scheduled);
        assert_eq!(whole.result.lag.unwrap().count, 2 * open.result.lag.as_ref().unwrap().count);
        assert_eq!(whole.options.rate_per_s, open.options.rate_per_s.map(|rate| 2.0 * rate));
        let mixed = merged(&[record("A", open), record("B", sample::report())]);
        assert_eq!((mixed.result.lag, mixed.result.schedule, mixed.options.rate_per_s), (None, None, None));
    }

    #[test]
    fn intervals_are_laid_over_each_other_by_the_wall_clock() {
        let (one, mut other) = (part(0, 2, Duration::ZERO), part(1, 2, Duration::from_millis(2_100)));
        other.result.intervals.iter_mut().for_each(|interval| interval.p99_ns += 1);
        let intervals = merged(&[record("A", one.clone()), record("B", other.clone())]).result.intervals;
        let (a, b) = (&one.result.intervals, &other.result.intervals);
        assert_eq!(intervals.len(), a.len() + 2);
        assert_eq!((&intervals[0].messages, intervals[0].p99_ns), (&a[0].messages, a[0].p99_ns));
        assert_eq!(intervals[3].messages, a[3].messages + b[1].messages);
        assert_eq!(intervals[3].p99_ns, a[3].p99_ns.max(b[1].p99_ns), "it is at most that");
        assert_eq!((intervals[11].messages, intervals[11].at_s), (b[9].messages, 11.0));
    }

    #[test]
    fn a_part_that_is_invalid_or_was_interrupted_makes_the_whole_so() {
        let (mut one, mut other) = (part(0, 2, Duration::ZERO), part(1, 2, Duration::ZERO));
        one.invalid.push("it was late".to_owned());
        other.result.interrupted = true;
        let whole = merged(&[record("A", one), record("B", other)]);
        assert_eq!((whole.invalid, whole.result.interrupted), (vec!["A: it was late".to_owned()], true));
    }

    #[test]
    fn what_the_parts_have_too_little_of_the_whole_may_have_enough_of() {
        let (mut one, mut other) = (part(0, 2, Duration::ZERO), part(1, 2, Duration::ZERO));
        for part in [&mut one, &mut other] {
            part.result.messages = 60_000;
            part.warnings = verdict::of_sample(&part.options, &part.result);
            assert!(part.warnings[0].starts_with("too few messages for p99.99"), "{:?}", part.warnings);
            part.warnings.push("this is a debug build".to_owned());
        }
        let whole = merged(&[record("A", one), record("B", other)]);
        assert_eq!(whole.warnings, ["A and 1 more: this is a debug build"]);
    }

    #[test]
    fn what_was_merged_can_be_merged_again() {
        let parts: Vec<Report> = (0..4).map(|index| part(index, 4, Duration::ZERO)).collect();
        let half = |from: usize| merged(&[record("A", parts[from].clone()), record("B", parts[from + 1].clone())]);
        let (one, other) = (half(0), half(2));
        assert_eq!(one.options.part.as_deref(), Some("0/4, 1/4"));
        assert!(one.warnings.iter().any(|warning| warning.starts_with("2 of 4 parts are missing")), "{one:?}");
        let whole = merged(&[record("C", one), record("D", other)]);
        assert_eq!(whole.options.part, None);
        assert_eq!(whole.result.messages, 4 * parts[0].result.messages);
        let is_false = |warning: &String| warning.contains("same bytes");
        assert!(!whole.warnings.iter().any(is_false), "{:?}", whole.warnings);
    }

    #[test]
    fn records_that_do_not_fit_are_told() {
        let report = sample::report();
        let twice = ("B".to_owned(), Record::new(vec![report.clone(), report.clone()]));
        let error = |records: &[(String, Record)]| Merged::new(records).unwrap_err();
        assert_eq!(error(&[record("A", report.clone()), twice]), "B: it has 2 runs, and A has 1");
        assert_eq!(error(&[("A".to_owned(), Record::new(Vec::new()))]), "A: there is no run in it");
        assert!(error(&[record("A", report.clone()), record("B", report.clone())]).contains("one result twice"));
        let mut swept = record("A", report.clone());
        swept.1.sweep = Some(Scaling::new([]));
        assert!(error(&[swept]).contains("those of a sweep"));
        let mut broken = report.clone();
        broken.result.response.histogram = "?".to_owned();
        assert!(error(&[record("A", report), record("B", broken)]).starts_with("B: the histogram is no base64"));
    }
}
