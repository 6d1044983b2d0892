//! Mailboxes: messages of one type, in order, bounded, and none lost when the runtime stops.

mod support;

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use pants_shard::{Error, Mailbox, SendError, Shard, ShardId};

use crate::support::*;

/// Starts `count` shards with a mailbox that runs `deliver`, and `begin` on each once all serve.
fn start_mailboxes<T: Send + 'static, U: Send + 'static>(
    count: usize,
    deliver: impl Fn(&mut Shard<'_>, ShardId, T, &Sender<U>) + Clone + Send + Sync + 'static,
    begin: impl Fn(&mut Shard<'_>, Mailbox<T>, Sender<U>) + Clone + Send + Sync + 'static,
) -> (Live, Receiver<U>) {
    let (tell, told) = channel();
    let live = Live::start(shards(count), move |shard| {
        let (deliver, tell) = (deliver.clone(), tell.clone());
        let to_tell = tell.clone();
        let mailbox = shard.mailbox(move |shard, from, message| deliver(shard, from, message, &to_tell))?;
        let begin = begin.clone();
        shard.callback(move |shard| begin(shard, mailbox, tell));
        Ok(())
    });
    (live, told)
}

/// Sends the numbers from `at` to `count` to `to`, and goes on in the next turn whenever the lane is full.
fn send_numbers(shard: &mut Shard<'_>, mailbox: Mailbox<usize>, to: ShardId, mut at: usize, count: usize) {
    while at < count {
        match mailbox.send(to, at) {
            Ok(()) => at += 1,
            Err(SendError::Full(number)) => {
                assert_eq!(number, at);
                shard.callback(move |shard| send_numbers(shard, mailbox, to, at, count));
                return;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Has each of `shards` shards send `count` numbers to each, itself included, and expects them in order.
fn assert_order(shards: usize, count: usize) {
    #[derive(Default)]
    struct Expected([Cell<usize>; 8]);
    let deliver = move |shard: &mut Shard<'_>, from: ShardId, number, tell: &Sender<_>| {
        let expected = shard.state::<Expected>();
        assert_eq!(expected.0[from.index()].replace(number + 1), number, "from {from}");
        if number + 1 == count {
            tell.send((from, shard.id())).unwrap();
        }
    };
    let (live, told) = start_mailboxes(shards, deliver, move |shard, mailbox, _tell| {
        for to in (0..shards).map(ShardId::new) {
            send_numbers(shard, mailbox.clone(), to, 0, count);
        }
    });
    let mut ended = next_all(&told, shards * shards);
    ended.sort_unstable();
    let pairs = (0..shards).flat_map(|from| (0..shards).map(move |to| (ShardId::new(from), ShardId::new(to))));
    assert_eq!(ended, pairs.collect::<Vec<_>>());
    for shard in live.stop().shards {
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

#[test]
fn a_full_lane_gives_the_message_back() {
    let deliver = |_: &mut Shard<'_>, _, number, tell: &Sender<_>| tell.send(number).unwrap();
    let (_live, told) = start_mailboxes(1, deliver, |_, mailbox, tell| {
        let mut sent: usize = 0;
        let refused = loop {
            match mailbox.send(ZERO, sent) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, SendError::Full(number) if number == sent));
        tell.send(sent).unwrap();
    });
    let capacity = next(&told);
    assert!((128..=8192).contains(&capacity), "the lane held {capacity}");
    assert_eq!(next_all(&told, capacity), (0..capacity).collect::<Vec<_>>());
}

#[test]
fn a_broadcast_reaches_every_mailbox_and_names_those_it_does_not_reach() {
    let deliver = |shard: &mut Shard<'_>, from, word: &str, tell: &Sender<_>| {
        if word == "all" {
            tell.send((from, vec![shard.id()])).unwrap();
        }
    };
    let (_live, told) = start_mailboxes(3, deliver, |shard, mailbox, tell| {
        if shard.id() == ONE {
            while mailbox.send(ONE, "filler").is_ok() {}
            tell.send((ONE, mailbox.broadcast(&"all"))).unwrap();
        }
    });
    let mut seen = next_all(&told, 3);
    seen.sort_unstable();
    assert_eq!(seen, [(ONE, vec![ZERO]), (ONE, vec![ONE]), (ONE, vec![ShardId::new(2)])]);
}

#[test]
fn what_is_sent_in_set_up_arrives_even_at_a_shard_that_sets_up_later() {
    let (tell, told) = channel();
    let _live = Live::start(shards(2), move |shard| {
        let tell = tell.clone();
        let mailbox = shard.mailbox(move |shard, from, ()| tell.send((from, shard.id())).unwrap())?;
        assert!(mailbox.broadcast(&()).is_empty());
        Ok(())
    });
    let mut seen = next_all(&told, 4);
    seen.sort_unstable();
    assert_eq!(seen, [(ZERO, ZERO), (ZERO, ONE), (ONE, ZERO), (ONE, ONE)]);
}

#[test]
fn there_is_no_mailbox_on_a_shard_that_does_not_exist() {
    let (_live, told) = start_mailboxes(
        1,
        |_, _, _: u8, _| {},
        |_, mailbox, tell| {
            tell.send(matches!(mailbox.send(ONE, 7), Err(SendError::NoSuchShard(7)))).unwrap();
        },
    );
    assert!(next(&told));
}

#[test]
fn a_message_that_panics_is_gone_and_the_next_one_comes() {
    hush();
    let deliver = |_: &mut Shard<'_>, _, number, tell: &Sender<_>| {
        assert!(number > 0, "{ON_PURPOSE}");
        tell.send(number).unwrap();
    };
    let (live, told) = start_mailboxes(1, deliver, |_, mailbox, _| {
        assert!((0..3).all(|number| mailbox.send(ZERO, number).is_ok()));
    });
    assert_eq!(next_all(&told, 2), [1, 2]);
    assert_eq!(live.stop().shards[0].panics, 1);
}

#[test]
fn messages_accepted_before_the_stop_are_delivered_and_later_ones_come_back() {
    for overflow in [0, 100] {
        let sent = Arc::new(AtomicUsize::new(0));
        let (ran, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counts = (Arc::clone(&sent), Arc::clone(&ran), Arc::clone(&refused));
        let live = Live::start(shards(3), move |shard| {
            let (sent, ran, refused) = counts.clone();
            let own = Rc::new(OnceCell::<Mailbox<()>>::new());
            let mailbox = Rc::clone(&own);
            // Two for one, until the lanes are full.
            let multiply = move |shard: &mut Shard<'_>| {
                for step in 1..=2 {
                    let to = ShardId::new((shard.id().index() + step) % 3);
                    match mailbox.get().unwrap().send(to, ()) {
                        Ok(()) => sent.fetch_add(1, Ordering::Relaxed),
                        Err(SendError::Stopped(())) => refused.fetch_add(1, Ordering::Relaxed),
                        Err(_) => 0,
                    };
                }
            };
            let again = multiply.clone();
            let declared = shard.mailbox(move |shard, _from, ()| {
                ran.fetch_add(1, Ordering::Relaxed);
                again(shard);
            })?;
            assert!(own.set(declared.with_overflow(overflow)).is_ok());
            shard.callback(multiply);
            Ok(())
        });
        while ran.load(Ordering::Relaxed) < 10_000 {
            std::thread::yield_now();
        }
        live.stop();
        assert_eq!(sent.load(Ordering::Relaxed), ran.load(Ordering::Relaxed));
        assert!(refused.load(Ordering::Relaxed) > 0);
    }
}

#[test]
fn a_shard_has_one_mailbox_for_a_type_and_one_for_another() {
    let twice = refusal(shards(1), |shard| {
        shard.mailbox(|_, _, _: u8| {})?;
        shard.mailbox(|_, _, _: u16| {})?;
        shard.mailbox(|_, _, _: u8| {}).map(drop)
    });
    assert!(twice.to_string().starts_with("shard-0: a second mailbox for u8"), "{twice}");
}

#[test]
fn a_mailbox_that_only_some_shards_have_keeps_the_runtime_from_starting() {
    let missing = refusal(shards(2), |shard| {
        if shard.id() == ZERO {
            shard.mailbox(|_, _, _: u8| {})?;
        }
        Ok(())
    });
    assert!(missing.to_string().contains("the mailbox for u8 is missing on some shards"), "{missing}");
}

#[test]
fn a_mailbox_is_declared_in_set_up() {
    let (_live, told) = start(1, |shard, tell| {
        tell.send(matches!(shard.mailbox(|_, _, _: u8| {}), Err(Error::LateMailbox("u8")))).unwrap();
    });
    assert!(next(&told));
}
