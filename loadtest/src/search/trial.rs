//! What one trial of a search says: whether the targets held, whose fault it is if not, and its point of the curve; pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::report::Report;
use crate::report::outcome::Outcome;
use crate::search::bounds::Judgement;
use crate::search::objective::{Figure, Objective, percent};
use crate::units;
use crate::verdict::{LAG_MAX, SATURATED, UNSENT_MAX};

/// One trial, as a point of the throughput-latency curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The rate that was asked for, in messages a second.
    pub asked: f64,
    /// The rate at which replies came.
    pub achieved: f64,
    /// Response times, in nanoseconds: as many are above as below.
    pub p50_ns: u64,
    /// One in 100 is above.
    pub p99_ns: u64,
    /// One in 1,000 is above.
    pub p99_9_ns: u64,
    /// The share of the messages that failed: 0 to 1.
    pub failures: f64,
    /// What the trial has shown.
    pub judgement: Judgement,
    /// Why the targets did not hold, or nothing is known of the server.
    pub why: Vec<String>,
}

impl Point {
    /// Whether the targets held.
    pub fn held(&self) -> bool {
        self.judgement == Judgement::Held
    }

    /// The trial at the rate `asked`, against these targets.
    pub fn new(asked: f64, report: &Report, objectives: &[Objective]) -> Self {
        let result = &report.result;
        let (judgement, why) = judge(result, objectives);
        Self {
            asked,
            achieved: result.messages_per_s,
            p50_ns: result.response.p50_ns,
            p99_ns: result.response.p99_ns,
            p99_9_ns: result.response.p99_9_ns,
            failures: failures(result),
            judgement,
            why,
        }
    }
}

/// Whether all targets held. The generator's lateness counts as response time, so that what holds in spite of it, holds; but a
/// miss may be the generator's own.
fn judge(result: &Outcome, objectives: &[Objective]) -> (Judgement, Vec<String>) {
    let missed: Vec<String> =
        backlog(result).into_iter().chain(objectives.iter().filter_map(|target| missed(result, *target))).collect();
    if missed.is_empty() {
        return (Judgement::Held, missed);
    }
    match saturated(result).or_else(|| late(result, objectives)) {
        Some(fault) => (Judgement::Spoilt, vec![fault]),
        None => (Judgement::Failed, missed),
    }
}

/// A generator that was at its limit. It may have read the replies late, too, which no figure shows.
fn saturated(result: &Outcome) -> Option<String> {
    let busiest = result.shards.iter().map(|shard| shard.cpu_share).fold(0.0, f64::max);
    (busiest >= SATURATED).then(|| format!("the generator was {:.0} % busy", busiest * 100.0))
}

/// A generator that was late by enough to explain a miss: a message that is late by some time takes so much longer, and the
/// server has to catch up with those that were late with it, which takes so long again at most.
fn late(result: &Outcome, objectives: &[Objective]) -> Option<String> {
    let lag = result.lag.as_ref()?;
    let explained = 2 * Duration::from_nanos(lag.max_ns);
    let is_plain = |objective: &Objective| match *objective {
        Objective::Response(figure, bound) => response(result, figure).saturating_sub(explained) >= bound,
        Objective::Failures(_) => false,
    };
    let is_late = Duration::from_nanos(lag.p99_ns) > LAG_MAX && !objectives.iter().any(is_plain);
    is_late.then(|| format!("the generator was late, by {} at p99", units::latency(lag.p99_ns)))
}

/// A schedule that was not sent, since what waits for a free connection waits for the server, or of which nothing came back.
fn backlog(result: &Outcome) -> Option<String> {
    if result.messages == 0 {
        return Some("no message came back".to_owned());
    }
    let schedule = result.schedule?;
    let unsent = schedule.scheduled.saturating_sub(schedule.sent) as f64 / schedule.scheduled.max(1) as f64;
    (unsent > UNSENT_MAX).then(|| format!("{:.0} % found no free connection", unsent * 100.0))
}

/// How a target was missed, if it was.
fn missed(result: &Outcome, objective: Objective) -> Option<String> {
    match objective {
        Objective::Response(figure, bound) => {
            let seen = response(result, figure);
            (seen >= bound).then(|| format!("{} {}", figure.name(), units::latency(seen.as_nanos() as u64)))
        }
        Objective::Failures(share) => {
            let seen = failures(result);
            (seen >= share).then(|| format!("failures {}", percent(seen)))
        }
    }
}

fn response(result: &Outcome, figure: Figure) -> Duration {
    let times = &result.response;
    Duration::from_nanos(match figure {
        Figure::P50 => times.p50_ns,
        Figure::P90 => times.p90_ns,
        Figure::P99 => times.p99_ns,
        Figure::P99_9 => times.p99_9_ns,
        Figure::P99_99 => times.p99_99_ns,
        Figure::Max => times.max_ns,
        Figure::Mean => times.mean_ns as u64,
    })
}

