//! The connections of a shard: what is said on each, which may send, and what is counted.

mod open_loop;
pub(super) mod seat;

use std::fmt;
use std::time::{Duration, Instant};

use pants_shard::Context;

use crate::count::failure::Kind;
use crate::count::tally::{Slice, Tally};
use crate::load::clock::Clock;
use crate::load::conversation::Stamp;
use crate::load::pacer::{Pacer, Turns};
use crate::load::pool::seat::{Seat, State};
use crate::load::talk::Carried;
use crate::plan::think::Think;
use crate::plan::{Span, Window};
use crate::protocol::Fault;

/// The connections of a shard. All times are nanoseconds from the load's beginning.
pub struct Pool<T: Carried> {
    pub(super) seats: Vec<Seat<T>>,
    pace: Pace,
    /// What is counted.
    pub tally: Tally,
    phase: Phase,
    clock: Clock,
    pub(super) span: Span,
    /// Connections that have neither failed for good nor come to rest.
    unresolved: usize,
}

/// What a message is sent upon.
#[derive(Debug)]
pub enum Pace {
    /// The reply before it.
    Closed,
    /// The end of a think time after the reply before it.
    Thinking {
        /// How long one is.
        think: Think,
        /// The state of the generator of random numbers.
        state: u64,
    },
    /// The time.
    Open {
        /// What is due.
        pacer: Box<Pacer>,
        /// Who is free.
        turns: Turns,
        /// Whether somebody is going to look at the schedule.
        is_watched: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The load has not begun.
    Before,
    Running,
    /// Nothing is counted any more.
    Over,
}

/// What is to be done about a connection, or about the shard, after something has happened.
#[derive(Debug)]
pub enum Next {
    /// Nothing but to wait.
    Nothing,
    /// It has nothing in flight, and will send nothing over this socket.
    Quiet,
    /// So many replies have come that are thought about.
    Think(usize),
    /// Somebody is to look at the schedule.
    Look,
    /// The server has broken the rules.
    Fault(Box<Fault>),
}

impl<T: Carried> Pool<T> {
    /// A pool of connections that are yet to be made.
    pub fn new(talks: impl Iterator<Item = T>) -> Self {
        let seats: Vec<_> = talks.map(|talk| Seat { talk, state: State::Waiting }).collect();
        Self {
            unresolved: seats.len(),
            seats,
            pace: Pace::Closed,
            tally: Tally::default(),
            phase: Phase::Before,
            clock: Clock::since(Instant::now()),
            span: Span { from: u64::MAX, until: u64::MAX, stop: u64::MAX },
        }
    }

    /// The load begins.
    pub fn begin(&mut self, window: Window, pace: Pace) {
        (self.clock, self.span, self.phase) = (Clock::since(window.begin), window.span(), Phase::Running);
        self.tally.set_paced(matches!(pace, Pace::Open { .. }));
        self.pace = pace;
    }

    /// The warm-up is over.
    pub fn begin_measuring(&mut self) {
        if let Pace::Open { pacer, .. } = &mut self.pace {
            pacer.begin_measuring();
        }
        self.tally.begin_intervals();
    }

    /// The load ends: nothing is counted any more. What is in flight has taken at least until now.
    pub fn end(&mut self, now: u64) -> Slice {
        self.end_schedule(now);
        self.phase = Phase::Over;
        let Self { seats, tally, span, .. } = self;
        for seat in seats {
            seat.talk.waiting().for_each(|stamp| tally.record_given_up(stamp, now, span));
        }
        tally.end_interval()
    }

    /// How long it is since the load began.
    #[inline]
    pub fn now(&self) -> u64 {
        self.clock.now()
    }

    /// Whether the load has begun and not ended.
    #[inline]
    pub fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    /// Whether nothing is counted any more.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Whether nothing more is sent from `now` on.
    fn is_sending_over(&self, now: u64) -> bool {
        match &self.pace {
            // A schedule without a stop ends with its last message.
            Pace::Open { pacer, .. } if self.span.stop == u64::MAX => pacer.is_over(),
            _ => now >= self.span.stop,
        }
    }

    /// Whether every connection has failed for good or come to rest.
    pub fn is_resolved(&self) -> bool {
        self.unresolved == 0
    }

    /// All connections, by their places.
    pub fn indices(&self) -> std::ops::Range<u32> {
        0..self.seats.len() as u32
    }

    // What happens to a connection.

    /// A connection is made, or made anew.
    pub fn handle_open(&mut self, index: u32, key: T::Key) {
        let seat = &mut self.seats[index as usize];
        if matches!(seat.state, State::Waiting) {
            seat.state = State::Open(key);
        }
    }

