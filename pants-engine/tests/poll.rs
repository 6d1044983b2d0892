//! An engine that a foreign loop drives: it sleeps on the engine's descriptor and wakes at its deadline.

mod support;

use std::cell::Cell;
use std::io::Write;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use pants_engine::{Engine, ServerOptions};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use support::*;

/// Sleeps as a program's own loop does: until the descriptor is readable or the deadline has come. Gives whether it was the
/// descriptor.
fn sleep(engine: &Engine) -> bool {
    let longest = Instant::now() + PATIENCE;
    let until = engine.next_deadline().map_or(longest, |deadline| deadline.min(longest));
    let left = until.saturating_duration_since(Instant::now());
    let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
    let fd = engine.as_fd();
    let ready = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)).unwrap();
    assert!(ready > 0 || until < longest, "nothing has woken the loop");
    ready > 0
}

/// Drives the engine as such a loop does, until `done` or the engine's end. Gives how often it slept.
fn drive(engine: &mut Engine, mut done: impl FnMut(&mut Engine) -> bool) -> u32 {
    let mut sleeps = 0;
    while !done(engine) {
        sleep(engine);
        sleeps += 1;
        if !engine.poll(Some(Duration::ZERO)).unwrap() {
            break;
        }
    }
    sleeps
}

#[test]
fn a_foreign_loop_serves_connections() {
    let mut engine = Engine::new().unwrap();
    let (_, address) = listen(&mut engine, ServerOptions::default(), || Echo);
    let client = std::thread::spawn(move || {
        let mut client = client(address);
        for size in [1, 1000, 100_000, 1_000_000] {
            assert_echoes(&mut client, &Noise::bytes(size));
        }
    });
    drive(&mut engine, |engine| engine.context().stats().connections_closed == 1);
    client.join().unwrap();
}

#[test]
fn no_wake_is_lost_between_a_poll_and_the_sleep() {
    const ROUNDS: u32 = 2_000;
    let mut engine = Engine::new().unwrap();
    let remote = engine.remote();
    let (tell, told) = channel();
    let sender = std::thread::spawn(move || {
        for round in 0..ROUNDS {
            let tell = tell.clone();
            remote.send(move |_| tell.send(round).unwrap()).unwrap();
            // Not before the last has been run, so that each finds the loop about to sleep, asleep, or just up.
            assert_eq!(next(&told), round);
        }
        remote.stop();
    });
    drive(&mut engine, |_| false);
    sender.join().unwrap();
    assert_eq!(engine.context().stats().messages, u64::from(ROUNDS));
}

#[test]
fn what_a_budget_left_over_is_due_at_once() {
    const BUDGET: usize = 256 * 1024;
    let read = Rc::new(Cell::new(0));
    struct Counts(Rc<Cell<usize>>);
    impl pants_engine::Handler for Counts {
        fn on_read(&mut self, _connection: &mut pants_engine::Connection<'_>, data: &[u8]) {
            self.0.set(self.0.get() + data.len());
        }
    }
    let mut engine = Engine::new().unwrap();
    let handlers = Rc::clone(&read);
    let (_, address) = listen(&mut engine, ServerOptions::default(), move || Counts(Rc::clone(&handlers)));
    let mut sending = client(address);
    sending.set_nonblocking(true).unwrap();
    let (piece, mut sent, mut leftovers) = (vec![1; 4 * BUDGET], 0, 0);
    while leftovers < 10 {
        // As much as the kernel takes; its window opens as the engine reads.
        while let Ok(count) = sending.write(&piece) {
            sent += count;
        }
        sleep(&engine);
        let before = read.get();
        engine.poll(Some(Duration::ZERO)).unwrap();
        // Once with its event and once more at the end of the turn, and in the first instance a buffer before that.
        assert!(read.get() - before <= 2 * BUDGET + BUDGET / 4, "{} bytes were read in one turn", read.get() - before);
        if engine.next_deadline().is_some_and(|deadline| deadline <= Instant::now()) {
            leftovers += 1;
        }
    }
    // No edge comes for what has come already: only the deadline brings the rest.
    drive(&mut engine, |_| read.get() == sent);
    sending.shutdown(Shutdown::Write).unwrap();
    drive(&mut engine, |engine| engine.context().stats().connections_closed == 1);
}

