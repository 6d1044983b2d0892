//! What to make of a result: whether it says anything about the server at all, and what to doubt in it.
//!
//! A run is *invalid* if what it shows is the generator, or a server that was gone. What is to be doubted is a warning.

mod steady;

use std::time::Duration;

use crate::cpus::Cpus;
use crate::environment::{Disturbance, Environment};
use crate::report::options::Options;
use crate::report::outcome::{Interval, Outcome, Scheduled, ShardUse};
use crate::server::ServerUse;
use crate::units;

/// A thread that runs for this much of the time is at its limit: what comes when it is busy waits, and at 95 % the wait is
/// twenty times the work (M/M/1 queue, 1 / (1 - 0.95)).
pub const SATURATED: f64 = 0.95;

/// Shares that are this close are the same, on a machine that does other things too.
const CLOSE: f64 = 0.05;

/// An open loop whose generator is later than this, at the p99 of its lag, has not kept its schedule.
pub const LAG_MAX: Duration = Duration::from_millis(1);

/// An open loop that leaves more than this share of its schedule unsent has not kept it.
pub const UNSENT_MAX: f64 = 0.01;

/// Messages beyond a quantile that make it more than chance: one that has fewer moves with each of them.
const BEYOND_QUANTILE: u64 = 10;

/// Measured for less than this, a run shows its own beginning and end.
const SHORTEST: f64 = 1.0;

/// More of the machine's time than this is not to be taken by its hypervisor.
const STEAL_MAX: f64 = 0.01;

/// A thread of the generator that waits for its CPU for more than this much of the time measures what else runs there.
const WAITED_MAX: f64 = 0.05;

/// How far the messages in flight may be from what was kept there, as a share of it.
const LITTLE_MAX: f64 = 0.1;

/// Fewer messages than this for each that is in flight, and the ends of the window weigh more than [`LITTLE_MAX`] allows.
const LITTLE_ROUNDS: f64 = 100.0;

/// A process that has this share of its descriptors open will soon have no more connections.
const DESCRIPTORS_MAX: f64 = 0.95;

/// A load that was to begin at a given time may be this late: far less than the clocks of two machines often differ by.
const START_LATE_MAX: Duration = Duration::from_millis(10);

/// Whether a load that was to begin at a given time did not: `late` is by how much.
pub fn late_start(late: Duration) -> Option<String> {
    let seconds = late.as_secs_f64();
    (late > START_LATE_MAX).then(|| {
        format!("the load began {seconds:.2} s after --start-at, since its connections were not made before: start it earlier")
    })
}

/// That a shard had no connection left, `after` so much of the measured time.
pub fn gone(after: Duration) -> String {
    let seconds = after.as_secs_f64();
    format!(
        "every connection of a shard had failed {seconds:.2} s into the measured time, so that its load ended there; see the failures"
    )
}

/// What to make of a result; each is one sentence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Why it says nothing about the server, if so.
    pub invalid: Vec<String>,
    /// What to doubt in it.
    pub warnings: Vec<String>,
}

impl Verdict {
    /// Of a run with these options, in this environment.
    pub fn of(options: &Options, result: &Outcome, environment: &Environment) -> Self {
        let (shards, server) = (&result.shards[..], result.server.as_ref());
        let is_open = options.model == "open";
        let invalid = [
            result.server_ended.then(|| "the server's process ended before the measured time did".to_owned()),
            result.lag.as_ref().and_then(|lag| late(lag.p99_ns)),
            result.schedule.and_then(unsent),
            if is_open { saturated(shards) } else { None },
        ];
        let warnings = [
            environment.debug_build.then(|| "this is a debug build; build with --release to measure".to_owned()),
            result.lag.as_ref().and_then(|lag| late_at_times(lag.p99_ns, lag.p99_9_ns)),
            if is_open { None } else { bottleneck(shards, server) },
            server.and_then(|server| shared_cores(shards, server, &environment.siblings)),
            crowded_out(shards),
            server.and_then(crowded),
            in_flight(options, result),
            environment.window.and_then(stolen),
            environment.window.and_then(swapped),
        ];
        let warnings = warnings.into_iter().flatten().chain(of_sample(options, result));
        Self { invalid: invalid.into_iter().flatten().collect(), warnings: warnings.collect() }
    }
}

