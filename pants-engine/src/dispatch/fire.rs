//! The dispatcher's part for timers: what happens when one fires.

use std::mem;
use std::time::Duration;

use crate::channel::state::{CloseReason, Flags};
use crate::clock::Tick;
use crate::context::{Context, Running};
use crate::dispatch::Dispatcher;
use crate::key::{Key, TimerKey};
use crate::slots::{Channel, Cycle, HandlerTask, Task};

impl Dispatcher {
    /// Runs a timer that had a deadline.
    pub(crate) fn run_due_timer(&mut self, timer: TimerKey, due: Duration) {
        let Context { timers, clock, stats, .. } = &mut self.context;
        if timers.get_mut(timer).is_some_and(|task| task.is_users()) {
            stats.note_lateness(clock.now().saturating_sub(due));
        }
        self.run_timer(timer);
    }

    /// Runs a timer that is due; one that was cancelled meanwhile is skipped.
    pub(crate) fn run_timer(&mut self, timer: TimerKey) {
        let Some(task) = self.context.timers.get_mut(timer) else { return };
        let task = mem::replace(task, Task::Running);
        self.context.stats.timers_fired += 1;
        self.context.enter(Running::Timer(timer));
        match task {
            Task::Once(run) => {
                self.context.timers.remove(timer);
                run(&mut self.context);
            }
            Task::EveryTurn(mut run) => {
                run(&mut self.context);
                self.put_back(timer, Task::EveryTurn(run));
            }
            Task::Cycle(cycle) => self.run_cycle(timer, cycle),
            Task::Handler(task) => {
                self.context.timers.remove(timer);
                self.run_handler_timer(timer, *task);
            }
            Task::ConnectionDeadline(key) => {
                self.put_back(timer, Task::ConnectionDeadline(key));
                self.check_deadline(key);
            }
            Task::ConnectAgain(key) => {
                self.context.timers.remove(timer);
                self.context.connect_again(key, timer);
            }
            Task::NextAddress(key) => {
                self.context.timers.remove(timer);
                self.context.try_next_address(key);
            }
            Task::AcceptAgain(key) => {
                self.context.timers.remove(timer);
                self.accept_again(key);
            }
            Task::CloseServer(key) => {
                self.context.timers.remove(timer);
                if self.context.server_slot(key).is_some() {
                    self.close_server(key);
                }
            }
            Task::DrainDeadline => {
                self.put_back(timer, Task::DrainDeadline);
                self.handle_drain_deadline(timer);
            }
            Task::Running => {}
        }
        self.context.flush_outbox();
        self.context.running = Running::Nobody;
    }

    /// Returns whether the timer is still wanted: it may have cancelled itself.
    fn put_back(&mut self, timer: TimerKey, task: Task) -> bool {
        match self.context.timers.get_mut(timer) {
            Some(slot) => {
                *slot = task;
                true
            }
            None => false,
        }
    }

    fn run_cycle(&mut self, timer: TimerKey, mut cycle: Box<Cycle>) {
        let skipped;
        (cycle.due, skipped) = next_due(cycle.due, cycle.interval, self.context.clock.now());
        // Before the run, which may ask how many runs it stands for.
        self.context.stats.cycle_ticks_skipped += skipped;
        (cycle.run)(&mut self.context);
        let tick = Tick::at_or_after(cycle.due);
        if self.put_back(timer, Task::Cycle(cycle)) {
            self.context.timers.arm(timer, tick);
        }
    }

    fn run_handler_timer(&mut self, timer: TimerKey, task: HandlerTask) {
        let key = task.connection;
        self.context.forget_handler_timer(key, timer);
        self.context.enter(Running::Connection(key));
        if self.context.connection_slot(key).is_some_and(|slot| slot.stream.flags.any(Flags::ARRIVED)) {
            // Its first callback is another.
            self.settle(key);
        }
        if self.context.connection_slot(key).is_some_and(|slot| !slot.ended && slot.stream.doomed().is_none()) {
            self.call(key, task.run);
        }
        if self.settle(key) {
            // It may have resumed reading.
            self.drive(key);
        }
    }

    /// Half of a drain's time has passed, or all of it.
    fn handle_drain_deadline(&mut self, timer: TimerKey) {
        let now = self.context.clock.tick();
        let Some(drain) = self.context.drain.as_mut().filter(|drain| drain.timer == timer) else {
            // The drain it was made for has ended.
            self.context.timers.remove(timer);
            return;
        };
        drain.impatient |= now >= drain.half;
        let over = now >= drain.deadline;
        if over {
            self.context.timers.remove(timer);
        } else {
            self.context.timers.arm(timer, drain.deadline);
        }
        self.context.closing_all |= over;
        let keys: Vec<Key> = self.context.channels.iter().map(|(key, _)| key).collect();
        for key in keys {
            match self.context.channels.get_mut(key).filter(|channel| !channel.is_attendant()) {
                Some(Channel::Connection(slot)) if over => slot.stream.doom(CloseReason::Stopped),
                Some(Channel::Server(slot)) if over => slot.server.open = false,
                Some(Channel::Datagram(slot)) if over => slot.mailbox.doom(CloseReason::Stopped),
                _ => {}
            }
            self.context.schedule(key);
        }
    }
}

/// When a cycle that was due at `due` is due next, on its grid and after `now`; and how many runs that leaves out.
fn next_due(due: Duration, interval: Duration, now: Duration) -> (Duration, u64) {
    let skipped = now.saturating_sub(due).as_nanos() / interval.as_nanos();
    // Without skips the sum may be the end of time; with them it is at most an interval from now.
    let left_out = u64::try_from(interval.as_nanos().saturating_mul(skipped)).unwrap_or(u64::MAX);
    let next = due.saturating_add(Duration::from_nanos(left_out)).saturating_add(interval);
    (next, u64::try_from(skipped).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_keeps_its_grid_and_skips_what_it_missed() {
        let millis = Duration::from_millis;
        assert_eq!(next_due(millis(10), millis(10), millis(10)), (millis(20), 0));
        assert_eq!(next_due(millis(10), millis(10), millis(19)), (millis(20), 0));
        assert_eq!(next_due(millis(10), millis(10), millis(20)), (millis(30), 1));
        assert_eq!(next_due(millis(10), millis(10), millis(57)), (millis(60), 4));
        assert_eq!(next_due(Duration::MAX, Duration::MAX, millis(1)), (Duration::MAX, 0));
    }
}