#[test]
fn messages_beyond_the_budget_are_due_at_once() {
    let mut engine = Engine::new().unwrap();
    let remote = engine.remote();
    for _ in 0..1000 {
        remote.send(|_| {}).unwrap();
    }
    let sleeps = drive(&mut engine, |engine| engine.context().stats().messages == 1000);
    assert!(sleeps >= 4, "256 in a turn");
}

#[test]
fn timers_fire_at_the_deadline_that_was_told() {
    let mut engine = Engine::new().unwrap();
    let fired = Rc::new(Cell::new(0));
    for delay in [5, 30, 90, 300] {
        let fired = Rc::clone(&fired);
        engine.context().defer(Duration::from_millis(delay), move |_| fired.set(fired.get() + 1));
    }
    let sleeps = drive(&mut engine, |_| fired.get() == 4);
    // Far timers move down a wheel, which takes a look now and then; it must not be a spin.
    assert!(sleeps <= 40, "{sleeps} sleeps for four timers");
    assert_eq!(engine.next_deadline(), None);
}

#[test]
fn callbacks_for_the_next_turn_are_due_at_once() {
    let mut engine = Engine::new().unwrap();
    assert_eq!(engine.next_deadline(), None);
    engine.context().callback(|_| {});
    assert!(engine.next_deadline().unwrap() <= Instant::now());
    engine.poll(Some(Duration::ZERO)).unwrap();
    assert_eq!(engine.next_deadline(), None);
}

#[test]
fn what_is_written_between_polls_leaves_with_the_next() {
    let mut engine = Engine::new().unwrap();
    let (server, address) = listen(&mut engine, ServerOptions::default(), || Silent);
    let mut client = client(address);
    drive(&mut engine, |engine| engine.context().stats().connections_accepted == 1);
    // Until nothing is left to be done.
    drive(&mut engine, |engine| engine.next_deadline().is_none());
    let [key] = engine.context().connections(server)[..] else { panic!("there is one connection") };
    assert!(engine.context().connection(key).unwrap().write(b"by the way"));
    assert!(engine.next_deadline().is_some_and(|deadline| deadline <= Instant::now()), "there is work");
    engine.poll(Some(Duration::ZERO)).unwrap();
    assert_eq!(receive(&mut client, 10), b"by the way");
}

#[test]
fn poll_says_when_the_engine_is_done() {
    let mut engine = Engine::new().unwrap();
    assert!(engine.poll(Some(Duration::ZERO)).unwrap());
    engine.context().stop();
    assert!(!engine.poll(None).unwrap());
    engine.close_all();
    let (_, address) = listen(&mut engine, ServerOptions::default(), || Silent);
    let mut client = client(address);
    drive(&mut engine, |engine| engine.context().stats().connections_accepted == 1);
    engine.context().drain(PATIENCE);
    let begun = Instant::now();
    let client = std::thread::spawn(move || receive_all(&mut client));
    while engine.poll(Some(Duration::from_millis(10))).unwrap() {
        assert!(begun.elapsed() < PATIENCE);
    }
    assert!(engine.context().is_drained());
    assert_eq!(client.join().unwrap(), b"");
}

#[test]
fn two_engines_share_a_thread() {
    let mut engines = [Engine::new().unwrap(), Engine::new().unwrap()];
    let addresses = engines.each_mut().map(|engine| listen(engine, ServerOptions::default(), || Echo).1);
    let client = std::thread::spawn(move || {
        let mut clients = addresses.map(client);
        for _ in 0..20 {
            clients.iter_mut().for_each(|client| assert_echoes(client, b"to both"));
        }
    });
    let limit = Instant::now() + PATIENCE;
    while engines.iter_mut().any(|engine| engine.context().stats().connections_closed == 0) {
        assert!(Instant::now() < limit);
        for engine in &mut engines {
            engine.poll(Some(Duration::from_millis(1))).unwrap();
        }
    }
    client.join().unwrap();
}