/// What to doubt in a result for how much was measured, and how evenly: what several results together may have enough of.
pub fn of_sample(options: &Options, result: &Outcome) -> Vec<String> {
    let warnings = [
        few_messages(result.messages),
        if result.messages > 0 { too_short(result.elapsed_s) } else { None },
        unsteady(&result.intervals, options.model == "open"),
    ];
    warnings.into_iter().flatten().collect()
}

fn late(lag_p99_ns: u64) -> Option<String> {
    let (lag, most) = (units::latency(lag_p99_ns), units::exact_duration(LAG_MAX));
    (u128::from(lag_p99_ns) > LAG_MAX.as_nanos()).then(|| {
        format!(
            "the generator was late: the p99 of its lag was {lag}, and {most} is the most; give it more --shards, or CPUs of \
             its own with --cpus"
        )
    })
}

/// A generator that was late too seldom for its run to be invalid still shows in the last of the quantiles.
fn late_at_times(lag_p99_ns: u64, lag_p99_9_ns: u64) -> Option<String> {
    let most = LAG_MAX.as_nanos();
    (u128::from(lag_p99_ns) <= most && u128::from(lag_p99_9_ns) > most).then(|| {
        let lag = units::latency(lag_p99_9_ns);
        format!("the p99.9 of the generator's own lag was {lag}: response times beyond the p99 are partly its own")
    })
}

fn unsent(Scheduled { scheduled, sent }: Scheduled) -> Option<String> {
    let share = scheduled.saturating_sub(sent) as f64 / scheduled.max(1) as f64;
    (share > UNSENT_MAX).then(|| {
        let (scheduled, sent, share) = (units::count(scheduled), units::count(sent), share * 100.0);
        format!(
            "the schedule was not kept: {sent} of {scheduled} messages were sent, {share:.1} % fewer, and {:.0} % is the most; \
             the server is too slow for the rate, or --connections and --depth are too few",
            UNSENT_MAX * 100.0
        )
    })
}

fn saturated(shards: &[ShardUse]) -> Option<String> {
    let busiest = shards.iter().filter(|shard| shard.cpu_share >= SATURATED).max_by(by_share)?;
    let (shard, share, most) = (busiest.shard, busiest.cpu_share * 100.0, SATURATED * 100.0);
    Some(format!("the generator was near its limit: shard-{shard} was {share:.0} % busy, and {most:.0} % is too much"))
}

fn bottleneck(shards: &[ShardUse], server: Option<&ServerUse>) -> Option<String> {
    let busiest = shards.iter().filter(|shard| shard.cpu_share >= SATURATED).max_by(by_share)?;
    let (shard, share) = (busiest.shard, busiest.cpu_share * 100.0);
    let what = format!("the generator was the bottleneck: shard-{shard} at {share:.0} %");
    Some(match server.map(|server| (server.busiest_share > busiest.cpu_share - CLOSE, server.busiest_share * 100.0)) {
        Some((true, server)) => format!(
            "generator and server were both at their limit, shard-{shard} at {share:.0} % and the server at {server:.0} %: \
             a faster server would not show; use more --shards"
        ),
        Some((false, server)) => format!("{what}, the server at {server:.0} %; use more --shards"),
        None => format!("{what}, unless the server was too; --server-pid shows it"),
    })
}

fn by_share(one: &&ShardUse, other: &&ShardUse) -> std::cmp::Ordering {
    one.cpu_share.total_cmp(&other.cpu_share)
}

fn shared_cores(shards: &[ShardUse], server: &ServerUse, siblings: &[Cpus]) -> Option<String> {
    let mut own = Cpus::default();
    for shard in shards {
        own.add(&shard.allowed);
    }
    let shared = own.shared_with(&server.allowed);
    if !shared.is_empty() {
        return Some(format!("generator and server may share CPU {shared}; keep them apart with --cpus"));
    }
    let is_shared = |core: &&Cpus| !core.shared_with(&own).is_empty() && !core.shared_with(&server.allowed).is_empty();
    let core = siblings.iter().find(is_shared)?;
    Some(format!("generator and server may share a core: CPUs {core} are threads of one; keep them apart with --cpus"))
}

