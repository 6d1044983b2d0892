//! Busy polling: what it catches, that it costs senders nothing, and that it ends when it does not pay.

mod support;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use pants_engine::{Engine, EngineOptions, Error, ServerOptions};
use support::*;

/// Longer than a preempted thread has to wait, so that what is sent during a poll is met by it.
const LONG: Duration = Duration::from_secs(1);

const MILLI: Duration = Duration::from_millis(1);

/// After so many polls in vain the engine sleeps at once, as the option's documentation says.
const PATIENT_POLLS: u64 = 8;

fn engine(busy_poll: Duration) -> Engine {
    Engine::with_options(EngineOptions { busy_poll, ..EngineOptions::default() }).unwrap()
}

/// An engine that has given up polling busily.
fn tired_engine(busy_poll: Duration) -> Engine {
    let mut engine = engine(busy_poll);
    for _ in 0..PATIENT_POLLS {
        engine.poll(Some(MILLI)).unwrap();
    }
    assert_eq!(engine.context().stats().busy_polls, PATIENT_POLLS);
    engine
}

/// How many calls of write(2) and its like this thread has made (proc_pid_io(5)).
fn writes_of_this_thread() -> u64 {
    let io = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("syscw: ")).unwrap().parse().unwrap()
}

fn spin_for(time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        std::hint::spin_loop();
    }
}

#[test]
fn it_is_off_unless_asked_for() {
    let mut engine = Engine::new().unwrap();
    for _ in 0..5 {
        engine.poll(Some(MILLI)).unwrap();
    }
    let stats = engine.context().stats();
    assert_eq!((stats.busy_polls, stats.busy_poll_hits, stats.sleeps), (0, 0, 5));
}

#[test]
fn it_is_bounded() {
    let options = EngineOptions { busy_poll: LONG + Duration::from_nanos(1), ..EngineOptions::default() };
    assert!(matches!(Engine::with_options(options), Err(Error::Options(_))));
}

#[test]
fn messages_are_met_without_a_sleep_and_without_a_system_call_of_their_sender() {
    const ROUNDS: u64 = 2_000;
    let mut engine = engine(LONG);
    let remote = engine.remote();
    let sender = std::thread::spawn(move || {
        let (tell, told) = channel();
        let round = |round| {
            let tell = tell.clone();
            remote.send(move |_| tell.send(round).unwrap()).unwrap();
            assert_eq!(next(&told), round);
        };
        // The first may find the engine as it was made: asleep, in a loop of somebody else's.
        round(0);
        let before = writes_of_this_thread();
        (1..ROUNDS).for_each(round);
        assert_eq!(writes_of_this_thread(), before);
        remote.stop();
    });
    engine.start().unwrap();
    sender.join().unwrap();
    let stats = engine.context().stats();
    assert_eq!((stats.messages, stats.sleeps), (ROUNDS, 0));
    assert!(stats.busy_poll_hits > 0 && stats.busy_poll_hits <= stats.busy_polls, "{stats:?}");
}

#[test]
fn a_message_from_between_two_polls_is_met() {
    let mut engine = engine(LONG);
    let remote = engine.remote();
    for round in 1..=100 {
        remote.send(|_| {}).unwrap();
        engine.poll(None).unwrap();
        // It may take one turn more: the first was the ring's.
        turn_until(&mut engine, |engine| engine.context().stats().messages == round);
    }
}

#[test]
fn sockets_are_served_without_a_sleep() {
    let mut engine = engine(LONG);
    let (_, address) = listen(&mut engine, ServerOptions::default(), || Echo);
    let remote = engine.remote();
    let client = std::thread::spawn(move || {
        let mut client = client(address);
        for size in 1..=500 {
            assert_echoes(&mut client, &Noise::bytes(size));
        }
        remote.stop();
    });
    engine.start().unwrap();
    client.join().unwrap();
    let stats = engine.context().stats();
    assert_eq!(stats.sleeps, 0);
    assert!(stats.busy_poll_hits > 0, "{stats:?}");
}

#[test]
fn neither_sockets_nor_messages_keep_the_other_waiting() {
    let mut engine = engine(LONG);
    let (_, address) = listen(&mut engine, ServerOptions::default(), || Echo);
    let remote = engine.remote();
    let done = Arc::new(AtomicBool::new(false));
    let is_done = Arc::clone(&done);
    // As many messages as the inbox takes, from the first echo to the last.
    let flood = std::thread::spawn(move || {
        while !is_done.load(Ordering::Relaxed) {
            let _ = remote.send(|_| {});
        }
        remote.stop();
    });
    let client = std::thread::spawn(move || {
        let mut client = client(address);
        (0..200).for_each(|_| assert_echoes(&mut client, b"beside the flood"));
        done.store(true, Ordering::Relaxed);
    });
    engine.start().unwrap();
    client.join().unwrap();
    flood.join().unwrap();
    assert!(engine.context().stats().messages > 0);
}

#[test]
fn an_idle_engine_sleeps_after_a_few_polls_in_vain() {
    let mut engine = engine(MILLI);
    for _ in 0..3 * PATIENT_POLLS {
        engine.poll(Some(4 * MILLI)).unwrap();
    }
    let stats = engine.context().stats();
    assert_eq!((stats.busy_polls, stats.busy_poll_hits), (PATIENT_POLLS, 0));
    // A poll that was preempted for long may have used its whole time up.
    assert!((2 * PATIENT_POLLS..=3 * PATIENT_POLLS).contains(&stats.sleeps), "{stats:?}");
}

