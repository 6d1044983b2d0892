//! The context's upkeep: what the dispatcher and the callbacks' facades need of it, and programs do not see.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use crate::channel::state::Flags;
use crate::clock::Tick;
use crate::context::{Context, Running};
use crate::error::{Error, Result};
use crate::key::{Key, ServerKey, TimerKey};
use crate::limits;
use crate::slots::{Channel, ConnectionSlot, ServerSlot, Task};

impl Context {
    /// Notes whose callback comes now.
    pub(crate) fn enter(&mut self, running: Running) {
        self.running = running;
        match running {
            Running::Connection(key) | Running::Server(key) | Running::Datagram(key) => self.heart.enter_channel(key),
            Running::Timer(_) => self.heart.enter_timer(),
            Running::Nobody => {}
        }
    }

    /// Refuses new channels while all are being closed.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.closing_all { Err(Error::Stopping) } else { Ok(()) }
    }

    /// Adds a connection, registers its socket and arms its timeouts.
    pub(crate) fn insert_connection(&mut self, slot: ConnectionSlot) -> io::Result<Key> {
        self.try_insert_connection(slot).map_err(|(_, error)| error)
    }

    /// As [`insert_connection`](Self::insert_connection); gives back what could not be registered.
    pub(crate) fn try_insert_connection(
        &mut self,
        slot: ConnectionSlot,
    ) -> Result<Key, (Box<ConnectionSlot>, io::Error)> {
        let attendant = slot.attendant;
        self.attendants += usize::from(attendant);
        let key = self.channels.insert(Channel::Connection(slot));
        let Some(Channel::Connection(slot)) = self.channels.get_mut(key) else { unreachable!("it was just inserted") };
        let drains = self.drain.is_some() && !attendant;
        slot.stream.flags.set(Flags::SHUTDOWN_DUE.or(Flags::READABLE).when(drains));
        let fd = slot.stream.transport.socket().as_fd();
        slot.watches_output = !slot.stream.can_send();
        if let Err(error) = self.registrar.register_stream(fd, key, slot.watches_output) {
            let Some(Channel::Connection(slot)) = self.remove_channel(key) else { unreachable!("it is still there") };
            return Err((Box::new(slot), error));
        }
        self.stats.connections_open += u64::from(!attendant);
        self.rearm(key);
        Ok(key)
    }

    /// Removes a server or a connection.
    pub(crate) fn remove_channel(&mut self, key: Key) -> Option<Channel> {
        let channel = self.channels.remove(key)?;
        self.attendants -= usize::from(channel.is_attendant());
        Some(channel)
    }

    /// Takes a connection out of its slot: its timers go, and its place at its server is free.
    pub(crate) fn release(&mut self, key: Key) -> Option<ConnectionSlot> {
        let Some(Channel::Connection(mut slot)) = self.remove_channel(key) else { return None };
        for timer in slot.deadline_timer.take().into_iter().chain(slot.timers.take().into_iter().flat_map(|all| *all)) {
            self.timers.remove(timer);
        }
        if let Some(server) = slot.server {
            self.leave_server(server);
        }
        self.stats.connections_open -= u64::from(!slot.attendant);
        Some(slot)
    }

    fn leave_server(&mut self, key: ServerKey) {
        let Some(slot) = self.server_slot(key.0) else { return };
        if slot.count_connection(-1) {
            self.schedule(key.0);
        }
    }

    pub(crate) fn insert_after(&mut self, delay: Duration, task: Task) -> TimerKey {
        if delay.is_zero() {
            return self.timers.insert_next_turn(task);
        }
        self.timers.insert(Tick::at_or_after(self.clock.fresh().saturating_add(delay)), task)
    }

    pub(crate) fn forget_handler_timer(&mut self, connection: Key, timer: TimerKey) {
        if let Some(slot) = self.connection_slot(connection)
            && let Some(timers) = &mut slot.timers
        {
            timers.retain(|known| *known != timer);
            if timers.is_empty() {
                slot.timers = None;
            }
        }
    }

    #[inline]
    pub(crate) fn connection_slot(&mut self, key: Key) -> Option<&mut ConnectionSlot> {
        match self.channels.get_mut(key) {
            Some(Channel::Connection(slot)) => Some(slot),
            _ => None,
        }
    }

    pub(crate) fn server_slot(&mut self, key: Key) -> Option<&mut ServerSlot> {
        match self.channels.get_mut(key) {
            Some(Channel::Server(slot)) => Some(slot),
            _ => None,
        }
    }

    /// Has a channel driven once more, in this turn or the next.
    pub(crate) fn schedule(&mut self, key: Key) {
        let scheduled = match self.channels.get_mut(key) {
            Some(Channel::Connection(slot)) => &mut slot.scheduled,
            Some(Channel::Server(slot)) => &mut slot.scheduled,
            Some(Channel::Datagram(slot)) => &mut slot.scheduled,
            Some(Channel::Attempt(_)) | None => return,
        };
        if !std::mem::replace(scheduled, true) {
            self.ready.push_back(key);
        }
    }

    /// Ends the short way of the connection whose callback runs: from here on its state must be looked at.
    #[inline]
    pub(crate) fn disturb(&mut self) {
        if let Some(key) = self.outbox.shut() {
            self.running = Running::Connection(key);
        }
    }

    /// Sends what the outbox holds. What becomes of it is for the owner's next drive, unless that is running anyway.
    #[inline]
    pub(crate) fn flush_outbox(&mut self) {
        if !self.outbox.is_empty() {
            self.flush_filled_outbox();
        }
    }

    #[inline(never)]
    fn flush_filled_outbox(&mut self) {
        self.disturb();
        self.send_held();
        let Some(owner) = self.outbox.owner() else { return };
        if let Some(Channel::Connection(slot)) = self.channels.get_mut(owner) {
            slot.stream.send(self.outbox.bytes(), &self.clock, &mut self.stats);
            if self.running != Running::Connection(owner) && slot.stream.needs_settling() {
                self.schedule(owner);
            }
        }
        self.outbox.clear();
    }

    /// Sends what the outbox holds of relayed bytes, each connection's by itself.
    #[inline(never)]
    pub(crate) fn send_held(&mut self) {
        let Self { channels, clock, stats, outbox, ready, .. } = self;
        let mut index = 0;
        while let Some((owner, bytes)) = outbox.held(index) {
            index += 1;
            if let Some(Channel::Connection(slot)) = channels.get_mut(owner) {
                slot.stream.flags.clear(Flags::HELD);
                let all_done = if slot.stream.can_send() {
                    slot.stream.send_now(bytes, clock, stats)
                } else {
                    slot.stream.send(bytes, clock, stats);
                    false
                };
                if !all_done && !std::mem::replace(&mut slot.scheduled, true) {
                    ready.push_back(owner);
                }
            }
        }
        outbox.release_held();
    }

    /// Sets a connection's one timer to its nearest deadline. Bytes that have begun to wait are such a deadline's beginning;
    /// from then on the socket is watched for output.
    pub(crate) fn rearm(&mut self, key: Key) {
        let Some(Channel::Connection(slot)) = self.channels.get_mut(key) else { return };
        slot.stream.flags.clear(Flags::REARM_DUE);
        if slot.stream.flags.any(Flags::QUEUED) && !slot.watches_output {
            slot.watches_output = true;
            self.registrar.watch_stream_output(slot.stream.transport.socket().as_fd(), key);
        }
        match (slot.stream.next_deadline(), slot.deadline_timer) {
            // Deadlines that move back, as with every byte, wait until the timer fires.
            (Some((tick, _)), Some(timer)) if self.timers.deadline(timer).is_some_and(|armed| armed <= tick) => {}
            (Some((tick, _)), Some(timer)) => self.timers.arm(timer, tick),
            (Some((tick, _)), None) => {
                slot.deadline_timer = Some(self.timers.insert(tick, Task::ConnectionDeadline(key)));
            }
            (None, Some(timer)) => {
                slot.deadline_timer = None;
                self.timers.remove(timer);
            }
            (None, None) => {}
        }
    }

    /// Whether there is something to do that no event will announce.
    pub(crate) fn has_work(&self) -> bool {
        self.stopping || !self.ready.is_empty() || self.timers.next_turn_len() > 0 || !self.outbox.is_empty()
    }

    /// When the engine next has something of its own to do; `None` if it can sleep for as long as there is no event.
    pub(crate) fn due(&self) -> Option<Duration> {
        let now = self.clock.now();
        if self.has_work() {
            return Some(now);
        }
        let turn = self.timers.has_every_turn().then(|| now.saturating_add(self.options.longest_turn));
        self.timers.next_due().into_iter().chain(turn).min()
    }

    /// How long the engine may poll busily, or sleep where the poller's timeout has to do, until it is `due` to do something of
    /// its own.
    ///
    /// The turn's reading of the clock is older than the sleep by as much as the turn took. So a far timer is slept towards,
    /// and measured anew when it is near.
    pub(crate) fn time_until(&self, due: Duration) -> Duration {
        let sleep = due.saturating_sub(self.clock.now()).min(limits::LONGEST_SLEEP);
        if sleep.is_zero() {
            sleep
        } else if sleep < limits::FRESH_CLOCK_WITHIN {
            due.saturating_sub(self.clock.fresh())
        } else {
            sleep - limits::FRESH_CLOCK_WITHIN / 2
        }
    }

    /// Before a sleep: has it end when something is `due`. Returns whether it will. `asked` is a time after which the poller
    /// has not been asked for events.
    pub(crate) fn set_alarm(&mut self, due: Duration, asked: Duration) -> bool {
        self.alarm.set(due, asked, &self.clock, &self.registrar)
    }
}