fn crowded_out(shards: &[ShardUse]) -> Option<String> {
    let worst = shards.iter().max_by(|one, other| one.waited_share.total_cmp(&other.waited_share))?;
    (worst.waited_share > WAITED_MAX).then(|| {
        let (shard, share) = (worst.shard, worst.waited_share * 100.0);
        format!("shard-{shard} of the generator waited {share:.0} % of the time for a CPU on which something else ran")
    })
}

fn crowded(server: &ServerUse) -> Option<String> {
    let (open, limit) = (server.descriptors, server.descriptor_limit?);
    (open as f64 >= limit as f64 * DESCRIPTORS_MAX).then(|| {
        let (pid, more) = (server.pid, 2 * limit);
        let (open, limit) = (units::count(open), units::count(limit));
        format!(
            "the server has {open} of its {limit} descriptors open; raise its limit with `prlimit --pid {pid} \
             --nofile={more}:{more}`, or for good with `ulimit -n` or LimitNOFILE="
        )
    })
}

fn few_messages(messages: u64) -> Option<String> {
    let (quantiles, least) = match messages {
        // Nothing came back, which says more.
        0 => return None,
        1..10_000 => ("p99.9 and p99.99", 1_000),
        10_000..100_000 => ("p99.99", 10_000),
        _ => return None,
    };
    let (measured, beyond, least) = (units::count(messages), messages / least, units::count(least * BEYOND_QUANTILE));
    Some(format!(
        "too few messages for {quantiles}: {beyond} of {measured} lie beyond, and {least} messages are the least"
    ))
}

fn too_short(elapsed_s: f64) -> Option<String> {
    (elapsed_s < SHORTEST)
        .then(|| format!("{elapsed_s:.2} s is a short time to measure; give it {SHORTEST} s at least"))
}

/// Whether rate or latency went one way. In an open loop the rate is given.
fn unsteady(intervals: &[Interval], is_open: bool) -> Option<String> {
    let whole = steady::whole(intervals);
    let rates: Vec<f64> = whole.iter().map(|interval| interval.messages as f64 / interval.seconds).collect();
    let medians: Vec<f64> = whole.iter().map(|interval| interval.p50_ns as f64).collect();
    let describe = |what: &str, change: f64| {
        let way = if change < 0.0 { "fell" } else { "rose" };
        format!(
            "not steady: {what} {way} by {:.0} % in the measured time; give it a longer --warmup",
            change.abs() * 100.0
        )
    };
    let rate = if is_open { None } else { steady::drift(&rates, steady::RATE_CHANGE) };
    rate.map(|change| describe("the rate", change)).or_else(|| {
        steady::drift(&medians, steady::LATENCY_CHANGE).map(|change| describe("the median latency", change))
    })
}

/// In a closed loop as many messages are in flight as were put there, and they are the rate times the mean time that each is
/// (Little, "A proof for the queuing formula L = λW", 1961). If not, time or messages were not counted right.
fn in_flight(options: &Options, result: &Outcome) -> Option<String> {
    let kept = options.connections as f64 * options.depth as f64;
    let never_waits = options.model == "closed" && options.think.is_none() && options.reconnect_after.is_none();
    let is_simple = never_waits && options.duration_s.is_some() && !result.interrupted;
    if !is_simple || !result.failures.is_empty() || (result.messages as f64) < kept * LITTLE_ROUNDS {
        return None;
    }
    let seen = result.messages_per_s * result.service.mean_ns / 1e9;
    off_by_little(kept, seen)
}

fn off_by_little(kept: f64, seen: f64) -> Option<String> {
    ((seen - kept).abs() > kept * LITTLE_MAX).then(|| {
        format!("by Little's law {seen:.1} messages were in flight, where {kept:.0} were kept: the clock or the counts are off")
    })
}

