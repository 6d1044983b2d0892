//! The bookkeeping of the lookups of host names: who waits for what, and which thread does what next; pure.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::key::Key;
use crate::limits::{LOOKUP_SLOW, LOOKUP_THREADS, LOOKUP_THREADS_MAX, LOOKUPS_QUEUED_MAX};
use crate::slab::Slab;

/// What is looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    pub(crate) name: String,
    pub(crate) port: u16,
}

/// Lookups that wait or run, those who want to know, and the threads that serve them.
///
/// Whoever asks what is being looked up already joins in, which costs no thread. While lookups wait, one idle thread stays
/// awake for them if there may be one: it is what notices that a running lookup has become slow.
#[derive(Debug)]
pub(crate) struct Lookups<W> {
    /// Invariant: a question is here from when it is asked until it is answered, and never without anybody.
    asked: HashMap<Question, Vec<W>>,
    /// Invariant: each of these questions is in `asked`, and here once.
    waiting: VecDeque<Question>,
    /// When each running lookup began.
    running: Slab<Instant>,
    /// Threads without a lookup, those that are being started among them.
    idle: usize,
    /// Threads ever started, for their names.
    started: u64,
}

/// What is to be done so that the lookups that wait are served.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Help {
    /// Nothing.
    Enough,
    /// To wake an idle thread.
    Wake,
    /// To start a thread with this number; it is counted already.
    Start(u64),
}

/// What an idle thread does next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// To look this up.
    Run(Key, Question),
    /// To wait until it is woken, or for so long, and then ask again.
    Wait(Duration),
    /// To end; it is no longer counted.
    Leave,
}

/// Why a lookup is not even tried.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum Refusal {
    #[error("all {LIMIT} lookups of host names that may run do, and hang; are the name servers down?", LIMIT = LOOKUP_THREADS_MAX)]
    Running,
    #[error("{LIMIT} lookups of host names wait already, which is the most", LIMIT = LOOKUPS_QUEUED_MAX)]
    Waiting,
}

impl<W> Lookups<W> {
    pub(crate) fn new() -> Self {
        Self { asked: HashMap::new(), waiting: VecDeque::new(), running: Slab::new(), idle: 0, started: 0 }
    }

    /// Adds somebody who wants an answer, or gives them back; what is to be done says [`take_help`](Self::take_help).
    pub(crate) fn ask(&mut self, question: Question, waiter: W) -> Result<(), (W, Refusal)> {
        if let Some(waiters) = self.asked.get_mut(&question) {
            waiters.push(waiter);
            return Ok(());
        }
        if self.running.len() >= LOOKUP_THREADS_MAX {
            return Err((waiter, Refusal::Running));
        }
        if self.waiting.len() >= LOOKUPS_QUEUED_MAX {
            return Err((waiter, Refusal::Waiting));
        }
        self.asked.insert(question.clone(), vec![waiter]);
        self.waiting.push_back(question);
        Ok(())
    }

    /// Sees to a thread for the lookups that wait: after every question, and after every lookup that begins.
    pub(crate) fn take_help(&mut self) -> Help {
        if self.waiting.is_empty() {
            return Help::Enough;
        }
        if self.idle > 0 {
            return Help::Wake;
        }
        if self.running.len() >= LOOKUP_THREADS_MAX {
            return Help::Enough;
        }
        self.idle += 1;
        self.started += 1;
        Help::Start(self.started)
    }

    /// A thread could not be started: all who wait for one are given back.
    pub(crate) fn handle_start_failure(&mut self) -> Vec<W> {
        self.idle -= 1;
        let stranded = mem::take(&mut self.waiting);
        stranded.iter().filter_map(|question| self.asked.remove(question)).flatten().collect()
    }

    /// What an idle thread does at `now`, if it is to end at `leave_at` for want of anything to do.
    pub(crate) fn take_next(&mut self, now: Instant, leave_at: Instant) -> Next {
        if let Some(patience) = self.until_one_may_run(now) {
            return Next::Wait(patience);
        }
        if let Some(question) = self.waiting.pop_front() {
            self.idle -= 1;
            return Next::Run(self.running.insert(now), question);
        }
        let patience = leave_at.saturating_duration_since(now);
        if patience.is_zero() {
            self.idle -= 1;
            return Next::Leave;
        }
        Next::Wait(patience)
    }

