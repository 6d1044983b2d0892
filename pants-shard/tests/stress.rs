//! Eight shards on however many cores there are, and everything at once: messages, requests, timers that are cancelled, connections
//! that move, and an end in the middle of it. Whatever was accepted must be accounted for.
//!
//! It takes three seconds; `PANTS_STRESS_SECONDS=60` has it take a minute. `--nocapture` shows what was done.

mod support;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pants_shard::{Bus, BusTimer, Connection, Handler, Mailbox, Running, SendError, Shard, ShardId};

use crate::support::*;

const SHARDS: usize = 8;

/// Operations that a shard begins in a turn.
const A_TURN: usize = 24;

/// Timers that a shard remembers, to cancel them.
const REMEMBERED: usize = 256;

const CLIENTS: usize = 6;

/// What was begun and what became of it, on all shards.
#[derive(Debug, Default)]
struct Ledger {
    sent: AtomicU64,
    ran: AtomicU64,
    mailed: AtomicU64,
    delivered: AtomicU64,
    asked: AtomicU64,
    answered: AtomicU64,
    unanswered: AtomicU64,
    set: AtomicU64,
    cancelled: AtomicU64,
    fired: AtomicU64,
    cancelled_and_fired: AtomicU64,
    full: AtomicU64,
    moved: AtomicU64,
    came_back: AtomicU64,
    /// What exists of all that: a message, a request's continuation, a timer.
    made: AtomicU64,
    dropped: AtomicU64,
    worst_turn_us: AtomicU64,
}

/// Counts one thing that is on its way until it is dropped.
struct Token(Arc<Ledger>);

