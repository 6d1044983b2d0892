//! The stall detector: who keeps a shard from all others is named, while it does.

mod support;

use std::fmt::{self, Write as _};
use std::fs;
use std::io::Write as _;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use pants_shard::{Connection, Endpoint, Handler, Shard};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::support::*;

/// A look lasts a quarter of what counts as a stall, 100 ms.
const LOOK: Duration = Duration::from_millis(25);

/// Where what the watchdog tells goes to.
static LOG: Mutex<Option<Sender<String>>> = Mutex::new(None);

/// Sends on what the watchdog tells.
struct Listener;

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, "{}={value:?} ", field.name()).unwrap();
    }
}

impl Subscriber for Listener {
    fn enabled(&self, about: &Metadata<'_>) -> bool {
        about.target() == "pants_shard::stall" && *about.level() == Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        if let Some(log) = &*LOG.lock().unwrap() {
            let _ = log.send(line.0);
        }
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Hears what is told from here on.
fn listen() -> (MutexGuard<'static, ()>, Receiver<String>) {
    let alone = alone();
    let (tell, told) = channel();
    *LOG.lock().unwrap_or_else(PoisonError::into_inner) = Some(tell);
    // Only the first test's is taken, and does for all.
    let _ = tracing::subscriber::set_global_default(Listener);
    (alone, told)
}

/// Blocks whoever passes until it is opened.
#[derive(Clone)]
struct Gate(Arc<Mutex<Receiver<()>>>);

impl Gate {
    fn new() -> (Sender<()>, Self) {
        let (open, opened) = channel();
        (open, Self(Arc::new(Mutex::new(opened))))
    }

    fn pass(&self) {
        // An error means that the test has failed.
        let _ = self.0.lock().unwrap().recv_timeout(PATIENCE);
    }
}

/// Expects that a stall is told of, then opens the gate, and expects that its end is told.
fn assert_told(told: &Receiver<String>, open: &Sender<()>, running: &str) {
    let begun = next(told);
    let says = |what: &str| begun.contains(what);
    assert!(says("shard=shard-0 ") && says(&format!("running={running}")) && says("so_far="), "{begun}");
    open.send(()).unwrap();
    let over = loop {
        // On a busy machine it may be told more than once that it goes on.
        let line = next(told);
        if line.contains("total=") {
            break line;
        }
    };
    assert!(over.contains("is over") && over.contains("shard=shard-0 "), "{over}");
}

struct Sleepy(Gate);

impl Handler for Sleepy {
    fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {
        self.0.pass();
    }
}

/// A type that is no closure, for its name.
struct Doorman(Gate);

impl pants_shard::Acceptor for Doorman {
    type Handler = Echo;

    fn on_accept(&mut self, _peer: Endpoint) -> Option<Echo> {
        self.0.pass();
        Some(Echo)
    }
}

#[test]
fn a_handler_that_blocks_is_named_before_it_returns() {
    let (_alone, told) = listen();
    let (open, gate) = Gate::new();
    let live = Live::start(shards(1), move |shard| {
        let gate = gate.clone();
        shard.listen(ANY_PORT, move |_peer| Sleepy(gate.clone())).map(drop)
    });
    client(live.address()).write_all(b"x").unwrap();
    assert_told(&told, &open, "handler stall::Sleepy ");
    assert_eq!(live.stop().shards[0].stalls, 1);
}

#[test]
fn an_acceptor_that_blocks_is_named() {
    let (_alone, told) = listen();
    let (open, gate) = Gate::new();
    let live = Live::start(shards(1), move |shard| shard.listen(ANY_PORT, Doorman(gate.clone())).map(drop));
    let _client = client(live.address());
    assert_told(&told, &open, "acceptor stall::Doorman ");
}

#[test]
fn a_long_timer_and_a_long_message_are_told_and_a_sleeping_shard_is_not() {
    let (_alone, told) = listen();
    let (open, gate) = Gate::new();
    let live = Live::start(shards(2), |_shard| Ok(()));
    let timer = gate.clone();
    let sets_timer = move |shard: &mut Shard<'_>| {
        shard.callback(move |_| timer.pass());
    };
    live.running().remote().send(ZERO, sets_timer).unwrap();
    assert_told(&told, &open, "a timer ");
    live.running().remote().send(ZERO, move |_| gate.pass()).unwrap();
    assert_told(&told, &open, "a message from another thread ");
    let stalls: Vec<u64> = live.stop().shards.iter().map(|stats| stats.stalls).collect();
    assert_eq!(stalls, [2, 0]);
    assert_eq!(told.try_recv().ok(), None, "the other shard slept all the while");
}

/// What the kernel knows of the watchdogs of this process.
fn watchdogs() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let statuses = tasks.filter_map(|task| fs::read_to_string(task.path().join("status")).ok());
    statuses.filter(|status| status.starts_with("Name:\twatchdog\n")).collect()
}

/// Waits until there are so many. A thread has its name a moment after it was started, and the kernel drops it a moment after
/// it was joined.
fn wait_for_watchdogs(count: usize) -> Vec<String> {
    let limit = Instant::now() + PATIENCE;
    loop {
        let found = watchdogs();
        if found.len() == count {
            return found;
        }
        assert!(Instant::now() < limit, "there are {}, not {count}", found.len());
        thread::yield_now();
    }
}

/// How often the only watchdog has gone to sleep.
fn sleeps() -> u64 {
    let status = wait_for_watchdogs(1).remove(0);
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.unwrap().trim().parse().unwrap()
}

#[test]
fn the_watchdog_rests_when_all_shards_do_and_wakes_for_a_stall() {
    let (_alone, told) = listen();
    let (open, gate) = Gate::new();
    let live = Live::start(shards(8), |_shard| Ok(()));
    let limit = Instant::now() + PATIENCE;
    loop {
        let before = sleeps();
        thread::sleep(20 * LOOK);
        // It would look twenty times.
        if sleeps() - before <= 2 {
            break;
        }
        assert!(Instant::now() < limit, "the watchdog never rests");
    }
    live.running().remote().send(ZERO, move |_| gate.pass()).unwrap();
    assert_told(&told, &open, "a message from another thread ");
}

#[test]
fn the_watchdog_ends_with_its_runtime() {
    let (_alone, _told) = listen();
    let live = Live::start(shards(2), |_shard| Ok(()));
    wait_for_watchdogs(1);
    live.stop();
    wait_for_watchdogs(0);
}
