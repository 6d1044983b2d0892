//! One shard's share of a run: opens its connections, sets them off together, and ends when the last has come to rest.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pants_shard::{Bus, ConnectionKey, ConnectionOptions, Context, EngineError, Result, Shard};
use rustix::time::{ClockId, clock_gettime};

use crate::count::failure::Kind;
use crate::count::tally::{Tally, Usage};
use crate::load::control::{Control, Event, Outcome};
use crate::load::conversation::Conversation;
use crate::load::link::Link;
use crate::plan::{IN_FLIGHT_BYTES_MAX, Plan, Window};
use crate::protocol::Protocol;

/// Connections that one shard has on their way at a time, well below the backlog of a common server (4,096, listen(2)).
const CONNECTING_MAX: usize = 256;

/// How often a shard shows how far it has come, and looks whether the user has had enough.
const PULSE: Duration = Duration::from_millis(100);

/// A message in flight beside those that wait: what the queue may hold.
const WRITE_CAP: usize = IN_FLIGHT_BYTES_MAX + (1 << 20);

/// One shard's share of a run.
pub struct Worker<P: Protocol> {
    shard: usize,
    control: Arc<Control>,
    bus: Bus,
    /// For each source address, by turns; never empty.
    options: Box<[Rc<ConnectionOptions>]>,
    /// Makes the protocol of a connection, from its number.
    speak: Box<dyn Fn(u64) -> P>,
    stage: Cell<Stage>,
    opening: Cell<Opening>,
    /// The connections that were made, until the load begins.
    keys: RefCell<Vec<ConnectionKey>>,
    /// Connections that were made, and have neither failed nor come to rest.
    active: Cell<usize>,
    tally: RefCell<Tally>,
    /// The shard's own clock at both ends of the window.
    began: Cell<Option<Reading>>,
    ended: Cell<Option<Reading>>,
}

/// The time, and how long the thread had run by then.
type Reading = (Instant, Duration);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Opening,
    /// Every connection is made or has failed; the other shards are waited for.
    Ready,
    Running(Window),
    Over,
}

/// How far the opening of the connections is.
#[derive(Clone, Copy, Debug)]
struct Opening {
    /// The next one to begin, by its number.
    next: usize,
    /// One past the last.
    end: usize,
    /// Begun, and neither made nor failed.
    pending: usize,
}

/// Where a message from another shard finds the worker.
struct Seat<P: Protocol>(RefCell<Option<Rc<Worker<P>>>>);

impl<P: Protocol> Default for Seat<P> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<P: Protocol> std::fmt::Debug for Worker<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("shard", &self.shard).field("stage", &self.stage).finish_non_exhaustive()
    }
}

impl<P: Protocol> Worker<P> {
    /// Starts a shard's share, in which the connection of each number speaks what `speak` makes. Its end is told by
    /// [`Event::Finished`].
    ///
    /// # Errors
    ///
    /// If the engine refuses the timer.
    pub fn start(shard: &mut Shard<'_>, control: &Arc<Control>, speak: impl Fn(u64) -> P + 'static) -> Result<()> {
        let plan = &control.plan;
        let share = plan.share(shard.id().index(), shard.shards());
        let worker = Rc::new(Self {
            shard: shard.id().index(),
            control: Arc::clone(control),
            bus: shard.bus(),
            options: options(plan),
            speak: Box::new(speak),
            stage: Cell::new(Stage::Opening),
            opening: Cell::new(Opening { next: share.start, end: share.end, pending: 0 }),
            keys: RefCell::new(Vec::with_capacity(share.len())),
            active: Cell::new(0),
            tally: RefCell::default(),
            began: Cell::new(None),
            ended: Cell::new(None),
        });
        shard.set_state(Rc::new(Seat(RefCell::new(Some(Rc::clone(&worker))))));
        let opener = Rc::clone(&worker);
        shard.callback(move |shard| opener.open_more(shard.context()));
        shard.cycle(PULSE, move |_| worker.pulse())?;
        Ok(())
    }

    /// Begins as many connections as may be on their way; when none is left, the shard is ready.
    fn open_more(self: &Rc<Self>, context: &mut Context) {
        while self.stage.get() == Stage::Opening {
            let mut opening = self.opening.get();
            if opening.next == opening.end || opening.pending == CONNECTING_MAX {
                break;
            }
            let number = opening.next;
            opening.next += 1;
            match context.connect_with(self.control.plan.target.address(), self.options(number), self.link(number)) {
                Ok(_) => opening.pending += 1,
                Err(error) => self.note_connect_error(&error),
            }
            self.opening.set(opening);
        }
        let Opening { next, end, pending } = self.opening.get();
        if self.stage.get() == Stage::Opening && next == end && pending == 0 {
            self.stage.set(Stage::Ready);
            self.set_off_if_last();
        }
    }

    /// What the connection of this number is set to.
    fn options(&self, number: usize) -> Rc<ConnectionOptions> {
        Rc::clone(&self.options[number % self.options.len()])
    }

    fn link(self: &Rc<Self>, number: usize) -> Link<P> {
        let plan = &self.control.plan;
        let conversation = Conversation::new((self.speak)(number as u64), plan.depth, plan.quota(number));
        Link::new(Rc::clone(self), conversation)
    }

