//! The context's part for timers: setting and cancelling them.

use std::time::{Duration, Instant};

use crate::clock::Tick;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::key::TimerKey;
use crate::slots::{Cycle, Task};

impl Context {
    /// Runs `f` in the next turn. The original's `callback`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::cell::Cell;
    /// use std::rc::Rc;
    ///
    /// let mut engine = pants_engine::Engine::new()?;
    /// let has_run = Rc::new(Cell::new(false));
    /// let flag = Rc::clone(&has_run);
    /// engine.context().callback(move |_| flag.set(true));
    /// assert!(!has_run.get());
    /// engine.poll(None)?;
    /// assert!(has_run.get());
    /// # Ok::<(), pants_engine::Error>(())
    /// ```
    pub fn callback(&mut self, f: impl FnOnce(&mut Self) + 'static) -> TimerKey {
        self.timers.insert_next_turn(Task::Once(Box::new(f)))
    }

    /// Runs `f` in every turn, the next one first; while it exists the engine sleeps no longer than
    /// [`longest_turn`](crate::EngineOptions::longest_turn). The original's `loop`, which is a keyword in Rust.
    ///
    /// # Examples
    ///
    /// ```
    /// use pants_engine::{Engine, EngineOptions};
    /// use std::time::Duration;
    ///
    /// let options = EngineOptions { longest_turn: Duration::from_millis(1), ..EngineOptions::default() };
    /// let mut engine = Engine::with_options(options)?;
    /// let mut left = 3;
    /// engine.context().every_turn(move |context| {
    ///     left -= 1;
    ///     if left == 0 {
    ///         context.stop();
    ///     }
    /// });
    /// engine.start()?;
    /// assert_eq!(engine.context().stats().turns, 3);
    /// # Ok::<(), pants_engine::Error>(())
    /// ```
    pub fn every_turn(&mut self, f: impl FnMut(&mut Self) + 'static) -> TimerKey {
        self.timers.insert_every_turn(Task::EveryTurn(Box::new(f)))
    }

    /// Runs `f` when `delay` has passed since this call: never before, and as long after as the turn at hand takes, the
    /// resolution being 1 ms. No delay means the next turn; one past the end of time never ends.
    ///
    /// Reads the clock, since the turn's own reading is older than the call.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// let mut engine = pants_engine::Engine::new()?;
    /// let (begun, delay) = (Instant::now(), Duration::from_millis(10));
    /// engine.context().defer(delay, |context| context.stop());
    /// engine.start()?;
    /// assert!(begun.elapsed() >= delay);
    /// # Ok::<(), pants_engine::Error>(())
    /// ```
    pub fn defer(&mut self, delay: Duration, f: impl FnOnce(&mut Self) + 'static) -> TimerKey {
        self.insert_after(delay, Task::Once(Box::new(f)))
    }

    /// Runs `f` at `instant`, or in the next turn if that has passed; otherwise as [`defer`](Self::defer).
    pub fn defer_until(&mut self, instant: Instant, f: impl FnOnce(&mut Self) + 'static) -> TimerKey {
        let (due, task) = (self.clock.at(instant), Task::Once(Box::new(f)));
        if due <= self.clock.fresh() {
            return self.timers.insert_next_turn(task);
        }
        self.timers.insert(Tick::at_or_after(due), task)
    }

    /// Runs `f` when `delay` has passed since this call, as [`defer`](Self::defer), but to the nanosecond of the clock: never
    /// before, and after by what it takes to wake and by the turn at hand. No delay means the next turn.
    ///
    /// Costs more to set than others, and a sleep that ends earlier than the last was to costs a system call; so it is for pacing
    /// and the like, not for timeouts. An engine that can get no descriptor for its timerfd fires to the millisecond.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// let mut engine = pants_engine::Engine::new()?;
    /// let (begun, delay) = (Instant::now(), Duration::from_micros(150));
    /// engine.context().defer_precise(delay, move |context| {
    ///     assert!(begun.elapsed() >= delay);
    ///     context.stop();
    /// });
    /// engine.start()?;
    /// # Ok::<(), pants_engine::Error>(())
    /// ```
    pub fn defer_precise(&mut self, delay: Duration, f: impl FnOnce(&mut Self) + 'static) -> TimerKey {
        let task = Task::Once(Box::new(f));
        if delay.is_zero() {
            return self.timers.insert_next_turn(task);
        }
        self.timers.insert_precise(self.clock.fresh().saturating_add(delay), task)
    }

    /// Runs `f` at `instant`, or in the next turn if that has passed; otherwise as [`defer_precise`](Self::defer_precise).
    pub fn defer_precise_until(&mut self, instant: Instant, f: impl FnOnce(&mut Self) + 'static) -> TimerKey {
        let (due, task) = (self.clock.at(instant), Task::Once(Box::new(f)));
        if due <= self.clock.fresh() {
            return self.timers.insert_next_turn(task);
        }
        self.timers.insert_precise(due, task)
    }

