//! One shard's share of a run: sets its connections off, gives each second's account, and ends when the last connection has come to
//! rest.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant, SystemTime};

use pants_shard::{Bus, ConnectionOptions, Context, Result, Shard};

use crate::count::tally::{Reading, Usage};
use crate::load::clock::thread_time;
use crate::load::control::{Control, Event, Outcome};
use crate::load::conversation::Settings;
use crate::load::link;
use crate::load::opening::Opening;
use crate::load::pacer::{Look, Pacer, Turns};
use crate::load::pool::{Next, Pace, Pool};
use crate::load::talk::Carried;
use crate::plan::schedule::Schedule;
use crate::plan::{Extent, Model, Plan, Window};
use crate::proc;

/// How often a shard shows how far it has come, and looks whether the user has had enough.
const PULSE: Duration = Duration::from_millis(100);

/// How long an interval is of which a shard gives account.
const INTERVAL: Duration = Duration::from_secs(1);

/// One shard's share of a run.
pub struct Worker<T: Carried> {
    shard: usize,
    pub(super) control: Arc<Control>,
    /// What the thread that waits is told. Only the shards have it, so that their end ends the wait.
    events: Sender<Event>,
    bus: Bus,
    /// What connections are set to: for each source address, by turns; never empty.
    options: Box<[Rc<ConnectionOptions>]>,
    /// Whose turn it is.
    turn: Cell<usize>,
    /// Makes the talk of a connection, from its number.
    speak: Box<dyn Fn(u64, Settings) -> T>,
    pub(super) stage: Cell<Stage>,
    pub(super) opening: Cell<Opening>,
    pub(super) pool: RefCell<Pool<T>>,
    /// How many intervals have ended.
    intervals: Cell<u64>,
    /// The shard's own clock at both ends of the window.
    began: Cell<Option<Reading>>,
    ended: Cell<Option<Reading>>,
}

/// How far a shard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Opening,
    /// Every connection that is to be there when the load begins is made or has failed; the other shards are waited for.
    Ready,
    Running(Window),
    Over,
}

/// Where a message from another shard finds the worker.
struct Seat<T: Carried>(RefCell<Option<Rc<Worker<T>>>>);

impl<T: Carried> Default for Seat<T> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<T: Carried> Worker<T> {
    /// Starts a shard's share, in which the connection of each number speaks what `speak` makes. Its end is told by
    /// [`Event::Finished`].
    ///
    /// # Errors
    ///
    /// If the engine refuses the timer.
    pub fn start(
        shard: &mut Shard<'_>,
        control: &Arc<Control>,
        events: &Sender<Event>,
        speak: impl Fn(u64, Settings) -> T + 'static,
    ) -> Result<()> {
        let plan = &control.plan;
        let share = plan.share(shard.id().index(), shard.shards());
        let first = plan.first_connection as u64;
        let speak = move |number, settings| speak(first + number, settings);
        let talks = share.clone().map(|number| speak(number as u64, settings(plan, number)));
        let worker = Rc::new(Self {
            shard: shard.id().index(),
            control: Arc::clone(control),
            events: events.clone(),
            bus: shard.bus(),
            options: link::options(plan),
            turn: Cell::new(share.start),
            stage: Cell::new(Stage::Opening),
            opening: Cell::new(Opening::new(plan, shard.id().index(), shard.shards())),
            pool: RefCell::new(Pool::new(talks)),
            speak: Box::new(speak),
            intervals: Cell::new(0),
            began: Cell::new(None),
            ended: Cell::new(None),
        });
        shard.set_state(Rc::new(Seat(RefCell::new(Some(Rc::clone(&worker))))));
        let opener = Rc::clone(&worker);
        shard.callback(move |shard| opener.open_more(shard.context()));
        shard.cycle(PULSE, move |_| worker.pulse())?;
        Ok(())
    }

    /// A talk for the connection at this place of the pool, in which nothing has been said.
    pub(super) fn talk(&self, index: u32) -> T {
        let plan = self.plan();
        let number = plan.share(self.shard, self.control.shards()).start + index as usize;
        (self.speak)(number as u64, settings(plan, number))
    }

    /// What the next connection is set to: the source addresses take turns.
    pub(super) fn next_options(&self) -> Rc<ConnectionOptions> {
        let turn = self.turn.replace(self.turn.get().wrapping_add(1));
        Rc::clone(&self.options[turn % self.options.len()])
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.control.plan
    }

    /// The shard is ready; the last one starts the clock for all.
    pub(super) fn arrive(&self) {
        self.stage.set(Stage::Ready);
        if !self.control.arrive() {
            return;
        }
        let now = Instant::now();
        let begin = self.plan().begin(now, SystemTime::now());
        let window = self.plan().window(begin);
        self.tell(Event::Began(window));
        // It reaches all: the lanes are empty, and while a shard's share is not over the runtime is not stopped.
        self.bus.broadcast(move |shard| {
            let worker = shard.state::<Seat<T>>().0.borrow().clone();
            match worker {
                Some(worker) if begin > now => {
                    shard.context().defer_precise_until(begin, move |context| worker.begin(context, window));
                }
                Some(worker) => worker.begin(shard.context(), window),
                None => {}
            }
        });
    }