    /// The last shard to be ready starts the clock for all.
    fn set_off_if_last(&self) {
        if !self.control.arrive() {
            return;
        }
        let window = self.control.plan.window(Instant::now());
        self.control.tell(Event::Began(window));
        // It reaches all: the lanes are empty, and while a shard's share is not over the runtime is not stopped.
        self.bus.broadcast(move |shard| {
            let worker = shard.state::<Seat<P>>().0.borrow().clone();
            if let Some(worker) = worker {
                worker.begin(shard.context(), window);
            }
        });
    }

    /// The load begins.
    fn begin(self: &Rc<Self>, context: &mut Context, window: Window) {
        if self.stage.get() != Stage::Ready {
            return;
        }
        self.stage.set(Stage::Running(window));
        let worker = Rc::clone(self);
        context.defer_until(window.from, move |_| worker.began.set(Some(read_clocks())));
        if let Some(until) = window.until {
            let worker = Rc::clone(self);
            context.defer_until(until, move |_| worker.ended.set(Some(read_clocks())));
        }
        // Its handler is reached from a connection by a timer only.
        for key in self.keys.take() {
            if let Some(mut connection) = context.connection(key) {
                connection.defer(Duration::ZERO, Link::<P>::begin);
            }
        }
        if self.active.get() == 0 {
            self.finish(Instant::now());
        }
    }

    fn pulse(&self) {
        if self.is_over() {
            return;
        }
        self.control.publish(self.shard, &self.tally.borrow());
        if self.control.is_interrupted() {
            self.finish(Instant::now());
        }
    }

    /// Ends this shard's share: nothing is counted any more.
    fn finish(&self, now: Instant) {
        let until = match self.stage.replace(Stage::Over) {
            Stage::Running(window) => window.until,
            Stage::Opening | Stage::Ready => None,
            Stage::Over => return,
        };
        let usage = match (self.began.get(), self.ended.get()) {
            (Some(began), ended) => Usage::between(began, ended.unwrap_or_else(read_clocks)),
            (None, _) => Usage::default(),
        };
        let tally = self.tally.take();
        self.control.publish(self.shard, &tally);
        let ended = until.map_or(now, |until| until.min(now));
        self.control.tell(Event::Finished(Box::new(Outcome { shard: self.shard, tally, usage, ended })));
    }

    // What the connections tell and ask.

    /// A connection is made.
    pub fn handle_connected(self: &Rc<Self>, context: &mut Context, key: ConnectionKey) {
        self.tally.borrow_mut().connected += 1;
        self.active.set(self.active.get() + 1);
        self.keys.borrow_mut().push(key);
        self.settle_pending(context);
    }

    /// A connection was not made.
    pub fn handle_connect_error(self: &Rc<Self>, context: &mut Context, error: &EngineError) {
        self.note_connect_error(error);
        self.settle_pending(context);
    }

    fn settle_pending(self: &Rc<Self>, context: &mut Context) {
        let opening = self.opening.get();
        self.opening.set(Opening { pending: opening.pending - 1, ..opening });
        self.open_more(context);
    }

    fn note_connect_error(&self, error: &EngineError) {
        let kind = match error {
            EngineError::Connect { source, .. } => Kind::of(source),
            _ => Kind::Other,
        };
        self.note_failure(kind, 0, Some(error.to_string()));
    }

    /// A connection has failed, and with it these messages.
    pub fn note_failure(&self, kind: Kind, in_flight: usize, detail: Option<String>) {
        if !self.is_over() {
            self.tally.borrow_mut().fail(kind, in_flight, detail);
        }
    }

    /// Lets a connection count, while the load runs; `None` before and after.
    #[inline]
    pub fn while_running<R>(&self, count: impl FnOnce(&mut Tally, Window) -> R) -> Option<R> {
        let Stage::Running(window) = self.stage.get() else { return None };
        Some(count(&mut self.tally.borrow_mut(), window))
    }

    /// A connection has failed or come to rest.
    pub fn leave(&self, now: Instant) {
        self.active.set(self.active.get() - 1);
        if self.active.get() == 0 && matches!(self.stage.get(), Stage::Running(_)) {
            self.finish(now);
        }
    }

    /// Whether nothing is counted any more.
    pub fn is_over(&self) -> bool {
        self.stage.get() == Stage::Over
    }

    /// How long a message may wait.
    pub fn timeout(&self) -> Duration {
        self.control.plan.timeout
    }
}

/// What connections are set to: for each source address, or for the one that the kernel chooses. They share it, since they
/// may be many.
fn options(plan: &Plan) -> Box<[Rc<ConnectionOptions>]> {
    let options = |local_address| {
        Rc::new(ConnectionOptions {
            connect_timeout: Some(plan.timeout),
            local_address,
            // Both would be timeouts of this side; the one timeout of a message covers them.
            idle_timeout: None,
            write_stall_timeout: None,
            write_cap: WRITE_CAP,
            // A server that echoes must be read while it is written to, or the two wait for each other.
            auto_pause: false,
            ..ConnectionOptions::default()
        })
    };
    match plan.sources.addresses() {
        [] => Box::new([options(None)]),
        sources => sources.iter().map(|source| options(Some(*source))).collect(),
    }
}

/// The time, and how long this thread has run: the number in its `schedstat` (proc_pid_stat(5)), exact and without a file.
fn read_clocks() -> Reading {
    let busy = clock_gettime(ClockId::ThreadCPUTime);
    (Instant::now(), Duration::new(busy.tv_sec.unsigned_abs(), busy.tv_nsec.unsigned_abs() as u32))
}
