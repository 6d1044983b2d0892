//! The alarm: a timerfd (timerfd_create(2)) that wakes the poller to the nanosecond, where its own timeout counts
//! milliseconds.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::limits;
use crate::poll::Registrar;

/// Wakes the poller once at a time. Watched by edges, so its descriptor is never read: setting it anew ends the old state.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    /// Made when first needed.
    timer: Option<OwnedFd>,
    /// When it goes off, or went off last; counted as `now` is.
    set_for: Option<Duration>,
    complained: bool,
}

impl Alarm {
    /// Sees to it that the poller wakes at `due`, or earlier: an alarm that is already set is never put off, for many are set
    /// for a timer that is cancelled in time. Without a descriptor to be had the poller's timeout must do, and does.
    pub(crate) fn set(&mut self, due: Duration, now: Duration, registrar: &Registrar) {
        if self.set_for.is_some_and(|earlier| now < earlier && earlier <= due) {
            return;
        }
        // The poller's own timeout ends the longest sleep before this does. Zero would turn the alarm off.
        let wait = due.saturating_sub(now).clamp(Duration::from_nanos(1), limits::LONGEST_SLEEP);
        match self.start(wait, registrar) {
            Ok(()) => self.set_for = Some(now + wait),
            Err(error) if !self.complained => {
                self.complained = true;
                tracing::warn!(%error, "precise timers have no timerfd; they fire to the millisecond");
            }
            Err(_) => {}
        }
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