    /// The load begins.
    fn begin(self: &Rc<Self>, context: &mut Context, window: Window) {
        if self.stage.get() != Stage::Ready {
            return;
        }
        self.stage.set(Stage::Running(window));
        let pace = self.pace(window);
        self.pool.borrow_mut().begin(window, pace);
        let worker = Rc::clone(self);
        context.defer_until(window.from, move |context| worker.begin_measuring(context, window));
        if let Some(until) = window.until {
            let worker = Rc::clone(self);
            context.defer_until(until, move |_| worker.ended.set(Some(worker.read_clocks())));
        }
        if let Some(stop) = window.stop {
            let worker = Rc::clone(self);
            context.defer_until(stop, move |context| worker.stop_sending(context));
        }
        self.open_more(context);
        let indices = self.pool.borrow().indices();
        for index in indices {
            let next = self.pool.borrow_mut().speak(index, context);
            self.follow(context, index, next);
        }
        self.finish_if_resolved();
    }

    /// What the messages of this shard are sent upon.
    fn pace(&self, window: Window) -> Pace {
        let (plan, shards) = (self.plan(), self.control.shards());
        // Among those of all processes that make the test, so that together they are one schedule.
        let (place, places) = plan.place(self.shard, shards);
        match (plan.model, plan.think) {
            (Model::Closed, None) => Pace::Closed,
            // Shards draw from generators of their own.
            (Model::Closed, Some(think)) => Pace::Thinking { think, state: plan.seed ^ (place as u64) << 32 },
            (Model::Open { rate, arrivals }, _) => {
                let share = plan.share(self.shard, shards);
                let quota = match plan.extent {
                    Extent::Time(_) => u64::MAX,
                    Extent::Count(_) => share.clone().map(|number| plan.quota(number)).sum(),
                };
                let schedule = Schedule::new(rate * plan.part.of() as f64, arrivals, plan.seed, place, places);
                let ramp = plan.ramp.as_nanos() as u64;
                Pace::Open {
                    pacer: Box::new(Pacer::new(schedule, quota, window.span(), ramp)),
                    turns: Turns::new(share.len()),
                    is_watched: false,
                }
            }
        }
    }

    /// The warm-up is over.
    fn begin_measuring(self: &Rc<Self>, context: &mut Context, window: Window) {
        if self.is_over() {
            return;
        }
        self.began.set(Some(self.read_clocks()));
        self.pool.borrow_mut().begin_measuring();
        self.end_interval_later(context, window, window.from + INTERVAL);
    }

    /// Gives account of an interval at its end; the last one ends with the load.
    fn end_interval_later(self: &Rc<Self>, context: &mut Context, window: Window, end: Instant) {
        if window.until.is_some_and(|until| end >= until) {
            return;
        }
        let worker = Rc::clone(self);
        context.defer_until(end, move |context| {
            if worker.is_over() {
                return;
            }
            let slice = worker.pool.borrow_mut().tally.end_interval();
            let second = worker.intervals.replace(worker.intervals.get() + 1);
            worker.tell(Event::Interval { shard: worker.shard, second, slice: Box::new(slice) });
            worker.end_interval_later(context, window, end + INTERVAL);
        });
    }

    /// The cool-down is over: what is in flight is waited for.
    fn stop_sending(self: &Rc<Self>, context: &mut Context) {
        if self.is_over() {
            return;
        }
        self.pool.borrow_mut().stop(context);
        self.finish_if_resolved();
    }

    fn pulse(&self) {
        if self.is_over() {
            return;
        }
        self.control.publish(self.shard, &self.pool.borrow().tally);
        if self.control.is_interrupted() {
            self.finish();
        }
    }

    pub(super) fn finish_if_resolved(&self) {
        if matches!(self.stage.get(), Stage::Running(_)) && self.pool.borrow().is_resolved() {
            self.finish();
        }
    }

    /// Ends this shard's share: nothing is counted any more.
    fn finish(&self) {
        let now = Instant::now();
        let until = match self.stage.replace(Stage::Over) {
            Stage::Running(window) => window.until,
            Stage::Opening | Stage::Ready => None,
            Stage::Over => return,
        };
        let usage = match (self.began.get(), self.ended.get()) {
            (Some(began), ended) => Usage::between(began, ended.unwrap_or_else(|| self.read_clocks())),
            (None, _) => Usage::default(),
        };
        let mut pool = self.pool.borrow_mut();
        let ended = pool.now();
        let slice = pool.end(ended);
        let mut tally = std::mem::take(&mut pool.tally);
        if self.began.get().is_some() {
            let slice = Box::new(slice);
            self.tell(Event::Interval { shard: self.shard, second: self.intervals.get(), slice });
        } else {
            tally.response.merge(&slice.response.latencies());
        }
        self.control.publish(self.shard, &tally);
        let ended = until.map_or(now, |until| until.min(now));
        self.tell(Event::Finished(Box::new(Outcome { shard: self.shard, tally, usage, ended })));
    }