impl Token {
    fn new(ledger: &Arc<Ledger>) -> Self {
        count(&ledger.made);
        Self(Arc::clone(ledger))
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        count(&self.0.dropped);
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// What one shard does in each turn.
struct Worker {
    ledger: Arc<Ledger>,
    bus: Bus,
    mailbox: Mailbox<Token>,
    random: u64,
    timers: VecDeque<(BusTimer, Arc<AtomicBool>)>,
    last_turn: Option<Instant>,
}

impl Worker {
    fn random(&mut self, below: usize) -> usize {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) as usize % below
    }

    fn turn(&mut self) {
        let now = Instant::now();
        if let Some(last) = self.last_turn.replace(now) {
            let took = u64::try_from((now - last).as_micros()).unwrap();
            self.ledger.worst_turn_us.fetch_max(took, Ordering::Relaxed);
        }
        for _ in 0..A_TURN {
            let to = ShardId::new(self.random(SHARDS));
            match self.random(10) {
                0..=3 => self.send(to),
                4..=5 => self.mail(to),
                6..=7 => self.ask(to),
                8 => self.set(to),
                _ => self.cancel(),
            }
        }
    }

    /// Notes whether it was taken.
    fn note<T>(&self, result: Result<(), SendError<T>>, taken: &AtomicU64) {
        match result {
            Ok(()) => count(taken),
            Err(SendError::Full(_)) => count(&self.ledger.full),
            Err(SendError::Stopped(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn send(&mut self, to: ShardId) {
        let token = Token::new(&self.ledger);
        let overflow = if self.random(2) == 0 { 64 } else { 0 };
        let sent = self.bus.with_overflow(overflow).send(to, move |_| count(&token.0.ran));
        self.note(sent, &self.ledger.sent);
    }

    fn mail(&mut self, to: ShardId) {
        let sent = self.mailbox.send(to, Token::new(&self.ledger));
        self.note(sent, &self.ledger.mailed);
    }

    fn ask(&mut self, to: ShardId) {
        let (there, here) = (Token::new(&self.ledger), Token::new(&self.ledger));
        let number = self.random;
        let asked = self.bus.request(
            to,
            move |_| {
                let _there = there;
                number
            },
            move |_, answer| match answer {
                Ok(answer) => {
                    assert_eq!(answer, number);
                    count(&here.0.answered);
                }
                Err(_) => count(&here.0.unanswered),
            },
        );
        self.note(asked, &self.ledger.asked);
    }

    fn set(&mut self, to: ShardId) {
        let token = Token::new(&self.ledger);
        let is_cancelled = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&is_cancelled);
        let delay = Duration::from_micros(self.random(20_000) as u64);
        let fire = move |_: &mut Shard<'_>| {
            count(&token.0.fired);
            if told.load(Ordering::Relaxed) {
                count(&token.0.cancelled_and_fired);
            }
        };
        match self.bus.defer(to, delay, fire) {
            Ok(timer) => {
                count(&self.ledger.set);
                self.timers.push_back((timer, is_cancelled));
                self.timers.truncate(REMEMBERED);
            }
            Err(error) => self.note(Err(error), &self.ledger.set),
        }
    }

    fn cancel(&mut self) {
        if self.timers.is_empty() {
            return;
        }
        let which = self.random(self.timers.len());
        if let Some((timer, is_cancelled)) = self.timers.swap_remove_back(which) {
            timer.cancel();
            count(&self.ledger.cancelled);
            // One over there may be firing at this very moment.
            is_cancelled.store(timer.shard() == self.bus.shard(), Ordering::Relaxed);
        }
    }
}

/// Echoes, and moves on after every read, to anywhere.
struct Rover {
    ledger: Arc<Ledger>,
    bus: Bus,
    random: usize,
}

impl Handler for Rover {
    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        connection.write(data);
        self.random = self.random.wrapping_mul(31).wrapping_add(data.len());
        let (ledger, random) = (Arc::clone(&self.ledger), self.random);
        let make = move |shard: &mut Shard<'_>| Self { ledger, bus: shard.bus(), random };
        // What is refused stays, and echoes.
        drop(self.bus.hand_off(connection, ShardId::new(random % SHARDS), make));
    }

    fn on_hand_off(&mut self, _connection: &mut Connection<'_>) {
        count(&self.ledger.moved);
    }

    fn on_hand_off_error(&mut self, _connection: &mut Connection<'_>, _error: &pants_shard::HandOffError) {
        count(&self.ledger.came_back);
    }
}

fn start(ledger: &Arc<Ledger>, round: u64) -> Live {
    let ledger = Arc::clone(ledger);
    Live::start(shards(SHARDS), move |shard| {
        let mailbox = shard.mailbox(|_shard, _from, token: Token| count(&token.0.delivered))?;
        let (bus, server_ledger) = (shard.bus(), Arc::clone(&ledger));
        shard.listen(ANY_PORT, move |_peer| Rover {
            ledger: Arc::clone(&server_ledger),
            bus: bus.clone(),
            random: 1,
        })?;
        let worker = Rc::new(RefCell::new(Worker {
            ledger: Arc::clone(&ledger),
            bus: shard.bus(),
            mailbox,
            random: round * 1_000 + shard.id().index() as u64,
            timers: VecDeque::new(),
            last_turn: None,
        }));
        work_on(shard, worker);
        Ok(())
    })
}

/// One turn's work, and the next turn's.
fn work_on(shard: &mut Shard<'_>, worker: Rc<RefCell<Worker>>) {
    shard.callback(move |shard| {
        worker.borrow_mut().turn();
        work_on(shard, worker);
    });
}

/// Verifies an echo until the server goes; gives how many bytes.
fn talk(address: SocketAddr) -> JoinHandle<u64> {
    thread::spawn(move || {
        let mut client = client(address);
        client.set_nodelay(true).unwrap();
        let mut verified = 0;
        for round in 0_u64.. {
            let message: Vec<u8> = (0..1 + round % 700).map(|index| (round + index) as u8).collect();
            let mut echo = vec![0; message.len()];
            match client.write_all(&message).and_then(|()| client.read_exact(&mut echo)) {
                Ok(()) => assert_eq!(echo, message),
                Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => panic!("{error}"),
                // It has stopped, or drained.
                Err(_) => break,
            }
            verified += message.len() as u64;
        }
        verified
    })
}

#[test]
fn everything_that_was_accepted_is_accounted_for() {
    let seconds = std::env::var("PANTS_STRESS_SECONDS").map_or(3, |seconds| seconds.parse().expect("a number"));
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut round, mut verified, mut all_moves) = (0, 0, 0);
    while round < 2 || Instant::now() < end {
        round += 1;
        let ledger = Arc::new(Ledger::default());
        let live = start(&ledger, round);
        let clients: Vec<_> = (0..CLIENTS).map(|_| talk(live.address())).collect();
        thread::sleep(Duration::from_millis(300 + 177 * (round % 5)));
        let ends: fn(&Running) = if round % 2 == 0 { Running::stop } else { Running::drain };
        ends(live.running());
        let report = live.join();
        verified += clients.into_iter().map(|client| client.join().unwrap()).sum::<u64>();
        println!("round {round}: {ledger:?}");

        assert_eq!(get(&ledger.sent), get(&ledger.ran), "every message that was accepted has run");
        assert_eq!(get(&ledger.mailed), get(&ledger.delivered), "and every one of the mailboxes");
        assert_eq!(get(&ledger.asked), get(&ledger.answered) + get(&ledger.unanswered), "every asker was told");
        assert_eq!(get(&ledger.unanswered), 0, "nobody has panicked or gone");
        assert!(get(&ledger.fired) <= get(&ledger.set), "no timer fires twice");
        assert_eq!(get(&ledger.cancelled_and_fired), 0, "none fires after it was cancelled");
        assert_eq!(get(&ledger.made), get(&ledger.dropped), "nothing is left over");
        let sum = |count: fn(&pants_shard::Stats) -> u64| report.shards.iter().map(count).sum::<u64>();
        assert_eq!(sum(|stats| stats.connections_handed_in), get(&ledger.moved));
        assert_eq!(sum(|stats| stats.connections_handed_in), sum(|stats| stats.connections_handed_out));
        assert_eq!(sum(|stats| stats.connections_accepted), sum(|stats| stats.connections_closed));
        assert_eq!(sum(|stats| stats.panics), 0);
        all_moves += get(&ledger.moved);
    }
    assert!(verified > 0 && all_moves > 0, "{verified} bytes and {all_moves} moves");
    println!("{round} rounds, {verified} bytes verified, {all_moves} moves");
}
