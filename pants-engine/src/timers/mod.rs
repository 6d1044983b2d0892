//! The engine's timers: a wheel for those with a deadline, lists for those that run by the turn.
//!
//! What a timer does is the caller's `T`; this file only says which is next.

pub(crate) mod wheel;

use std::collections::VecDeque;

use self::wheel::Wheel;
use crate::clock::Tick;
use crate::key::{Key, TimerKey};

/// Timers of all four kinds under one kind of key.
#[derive(Debug)]
pub(crate) struct Timers<T> {
    wheel: Wheel<T>,
    /// Due at the next turn. May hold keys of cancelled timers: they miss.
    next_turn: VecDeque<Key>,
    /// As `every_turn`, made since the turn began.
    new_every_turn: Vec<Key>,
    /// Due at every turn, in the order of their making. May hold keys of cancelled timers until they are next visited.
    every_turn: Vec<Key>,
}

impl<T> Timers<T> {
    pub(crate) fn new() -> Self {
        Self { wheel: Wheel::new(), next_turn: VecDeque::new(), new_every_turn: Vec::new(), every_turn: Vec::new() }
    }

    /// The number of timers pending, of every kind.
    pub(crate) fn len(&self) -> usize {
        self.wheel.len()
    }

    pub(crate) fn insert(&mut self, deadline: Tick, task: T) -> TimerKey {
        TimerKey(self.wheel.insert(deadline.0, task))
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

    pub(crate) fn deadline(&self, timer: TimerKey) -> Option<Tick> {
        self.wheel.deadline(timer.0).map(Tick)
    }

    pub(crate) fn remove(&mut self, timer: TimerKey) -> Option<T> {
        self.wheel.remove(timer.0)
    }

    pub(crate) fn get_mut(&mut self, timer: TimerKey) -> Option<&mut T> {
        self.wheel.get_mut(timer.0)
    }

    /// Takes the next timer that is due; it stays, idle, until removed or armed.
    pub(crate) fn pop(&mut self, now: Tick) -> Option<TimerKey> {
        self.wheel.pop(now.0).map(TimerKey)
    }

    pub(crate) fn pop_next_turn(&mut self) -> Option<TimerKey> {
        self.next_turn.pop_front().map(TimerKey)
    }

    /// How many timers wait for the next turn, cancelled ones included.
    pub(crate) fn next_turn_len(&self) -> usize {
        self.next_turn.len()
    }

    /// From now on the timers that were made for every turn are due in this one.
    pub(crate) fn begin_turn(&mut self) {
        self.every_turn.append(&mut self.new_every_turn);
    }

    /// The every-turn timer at `position`; forgets cancelled ones that stand there.
    pub(crate) fn every_turn_at(&mut self, position: usize) -> Option<TimerKey> {
        while let Some(&key) = self.every_turn.get(position) {
            if self.wheel.get_mut(key).is_some() {
                return Some(TimerKey(key));
            }
            self.every_turn.remove(position);
        }
        None
    }

    pub(crate) fn has_every_turn(&self) -> bool {
        !(self.every_turn.is_empty() && self.new_every_turn.is_empty())
    }

    /// When the wheel next needs a look: at the latest at the earliest deadline.
    pub(crate) fn next_tick(&self) -> Option<Tick> {
        self.wheel.next_tick().map(Tick)
    }
}
