//! The bus: it reaches sleeping and busy shards, keeps the order, is bounded, and loses nothing when the runtime stops.

mod support;

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pants_shard::{SendError, Shard, ShardId};

use crate::support::*;

/// Keeps a shard from ever sleeping.
fn keep_busy(shard: &mut Shard<'_>) {
    // A timer for the next turn leaves nothing of the sleep.
    shard.every_turn(|shard| {
        shard.callback(|_shard| {});
    });
}

/// Passes the turn to the other shard, `left` times, each after `pause`; tells which shards had it.
fn pass_on(shard: &mut Shard<'_>, left: usize, pause: Duration, tell: Sender<ShardId>) {
    tell.send(shard.id()).unwrap();
    if left > 0 {
        let other = ShardId::new(1 - shard.id().index());
        shard.defer(pause, move |shard| {
            let work = move |shard: &mut Shard<'_>| pass_on(shard, left - 1, pause, tell);
            shard.bus().send(other, work).expect("the lane is empty");
        });
    }
}

fn assert_alternates(told: &Receiver<ShardId>, count: usize) {
    let expected = (0..=count).map(|step| ShardId::new(step % 2));
    assert_eq!(next_all(told, count + 1), expected.collect::<Vec<_>>());
}

#[test]
fn messages_go_both_ways_while_both_shards_sleep() {
    // In the pause both are asleep; without one, the other still is.
    for (count, pause) in [(30, Duration::from_millis(2)), (3000, Duration::ZERO)] {
        let (_live, told) = start(2, move |shard, tell| pass_on(shard, count, pause, tell));
        assert_alternates(&told, count);
    }
}

#[test]
fn messages_go_both_ways_while_both_shards_are_busy() {
    let (_live, told) = start_prepared(2, keep_busy, |shard, tell| pass_on(shard, 1000, Duration::ZERO, tell));
    assert_alternates(&told, 1000);
}

#[test]
fn messages_go_both_ways_between_a_busy_shard_and_a_sleeping_one() {
    for busy in [ZERO, ONE] {
        let prepare = move |shard: &mut Shard<'_>| {
            if shard.id() == busy {
                keep_busy(shard);
            }
        };
        let (_live, told) = start_prepared(2, prepare, |shard, tell| pass_on(shard, 1000, Duration::ZERO, tell));
        assert_alternates(&told, 1000);
    }
}

/// What a receiver expects next of each sender.
#[derive(Default)]
struct Expected([Cell<usize>; 8]);

