//! The open loop of a pool: what is due is sent over the connections that are free.

use pants_shard::Context;

use crate::load::conversation::Stamp;
use crate::load::pacer::Look;
use crate::load::pool::seat::State;
use crate::load::pool::{Next, Pace, Pool};
use crate::load::talk::Carried;

/// Messages that one look at the schedule sends at most, before replies have their turn.
const SENDS_MAX: usize = 64;

impl<T: Carried> Pool<T> {
    /// In an open loop a connection may be free now: it sends what is due.
    pub(super) fn offer(&mut self, index: u32, now: u64, context: &mut Context) -> Next {
        let Self { seats, pace: Pace::Open { pacer, turns, is_watched }, .. } = self else { return Next::Nothing };
        pacer.handle_work();
        pacer.handle_look(now, !turns.is_empty());
        if seats[index as usize].talk.may_send() && turns.offer(index) {
            pacer.handle_free(now);
        }
        let (is_due, is_watched) = (pacer.due() <= now, *is_watched);
        if is_due {
            self.send_due(now, SENDS_MAX, context);
        }
        match self.next_of(index, now) {
            Next::Nothing if !is_watched => Next::Look,
            next => next,
        }
    }

    /// Sends what is due, as far as connections are free, and up to `most` messages.
    fn send_due(&mut self, mut now: u64, most: usize, context: &mut Context) {
        let clock = self.clock;
        let Self { seats, pace: Pace::Open { pacer, turns, .. }, tally, .. } = self else { return };
        for _ in 0..most {
            if pacer.due() > now {
                return;
            }
            let Some(index) = turns.take() else { return };
            let seat = &mut seats[index as usize];
            let State::Open(key) = seat.state else { continue };
            let Some(mut socket) = T::find(context, key).filter(|_| seat.talk.may_send()) else {
                continue;
            };
            let due = pacer.take(now);
            if due.measured {
                tally.record_due(due.lag);
            }
            seat.say(&mut socket, Stamp { due: due.due, sent: now }, tally);
            if seat.talk.may_send() {
                turns.offer(index);
            }
            now = clock.now();
            // It may have been away since: there was a connection, or this message would not have been sent.
            pacer.handle_look(now, true);
        }
    }

    /// Looks at the schedule: sends what is due, and says when to look again.
    pub fn look(&mut self, context: &mut Context) -> Look {
        let now = self.now();
        if let Pace::Open { pacer, turns, .. } = &mut self.pace {
            pacer.end_spin(now);
            pacer.handle_look(now, !turns.is_empty());
        }
        self.send_due(now, SENDS_MAX, context);
        let now = self.now();
        let Pace::Open { pacer, turns, is_watched } = &mut self.pace else { return Look::Never };
        let look = pacer.next_look(now, !turns.is_empty());
        *is_watched = look != Look::Never;
        pacer.promise(look, now);
        if look == Look::NextTurn && pacer.due() > now {
            pacer.begin_spin(now);
        }
        look
    }

    /// Every connection is busy, and nobody looks at the schedule: when somebody is to, if nobody is going to.
    pub fn begin_beat(&mut self) -> Option<u64> {
        let Pace::Open { pacer, turns, .. } = &mut self.pace else { return None };
        if turns.is_empty() { pacer.begin_beat() } else { None }
    }

    /// Somebody looks, as was to be.
    pub fn end_beat(&mut self) {
        let now = self.now();
        if let Pace::Open { pacer, turns, .. } = &mut self.pace {
            pacer.handle_look(now, !turns.is_empty());
            pacer.end_beat();
        }
    }

    /// The cool-down is over: what is due and finds a connection is still sent, and nothing after it. What is left over is
    /// counted when all has come back: that takes time in an overload, in which replies would seem to be late.
    pub fn stop(&mut self, context: &mut Context) {
        self.send_due(self.now(), usize::MAX, context);
        if let Pace::Open { pacer, .. } = &mut self.pace {
            pacer.stop();
        }
        self.rest_all();
    }

    /// Whether a schedule without a stop has come to its end.
    pub fn is_schedule_over(&self) -> bool {
        matches!(&self.pace, Pace::Open { pacer, .. } if self.span.stop == u64::MAX && pacer.is_over())
    }

    /// What was due before now and was not sent is not sent any more.
    pub(super) fn end_schedule(&mut self, now: u64) {
        let Self { pace: Pace::Open { pacer, .. }, tally, .. } = self else { return };
        pacer.end(now, |due| tally.record_unsent(due, now));
    }

    /// How long the shard has spun with nothing to do, waiting for the next message to be due.
    pub fn idle_ns(&self) -> u64 {
        if let Pace::Open { pacer, .. } = &self.pace { pacer.idle() } else { 0 }
    }
}
