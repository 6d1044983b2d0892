//! How an engine waits: asleep in the kernel, or busily, for as long as that pays.

use std::io;
use std::time::Duration;

use crate::engine::Engine;
use crate::limits;

impl Engine {
    /// Waits for events, unless there is work: then it only takes those that are there.
    pub(super) fn sleep(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let context = &self.dispatcher.context;
        let due = context.due();
        let own = due.map_or(limits::LONGEST_SLEEP, |due| context.time_until(due));
        let mut sleep = timeout.map_or(own, |timeout| timeout.min(own));
        if self.sources.due {
            sleep = Duration::ZERO;
        }
        let mut asked = context.clock.now();
        if !sleep.is_zero() {
            if self.busy.is_worth_it() {
                if self.poll_busily(&mut sleep)? {
                    return Ok(());
                }
                asked = self.dispatcher.context.clock.fresh();
            }
            if !self.doorbell.lie_down() {
                sleep = Duration::ZERO;
            }
        }
        let result = if sleep.is_zero() {
            self.poller.wait(Some(sleep))
        } else {
            let alarm = due.is_none_or(|due| self.dispatcher.context.set_alarm(due, asked));
            self.sleep_for((timeout.is_some() || !alarm).then_some(sleep))
        };
        self.doorbell.get_up();
        result
    }

    /// Sleeps until an event comes, the alarm's included, or the timeout is over.
    fn sleep_for(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let context = &mut self.dispatcher.context;
        context.stats.sleeps += 1;
        let begun = self.busy.is_enabled().then(|| context.clock.fresh());
        self.poller.wait(timeout)?;
        if let Some(begun) = begun {
            self.busy.handle_sleep(begun, context.clock.fresh(), self.poller.has_events());
        }
        Ok(())
    }

    /// Looks for work instead of sleeping, for as long as the options say but no longer than `sleep`, which is the shorter
    /// for it. Returns whether there is some.
    fn poll_busily(&mut self, sleep: &mut Duration) -> io::Result<bool> {
        // Nobody need wake it: the word is watched. Between polls by a foreign loop it said that the engine sleeps.
        self.doorbell.get_up();
        // Of an engine with much to do, this is all it takes, with the one system call of any turn.
        if self.finds_work()? {
            return Ok(true);
        }
        self.dispatcher.context.stats.busy_polls += 1;
        let begun = self.dispatcher.context.clock.fresh();
        let end = self.busy.end(begun, *sleep);
        let (mut now, mut found) = (begun, false);
        while !found && now < end {
            found = self.finds_work()?;
            now = self.dispatcher.context.clock.fresh();
        }
        self.busy.handle_poll(found);
        self.dispatcher.context.stats.busy_poll_hits += u64::from(found);
        *sleep = sleep.saturating_sub(now - begun);
        Ok(found)
    }

    /// Asks the kernel once and then looks at the doorbell for a microsecond or so.
    fn finds_work(&mut self) -> io::Result<bool> {
        self.poller.wait(Some(Duration::ZERO))?;
        if self.poller.has_events() {
            return Ok(true);
        }
        for _ in 0..limits::BUSY_POLL_LOOKS {
            if self.doorbell.is_rung() {
                return Ok(true);
            }
            std::hint::spin_loop();
        }
        Ok(false)
    }
}
