//! One turn of the loop, and its phases.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::limits;

/// How far the present turn has come, so that it goes on behind a callback that panicked.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// Whether the sources are drained in this turn, once that has been asked.
    sources_due: Option<bool>,
    source: usize,
    /// How often the present source was asked.
    source_calls: usize,
    precise_budget: usize,
    timer_budget: usize,
    next_turn_left: usize,
    every_turn: usize,
    ready_left: Option<usize>,
}

impl Engine {
    /// One turn of the loop. A callback that panics ends its phase; the turn goes on behind it.
    pub(super) fn turn(&mut self, timeout: Option<Duration>) -> Result<()> {
        // What was written between turns.
        self.dispatcher.context.flush_outbox();
        self.sleep(timeout).map_err(Error::Poll)?;
        self.dispatcher.take_new_handlers();
        let context = &mut self.dispatcher.context;
        context.clock.read();
        context.stats.turns += 1;
        context.heart.begin_turn(context.stats.turns);
        context.timers.begin_turn();
        self.dispatcher.events_handled = 0;
        self.turn = Turn {
            precise_budget: limits::TIMER_BUDGET,
            timer_budget: limits::TIMER_BUDGET,
            next_turn_left: context.timers.next_turn_len(),
            ..Turn::default()
        };
        while let Err(payload) = catch_unwind(AssertUnwindSafe(|| self.phases())) {
            self.dispatcher.contain(&*payload);
        }
        let context = &self.dispatcher.context;
        context.heart.end_turn(context.stats.turns);
        Ok(())
    }

    fn phases(&mut self) {
        self.run_precise_timers();
        self.run_expired_timers();
        self.dispatcher.handle_events(&self.poller);
        self.dispatcher.context.flush_outbox();
        self.drain_sources();
        self.run_next_turn_timers();
        self.run_every_turn_timers();
        self.drive_leftovers();
    }

    fn drain_sources(&mut self) {
        // Once a turn, and as late as possible: who rings from here on rings for the next one.
        let due = &mut self.sources.due;
        if !*self.turn.sources_due.get_or_insert_with(|| self.doorbell.take() | std::mem::take(due)) {
            return;
        }
        self.dispatcher.context.heart.enter_messages();
        while let Some(source) = self.sources.all.get_mut(self.turn.source) {
            // More than one call means that a message has panicked; that must not let the source past its budget.
            self.turn.source_calls += 1;
            if self.turn.source_calls <= limits::SOURCE_BUDGET {
                let delivered = source.drain(&mut self.dispatcher.context, limits::SOURCE_BUDGET);
                self.dispatcher.context.stats.messages += delivered as u64;
            }
            self.turn.source += 1;
            self.turn.source_calls = 0;
            self.sources.due |= !source.is_empty();
        }
        self.dispatcher.context.flush_outbox();
    }

    fn run_expired_timers(&mut self) {
        let now = self.dispatcher.context.clock.tick();
        while let Some((timer, due)) = self.dispatcher.context.timers.pop(now, &mut self.turn.timer_budget) {
            self.dispatcher.run_due_timer(timer, due.begins());
        }
    }

    fn run_precise_timers(&mut self) {
        while self.turn.precise_budget > 0 {
            let now = self.dispatcher.context.clock.now();
            let Some((timer, due)) = self.dispatcher.context.timers.pop_precise(now) else { return };
            self.turn.precise_budget -= 1;
            self.dispatcher.run_due_timer(timer, due);
        }
    }

    fn run_next_turn_timers(&mut self) {
        while self.turn.next_turn_left > 0 {
            self.turn.next_turn_left -= 1;
            if let Some(timer) = self.dispatcher.context.timers.pop_next_turn() {
                self.dispatcher.run_timer(timer);
            }
        }
    }

    fn run_every_turn_timers(&mut self) {
        while let Some(timer) = self.dispatcher.context.timers.every_turn_at(self.turn.every_turn) {
            self.turn.every_turn += 1;
            self.dispatcher.run_timer(timer);
        }
    }

    fn drive_leftovers(&mut self) {
        self.dispatcher.take_new_handlers();
        let ready = self.dispatcher.context.ready.len();
        let left = self.turn.ready_left.get_or_insert(ready);
        while *left > 0 {
            *left -= 1;
            self.dispatcher.drive_next_ready();
        }
    }
}