/// Sends the numbers from `at` to `count` to `to`, and goes on in the next turn whenever the lane is full.
fn send_numbers(shard: &mut Shard<'_>, to: ShardId, mut at: usize, count: usize, tell: Sender<(ShardId, ShardId)>) {
    let from = shard.id();
    while at < count {
        let end = (at + 1 == count).then(|| tell.clone());
        let work = move |shard: &mut Shard<'_>| {
            let expected = shard.state::<Expected>();
            let expected = &expected.0[from.index()];
            assert_eq!(expected.replace(at + 1), at, "from {from}");
            if let Some(tell) = end {
                tell.send((from, shard.id())).unwrap();
            }
        };
        match shard.bus().send(to, work) {
            Ok(()) => at += 1,
            Err(SendError::Full(_)) => {
                shard.callback(move |shard| send_numbers(shard, to, at, count, tell));
                return;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Has each of `shards` shards send `count` numbers to each, itself included, and expects them in order.
fn assert_order(shards: usize, count: usize) {
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let live = Live::start(support::shards(shards), move |shard| {
        for to in (0..shards).map(ShardId::new) {
            let tell = tell.lock().unwrap().clone();
            shard.callback(move |shard| send_numbers(shard, to, 0, count, tell));
        }
        Ok(())
    });
    let mut ended = next_all(&told, shards * shards);
    ended.sort_unstable();
    let pairs = (0..shards).flat_map(|from| (0..shards).map(move |to| (ShardId::new(from), ShardId::new(to))));
    assert_eq!(ended, pairs.collect::<Vec<_>>());
    let report = live.stop();
    for shard in report.shards {
        assert_eq!((shard.messages as usize, shard.panics), (shards * count, 0));
    }
}

#[test]
fn messages_of_one_shard_to_another_keep_their_order() {
    assert_order(2, 100_000);
}

#[test]
fn messages_keep_their_order_among_more_shards_than_cores() {
    assert_order(8, 3000);
}

/// Holds a shard up, inside a message to it, until the sender this returns is used or dropped.
fn hold_up(shard: &mut Shard<'_>, which: ShardId) -> Sender<()> {
    let (release, released) = channel::<()>();
    let (here, is_here) = channel();
    let work = move |_shard: &mut Shard<'_>| {
        here.send(()).unwrap();
        let _ = released.recv_timeout(PATIENCE);
    };
    shard.bus().send(which, work).expect("the lane is empty");
    next(&is_here);
    release
}

#[test]
fn a_full_lane_gives_the_message_back() {
    let (_live, told) = start(2, |shard, tell| {
        let release = hold_up(shard, ONE);
        let mut sent = 0;
        let refused = loop {
            let (number, tell) = (sent, tell.clone());
            let work = move |shard: &mut Shard<'_>| tell.send((shard.id(), number)).unwrap();
            match shard.bus().send(ONE, work) {
                Ok(()) => sent += 1,
                Err(error @ SendError::Full(_)) => break error.into_inner(),
                Err(error) => panic!("{error}"),
            }
        };
        // What came back is what was sent: it can run here as well.
        refused(shard);
        drop(release);
    });
    let (shard, capacity) = next(&told);
    assert_eq!(shard, ZERO);
    assert!((128..=8192).contains(&capacity), "the lane held {capacity}");
    let expected = (0..capacity).map(|number| (ONE, number));
    assert_eq!(next_all(&told, capacity), expected.collect::<Vec<_>>());
}

#[test]
fn a_full_lane_holds_up_nobody_but_its_own_pair() {
    let (_live, told) = start(3, |shard, tell| {
        let release = hold_up(shard, ONE);
        while shard.bus().send(ONE, |_shard: &mut Shard<'_>| {}).is_ok() {}
        let work = move |shard: &mut Shard<'_>| {
            // Shard 2 has a lane of its own to the one that is held up.
            let sent = shard.bus().send(ONE, move |shard: &mut Shard<'_>| tell.send(shard.id()).unwrap());
            assert!(sent.is_ok());
            drop(release);
        };
        shard.bus().send(ShardId::new(2), work).expect("its lane is empty");
    });
    assert_eq!(next(&told), ONE);
}

#[test]
fn there_is_no_lane_to_a_shard_that_does_not_exist() {
    let (_live, told) = start(2, |shard, tell| {
        let back = shard.bus().send(ShardId::new(2), |_shard: &mut Shard<'_>| {}).unwrap_err();
        tell.send((format!("{back:?}"), back.to_string())).unwrap();
        back.into_inner()(shard);
    });
    assert_eq!(next(&told), ("NoSuchShard(..)".to_owned(), "there is no such shard".to_owned()));
}

#[test]
fn a_broadcast_reaches_every_shard_and_the_sender_too() {
    let (_live, told) = start(4, |shard, tell| {
        let unreached = shard.bus().broadcast(move |shard| tell.send(shard.id()).unwrap());
        assert_eq!(unreached, []);
    });
    let mut reached = next_all(&told, 4);
    reached.sort_unstable();
    assert_eq!(reached, (0..4).map(ShardId::new).collect::<Vec<_>>());
}

#[test]
fn a_broadcast_names_the_shards_that_it_does_not_reach() {
    let (live, told) = start(3, |shard, tell| {
        let release = hold_up(shard, ONE);
        while shard.bus().send(ONE, |_shard: &mut Shard<'_>| {}).is_ok() {}
        let reached = tell.clone();
        let unreached = shard.bus().broadcast(move |shard| reached.send(vec![shard.id()]).unwrap());
        tell.send(unreached).unwrap();
        drop(release);
    });
    let mut seen = next_all(&told, 3);
    seen.sort_unstable();
    // The unreached one, and those that were reached.
    assert_eq!(seen, [vec![ZERO], vec![ONE], vec![ShardId::new(2)]]);
    live.stop();
    assert_eq!(told.try_iter().count(), 0, "it did not run on the unreached one");
}

#[test]
fn a_message_that_panics_leaves_its_shard_running() {
    hush();
    let (live, told) = start(2, |shard, tell| {
        let bus = shard.bus();
        bus.send(ONE, |_shard: &mut Shard<'_>| panic!("{ON_PURPOSE}")).expect("the lane is empty");
        bus.send(ONE, move |shard: &mut Shard<'_>| tell.send(shard.id()).unwrap()).expect("the lane is empty");
    });
    assert_eq!(next(&told), ONE);
    let report = live.stop();
    assert_eq!(report.shards.iter().map(|shard| shard.panics).collect::<Vec<_>>(), [0, 1]);
}

/// Counts what was accepted and what has run.
#[derive(Default)]
struct Counts {
    sent: AtomicUsize,
    ran: AtomicUsize,
    refused: AtomicUsize,
}

/// Sends on whatever comes, for as long as the bus takes it: two for one, until the lanes are full.
fn multiply(shard: &mut Shard<'_>, counts: &Arc<Counts>) {
    for step in 1..=2 {
        let to = ShardId::new((shard.id().index() + step) % shard.shards());
        let copy = Arc::clone(counts);
        let work = move |shard: &mut Shard<'_>| {
            copy.ran.fetch_add(1, Ordering::Relaxed);
            multiply(shard, &copy);
        };
        match shard.bus().send(to, work) {
            Ok(()) => counts.sent.fetch_add(1, Ordering::Relaxed),
            Err(SendError::Stopped(_)) => counts.refused.fetch_add(1, Ordering::Relaxed),
            Err(_) => 0,
        };
    }
}

#[test]
fn messages_accepted_before_the_stop_run_and_later_ones_come_back() {
    for shards in [1, 2, 8] {
        let counts = Arc::new(Counts::default());
        let (copy, (tell, told)) = (Arc::clone(&counts), channel());
        let tell = Mutex::new(tell);
        let live = Live::start(support::shards(shards), move |shard| {
            let (copy, tell) = (Arc::clone(&copy), tell.lock().unwrap().clone());
            shard.callback(move |shard| {
                multiply(shard, &copy);
                tell.send(()).unwrap();
            });
            Ok(())
        });
        next_all(&told, shards);
        live.stop();
        assert_eq!(counts.sent.load(Ordering::Relaxed), counts.ran.load(Ordering::Relaxed));
        assert!(counts.ran.load(Ordering::Relaxed) > 0 && counts.refused.load(Ordering::Relaxed) > 0);
    }
}

#[test]
fn other_threads_reach_every_shard_and_nothing_that_was_accepted_is_lost() {
    const SENDERS: usize = 4;
    let live = start(3, |_shard, _tell: Sender<()>| {}).0;
    let remote = live.running().remote();
    assert_eq!(remote.shards(), 3);
    let ran = Arc::new(AtomicUsize::new(0));
    let accepted = Arc::new(AtomicUsize::new(0));
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let (remote, ran, accepted) = (remote.clone(), Arc::clone(&ran), Arc::clone(&accepted));
            std::thread::spawn(move || {
                for number in sender.. {
                    let ran = Arc::clone(&ran);
                    let work = move |_: &mut Shard<'_>| {
                        ran.fetch_add(1, Ordering::Relaxed);
                    };
                    match remote.send(ShardId::new(number % 3), work) {
                        Ok(()) => accepted.fetch_add(1, Ordering::Relaxed),
                        Err(SendError::Full(_)) => continue,
                        Err(SendError::Stopped(_)) => return,
                        Err(error) => panic!("{error:?}"),
                    };
                }
            })
        })
        .collect();
    while ran.load(Ordering::Relaxed) < 10_000 {
        std::thread::yield_now();
    }
    live.stop();
    for sender in senders {
        sender.join().unwrap();
    }
    assert_eq!(ran.load(Ordering::Relaxed), accepted.load(Ordering::Relaxed));
    assert!(matches!(remote.send(ZERO, |_| {}), Err(SendError::Stopped(_))));
    assert_eq!(remote.broadcast(|_| {}).len(), 3);
}