    /// How long the first lookup that waits must go on waiting, if as many run as may at once.
    fn until_one_may_run(&self, now: Instant) -> Option<Duration> {
        if self.waiting.is_empty() {
            return None;
        }
        let slow_at = self.running.iter().map(|(_, began)| *began + LOOKUP_SLOW);
        let fresh: Vec<_> = slow_at.filter(|slow_at| *slow_at > now).collect();
        if fresh.len() < LOOKUP_THREADS {
            return None;
        }
        fresh.into_iter().min().map(|slow_at| slow_at - now)
    }

    /// A question is answered: for these. Who asks it from now on is too late for this answer.
    pub(crate) fn take_waiters(&mut self, question: &Question) -> Vec<W> {
        self.asked.remove(question).unwrap_or_default()
    }

    /// A thread has done with a lookup and told everybody: it is idle.
    pub(crate) fn handle_done(&mut self, lookup: Key) {
        if self.running.remove(lookup).is_some() {
            self.idle += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn question(number: usize) -> Question {
        Question { name: format!("host-{number}"), port: 80 }
    }

    /// Begins the first lookup that waits, which must be allowed to.
    fn run(lookups: &mut Lookups<usize>, now: Instant) -> (Key, Question) {
        lookups.take_help();
        match lookups.take_next(now, now) {
            Next::Run(lookup, question) => (lookup, question),
            next => panic!("{next:?}"),
        }
    }

    impl<W> Lookups<W> {
        fn answer(&mut self, (lookup, question): &(Key, Question)) -> Vec<W> {
            let waiters = self.take_waiters(question);
            self.handle_done(*lookup);
            waiters
        }

        fn invariants(&self) {
            assert!(self.running.len() + self.idle <= LOOKUP_THREADS_MAX);
            assert!(self.waiting.len() <= LOOKUPS_QUEUED_MAX);
            assert!(self.waiting.iter().all(|question| self.asked.contains_key(question)));
            assert!(self.asked.values().all(|waiters| !waiters.is_empty()));
            assert!(self.asked.len() <= self.waiting.len() + self.running.len());
            // Whoever waits is looked after.
            assert!(self.waiting.is_empty() || self.idle > 0 || self.running.len() == LOOKUP_THREADS_MAX);
        }
    }

    #[test]
    fn the_same_question_is_looked_up_once_until_it_is_answered() {
        let (mut lookups, now) = (Lookups::new(), Instant::now());
        lookups.ask(question(1), 10).unwrap();
        lookups.ask(question(1), 11).unwrap();
        lookups.ask(Question { port: 81, ..question(1) }, 20).unwrap();
        let (lookup, asked) = run(&mut lookups, now);
        lookups.ask(question(1), 12).unwrap();
        assert_eq!((&asked, lookups.waiting.len()), (&question(1), 1));
        assert_eq!(lookups.take_waiters(&asked), [10, 11, 12]);
        lookups.ask(question(1), 13).unwrap();
        lookups.handle_done(lookup);
        assert_eq!(run(&mut lookups, now).1.port, 81);
        assert_eq!(run(&mut lookups, now).1, question(1));
        assert_eq!(lookups.take_waiters(&asked), [13]);
    }

    #[test]
    fn four_run_at_once_and_another_when_the_first_becomes_slow_or_is_done() {
        let (mut lookups, start) = (Lookups::new(), Instant::now());
        let mut began = Vec::new();
        for number in 0..7 {
            lookups.ask(question(number), number).unwrap();
        }
        for number in 0..4 {
            began.push(run(&mut lookups, start + number * Duration::from_millis(100)));
        }
        assert_eq!(lookups.take_help(), Help::Start(5));
        let now = start + Duration::from_millis(400);
        assert_eq!(lookups.take_next(now, now), Next::Wait(Duration::from_millis(600)));
        let now = start + LOOKUP_SLOW;
        assert_eq!(run(&mut lookups, now).1, question(4));
        // The first one no longer counts, so that its end lets no other begin.
        assert_eq!(lookups.answer(&began[0]), [0]);
        assert_eq!(lookups.take_next(now, now), Next::Wait(Duration::from_millis(100)));
        assert_eq!(lookups.answer(&began[1]), [1]);
        assert_eq!(run(&mut lookups, now).1, question(5));
        lookups.invariants();
    }

    #[test]
    fn lookups_that_hang_take_every_thread_and_then_others_are_refused() {
        let (mut lookups, mut now) = (Lookups::new(), Instant::now());
        let mut last = None;
        for number in 0..LOOKUP_THREADS_MAX {
            lookups.ask(question(number), number).unwrap();
            last = Some(run(&mut lookups, now));
            if number % LOOKUP_THREADS == LOOKUP_THREADS - 1 {
                now += LOOKUP_SLOW;
            }
        }
        assert_eq!(lookups.started, LOOKUP_THREADS_MAX as u64);
        let (waiter, refusal) = lookups.ask(question(1000), 7).unwrap_err();
        assert_eq!((waiter, refusal), (7, Refusal::Running));
        assert_eq!(lookups.ask(question(0), 8), Ok(()));
        assert_eq!(lookups.take_help(), Help::Enough);
        assert_eq!(lookups.answer(&last.unwrap()), [LOOKUP_THREADS_MAX - 1]);
        assert_eq!(lookups.ask(question(1000), 7), Ok(()));
        assert_eq!(lookups.take_help(), Help::Wake);
        lookups.invariants();
    }

    #[test]
    fn so_many_may_wait_and_no_more() {
        let mut lookups = Lookups::new();
        for number in 0..LOOKUPS_QUEUED_MAX {
            assert_eq!(lookups.ask(question(number), number), Ok(()));
        }
        assert_eq!(lookups.ask(question(LOOKUPS_QUEUED_MAX), 7), Err((7, Refusal::Waiting)));
        assert_eq!(lookups.ask(question(5), 7), Ok(()));
    }

    #[test]
    fn a_thread_that_cannot_start_gives_back_those_who_wait_for_it() {
        let (mut lookups, now) = (Lookups::new(), Instant::now());
        for number in 0..3 {
            lookups.ask(question(number), number).unwrap();
        }
        lookups.ask(question(2), 20).unwrap();
        let running = run(&mut lookups, now);
        assert_eq!(lookups.take_help(), Help::Start(2));
        assert_eq!(lookups.handle_start_failure(), [1, 2, 20]);
        assert_eq!(lookups.answer(&running), [0]);
        assert_eq!((lookups.idle, lookups.asked.len()), (1, 0));
    }

    #[test]
    fn an_idle_thread_leaves_in_time_but_not_while_anything_waits() {
        let (mut lookups, now) = (Lookups::new(), Instant::now());
        lookups.ask(question(0), 0).unwrap();
        let running = run(&mut lookups, now);
        assert_eq!(lookups.answer(&running), [0]);
        let leave_at = now + Duration::from_secs(3);
        assert_eq!(lookups.take_next(now, leave_at), Next::Wait(Duration::from_secs(3)));
        lookups.ask(question(1), 1).unwrap();
        let running = run(&mut lookups, leave_at);
        assert_eq!(lookups.answer(&running), [1]);
        assert_eq!(lookups.take_next(leave_at, leave_at), Next::Leave);
        assert_eq!(lookups.idle, 0);
    }

    proptest! {
        #[test]
        fn everybody_is_answered_once_whatever_happens(
            steps in proptest::collection::vec((0..6_u8, 0..12_usize, proptest::bool::weighted(0.1)), 0..400),
        ) {
            let (mut lookups, mut now) = (Lookups::new(), Instant::now());
            let mut running: Vec<(Key, Question)> = Vec::new();
            let (mut asked, mut answered) = (0, Vec::new());
            for (step, pick, no_thread) in steps {
                match step {
                    0 | 1 => {
                        lookups.ask(question(pick), asked).unwrap();
                        asked += 1;
                    }
                    2 if !running.is_empty() => {
                        let done = running.swap_remove(pick % running.len());
                        answered.extend(lookups.answer(&done));
                    }
                    3 => now += LOOKUP_SLOW / 4,
                    _ if lookups.idle > 0 => match lookups.take_next(now, now) {
                        Next::Run(lookup, question) => running.push((lookup, question)),
                        Next::Wait(patience) => prop_assert!(!patience.is_zero() && patience <= LOOKUP_SLOW),
                        Next::Leave => prop_assert!(lookups.waiting.is_empty()),
                    },
                    _ => {}
                }
                if matches!(lookups.take_help(), Help::Start(_)) && no_thread {
                    answered.extend(lookups.handle_start_failure());
                }
                lookups.invariants();
            }
            answered.extend(running.iter().flat_map(|(_, question)| lookups.take_waiters(question)));
            answered.extend(lookups.waiting.clone().iter().flat_map(|question| lookups.take_waiters(question)));
            answered.sort_unstable();
            prop_assert_eq!(answered, (0..asked).collect::<Vec<_>>());
        }
    }
}
