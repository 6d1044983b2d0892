//! Which rate to try next, and when the answer is known: a state machine that sends nothing and reads no clock.
//!
//! The rate grows until one fails; then the space between the highest rate that held and the lowest that failed is halved, by
//! their geometric mean, until it is as narrow as asked for. Short trials disagree, so that neither bound is believed before
//! two trials of it agree; where the second contradicts the first, a third decides. A bound that loses moves: what is left is
//! wider again, and the search goes on in it. That the lowest failing rate is the upper bound, and the highest rate below it
//! that held the lower one, whatever higher rates did, is as in MLRsearch (RFC 9971, "relevant bounds"), and so are the short
//! trials; its trials of growing length are left out.
//!
//! A rate at which the generator is late bounds the search from above as one that fails does, but it is no answer: where the
//! server's bound is below it, the search finds that one, and where it is not, the generator is the limit.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::plan::RATE_MAX;

/// By how much the rate grows while none has failed, and shrinks while none has held.
const GROWTH: f64 = 2.0;

/// Trials of one rate that must agree before a bound is believed.
const AGREEING: u32 = 2;

/// Trials of one rate that the generator must have spoilt before it is taken for too slow: one may be a hiccup of the machine.
const SPOILT_MIN: u32 = 3;

/// Digits of a rate that mean something: the rest is not asked for, so that people can read it.
const DIGITS: i32 = 4;

/// What a search is given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// The rate of the first trial, in messages a second; from `lowest` to [`RATE_MAX`].
    pub from: f64,
    /// The rate below which a trial has too few messages to say anything.
    pub lowest: f64,
    /// How near the bounds must be, as a share of the lower one, such as 0.02.
    pub precision: f64,
    /// How many trials may be made.
    pub trials: usize,
}

/// What one trial has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// The target held.
    Held,
    /// The server missed the target.
    Failed,
    /// The generator could not keep up: nothing is known of the server.
    Spoilt,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Make a trial at this rate.
    Try(f64),
    /// The search is over.
    Done(End),
}

/// Why a search is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Both bounds are confirmed, and as near as asked for.
    Found,
    /// Not even the lowest rate held.
    NothingHeld,
    /// The generator could not keep up at any rate that might have failed.
    Generator,
    /// The highest rate that can be asked for held.
    Unlimited,
    /// The trials were used up before the bounds were confirmed.
    TrialsUsed,
    /// It was ended before its time: by the user, or by a trial that could not be made.
    Interrupted,
}

/// A search for the highest rate that holds.
#[derive(Debug)]
pub struct Search {
    limits: Limits,
    made: usize,
    /// Every rate that was tried, lowest first.
    rates: Vec<Rate>,
}

/// A rate, and how its trials went.
#[derive(Clone, Copy, Debug)]
struct Rate {
    rate: f64,
    held: u32,
    failed: u32,
    spoilt: u32,
}

/// What all trials of a rate say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Holds,
    Fails,
    Spoilt,
    /// As many held as failed, or nothing is known yet.
    Open,
}

impl Rate {
    fn verdict(&self) -> Verdict {
        if self.spoilt >= SPOILT_MIN && self.spoilt > self.held + self.failed {
            return Verdict::Spoilt;
        }
        match self.held.cmp(&self.failed) {
            Ordering::Greater => Verdict::Holds,
            Ordering::Less => Verdict::Fails,
            Ordering::Equal => Verdict::Open,
        }
    }

    fn is_confirmed(&self) -> bool {
        self.verdict() == Verdict::Spoilt || self.held.max(self.failed) >= AGREEING
    }
}

impl Search {
    /// A search that has tried nothing.
    pub fn new(limits: Limits) -> Self {
        Self { limits, made: 0, rates: Vec::new() }
    }

    /// What to do next.
    pub fn next_step(&self) -> Step {
        match self.wanted() {
            Step::Try(_) if self.made >= self.limits.trials => Step::Done(End::TrialsUsed),
            step => step,
        }
    }

    /// A trial at `rate` was made.
    pub fn handle_trial(&mut self, rate: f64, judgement: Judgement) {
        self.made += 1;
        let at = self.rates.partition_point(|known| known.rate < rate);
        if self.rates.get(at).is_none_or(|known| known.rate > rate) {
            self.rates.insert(at, Rate { rate, held: 0, failed: 0, spoilt: 0 });
        }
        let known = &mut self.rates[at];
        match judgement {
            Judgement::Held => known.held += 1,
            Judgement::Failed => known.failed += 1,
            Judgement::Spoilt => known.spoilt += 1,
        }
    }

    /// The highest rate that held below all that did not, in messages a second.
    pub fn lower(&self) -> Option<f64> {
        self.low().map(|rate| rate.rate)
    }

    /// The lowest rate that failed, in messages a second.
    pub fn upper(&self) -> Option<f64> {
        self.rates.iter().find(|rate| rate.verdict() == Verdict::Fails).map(|rate| rate.rate)
    }

