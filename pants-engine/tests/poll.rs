//! An engine that a foreign loop drives: it sleeps on the engine's descriptor and wakes at its deadline.

mod support;

use std::cell::Cell;
use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use pants_engine::{Context, Engine, Remote, ServerOptions};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use support::*;

/// Sleeps as a program's own loop does: until the descriptor is readable or the deadline has come. Gives whether it was the
/// descriptor.
fn sleep(engine: &Engine) -> bool {
    let longest = Instant::now() + PATIENCE;
    let until = engine.next_deadline().map_or(longest, |deadline| deadline.min(longest));
    let left = until.saturating_duration_since(Instant::now());
    let fd = engine.as_fd();
    let ready = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timespec(left))).unwrap();
    assert!(ready > 0 || until < longest, "nothing has woken the loop");
    ready > 0
}

/// A program's own epoll instance, in which engines are some of many descriptors.
struct Outer(OwnedFd);

impl Outer {
    fn watching<'a>(watched: impl IntoIterator<Item = &'a dyn AsFd>) -> Self {
        let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
        for (place, fd) in watched.into_iter().enumerate() {
            epoll::add(&epoll, fd.as_fd(), EventData::new_u64(place as u64), EventFlags::IN).unwrap();
        }
        Self(epoll)
    }

    /// Sleeps until a descriptor is readable or the deadline has come. Gives the places of those that are.
    fn sleep(&self, deadline: Option<Instant>) -> Vec<u64> {
        let longest = Instant::now() + PATIENCE;
        let until = deadline.map_or(longest, |deadline| deadline.min(longest));
        let timeout = timespec(until.saturating_duration_since(Instant::now()));
        let mut room = [MaybeUninit::uninit(); 4];
        let (events, _) = epoll::wait(&self.0, &mut room, Some(&timeout)).unwrap();
        assert!(!events.is_empty() || until < longest, "nothing has woken the loop");
        events.iter().map(|event| event.data.u64()).collect()
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() }
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

#[test]
fn no_wake_is_lost_while_the_outer_loop_sleeps_in_an_epoll_of_its_own() {
    const ROUNDS: u64 = 5_000;
    const ENGINE: u64 = 0;
    let mut engine = Engine::new().unwrap();
    let (mut own, mut other_end) = UnixStream::pair().unwrap();
    let outer = Outer::watching([&engine as &dyn AsFd, &own]);
    let senders = [1, 2].map(|seed| {
        let remote = engine.remote();
        std::thread::spawn(move || {
            let (tell, told) = channel();
            let mut noise = Noise(seed);
            for round in 0..ROUNDS {
                // At any moment of the other's turn and sleep.
                let (begun, pause) = (Instant::now(), Duration::from_nanos(noise.next() % 60_000));
                while begun.elapsed() < pause {}
                let tell = tell.clone();
                remote.send(move |_| tell.send(round).unwrap()).unwrap();
                assert_eq!(next(&told), round);
            }
        })
    });
    let disturber = std::thread::spawn(move || {
        for _ in 0..200 {
            other_end.write_all(b"!").unwrap();
            std::thread::yield_now();
        }
        other_end.shutdown(Shutdown::Write).unwrap();
    });
    let mut disturbances = 0;
    while engine.context().stats().messages < 2 * ROUNDS || disturbances < 200 {
        for place in outer.sleep(engine.next_deadline()) {
            // What is the loop's own is no reason to poll the engine.
            match place {
                ENGINE => assert!(engine.poll(Some(Duration::ZERO)).unwrap()),
                _ => disturbances += own.read(&mut [0; 8]).unwrap(),
            }
        }
        if engine.next_deadline().is_some_and(|deadline| deadline <= Instant::now()) {
            engine.poll(Some(Duration::ZERO)).unwrap();
        }
        if disturbances == 200 {
            epoll::delete(&outer.0, &own).unwrap_or(());
        }
    }
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    disturber.join().unwrap();
}

