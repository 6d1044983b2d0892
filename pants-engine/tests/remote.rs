//! The inbox: waking a sleeping engine, its bound, its order, and what needs no room in it.

mod support;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use pants_engine::{Context, Engine, SendError};
use support::*;

const ROOM: usize = 1024;

#[test]
fn a_message_wakes_an_engine_that_sleeps() {
    let (running, _) = Running::start(|_| {});
    // It has nothing else to do, so between any two of these it sleeps, or is about to.
    for _ in 0..1000 {
        assert!(running.ask(|context| !context.is_draining()));
    }
}

#[test]
fn a_message_sent_before_the_start_is_delivered() {
    let (tell, told) = channel();
    let (_running, ()) = Running::start(move |engine| {
        engine.remote().send(move |_| tell.send("early").unwrap()).unwrap();
    });
    assert_eq!(next(&told), "early");
}

#[test]
fn a_full_inbox_gives_the_message_back() {
    let mut engine = Engine::new().unwrap();
    let remote = engine.remote();
    let (tell, told) = channel();
    for number in 0..ROOM {
        let tell = tell.clone();
        remote.send(move |_| tell.send(number).unwrap()).unwrap();
    }
    let last = tell.clone();
    let Err(SendError::Full(refused)) = remote.send(move |_| last.send(ROOM).unwrap()) else {
        panic!("it has no room")
    };
    assert_eq!(told.try_iter().count(), 0, "nothing runs on the sender's thread");
    // What came back can be run, or sent again when there is room.
    turn_until(&mut engine, |engine| engine.context().stats().messages > 0);
    remote.send(refused).unwrap();
    turn_until(&mut engine, |engine| engine.context().stats().messages == ROOM as u64 + 1);
    assert_eq!(told.try_iter().collect::<Vec<_>>(), (0..=ROOM).collect::<Vec<_>>());
}

#[test]
fn an_engine_that_is_gone_gives_the_message_back() {
    let engine = Engine::new().unwrap();
    let remote = engine.remote();
    drop(engine);
    let held = Arc::new(());
    let holding = Arc::clone(&held);
    let result = remote.send(move |_| drop(holding));
    assert!(matches!(result, Err(SendError::Gone(_))));
    assert_eq!(Arc::strong_count(&held), 2, "what came back is the message");
    drop(result);
    assert_eq!(Arc::strong_count(&held), 1);
    // Neither of these has anybody to reach, and both know how to live with it.
    remote.stop();
    remote.drain(Duration::from_secs(1));
}

#[test]
fn messages_that_nobody_ran_are_dropped_with_the_engine() {
    let engine = Engine::new().unwrap();
    let held = Arc::new(());
    for _ in 0..10 {
        let held = Arc::clone(&held);
        engine.remote().send(move |_| drop(held)).unwrap();
    }
    let remote = engine.remote();
    drop(engine);
    assert_eq!(Arc::strong_count(&held), 1);
    drop(remote);
}

#[test]
fn stop_and_drain_find_a_way_past_a_full_inbox() {
    for stops in [true, false] {
        let mut engine = Engine::new().unwrap();
        let remote = engine.remote();
        while remote.send(|_| {}).is_ok() {}
        if stops {
            remote.stop();
        } else {
            remote.drain(PATIENCE);
        }
        engine.start().unwrap();
        assert!(engine.context().stats().messages < ROOM as u64, "it did not have to empty its inbox first");
    }
}

#[test]
fn a_stop_is_not_undone_by_a_later_drain() {
    let (running, address) = Running::serve(|| Silent);
    let _client = client(address);
    running.wait_until(|stats| stats.connections_open == 1);
    let remote = running.remote.clone();
    // Both arrive in one turn, for the engine is busy with this message.
    let busy = move |_: &mut Context| {
        remote.stop();
        remote.drain(PATIENCE * 10);
    };
    running.remote.send(busy).unwrap();
    running.join();
}

#[test]
fn messages_of_a_thread_keep_their_order_and_all_of_several_threads_arrive() {
    const THREADS: usize = 4;
    const MESSAGES: u32 = 10_000;
    thread_local! {
        static SEEN: Rc<RefCell<[Vec<u32>; THREADS]>> = Rc::default();
    }
    let (running, _) = Running::start(|_| {});
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let remote = running.remote.clone();
            scope.spawn(move || {
                for number in 0..MESSAGES {
                    let mut work: Box<dyn FnOnce(&mut Context) + Send> =
                        Box::new(move |_| SEEN.with(|seen| seen.borrow_mut()[thread].push(number)));
                    while let Err(error) = remote.send(work) {
                        let SendError::Full(refused) = error else { panic!("the engine is there") };
                        work = refused;
                        std::thread::yield_now();
                    }
                }
            });
        }
    });
    running.wait_until(|stats| stats.messages >= u64::from(MESSAGES) * THREADS as u64);
    let seen = running.ask(|_| SEEN.with(|seen| seen.take()));
    for of_thread in seen {
        assert!(of_thread.into_iter().eq(0..MESSAGES));
    }
}

#[test]
fn a_flood_of_messages_does_not_starve_connections() {
    let (running, address) = Running::serve(|| Echo);
    let mut client = client(address);
    let over = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (remote, done) = (running.remote.clone(), Arc::clone(&over));
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                let _ = remote.send(|_| {});
            }
        });
        for _ in 0..50 {
            assert_echoes(&mut client, b"served");
        }
        over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_message_may_listen_connect_and_set_timers() {
    let (running, _) = Running::start(|_| {});
    let (tell, told) = channel();
    let address = running.ask(move |context| {
        let server = context.listen(ANY_PORT, |_| Echo).unwrap();
        context.defer(Duration::from_millis(1), move |_| tell.send(()).unwrap());
        context.server_address(server).unwrap().socket_address().unwrap()
    });
    next(&told);
    assert_echoes(&mut client(address), b"hello");
    let (handler, seen) = recorder(|_, _| {});
    running.ask(move |context| context.connect(address, handler()).map(drop)).unwrap();
    assert_eq!(next(&seen), Event::Connect);
}