fn stolen(window: Disturbance) -> Option<String> {
    let share = window.steal_share * 100.0;
    (window.steal_share > STEAL_MAX).then(|| {
        format!("the hypervisor took {share:.1} % of the machine's CPU time for others; take a machine of your own")
    })
}

fn swapped(window: Disturbance) -> Option<String> {
    let pages = units::count(window.swapped_pages);
    (window.swapped_pages > 0)
        .then(|| format!("the machine swapped: {pages} pages went in or out in the measured time"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(cpu: usize, share: f64) -> ShardUse {
        ShardUse {
            shard: 0,
            cpu: Some(cpu),
            allowed: [cpu].into_iter().collect(),
            cpu_share: share,
            waited_share: 0.0,
            connections: 1,
            messages: 1,
            p50_ns: 1,
            p99_ns: 1,
        }
    }

    fn server(cpu: usize, share: f64) -> ServerUse {
        ServerUse { busiest_share: share, allowed: [cpu].into_iter().collect(), ..ServerUse::default() }
    }

    #[test]
    fn a_generator_that_had_to_wait_for_its_cpu_is_told() {
        let waited = |share| [shard(0, 0.3), ShardUse { shard: 1, waited_share: share, ..shard(1, 0.2) }];
        assert_eq!(crowded_out(&waited(WAITED_MAX)), None);
        let told = crowded_out(&waited(0.42)).unwrap();
        assert!(told.starts_with("shard-1 of the generator waited 42 % of the time for a CPU"), "{told}");
    }

    #[test]
    fn a_load_that_began_late_is_told_with_how_late() {
        assert_eq!(late_start(START_LATE_MAX), None);
        assert!(late_start(Duration::from_millis(1_300)).unwrap().contains("began 1.30 s after --start-at"));
    }

    #[test]
    fn a_full_generator_before_an_idle_or_unknown_server_is_doubted() {
        let doubt = |share, server: Option<ServerUse>| bottleneck(&[shard(1, share)], server.as_ref());
        assert!(doubt(0.99, Some(server(0, 0.5))).unwrap().contains("shard-0 at 99 %, the server at 50 %"));
        assert!(doubt(0.99, None).unwrap().contains("--server-pid"));
        assert!(doubt(0.99, Some(server(0, 0.95))).unwrap().contains("both at their limit"));
        assert_eq!(doubt(0.94, Some(server(0, 0.97))), None);
        assert_eq!(doubt(0.94, Some(server(0, 0.5))), None);
        assert_eq!(doubt(0.94, None), None);
    }

    #[test]
    fn a_shared_cpu_is_doubted_whoever_was_busy() {
        let warning = shared_cores(&[shard(1, 0.4), shard(2, 0.4)], &server(2, 0.4), &[]);
        assert_eq!(warning.unwrap(), "generator and server may share CPU 2; keep them apart with --cpus");
    }

    #[test]
    fn two_threads_of_one_core_are_doubted_and_those_of_two_are_not() {
        let cores: Vec<Cpus> = vec!["0,4".parse().unwrap(), "1,5".parse().unwrap()];
        let warning = shared_cores(&[shard(1, 0.4)], &server(5, 0.4), &cores).unwrap();
        assert!(warning.contains("CPUs 1,5 are threads of one"), "{warning}");
        assert_eq!(shared_cores(&[shard(1, 0.4)], &server(4, 0.4), &cores), None);
        assert_eq!(shared_cores(&[shard(1, 0.4)], &server(5, 0.4), &[]), None);
    }

    #[test]
    fn a_generator_may_be_late_by_a_millisecond_and_no_more() {
        assert_eq!(late(1_000_000), None);
        let reason = late(3_200_000).unwrap();
        assert!(reason.contains("3.20 ms") && reason.contains("1ms is the most"), "{reason}");
    }

    #[test]
    fn a_generator_that_was_late_now_and_then_is_doubted_beyond_the_p99() {
        assert_eq!((late_at_times(900_000, 1_000_000), late_at_times(2_000_000, 9_000_000)), (None, None));
        assert!(late_at_times(900_000, 9_000_000).unwrap().contains("was 9.00 ms"));
    }

    #[test]
    fn one_percent_of_the_schedule_may_be_missed() {
        assert_eq!(unsent(Scheduled { scheduled: 10_000, sent: 9_900 }), None);
        assert_eq!(unsent(Scheduled::default()), None);
        let reason = unsent(Scheduled { scheduled: 10_000, sent: 9_800 }).unwrap();
        assert!(reason.contains("9,800 of 10,000 messages") && reason.contains("2.0 % fewer, and 1 %"), "{reason}");
    }

    #[test]
    fn the_busiest_shard_decides_whether_the_generator_was_near_its_limit() {
        assert_eq!(saturated(&[shard(0, 0.2), shard(1, 0.94)]), None);
        assert!(saturated(&[shard(0, 0.96), shard(1, 0.2)]).unwrap().contains("96 % busy, and 95 %"));
    }

    #[test]
    fn ten_messages_must_lie_beyond_a_quantile() {
        assert!(few_messages(9_999).unwrap().contains("p99.9 and p99.99: 9 of 9,999 lie beyond, and 10,000 messages"));
        assert!(few_messages(10_000).unwrap().contains("for p99.99: 1 of 10,000 lie beyond, and 100,000 messages"));
        assert_eq!((few_messages(0), few_messages(100_000)), (None, None));
    }

    #[test]
    fn a_run_of_less_than_a_second_is_short() {
        assert!(too_short(0.25).unwrap().contains("0.25 s"));
        assert_eq!(too_short(1.0), None);
    }

    #[test]
    fn little_s_law_is_to_hold_within_a_tenth() {
        assert_eq!(off_by_little(50.0, 45.5), None);
        assert!(off_by_little(50.0, 35.2).unwrap().contains("35.2 messages were in flight, where 50"));
        assert!(off_by_little(50.0, 56.0).is_some());
    }

    #[test]
    fn a_server_with_hardly_a_descriptor_left_is_told() {
        let server = |open, limit| ServerUse { descriptors: open, descriptor_limit: limit, ..ServerUse::default() };
        assert!(crowded(&server(960, Some(1_000))).unwrap().contains("960 of its 1,000"));
        assert_eq!(crowded(&server(900, Some(1_000))), None);
        assert_eq!(crowded(&server(900, None)), None);
    }

    #[test]
    fn what_others_took_of_the_machine_is_told() {
        let quiet = Disturbance { steal_share: 0.01, swapped_pages: 0 };
        assert_eq!((stolen(quiet), swapped(quiet)), (None, None));
        let busy = Disturbance { steal_share: 0.034, swapped_pages: 1_200 };
        assert!(stolen(busy).unwrap().contains("3.4 %") && swapped(busy).unwrap().contains("1,200 pages"));
    }

    /// A run of `seconds`, whose rate and median change by these shares until its end.
    fn intervals(seconds: u64, rate: f64, median: f64) -> Vec<Interval> {
        let at = |second: u64, change: f64| 1.0 + change * second as f64 / (seconds - 1) as f64;
        let interval = |second| Interval {
            at_s: second as f64,
            seconds: 1.0,
            messages: (10_000.0 * at(second, rate)) as u64 + second % 3,
            p50_ns: (50_000.0 * at(second, median)) as u64,
            ..Interval::default()
        };
        (0..seconds).map(interval).collect()
    }

    #[test]
    fn a_rate_or_a_latency_that_goes_one_way_is_not_steady() {
        assert_eq!(unsteady(&intervals(20, 0.0, 0.0), false), None);
        assert!(unsteady(&intervals(20, -0.2, 0.0), false).unwrap().contains("the rate fell by 2"));
        assert!(unsteady(&intervals(20, 0.0, 0.5), false).unwrap().contains("the median latency rose by 4"));
        assert!(unsteady(&intervals(20, -0.2, 0.5), true).unwrap().contains("the median latency rose"));
    }
}