#[test]
fn an_event_that_a_poll_would_have_met_turns_it_on_again() {
    let mut engine = tired_engine(LONG);
    let remote = engine.remote();
    engine.poll(Some(MILLI)).unwrap();
    let stats = engine.context().stats();
    assert_eq!((stats.busy_polls, stats.sleeps), (PATIENT_POLLS, 1), "a timeout is no event");
    let done = Arc::new(AtomicBool::new(false));
    let is_done = Arc::clone(&done);
    // One that comes between two polls ends no sleep; the next will.
    let sender = std::thread::spawn(move || {
        while !is_done.load(Ordering::Relaxed) {
            spin_for(2 * MILLI);
            remote.send(|_| {}).unwrap();
        }
    });
    turn_until(&mut engine, |engine| engine.context().stats().busy_polls > PATIENT_POLLS);
    done.store(true, Ordering::Relaxed);
    sender.join().unwrap();
}

#[test]
fn precise_timers_do_not_keep_an_idle_engine_polling() {
    let mut engine = tired_engine(LONG);
    let fired = Rc::new(Cell::new(0));
    for round in 1..=20 {
        let count = Rc::clone(&fired);
        engine.context().defer_precise(Duration::from_micros(200), move |_| count.set(count.get() + 1));
        turn_until(&mut engine, |_| fired.get() == round);
    }
    assert_eq!(engine.context().stats().busy_polls, PATIENT_POLLS, "the engine's own alarm is no event");
}

#[test]
fn timers_that_are_due_end_a_poll() {
    let mut engine = engine(LONG);
    for precise in [false, true] {
        let fired = Rc::new(Cell::new(None));
        let (told, begun) = (Rc::clone(&fired), Instant::now());
        let tell = move |_: &mut pants_engine::Context| told.set(Some(begun.elapsed()));
        match precise {
            false => engine.context().defer(5 * MILLI, tell),
            true => engine.context().defer_precise(5 * MILLI, tell),
        };
        while fired.get().is_none() {
            engine.poll(None).unwrap();
        }
        let took = fired.get().unwrap();
        assert!(took >= 5 * MILLI && took < LONG, "{took:?}");
    }
    assert!(engine.context().stats().busy_polls >= 2);
}

#[test]
fn a_timeout_ends_a_poll_and_none_forbids_it() {
    let mut engine = engine(LONG);
    let begun = Instant::now();
    engine.poll(Some(3 * MILLI)).unwrap();
    assert!(begun.elapsed() >= 3 * MILLI && begun.elapsed() < LONG, "{:?}", begun.elapsed());
    assert_eq!(engine.context().stats().busy_polls, 1);
    for _ in 0..10 {
        engine.poll(Some(Duration::ZERO)).unwrap();
    }
    let stats = engine.context().stats();
    assert_eq!((stats.busy_polls, stats.turns), (1, 11));
}

#[test]
fn every_turn_still_bounds_the_turn() {
    let options = EngineOptions { busy_poll: LONG, longest_turn: 2 * MILLI, ..EngineOptions::default() };
    let mut engine = Engine::with_options(options).unwrap();
    let ran = Rc::new(Cell::new(0));
    let count = Rc::clone(&ran);
    engine.context().every_turn(move |_| count.set(count.get() + 1));
    let begun = Instant::now();
    for _ in 0..20 {
        engine.poll(None).unwrap();
    }
    assert_eq!(ran.get(), 20);
    assert!(begun.elapsed() < 20 * LONG / 2, "a turn did not wait for the end of a poll");
}

#[test]
fn an_alarm_that_went_off_unseen_in_a_poll_is_set_for_the_next_timer() {
    // The first sleep sets the alarm for a timer that is cancelled before. The alarm goes off while the engine polls.
    let mut engine = engine(40 * MILLI);
    let (remote, has_fired) = (engine.remote(), Rc::new(Cell::new(false)));
    let first = engine.context().defer(80 * MILLI, |_| panic!("it is cancelled"));
    let begun = Instant::now();
    let (tell, over) = channel();
    let sender = std::thread::spawn(move || {
        std::thread::sleep((60 * MILLI).saturating_sub(begun.elapsed()));
        remote.send(move |context| assert!(context.cancel(first))).unwrap();
        // The next one is not to be forgotten.
        if over.recv_timeout(LONG * 5).is_err() {
            remote.stop();
        }
    });
    let flag = Rc::clone(&has_fired);
    engine.context().defer(200 * MILLI, move |context| {
        flag.set(true);
        context.stop();
    });
    engine.start().unwrap();
    assert!(has_fired.get());
    tell.send(()).unwrap();
    sender.join().unwrap();
}

#[test]
fn no_wake_is_lost_between_a_poll_and_the_sleep() {
    const ROUNDS: u64 = 5_000;
    // Short, so that messages come before its end, at it, and in the sleep.
    let mut engine = engine(Duration::from_micros(20));
    let remote = engine.remote();
    let sender = std::thread::spawn(move || {
        let (tell, told) = channel();
        let mut noise = Noise(3);
        for round in 0..ROUNDS {
            let tell = tell.clone();
            spin_for(Duration::from_micros(noise.next() % 50));
            remote.send(move |_| tell.send(round).unwrap()).unwrap();
            assert_eq!(next(&told), round);
        }
        remote.stop();
    });
    engine.start().unwrap();
    sender.join().unwrap();
    assert_eq!(engine.context().stats().messages, ROUNDS);
}
