//! Metrics: what the shards say they have done is what was done, and nobody waits for one that says nothing.

mod support;

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use pants_shard::{Metrics, Shard, Stats};

use crate::support::*;

/// The sum over the shards.
fn sum(metrics: &Metrics, count: impl Fn(&Stats) -> u64) -> u64 {
    metrics.shards.iter().map(|shard| count(&shard.stats)).sum()
}

/// Asks again and again until `done`; for what is told nowhere else.
fn wait_until(live: &Live, done: impl Fn(&Metrics) -> bool) -> Metrics {
    let limit = Instant::now() + PATIENCE;
    loop {
        let metrics = live.running().metrics();
        if done(&metrics) {
            return metrics;
        }
        assert!(Instant::now() < limit, "it never came to be: {metrics:?}");
    }
}

#[test]
fn connections_and_bytes_are_those_of_the_clients() {
    let live = Live::echo(shards(2));
    let mut clients = clients(live.address(), 20);
    let said: u64 = (0..20).map(|index| format!("client {index}").len() as u64).sum();
    assert_echoes(&mut clients[0], &[7; 1000]);
    let metrics = live.running().metrics();
    assert_eq!((metrics.shards.len(), metrics.missing.len()), (2, 0));
    assert_eq!(sum(&metrics, |stats| stats.connections_accepted), 20);
    assert_eq!(sum(&metrics, |stats| stats.connections_open), 20);
    assert_eq!(sum(&metrics, |stats| stats.bytes_in), said + 1000);
    assert_eq!(sum(&metrics, |stats| stats.bytes_out), said + 1000);
    let fullest = metrics.shards.iter().map(|shard| shard.stats.connections_open).max().unwrap();
    assert_eq!(metrics.skew(), fullest as f64 / 10.0);
    drop(clients);
    let metrics = wait_until(&live, |metrics| sum(metrics, |stats| stats.connections_open) == 0);
    assert_eq!(sum(&metrics, |stats| stats.closed.finished), 20);
    assert_eq!(metrics.skew(), 1.0);
}

#[test]
fn the_bus_counts_what_it_has_carried_at_both_ends() {
    const MESSAGES: u64 = 10;
    let (live, told) = start(2, |zero, tell| {
        for number in 0..MESSAGES {
            let tell = tell.clone();
            assert!(zero.bus().send(ONE, move |_| tell.send(number).unwrap()).is_ok());
        }
    });
    next_all(&told, 10);
    let metrics = live.running().metrics();
    let [zero, one] = &metrics.shards[..] else { panic!("both answer") };
    assert_eq!((&zero.bus.sent[..], &one.bus.received[..]), (&[0, MESSAGES][..], &[MESSAGES, 0][..]));
    assert_eq!((&one.bus.sent[..], &zero.bus.received[..]), (&[0, 0][..], &[0, 0][..]));
    assert_eq!((zero.bus.full[1], one.bus.received_from_outside), (0, 1), "this question came from outside");
    assert!(zero.bus.wakes <= MESSAGES && one.bus.wakes == 0);
}

#[test]
fn a_message_that_wakes_its_shard_is_counted_as_that() {
    let (live, told) = start(2, |zero, tell| {
        // With nothing else to do, shard 1 sleeps sooner or later.
        let every = Duration::from_millis(1);
        let ask = move |zero: &mut Shard<'_>| {
            let tell = tell.clone();
            assert!(zero.bus().send(ONE, move |_| tell.send(()).unwrap()).is_ok());
        };
        zero.cycle(every, ask).unwrap();
    });
    next(&told);
    let metrics = wait_until(&live, |metrics| metrics.shards[0].bus.wakes > 0);
    assert!(metrics.shards[0].bus.wakes <= metrics.shards[0].bus.sent[1]);
    drop(live);
}

/// Two shards, the second of which does nothing more until the sender is dropped; from then on `begin` runs on the first.
fn with_one_held<T: Send + 'static>(
    begin: impl Fn(&mut Shard<'_>, Sender<T>) + Clone + Send + Sync + 'static,
) -> (Live, Receiver<T>, Sender<()>) {
    let ((tell, told), (release, released)) = (channel(), channel());
    let parts = Mutex::new(Some((tell, released)));
    let live = Live::start(shards(2), move |shard| {
        if shard.id() == ONE {
            let (tell, released): (_, Receiver<()>) = parts.lock().unwrap().take().unwrap();
            let begin = begin.clone();
            shard.callback(move |one| {
                assert!(one.bus().send(ZERO, move |zero| begin(zero, tell)).is_ok());
                assert!(released.recv().is_err());
            });
        }
        Ok(())
    });
    (live, told, release)
}

#[test]
fn a_shard_that_does_not_answer_is_missing_and_not_waited_for() {
    let (live, told, release) = with_one_held(|zero, tell| {
        let mut taken = 0_u64;
        while let Ok(()) = zero.bus().send(ONE, |_| {}) {
            taken += 1;
        }
        zero.metrics(move |_, metrics| tell.send((taken, metrics)).unwrap());
    });
    let (taken, from_shard) = next(&told);
    let begun = Instant::now();
    let from_outside = live.running().metrics();
    assert!((Duration::from_millis(900)..PATIENCE).contains(&begun.elapsed()), "it is given a second");
    for metrics in [&from_shard, &from_outside] {
        assert_eq!((&metrics.missing[..], metrics.shards.len()), (&[ONE][..], 1));
    }
    let zero = &from_outside.shards[0].bus;
    assert_eq!((zero.sent[1], zero.full[1]), (taken, 2), "the question did not get in either");
    drop(release);
    wait_until(&live, |metrics| metrics.missing.is_empty());
}

#[test]
fn a_shard_that_answers_late_disturbs_nothing() {
    let (live, told, release) =
        with_one_held(|zero, tell| zero.metrics(move |_, metrics| tell.send(metrics.missing).unwrap()));
    assert_eq!(next(&told), [ONE]);
    drop(release);
    let metrics = wait_until(&live, |metrics| metrics.missing.is_empty());
    assert_eq!(sum(&metrics, |stats| stats.panics), 0);
}

#[test]
fn work_shows_as_cpu_time_of_its_shard() {
    const WORK: Duration = Duration::from_millis(50);
    let (live, told) = start(2, |zero, tell| {
        zero.metrics(move |zero, before| {
            let begun = Instant::now();
            // As long as it takes where others have the CPU too.
            while begun.elapsed() < WORK {}
            zero.metrics(move |_, after| tell.send((before, after)).unwrap());
        });
    });
    let (before, after) = next(&told);
    let (earlier, later) = (&before.shards[0], &after.shards[0]);
    let (busy, turn) = (later.busy_share(Some(earlier)), later.turn_time(Some(earlier)));
    assert!(later.cpu_time > earlier.cpu_time && busy > 0.0 && busy <= 1.0, "{busy}");
    assert!(turn > Duration::ZERO && turn <= later.cpu_time - earlier.cpu_time, "{turn:?}");
    drop(live);
}