/// The share of what was sent that failed. A connection that was never made counts like a message.
fn failures(result: &Outcome) -> f64 {
    let failed = result.failures.messages().max(result.failures.connections());
    failed as f64 / failed.max(result.total.sent).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::count::failure::Kind;
    use crate::count::histogram::Distribution;
    use crate::report::outcome::{Scheduled, ShardUse, Total};

    fn millis(count: u64) -> u64 {
        count * 1_000_000
    }

    /// A trial of 1,000 messages that came back within a millisecond, and the generator in time.
    fn good() -> Outcome {
        let response = Distribution { count: 1_000, p99_ns: millis(1), p99_9_ns: millis(1), ..Distribution::default() };
        Outcome {
            messages: 1_000,
            total: Total { sent: 1_000, ..Total::default() },
            lag: Some(Distribution { p99_ns: 50_000, ..Distribution::default() }),
            schedule: Some(Scheduled { scheduled: 1_000, sent: 1_000 }),
            response,
            ..Outcome::default()
        }
    }

    fn targets() -> Vec<Objective> {
        ["p99<2ms", "p99.9<10ms", "failures<0.1%"].map(|text| text.parse().unwrap()).to_vec()
    }

    #[test]
    fn a_trial_holds_if_it_meets_all_targets_and_says_which_it_misses() {
        assert_eq!(judge(&good(), &targets()), (Judgement::Held, vec![]));
        let mut slow = good();
        (slow.response.p99_ns, slow.response.p99_9_ns) = (millis(2), millis(12));
        let why = vec!["p99 2.00 ms".to_owned(), "p99.9 12.0 ms".to_owned()];
        assert_eq!(judge(&slow, &targets()), (Judgement::Failed, why));
    }

    #[test]
    fn failures_count_by_what_was_sent_and_connections_that_were_never_made_count_too() {
        let mut one = good();
        one.failures.add(Kind::Corrupt, 1, 0, || None);
        assert_eq!(judge(&one, &targets()), (Judgement::Failed, vec!["failures 0.1%".to_owned()]));
        one.total.sent = 1_001;
        assert_eq!(judge(&one, &targets()).0, Judgement::Held);
        let mut refused = Outcome { messages: 0, total: Total::default(), ..good() };
        refused.failures.add(Kind::Refused, 0, 50, || None);
        let why = vec!["no message came back".to_owned(), "failures 100%".to_owned()];
        assert_eq!(judge(&refused, &targets()), (Judgement::Failed, why));
    }

    #[test]
    fn a_schedule_that_waits_for_free_connections_is_the_server_s_failing() {
        let backlog = Outcome { schedule: Some(Scheduled { scheduled: 1_000, sent: 900 }), ..good() };
        assert_eq!(judge(&backlog, &[]), (Judgement::Failed, vec!["10 % found no free connection".to_owned()]));
        let nearly = Outcome { schedule: Some(Scheduled { scheduled: 1_000, sent: 990 }), ..good() };
        assert_eq!(judge(&nearly, &[]).0, Judgement::Held);
    }

    #[test]
    fn a_late_generator_spoils_a_miss_that_it_may_have_caused() {
        let late = Distribution { p99_ns: millis(3), max_ns: millis(4), ..Distribution::default() };
        let mut trial = Outcome { lag: Some(late), ..good() };
        assert_eq!(judge(&trial, &targets()).0, Judgement::Held, "it held in spite of it");
        trial.response.p99_ns = millis(9);
        let why = vec!["the generator was late, by 3.00 ms at p99".to_owned()];
        assert_eq!(judge(&trial, &targets()), (Judgement::Spoilt, why));
        trial.response.p99_ns = millis(10);
        assert_eq!(judge(&trial, &targets()), (Judgement::Failed, vec!["p99 10.0 ms".to_owned()]));
    }

    #[test]
    fn a_generator_at_its_limit_spoils_every_miss() {
        let shard = ShardUse { cpu_share: 0.97, ..shard() };
        let mut trial = Outcome { shards: vec![shard], ..good() };
        assert_eq!(judge(&trial, &targets()).0, Judgement::Held);
        trial.response.p99_ns = millis(1_000);
        let why = vec!["the generator was 97 % busy".to_owned()];
        assert_eq!(judge(&trial, &targets()), (Judgement::Spoilt, why));
    }

    fn shard() -> ShardUse {
        let allowed = [0].into_iter().collect();
        ShardUse {
            shard: 0,
            cpu: None,
            allowed,
            cpu_share: 0.0,
            waited_share: 0.0,
            connections: 1,
            messages: 1,
            p50_ns: 1,
            p99_ns: 1,
        }
    }
}
