//! The alarm: a timerfd (timerfd_create(2)) that wakes the poller for the engine's timers.
//!
//! The poller's own timeout counts milliseconds, and costs the kernel a timer that is started and stopped with every sleep. The
//! alarm is to the nanosecond, and stays set while messages end one sleep after another.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::clock::Clock;
use crate::limits;
use crate::poll::Registrar;

/// Wakes the poller once at a time. Watched by edges, so its descriptor is never read: setting it anew ends the old state.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    /// Made when first needed.
    timer: Option<OwnedFd>,
    /// When it goes off, or went off last, by the engine's clock.
    set_for: Option<Duration>,
    complained: bool,
}

impl Alarm {
    /// Sees to it that the poller wakes at `due`, or earlier: an alarm that is already set is never put off, for most are set
    /// for a timer that is cancelled or put off in time. Returns whether it does; without a descriptor to be had the poller's
    /// timeout must do.
    ///
    /// `asked` is a time after which the poller has not been asked for events: what goes off later is still to come, or waits
    /// there.
    pub(crate) fn set(&mut self, due: Duration, asked: Duration, clock: &Clock, registrar: &Registrar) -> bool {
        if self.set_for.is_some_and(|earlier| asked < earlier && earlier <= due) {
            return true;
        }
        let now = clock.fresh();
        // Zero would turn the alarm off.
        let wait = due.saturating_sub(now).clamp(Duration::from_nanos(1), limits::LONGEST_SLEEP);
        let result = self.start(wait, registrar);
        match &result {
            Ok(()) => self.set_for = Some(now + wait),
            Err(error) if !self.complained => {
                self.complained = true;
                tracing::warn!(%error, "an engine has no timerfd; its timers fire to the millisecond");
            }
            Err(_) => {}
        }
        result.is_ok()
    }

    fn start(&mut self, wait: Duration, registrar: &Registrar) -> io::Result<()> {
        let timer = match &self.timer {
            Some(timer) => timer,
            None => {
                let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
                registrar.register_alarm(timer.as_fd())?;
                self.timer.insert(timer)
            }
        };
        let once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: wait.subsec_nanos().into() };
        timerfd_settime(timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: once, it_value: value })?;
        Ok(())
    }
}