#[test]
fn no_work_beyond_a_budget_is_left_lying() {
    const CLIENTS: u64 = 200;
    const TIMERS: u64 = 5_000;
    const BYTES: usize = 1_000_000;
    let mut engine = Engine::new().unwrap();
    let (_, address) = listen(&mut engine, ServerOptions::default(), || Echo);
    let outer = Outer::watching([&engine as &dyn AsFd]);
    // Everything is there before the first poll: more connections than are accepted, more messages than are delivered, more
    // timers than are run and more bytes than are read in one turn. No edge comes for any of it again.
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| client(address)).collect();
    let mut sending = clients.remove(0);
    let echoed = std::thread::spawn(move || {
        let noise = Noise::bytes(BYTES);
        let mut writer = sending.try_clone().unwrap();
        let copy = noise.clone();
        let writing = std::thread::spawn(move || writer.write_all(&copy).unwrap());
        assert_eq!(receive(&mut sending, BYTES), noise);
        writing.join().unwrap();
    });
    let remote = engine.remote();
    (0..1_000).for_each(|_| remote.send(|_| {}).unwrap());
    let fired = Rc::new(Cell::new(0));
    let count = |fired: &Rc<Cell<u64>>| {
        let fired = Rc::clone(fired);
        move |_: &mut Context| fired.set(fired.get() + 1)
    };
    let due = Instant::now() + Duration::from_millis(20);
    for _ in 0..TIMERS {
        engine.context().defer_until(due, count(&fired));
        engine.context().defer_precise_until(due, count(&fired));
    }
    let done = |engine: &mut Engine| {
        let stats = engine.context().stats();
        (stats.connections_accepted, stats.messages, fired.get()) == (CLIENTS, 1_000, 2 * TIMERS)
            && stats.bytes_out == BYTES as u64
    };
    while !done(&mut engine) {
        outer.sleep(engine.next_deadline());
        engine.poll(Some(Duration::ZERO)).unwrap();
    }
    echoed.join().unwrap();
}

#[test]
fn a_precise_timer_makes_the_descriptor_readable() {
    let mut engine = Engine::new().unwrap();
    let outer = Outer::watching([&engine as &dyn AsFd]);
    for _ in 0..20 {
        let fired = Rc::new(Cell::new(false));
        let set = Rc::clone(&fired);
        let (begun, delay) = (Instant::now(), Duration::from_micros(300));
        engine.context().defer_precise(delay, move |_| set.set(true));
        assert!(engine.next_deadline().is_some_and(|deadline| deadline >= begun + delay), "it is accounted for");
        assert!(engine.next_deadline().is_some_and(|deadline| deadline <= Instant::now() + delay));
        // Sets the alarm, if the deadline has not come yet.
        engine.poll(Some(Duration::ZERO)).unwrap();
        while !fired.get() {
            // Without a look at the deadline: the descriptor alone must do.
            outer.sleep(None);
            engine.poll(Some(Duration::ZERO)).unwrap();
        }
        assert!(begun.elapsed() >= delay);
        assert_eq!(engine.next_deadline(), None);
    }
}

#[test]
fn two_engines_of_one_loop_send_to_each_other() {
    const PASSES: u32 = 2_000;
    fn pass(left: u32, here: Remote, there: Remote) {
        if left > 0 {
            there.clone().send(move |_| pass(left - 1, there, here)).unwrap();
        }
    }
    let mut engines = [Engine::new().unwrap(), Engine::new().unwrap()];
    let [first, second] = engines.each_ref().map(Engine::remote);
    let outer = Outer::watching(engines.each_ref().map(|engine| engine as &dyn AsFd));
    pass(PASSES, first, second);
    let messages = |engines: &mut [Engine; 2]| engines.each_mut().map(|engine| engine.context().stats().messages);
    while messages(&mut engines).iter().sum::<u64>() < u64::from(PASSES) {
        let deadline = engines.iter().filter_map(Engine::next_deadline).min();
        outer.sleep(deadline);
        for engine in &mut engines {
            engine.poll(Some(Duration::ZERO)).unwrap();
        }
    }
    assert_eq!(messages(&mut engines), [u64::from(PASSES / 2); 2]);
}

#[test]
fn engines_on_threads_of_their_own_serve_and_send_to_one_another() {
    const LAPS: u32 = 500;
    fn lap(left: u32, place: usize, ring: Vec<Remote>, done: std::sync::mpsc::Sender<()>) {
        if left == 0 {
            return done.send(()).unwrap();
        }
        let next = (place + 1) % ring.len();
        let to = ring[next].clone();
        to.send(move |_| lap(left - u32::from(next == 0), next, ring, done)).unwrap();
    }
    let (running, addresses): (Vec<_>, Vec<_>) = (0..3).map(|_| Running::serve(|| Echo)).unzip();
    let ring: Vec<Remote> = running.iter().map(|running| running.remote.clone()).collect();
    let (done, is_done) = channel();
    lap(LAPS, 0, ring, done);
    let mut clients: Vec<_> = addresses.into_iter().map(client).collect();
    for _ in 0..50 {
        clients.iter_mut().for_each(|client| assert_echoes(client, b"to each"));
    }
    next(&is_done);
    for running in running {
        let stats = running.stop();
        assert_eq!((stats.connections_accepted, stats.messages), (1, u64::from(LAPS)));
    }
}
