//! The engine's timers: a wheel for those with a deadline, a heap for the precise ones among them,
//! lists for those that run by the turn.
//!
//! What a timer does is the caller's `T`; this file only says which is next.

pub(crate) mod alarm;
mod links;
mod precise;
pub(crate) mod wheel;

use std::collections::VecDeque;
use std::time::Duration;

use self::precise::Precise;
use self::wheel::Wheel;
use crate::clock::Tick;
use crate::key::{Key, TimerKey};

/// Timers of all kinds under one kind of key.
#[derive(Debug)]
pub(crate) struct Timers<T> {
    /// Holds every timer; those of the other kinds are idle in it.
    wheel: Wheel<T>,
    precise: Precise,
    /// Due at the next turn. May hold keys of cancelled timers: they miss.
    next_turn: VecDeque<Key>,
    /// As `every_turn`, made since the turn began.
    new_every_turn: Vec<Key>,
    /// Due at every turn, in the order of their making. May hold keys of timers cancelled since the turn
    /// began: they miss.
    every_turn: Vec<Key>,
}

impl<T> Timers<T> {
    pub(crate) fn new() -> Self {
        Self {
            wheel: Wheel::new(),
            precise: Precise::new(),
            next_turn: VecDeque::new(),
            new_every_turn: Vec::new(),
            every_turn: Vec::new(),
        }
    }

    /// The number of timers pending, of every kind.
    pub(crate) fn len(&self) -> usize {
        self.wheel.len()
    }

    #[inline(always)]
    pub(crate) fn insert(&mut self, deadline: Tick, task: T) -> TimerKey {
        TimerKey(self.wheel.insert(deadline.0, task))
    }

    pub(crate) fn insert_precise(&mut self, due: Duration, task: T) -> TimerKey {
        let key = self.wheel.insert_idle(task);
        self.precise.push(due, key, |key| self.wheel.contains(key));
        TimerKey(key)
    }

    pub(crate) fn insert_next_turn(&mut self, task: T) -> TimerKey {
        let key = self.wheel.insert_idle(task);
        self.next_turn.push_back(key);
        TimerKey(key)
    }

    pub(crate) fn insert_every_turn(&mut self, task: T) -> TimerKey {
        let key = self.wheel.insert_idle(task);
        self.new_every_turn.push(key);
        TimerKey(key)
    }

    pub(crate) fn arm(&mut self, timer: TimerKey, deadline: Tick) {
        self.wheel.arm(timer.0, deadline.0);
    }

    /// Has a timer that is due at a tick fire at the next turn instead.
    pub(crate) fn hasten(&mut self, timer: TimerKey) {
        self.wheel.disarm(timer.0);
        self.next_turn.push_back(timer.0);
    }

    pub(crate) fn deadline(&self, timer: TimerKey) -> Option<Tick> {
        self.wheel.deadline(timer.0).map(Tick)
    }

    #[inline(always)]
    pub(crate) fn remove(&mut self, timer: TimerKey) -> Option<T> {
        let task = self.wheel.remove(timer.0);
        if !self.precise.is_empty() {
            self.expose_precise();
        }
        task
    }

    /// Not inlined, so that the timers of the wheel, which most are, do not pay for it.
    #[inline(never)]
    fn expose_precise(&mut self) {
        self.precise.expose(|key| self.wheel.contains(key));
    }

    pub(crate) fn get_mut(&mut self, timer: TimerKey) -> Option<&mut T> {
        self.wheel.get_mut(timer.0)
    }

    /// Takes the next timer on the wheel that is due, with the tick at which it was; it stays, idle, until removed or armed.
    /// What that takes is taken off `budget`; with none left there is nothing.
    pub(crate) fn pop(&mut self, now: Tick, budget: &mut usize) -> Option<(TimerKey, Tick)> {
        let key = self.wheel.pop(now.0, budget)?;
        self.wheel.last_deadline(key).map(|due| (TimerKey(key), Tick(due)))
    }

    /// Takes the next precise timer that is due, with when it was; it stays, idle, until removed.
    pub(crate) fn pop_precise(&mut self, now: Duration) -> Option<(TimerKey, Duration)> {
        self.precise.pop(now, |key| self.wheel.contains(key)).map(|(due, key)| (TimerKey(key), due))
    }

    pub(crate) fn pop_next_turn(&mut self) -> Option<TimerKey> {
        self.next_turn.pop_front().map(TimerKey)
    }

    /// How many timers wait for the next turn, cancelled ones included.
    pub(crate) fn next_turn_len(&self) -> usize {
        self.next_turn.len()
    }

    /// From now on the timers that were made for every turn are due in this one. Forgets those that were cancelled.
    pub(crate) fn begin_turn(&mut self) {
        if self.has_every_turn() {
            self.every_turn.append(&mut self.new_every_turn);
            // Here, and in one pass: within a turn positions must stay what they are.
            self.every_turn.retain(|&key| self.wheel.contains(key));
        }
    }

    /// The every-turn timer at `position`, which may have been cancelled since the turn began.
    pub(crate) fn every_turn_at(&self, position: usize) -> Option<TimerKey> {
        self.every_turn.get(position).copied().map(TimerKey)
    }

    pub(crate) fn has_every_turn(&self) -> bool {
        !(self.every_turn.is_empty() && self.new_every_turn.is_empty())
    }

    /// When the earliest precise timer is due.
    pub(crate) fn next_precise(&self) -> Option<Duration> {
        self.precise.next()
    }

    /// When a deadline next needs a look: at the latest when the earliest has come.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        let wheel = self.wheel.next_tick().map(|tick| Tick(tick).begins());
        match (wheel, self.precise.next()) {
            (Some(wheel), Some(precise)) => Some(wheel.min(precise)),
            (wheel, precise) => wheel.or(precise),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_turn_timers_keep_their_places_within_a_turn_and_the_cancelled_are_forgotten_when_the_next_begins() {
        let mut timers = Timers::new();
        let keys: Vec<TimerKey> = (0..4).map(|task| timers.insert_every_turn(task)).collect();
        timers.begin_turn();
        for cancelled in [0, 1, 3] {
            timers.remove(keys[cancelled]);
        }
        assert_eq!(timers.every_turn_at(2), Some(keys[2]));
        timers.begin_turn();
        assert_eq!(timers.every_turn.len(), 1);
        assert_eq!((timers.every_turn_at(0), timers.every_turn_at(1)), (Some(keys[2]), None));
        timers.remove(keys[2]);
        timers.begin_turn();
        assert!(!timers.has_every_turn());
    }
}
