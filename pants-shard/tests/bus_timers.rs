//! Timers that shards set on one another: they run over there, and are cancelled from here.

mod support;

use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use pants_shard::{SendError, Shard, ShardId};

use crate::support::*;

const MILLI: Duration = Duration::from_millis(1);

#[test]
fn a_timer_set_on_another_shard_runs_there_and_not_too_early() {
    let (_live, told) = start(2, |shard, tell| {
        let set = Instant::now();
        let work = move |shard: &mut Shard<'_>| tell.send((shard.id(), set.elapsed())).unwrap();
        let timer = shard.bus().defer(ONE, 20 * MILLI, work).unwrap();
        assert_eq!(timer.shard(), ONE);
    });
    let (shard, after) = next(&told);
    assert_eq!(shard, ONE);
    assert!(after >= 20 * MILLI, "it ran after {after:?}");
}

/// Tells when it goes.
struct Held(Sender<&'static str>);

impl Held {
    fn tell(&self, what: &'static str) {
        self.0.send(what).unwrap();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.tell("freed");
    }
}

#[test]
fn a_cancelled_timer_does_not_run_and_holds_nothing() {
    let (_live, told) = start(2, |shard, tell| {
        let held = Held(tell);
        let timer = shard.bus().defer(ONE, Duration::from_secs(3600), move |_| held.tell("ran")).unwrap();
        timer.cancel();
        timer.cancel();
    });
    assert_eq!(next(&told), "freed");
}

#[test]
fn a_cycle_on_another_shard_goes_on_until_it_is_cancelled_from_here() {
    let (live, told) = start(2, |shard, tell| {
        let held = Held(tell);
        let work = move |shard: &mut Shard<'_>| held.tell(if shard.id() == ONE { "ran" } else { "ran elsewhere" });
        let timer = shard.bus().cycle(ONE, 2 * MILLI, work).unwrap();
        shard.defer(50 * MILLI, move |_| timer.cancel());
    });
    assert_eq!(next_all(&told, 3), ["ran"; 3]);
    while next(&told) == "ran" {}
    live.stop();
    assert_eq!(told.try_iter().count(), 0, "it ran after it was freed");
}

#[test]
fn a_cycle_keeps_its_rate_from_the_first_run_on() {
    let (_live, told) = start(2, |shard, tell| {
        let interval = 10 * MILLI;
        let work = move |shard: &mut Shard<'_>| {
            tell.send(shard.context().stats().cycle_ticks_skipped).unwrap();
            // The work of three intervals.
            let begun = Instant::now();
            while begun.elapsed() < 3 * interval {}
        };
        shard.bus().cycle(ONE, interval, work).unwrap();
    });
    let skipped = next_all(&told, 2);
    assert!(skipped[1] >= skipped[0] + 2, "the second run did not stand for those that were missed: {skipped:?}");
}

#[test]
fn a_cycle_without_an_interval_and_a_timer_on_no_shard_come_back() {
    let (_live, told) = start(2, |shard, tell| {
        let bus = shard.bus();
        let zero = bus.cycle(ONE, Duration::ZERO, |_| {});
        tell.send(matches!(zero, Err(SendError::ZeroInterval(_)))).unwrap();
        let nowhere = bus.defer(ShardId::new(7), MILLI, |_| {});
        tell.send(matches!(nowhere, Err(SendError::NoSuchShard(_)))).unwrap();
    });
    assert_eq!(next_all(&told, 2), [true, true]);
}

#[test]
fn an_endless_delay_never_ends_and_does_no_harm() {
    let (_live, told) = start(2, |shard, tell| {
        let other = tell.clone();
        shard.bus().defer(ONE, Duration::MAX, move |_| tell.send(false).unwrap()).unwrap();
        shard.bus().defer(ONE, MILLI, move |_| other.send(true).unwrap()).unwrap();
    });
    assert!(next(&told));
}