    /// Runs `f` every `interval`, for the first time when one has passed. The rate is fixed: lateness does not add up. A run
    /// that is late by an interval or more comes once, and those it stands for are skipped; they are counted, before it runs,
    /// in [`Stats::cycle_ticks_skipped`](crate::Stats::cycle_ticks_skipped).
    ///
    /// # Errors
    ///
    /// [`Error::ZeroInterval`] if `interval` is zero.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// let mut engine = pants_engine::Engine::new()?;
    /// let (begun, interval) = (Instant::now(), Duration::from_millis(5));
    /// let mut left = 3;
    /// engine.context().cycle(interval, move |context| {
    ///     left -= 1;
    ///     if left == 0 {
    ///         context.stop();
    ///     }
    /// })?;
    /// engine.start()?;
    /// assert!(begun.elapsed() >= interval * 3);
    /// # Ok::<(), pants_engine::Error>(())
    /// ```
    pub fn cycle(&mut self, interval: Duration, f: impl FnMut(&mut Self) + 'static) -> Result<TimerKey> {
        self.cycle_from(Instant::now(), interval, f)
    }

    /// As [`cycle`](Self::cycle), counted from `start` and not from this call: `f` runs at `start + interval`, at
    /// `start + 2 * interval` and so on. Runs that are past already are skipped and counted. A `start` from before the
    /// engine was made counts as that moment.
    ///
    /// # Errors
    ///
    /// As [`cycle`](Self::cycle).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// let mut engine = pants_engine::Engine::new()?;
    /// let (noon, minute) = (Instant::now() + Duration::from_secs(3600), Duration::from_secs(60));
    /// engine.context().cycle_from(noon, minute, |_| println!("a minute of the afternoon has passed"))?;
    /// # Ok::<(), pants_engine::Error>(())
    /// ```
    pub fn cycle_from(
        &mut self,
        start: Instant,
        interval: Duration,
        f: impl FnMut(&mut Self) + 'static,
    ) -> Result<TimerKey> {
        if interval.is_zero() {
            return Err(Error::ZeroInterval);
        }
        let due = self.clock.at(start).saturating_add(interval);
        let cycle = Cycle { due, interval, run: Box::new(f) };
        Ok(self.timers.insert(Tick::at_or_after(due), Task::Cycle(Box::new(cycle))))
    }

    /// Has a pending timer of [`defer`](Self::defer), [`defer_until`](Self::defer_until) or
    /// [`Connection::defer`](crate::Connection::defer) fire when `delay` has passed since this call, and not when it was to.
    /// Returns whether it will: a timer of another kind, or one that waits for the next turn, has fired or was cancelled, is left alone.
    ///
    /// Cheaper than to cancel it and to set another: what it holds stays where it is, and one that is put off, as a time-out is with every
    /// sign of life, is only marked.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// let mut engine = pants_engine::Engine::new()?;
    /// let timeout = engine.context().defer(Duration::from_millis(5), |context| context.stop());
    /// let (begun, delay) = (Instant::now(), Duration::from_millis(20));
    /// assert!(engine.context().reset(timeout, delay));
    /// engine.start()?;
    /// assert!(begun.elapsed() >= delay);
    /// assert!(!engine.context().reset(timeout, delay));
    /// # Ok::<(), pants_engine::Error>(())
    /// ```
    pub fn reset(&mut self, timer: TimerKey, delay: Duration) -> bool {
        let fires_once = |task: &mut Task| matches!(task, Task::Once(_) | Task::Handler(_));
        if !self.timers.get_mut(timer).is_some_and(fires_once) || self.timers.deadline(timer).is_none() {
            return false;
        }
        if delay.is_zero() {
            self.timers.hasten(timer);
        } else {
            self.timers.arm(timer, Tick::at_or_after(self.clock.fresh().saturating_add(delay)));
        }
        true
    }

    /// Cancels a timer and frees what it holds. Returns whether it was pending; one that has fired or was cancelled before
    /// is left alone. A repeating timer may cancel itself.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let mut engine = pants_engine::Engine::new()?;
    /// let timer = engine.context().defer(Duration::from_secs(60), |_| println!("a minute has passed"));
    /// assert!(engine.context().cancel(timer));
    /// assert!(!engine.context().cancel(timer));
    /// # Ok::<(), pants_engine::Error>(())
    /// ```
    pub fn cancel(&mut self, timer: TimerKey) -> bool {
        match self.timers.remove(timer) {
            Some(Task::Handler(task)) => {
                self.forget_handler_timer(task.connection, timer);
                true
            }
            task => task.is_some(),
        }
    }
}