    /// A connection has failed, or was not made, and with it fails what is in flight. Returns whether it is worth making anew.
    pub fn fail(&mut self, index: u32, kind: Kind, detail: Option<String>, again: bool) -> bool {
        if self.is_over() {
            return false;
        }
        let now = self.now();
        let again = again && self.is_running() && !self.is_sending_over(now);
        let Self { seats, tally, span, .. } = self;
        let seat = &mut seats[index as usize];
        let again = again && !seat.talk.is_complete();
        tally.fail(kind, seat.talk.in_flight(), detail);
        if kind == Kind::Timeout {
            seat.talk.waiting().for_each(|stamp| tally.record_given_up(stamp, now, span));
        }
        seat.talk.lose();
        if again {
            seat.state = State::Waiting;
        } else {
            self.resolve(index, State::Failed);
        }
        again
    }

    fn resolve(&mut self, index: u32, state: State<T::Key>) {
        let before = std::mem::replace(&mut self.seats[index as usize].state, state);
        if matches!(before, State::Waiting | State::Open(_)) {
            self.unresolved -= 1;
        }
    }

    /// A connection that is quiet comes to rest, unless it has more to say over another socket. Returns whether it has.
    pub fn rest_or_wait(&mut self, index: u32) -> bool {
        let is_over = self.is_sending_over(self.now());
        let seat = &mut self.seats[index as usize];
        if is_over || seat.talk.is_complete() {
            self.resolve(index, State::AtRest);
            return false;
        }
        seat.state = State::Waiting;
        true
    }

    /// A connection that waits for another socket goes on over that; returns whether it still wants to.
    pub fn renew(&mut self, index: u32, fresh: T) -> bool {
        let seat = &mut self.seats[index as usize];
        seat.talk.renew(fresh);
        matches!(seat.state, State::Waiting) && self.phase == Phase::Running
    }

    /// Whether a connection has something to say, or waits for an answer.
    pub fn is_needed(&self, index: u32) -> bool {
        matches!(self.seats[index as usize].state, State::Waiting | State::Open(_))
    }

    /// When the oldest message in flight was sent.
    pub fn oldest(&self, index: u32) -> Option<u64> {
        self.seats[index as usize].talk.oldest().map(|stamp| stamp.sent)
    }

    // What is said.

    /// A connection that is made begins, or goes on, to send.
    pub fn speak(&mut self, index: u32, context: &mut Context) -> Next {
        let now = self.now();
        let Self { seats, pace, tally, span, .. } = self;
        let seat = &mut seats[index as usize];
        let State::Open(key) = seat.state else { return Next::Nothing };
        match pace {
            Pace::Closed => {
                if let Some(mut socket) = T::find(context, key) {
                    seat.fill(&mut socket, now, tally, span);
                }
            }
            Pace::Thinking { .. } if seat.talk.may_send() => return Next::Think(seat.talk.depth()),
            Pace::Thinking { .. } => {}
            Pace::Open { .. } => return self.offer(index, now, context),
        }
        self.next_of(index, now)
    }

    /// A connection has thought about a reply: it sends one message.
    pub fn speak_once(&mut self, index: u32, context: &mut Context) {
        let now = self.now();
        let Self { seats, tally, span, phase, .. } = self;
        let seat = &mut seats[index as usize];
        if let State::Open(key) = seat.state
            && *phase == Phase::Running
            && now < span.stop
            && let Some(mut socket) = T::find(context, key)
        {
            seat.say(&mut socket, Stamp::at(now), tally);
        }
    }

    /// A connection has had so many replies at `now`, and has its chance to send more.
    #[inline(always)]
    pub(super) fn go_on(&mut self, index: u32, socket: &mut T::Socket<'_>, now: u64, replies: usize) -> Next {
        let Self { seats, pace, tally, span, .. } = self;
        let seat = &mut seats[index as usize];
        match pace {
            Pace::Closed => {
                seat.fill(socket, now, tally, span);
                if seat.talk.in_flight() > 0 {
                    return Next::Nothing;
                }
            }
            Pace::Thinking { .. } if seat.talk.may_send() && now < span.stop => return Next::Think(replies),
            Pace::Thinking { .. } => {}
            Pace::Open { .. } => return self.offer(index, now, T::context(socket)),
        }
        self.next_of(index, now)
    }

    /// What is to be done about a connection that has just had its chance to send.
    #[inline]
    pub(super) fn next_of(&self, index: u32, now: u64) -> Next {
        let talk = &self.seats[index as usize].talk;
        let is_quiet = talk.in_flight() == 0 && (talk.is_spent() || self.is_sending_over(now));
        if is_quiet { Next::Quiet } else { Next::Nothing }
    }

    /// Nothing more is sent: connections with nothing in flight come to rest.
    pub fn rest_all(&mut self) {
        for index in self.indices() {
            if self.seats[index as usize].talk.in_flight() == 0 && self.is_needed(index) {
                self.resolve(index, State::AtRest);
            }
        }
    }

    /// How long the next think time is; the first of a connection is a part of one.
    pub fn next_think(&mut self, is_first: bool) -> Duration {
        match &mut self.pace {
            Pace::Thinking { think, state } if is_first => think.first(state),
            Pace::Thinking { think, state } => think.next(state),
            Pace::Closed | Pace::Open { .. } => Duration::ZERO,
        }
    }
}

impl<T: Carried> fmt::Debug for Pool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("connections", &self.seats.len())
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}
