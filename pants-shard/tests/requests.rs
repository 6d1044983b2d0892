//! Requests over the bus: each is answered once, or its asker is told that it will not be.

mod support;

use std::cell::{Cell, RefCell};
use std::panic::resume_unwind;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use pants_shard::{Error, Reply, Runtime, SendError, Shard, ShardId, Unanswered};

use crate::support::*;

#[test]
fn a_request_runs_over_there_and_its_answer_over_here() {
    let (_live, told) = start(2, |shard, tell| {
        for target in [ONE, ZERO] {
            let tell = tell.clone();
            let then = move |shard: &mut Shard<'_>, answer| tell.send((shard.id(), answer)).unwrap();
            assert!(shard.bus().request(target, |shard| shard.id(), then).is_ok());
        }
    });
    let mut told = next_all(&told, 2);
    told.sort_by_key(|(_, answer)| answer.map(ShardId::index).ok());
    assert_eq!(told, [(ZERO, Ok(ZERO)), (ZERO, Ok(ONE))]);
}

#[test]
fn an_answer_may_come_later_and_in_another_order() {
    let (_live, told) = start(2, |shard, tell| {
        for delay in [30, 1] {
            let tell = tell.clone();
            let work = move |shard: &mut Shard<'_>, reply: Reply<u64>| {
                shard.defer(Duration::from_millis(delay), move |_| reply.send(delay));
            };
            assert!(shard.bus().request_later(ONE, work, move |_, answer| tell.send(answer).unwrap()).is_ok());
        }
    });
    assert_eq!(next_all(&told, 2), [Ok(1), Ok(30)]);
}

#[test]
fn a_panic_and_a_reply_that_is_dropped_are_told() {
    hush();
    let (_live, told) = start(2, |shard, tell| {
        let other = tell.clone();
        let panics = |_: &mut Shard<'_>| -> u8 { std::panic::panic_any(ON_PURPOSE) };
        assert!(shard.bus().request(ONE, panics, move |_, answer| tell.send(answer).unwrap()).is_ok());
        let forgets = |_: &mut Shard<'_>, reply: Reply<u8>| drop(reply);
        assert!(shard.bus().request_later(ONE, forgets, move |_, answer| other.send(answer).unwrap()).is_ok());
    });
    assert_eq!(next_all(&told, 2), [Err(Unanswered), Err(Unanswered)]);
}

#[test]
fn too_many_requests_come_back_whole_and_all_others_are_answered() {
    thread_local!(static KEPT: RefCell<Vec<Reply<usize>>> = const { RefCell::new(Vec::new()) });
    let (_live, told) = start(2, |shard, tell| {
        // Nothing runs over there before this returns, if the lane is the bound; and the requests under way are one, too.
        let mut sent = 0;
        let refused = loop {
            let tell = tell.clone();
            let number = sent;
            let work = move |_: &mut Shard<'_>, reply: Reply<usize>| {
                assert!(number < usize::MAX);
                KEPT.with_borrow_mut(|kept| kept.push(reply));
            };
            let then = move |_: &mut Shard<'_>, answer: Result<usize, Unanswered>| tell.send(answer.is_ok()).unwrap();
            match shard.bus().request_later(ONE, work, then) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, SendError::Full(_)));
        drop(refused.into_inner());
        assert!(sent <= 1024, "{sent} requests were taken");
        shard.defer(Duration::from_millis(1), move |shard| answer_all(shard, sent));
    });
    fn answer_all(shard: &mut Shard<'_>, sent: usize) {
        let answer = move |one: &mut Shard<'_>| {
            let kept = KEPT.take();
            if kept.len() < sent {
                KEPT.set(kept);
                return one.bus().send(ZERO, move |zero| answer_all(zero, sent)).unwrap();
            }
            for (number, reply) in kept.into_iter().enumerate() {
                reply.send(number);
            }
        };
        shard.bus().send(ONE, answer).unwrap();
    }
    let answers = next_all(&told, 1_000);
    assert!(answers.into_iter().all(|answered| answered));
}

#[test]
fn requests_that_wait_when_the_runtime_stops_learn_of_it_or_are_answered() {
    thread_local!(static KEPT: Cell<Option<Reply<u8>>> = const { Cell::new(None) });
    let (live, told) = start(2, |shard, tell| {
        let other = tell.clone();
        let keeps = |_: &mut Shard<'_>, reply: Reply<u8>| KEPT.set(Some(reply));
        assert!(shard.bus().request_later(ONE, keeps, move |_, answer| tell.send(answer).unwrap()).is_ok());
        // The stop is ahead of this one.
        shard.stop();
        assert!(shard.bus().request(ONE, |_| 7, move |_, answer| other.send(answer).unwrap()).is_ok());
    });
    live.join();
    let mut told: Vec<_> = told.try_iter().collect();
    told.sort_by_key(Result::is_ok);
    assert_eq!(told, [Err(Unanswered), Ok(7)]);
}

#[test]
fn a_continuation_that_panics_at_the_end_keeps_no_other_from_being_told() {
    thread_local!(static KEPT: RefCell<Vec<Reply<u8>>> = const { RefCell::new(Vec::new()) });
    hush();
    let (live, told) = start(1, |shard, tell| {
        let keeps = |_: &mut Shard<'_>, reply: Reply<u8>| KEPT.with_borrow_mut(|kept| kept.push(reply));
        for number in 0..3 {
            let tell = tell.clone();
            let then = move |_: &mut Shard<'_>, answer: Result<u8, Unanswered>| {
                tell.send((number, answer)).unwrap();
                assert!(number == 1, "{ON_PURPOSE}");
            };
            assert!(shard.bus().request_later(ZERO, keeps, then).is_ok());
        }
        shard.stop();
    });
    live.join();
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [0, 1, 2].map(|number| (number, Err(Unanswered))));
}

/// A panic that goes on when it is over, which is more than an engine contains.
struct Relentless;

impl Drop for Relentless {
    fn drop(&mut self) {
        panic!("{ON_PURPOSE}");
    }
}

#[test]
fn a_continuation_that_asks_again_on_a_shard_that_has_failed_is_refused() {
    thread_local!(static KEPT: Cell<Option<Reply<u8>>> = const { Cell::new(None) });
    hush();
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let running = Runtime::new(shards(1).build().unwrap()).unwrap().start(move |shard| {
        let tell = tell.lock().unwrap().clone();
        let keeps = |_: &mut Shard<'_>, reply: Reply<u8>| KEPT.set(Some(reply));
        let then = move |shard: &mut Shard<'_>, answer: Result<u8, Unanswered>| {
            let again = shard.bus().request(ZERO, |_| 7, |_, _| {});
            tell.send((answer, matches!(again, Err(SendError::Stopped(_))))).unwrap();
        };
        assert!(shard.bus().request_later(ZERO, keeps, then).is_ok());
        shard.callback(|_| resume_unwind(Box::new(Relentless)));
        Ok(())
    });
    let running = running.unwrap();
    assert!(matches!(in_time(|| running.join()), Err(Error::Shard { shard: ZERO, .. })));
    assert_eq!(next(&told), (Err(Unanswered), true));
}

#[test]
fn there_is_nobody_to_ask_on_a_shard_that_does_not_exist() {
    let (_live, told) = start(1, |shard, tell| {
        let refused = shard.bus().request(ONE, |_| 1_u8, |_, _| panic!("it was not asked"));
        let Err(SendError::NoSuchShard((work, _then))) = refused else { panic!("it is not there") };
        tell.send(work(shard)).unwrap();
    });
    assert_eq!(next(&told), 1);
}