    /// The lowest rate that the server failed or the generator spoilt.
    fn high(&self) -> Option<&Rate> {
        self.rates.iter().find(|rate| matches!(rate.verdict(), Verdict::Fails | Verdict::Spoilt))
    }

    fn low(&self) -> Option<&Rate> {
        let below = self.high().map_or(f64::INFINITY, |rate| rate.rate);
        self.rates.iter().rev().find(|rate| rate.verdict() == Verdict::Holds && rate.rate < below)
    }

    fn wanted(&self) -> Step {
        let Limits { from, lowest, precision, .. } = self.limits;
        if let Some(open) = self.rates.iter().find(|rate| rate.verdict() == Verdict::Open) {
            return Step::Try(open.rate);
        }
        match (self.low(), self.high()) {
            (None, None) => Step::Try(from),
            (Some(low), None) if low.rate < RATE_MAX => Step::Try((low.rate * GROWTH).min(RATE_MAX)),
            (None, Some(high)) if high.rate > lowest => Step::Try((high.rate / GROWTH).max(lowest)),
            (Some(low), Some(high)) if high.rate > low.rate * (1.0 + precision) => {
                Step::Try(readable((low.rate * high.rate).sqrt()))
            }
            (low, high) => match [low, high].into_iter().flatten().find(|bound| !bound.is_confirmed()) {
                Some(bound) => Step::Try(bound.rate),
                None => Step::Done(end(low, high)),
            },
        }
    }
}

/// What confirmed bounds mean.
fn end(low: Option<&Rate>, high: Option<&Rate>) -> End {
    match (low, high.map(Rate::verdict)) {
        (_, Some(Verdict::Spoilt)) => End::Generator,
        (None, _) => End::NothingHeld,
        (Some(_), None) => End::Unlimited,
        (Some(_), Some(_)) => End::Found,
    }
}