    // What happens on the connections.

    /// Does what does not concern the socket.
    pub(super) fn follow(self: &Rc<Self>, context: &mut Context, index: u32, next: Next) {
        match next {
            Next::Look => self.look(context),
            Next::Think(count) => self.think(context, index, count, true),
            Next::Quiet => {
                self.rest_or_reconnect(context, index);
            }
            Next::Nothing | Next::Fault(_) => {}
        }
    }

    /// Looks at the schedule of an open loop, and looks again when it is time to.
    pub(super) fn look(self: &Rc<Self>, context: &mut Context) {
        if self.is_over() {
            return;
        }
        let mut pool = self.pool.borrow_mut();
        let look = pool.look(context);
        let worker = Rc::clone(self);
        match look {
            Look::At(time) => {
                let Stage::Running(window) = self.stage.get() else { return };
                context.defer_precise_until(window.begin + Duration::from_nanos(time), move |context| {
                    worker.look(context);
                });
            }
            Look::NextTurn => {
                context.callback(move |context| worker.look(context));
            }
            Look::Never if pool.is_schedule_over() => {
                pool.rest_all();
                drop(pool);
                self.finish_if_resolved();
            }
            Look::Never => self.begin_beating(&mut pool, context),
        }
    }

    /// While every connection is busy nothing else has the shard look at the schedule: it looks now and then, so that it knows
    /// when it was away.
    fn begin_beating(self: &Rc<Self>, pool: &mut Pool<T>, context: &mut Context) {
        if let (Some(beat), Stage::Running(window)) = (pool.begin_beat(), self.stage.get()) {
            let worker = Rc::clone(self);
            context.defer_precise_until(window.begin + Duration::from_nanos(beat), move |context| {
                if worker.is_over() {
                    return;
                }
                let mut pool = worker.pool.borrow_mut();
                pool.end_beat();
                worker.begin_beating(&mut pool, context);
            });
        }
    }

    /// A connection thinks about this many replies, and then sends as many messages.
    pub(super) fn think(self: &Rc<Self>, context: &mut Context, index: u32, count: usize, is_first: bool) {
        for _ in 0..count {
            let time = self.pool.borrow_mut().next_think(is_first);
            let worker = Rc::clone(self);
            context.defer_precise(time, move |context| worker.pool.borrow_mut().speak_once(index, context));
        }
    }

    /// Tells the thread that waits. If it has gone, nobody wants to know.
    fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }

    /// Whether nothing is counted any more.
    pub(super) fn is_over(&self) -> bool {
        self.stage.get() == Stage::Over
    }

    /// How long a message may wait.
    pub(super) fn timeout(&self) -> Duration {
        self.plan().timeout
    }

    /// How long the oldest message in flight on a connection has waited.
    pub(super) fn waited(&self, index: u32) -> Option<Duration> {
        let pool = self.pool.borrow();
        pool.oldest(index).map(|sent| Duration::from_nanos(pool.now().saturating_sub(sent)))
    }

    /// Whether a connection has something to say, or waits for an answer.
    pub(super) fn is_needed(&self, index: u32) -> bool {
        !self.is_over() && self.pool.borrow().is_needed(index)
    }

    /// The time, and how long this thread has worked: it has run for the first number in its `schedstat` (proc_pid_stat(5)),
    /// exact and without a file, and spun in vain for some of that. The second number is how long it waited for a CPU; a kernel
    /// without `CONFIG_SCHED_INFO` does not say it.
    fn read_clocks(&self) -> Reading {
        let idle = Duration::from_nanos(self.pool.borrow().idle_ns());
        let waited = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
        let waited = waited.and_then(|text| proc::parse_waited(&text)).unwrap_or_default();
        Reading { at: Instant::now(), busy: thread_time().saturating_sub(idle), waited }
    }
}

/// What does not change of a talk.
fn settings(plan: &Plan, number: usize) -> Settings {
    // The quota of an open loop is the schedule's.
    let quota = if matches!(plan.model, Model::Open { .. }) { u64::MAX } else { plan.quota(number) };
    Settings { depth: plan.depth, quota, reconnect_after: plan.reconnect_after.unwrap_or(u64::MAX) }
}

impl<T: Carried> fmt::Debug for Worker<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("shard", &self.shard).field("stage", &self.stage).finish_non_exhaustive()
    }
}