/// The rate with as many digits as mean something.
fn readable(rate: f64) -> f64 {
    let unit = 10_f64.powi(rate.log10().floor() as i32 + 1 - DIGITS);
    (rate / unit).round() * unit
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { from: 100.0, lowest: 50.0, precision: 0.02, trials: 60 };

    /// Searches with trials that `server` answers, by rate and number; gives the rates tried, and the end.
    fn search(limits: Limits, mut server: impl FnMut(f64, usize) -> Judgement) -> (Search, Vec<f64>, End) {
        let (mut search, mut tried) = (Search::new(limits), Vec::new());
        loop {
            match search.next_step() {
                Step::Try(rate) => {
                    search.handle_trial(rate, server(rate, tried.len()));
                    tried.push(rate);
                }
                Step::Done(end) => return (search, tried, end),
            }
        }
    }

    fn up_to(capacity: f64) -> impl Fn(f64, usize) -> Judgement {
        move |rate, _| if rate <= capacity { Judgement::Held } else { Judgement::Failed }
    }

    #[test]
    fn an_unwavering_server_s_capacity_lies_between_confirmed_bounds() {
        for capacity in [50.0, 51.0, 99.0, 100.0, 101.0, 1_234.0, 98_765.0, 3e6, 7.7e7] {
            let (search, tried, end) = search(LIMITS, up_to(capacity));
            let (lower, upper) = (search.lower().unwrap(), search.upper().unwrap());
            assert_eq!(end, End::Found);
            assert!(lower <= capacity && capacity < upper && upper <= lower * 1.02, "{capacity}: {lower} to {upper}");
            for bound in [lower, upper] {
                assert_eq!(tried.iter().filter(|rate| **rate == bound).count(), 2, "{bound} is confirmed: {tried:?}");
            }
        }
    }

    #[test]
    fn the_rate_grows_then_halves_the_space_then_confirms() {
        let (_, tried, _) = search(Limits { precision: 0.2, ..LIMITS }, up_to(350.0));
        assert_eq!(tried, [100.0, 200.0, 400.0, 282.8, 336.3, 336.3, 400.0]);
    }

    #[test]
    fn where_not_even_the_lowest_rate_holds_that_is_the_answer() {
        let (search, tried, end) = search(LIMITS, up_to(0.0));
        assert_eq!((end, search.lower(), search.upper()), (End::NothingHeld, None, Some(50.0)));
        assert_eq!(tried, [100.0, 50.0, 50.0], "the lowest has a second chance");
    }

    #[test]
    fn a_server_without_a_limit_ends_the_search_at_the_highest_rate() {
        let (search, _, end) = search(LIMITS, up_to(f64::INFINITY));
        assert_eq!((end, search.lower(), search.upper()), (End::Unlimited, Some(RATE_MAX), None));
    }

    #[test]
    fn one_wrong_trial_does_not_mislead() {
        // Whichever of the trials goes the wrong way, the third of its rate sets it right.
        let (_, all, _) = search(LIMITS, up_to(1_000.0));
        for wrong in 0..all.len() {
            let (search, tried, end) = search(LIMITS, |rate, number| {
                let holds = (rate <= 1_000.0) != (number == wrong);
                if holds { Judgement::Held } else { Judgement::Failed }
            });
            let (lower, upper) = (search.lower().unwrap(), search.upper().unwrap());
            assert_eq!(end, End::Found);
            assert!(lower <= 1_000.0 && 1_000.0 < upper && upper <= lower * 1.02, "{wrong}: {lower} to {upper}");
            assert!(tried.len() <= all.len() + 12, "{wrong}: {} trials, not {}", tried.len(), all.len());
        }
    }

    #[test]
    fn where_the_generator_cannot_keep_up_below_any_failing_rate_it_is_the_limit() {
        let beyond = |rate: f64, _: usize| if rate > 800.0 { Judgement::Spoilt } else { Judgement::Held };
        let (search, tried, end) = search(LIMITS, beyond);
        assert_eq!((end, search.lower(), search.upper()), (End::Generator, Some(800.0), None));
        let highest = tried.iter().filter(|rate| **rate > 800.0).copied().fold(f64::INFINITY, f64::min);
        assert!(highest <= 800.0 * 1.02, "it was tried as near as asked for: {tried:?}");
        let (search, tried, end) = self::search(LIMITS, |_, _| Judgement::Spoilt);
        assert_eq!((end, search.lower(), tried), (End::Generator, None, vec![100.0, 100.0, 100.0, 50.0, 50.0, 50.0]));
    }

    #[test]
    fn a_step_beyond_what_the_generator_can_does_not_hide_a_lower_bound_of_the_server() {
        let (search, _, end) = search(LIMITS, |rate, number| match rate {
            1_500.0.. => Judgement::Spoilt,
            _ => up_to(1_000.0)(rate, number),
        });
        let (lower, upper) = (search.lower().unwrap(), search.upper().unwrap());
        assert_eq!(end, End::Found);
        assert!(lower <= 1_000.0 && 1_000.0 < upper && upper <= lower * 1.02, "{lower} to {upper}");
    }

    #[test]
    fn a_spoilt_trial_is_made_again() {
        let once =
            |rate: f64, number: usize| if number == 3 { Judgement::Spoilt } else { up_to(1_000.0)(rate, number) };
        let (search, _, end) = search(LIMITS, once);
        assert_eq!(end, End::Found);
        assert!(search.lower().unwrap() <= 1_000.0 && search.upper().unwrap() > 1_000.0);
    }

    #[test]
    fn rates_are_asked_for_in_digits_that_people_read() {
        assert_eq!(readable(2_828.427), 2_828.0);
        assert_eq!(readable(28_284.27), 28_280.0);
        assert!((readable(70.710_678) - 70.71).abs() < 1e-9);
    }

    /// The 99th percentile of the response times in a trial of two seconds, in milliseconds, of a queue with Poisson arrivals
    /// and one server that takes half a millisecond for each: M/D/1, by Lindley's recursion.
    fn p99_of_a_queue(rate: f64, seed: u64) -> f64 {
        let (mut state, mut now, mut wait) = (seed, 0.0, 0.0_f64);
        let mut responses = Vec::new();
        while now < 2_500.0 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let uniform = ((state >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
            let gap = -uniform.ln() * 1_000.0 / rate;
            now += gap;
            wait = (wait + 0.5 - gap).max(0.0);
            if now > 500.0 {
                responses.push(wait + 0.5);
            }
        }
        responses.sort_by(f64::total_cmp);
        responses[responses.len() * 99 / 100]
    }

    #[test]
    fn a_queue_that_serves_2_000_a_second_is_found_to_within_5_percent_from_any_seed() {
        for seed in 0..20 {
            let (search, tried, end) = search(LIMITS, |rate, number| {
                let slow = p99_of_a_queue(rate, seed * 1_000 + number as u64) >= 50.0;
                if slow { Judgement::Failed } else { Judgement::Held }
            });
            let lower = search.lower().unwrap();
            assert_eq!(end, End::Found);
            assert!((1_900.0..2_100.0).contains(&lower), "{lower} with seed {seed} after {tried:?}");
        }
    }

    proptest! {
        #[test]
        fn every_search_ends_within_its_trials_whatever_the_trials_say(
            answers in prop::collection::vec(0_u8..3, 1..100),
            precision in 0.005_f64..0.5,
            from in 50.0_f64..1e6,
        ) {
            let limits = Limits { precision, from, ..LIMITS };
            let judgements = [Judgement::Held, Judgement::Failed, Judgement::Spoilt];
            let (search, tried, _) = search(limits, |_, number| judgements[answers[number % answers.len()] as usize]);
            prop_assert!(tried.len() <= limits.trials);
            prop_assert!(tried.iter().all(|rate| (limits.lowest..=RATE_MAX).contains(rate)));
            if let (Some(lower), Some(upper)) = (search.lower(), search.upper()) {
                prop_assert!(lower < upper);
            }
        }
    }
}
