//! The course of a run: starts the shards, shows how far they are, and gathers what they have counted.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime};

use pants_shard::{Config, Placement, Result, Running, Runtime, Shard};

use crate::count::histogram::Latencies;
use crate::count::series::{Piece, Series};
use crate::count::tally::Tally;
use crate::environment::{Disturbance, Moment};
use crate::load::control::{Control, Event, Outcome, Snapshot};
use crate::load::conversation::Conversation;
use crate::load::exchange::Exchange;
use crate::load::worker::Worker;
use crate::plan::{Plan, Window};
use crate::progress::Progress;
use crate::protocol::Language;
use crate::protocol::echo::Echo;
use crate::protocol::http::Http;
use crate::protocol::lines::Lines;
use crate::protocol::pattern::Pattern;
use crate::protocol::raw::Raw;
use crate::report::outcome::Interval;
use crate::server::watch::{Subject, Watch, Watched};

/// What a run has measured, before anything is concluded from it.
#[derive(Debug)]
pub struct Measured {
    /// What all shards have counted.
    pub tally: Tally,
    /// When measuring began, by the wall clock.
    pub started: SystemTime,
    /// How long was measured.
    pub elapsed: Duration,
    /// The measured time, piece by piece.
    pub intervals: Vec<Interval>,
    /// What each shard has counted, and what it took of its CPU meanwhile.
    pub shards: Vec<Outcome>,
    /// Where each shard was.
    pub placement: Placement,
    /// What was seen of the server, if it was to be looked at.
    pub server: Option<Watched>,
    /// What happened to the machine meanwhile.
    pub disturbance: Option<Disturbance>,
    /// Whether the user ended it.
    pub interrupted: bool,
}

/// Does what the plan says.
///
/// # Errors
///
/// If the shards cannot be started, or one of them fails.
pub fn run(
    plan: Plan,
    config: Config,
    subject: Option<Subject>,
    interrupted: Arc<AtomicBool>,
    progress: &mut Progress,
) -> Result<Measured> {
    progress.begin(&plan);
    let placement = config.placement().clone();
    let (events, told) = channel();
    let control = Arc::new(Control::new(plan, placement.len(), interrupted, events));
    let shared = Arc::clone(&control);
    let mut course = Course::new(subject, &control.plan, control.shards());
    let running = Runtime::new(config)?.start(move |shard| start_worker(shard, &shared))?;

    let outcomes = course.follow(&control, &told, progress);
    course.end(&control);
    progress.finish();
    let interrupted = control.is_interrupted();
    let complete = outcomes.len() == placement.len();
    leave(running, interrupted || !complete)?;
    Ok(course.measured(outcomes, placement, interrupted))
}

/// Starts a shard's share in the language of the plan.
fn start_worker(shard: &mut Shard<'_>, control: &Arc<Control>) -> Result<()> {
    let plan = &control.plan;
    let (sizes, verify) = (Rc::new(plan.sizes.clone()), plan.verify);
    match plan.protocol.clone() {
        Language::Echo if plan.target.is_datagram() => {
            let pattern = Rc::new(Pattern::new(plan.seed, sizes.max()));
            Worker::start(shard, control, move |number, settings| {
                Exchange::new(Rc::clone(&pattern), Rc::clone(&sizes), number, verify, settings)
            })
        }
        Language::Echo => {
            let pattern = Rc::new(Pattern::new(plan.seed, sizes.max()));
            Worker::start(shard, control, move |number, settings| {
                let echo = Echo::new(Rc::clone(&pattern), Rc::clone(&sizes), number, verify);
                Conversation::new(echo, settings)
            })
        }
        Language::Lines => {
            let pattern = Rc::new(Pattern::printable(plan.seed, sizes.max()));
            Worker::start(shard, control, move |number, settings| {
                let lines = Lines::new(Rc::clone(&pattern), Rc::clone(&sizes), number, verify);
                Conversation::new(lines, settings)
            })
        }
        Language::Http(get) => {
            Worker::start(shard, control, move |_, settings| Conversation::new(Http::new(get.clone()), settings))
        }
        Language::Raw(exchange) => {
            Worker::start(shard, control, move |_, settings| Conversation::new(Raw::new(exchange.clone()), settings))
        }
    }
}

/// Closes the connections: in good order, unless the user is waiting.
fn leave(running: Running, at_once: bool) -> Result<()> {
    if at_once {
        running.stop();
    } else {
        running.drain();
    }
    running.join().map(drop)
}

/// What the thread that waits for the shards keeps meanwhile.
#[derive(Debug)]
struct Course {
    watch: Option<Watch>,
    watched: Option<Watched>,
    window: Option<Window>,
    seconds: Seconds,
    /// The response times that each shard has told of.
    responses: Vec<Latencies>,
    /// The machine when measuring began, and when it ended.
    first: Option<Moment>,
    last: Option<Moment>,
}

impl Course {
    fn new(subject: Option<Subject>, plan: &Plan, shards: usize) -> Self {
        let watch = subject.map(|subject| Watch::new(subject, plan.connections + plan.idle));
        Self {
            watch,
            watched: None,
            window: None,
            seconds: Seconds::default(),
            responses: vec![Latencies::default(); shards],
            first: None,
            last: None,
        }
    }

    /// Waits until every shard has finished, or one has failed and all have ended.
    fn follow(&mut self, control: &Control, told: &Receiver<Event>, progress: &mut Progress) -> Vec<Outcome> {
        let shards = control.shards();
        let mut outcomes = Vec::with_capacity(shards);
        while outcomes.len() < shards {
            match told.recv_timeout(self.patience(progress.interval())) {
                Ok(Event::Began(window)) => self.window = Some(window),
                Ok(Event::Interval { shard, second, slice }) => {
                    let response = slice.response.latencies();
                    self.responses[shard].merge(&response);
                    self.seconds.add(second, &Piece::new(slice.failed, &response), shards);
                }
                Ok(Event::Finished(mut outcome)) => {
                    outcome.tally.finish(&self.responses[outcome.shard]);
                    outcomes.push(*outcome);
                }
                Err(RecvTimeoutError::Timeout) => {}
                // Every shard has gone with its sender; `join` says why.
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let now = Instant::now();
            self.look(control, now);
            let Seconds { p50_ns, p99_ns, .. } = self.seconds;
            progress.show(Snapshot { p50_ns, p99_ns, ..control.snapshot() }, self.window, now);
        }
        outcomes
    }

    /// How long there is nothing to do but to wait.
    fn patience(&self, interval: Duration) -> Duration {
        let due = self.window.and_then(|window| match (self.first, self.last) {
            (None, _) => Some(window.from),
            (Some(_), None) => window.until,
            _ => self.watch.as_ref().and_then(|watch| watch.due(window)),
        });
        // What could not be done when it was due will not be done later.
        let ahead = due.map(|due| due.saturating_duration_since(Instant::now())).filter(|ahead| !ahead.is_zero());
        ahead.map_or(interval, |ahead| interval.min(ahead))
    }

    /// Looks at the machine and the server when it is time to.
    fn look(&mut self, control: &Control, now: Instant) {
        let Some(window) = self.window else { return };
        if self.first.is_none() && now >= window.from {
            self.first = Moment::read();
        }
        if self.last.is_none() && window.until.is_some_and(|until| now >= until) {
            self.last = Moment::read();
        }
        if let Some(watch) = &mut self.watch {
            watch.look(window, || control.snapshot());
        }
    }

    /// The run is over, on time or not. The connections are still open.
    fn end(&mut self, control: &Control) {
        self.look(control, Instant::now());
        self.last = self.last.or_else(Moment::read);
        self.watched = self.watch.take().map(|watch| watch.end(|| control.snapshot()));
    }

    fn measured(self, mut outcomes: Vec<Outcome>, placement: Placement, interrupted: bool) -> Measured {
        outcomes.sort_by_key(|outcome| outcome.shard);
        let mut tally = Tally::default();
        for outcome in &outcomes {
            tally.merge(&outcome.tally);
        }
        let ended = outcomes.iter().map(|outcome| outcome.ended).max();
        let elapsed = ended.zip(self.window).map(|(ended, window)| ended.saturating_duration_since(window.from));
        let elapsed = elapsed.unwrap_or_default();
        Measured {
            tally,
            started: self.window.map_or(SystemTime::UNIX_EPOCH, |window| wall_clock(window.from)),
            elapsed,
            intervals: self.seconds.series.intervals(elapsed.as_secs_f64()),
            shards: outcomes,
            placement,
            server: self.watched,
            disturbance: self.first.zip(self.last).map(|(first, last)| first.until(last)),
            interrupted,
        }
    }
}

/// What the shards have told of each second.
#[derive(Debug, Default)]
struct Seconds {
    series: Series,
    /// The last second of which a shard has told, and how many have.
    last: u64,
    told: usize,
    /// Of the last second of which all have told.
    p50_ns: Option<u64>,
    p99_ns: Option<u64>,
}

impl Seconds {
    fn add(&mut self, second: u64, piece: &Piece, shards: usize) {
        self.series.add(second, piece);
        if second > self.last {
            (self.last, self.told) = (second, 0);
        }
        self.told += usize::from(second == self.last);
        if self.told == shards
            && let Some(interval) = self.series.at(second)
        {
            // A second without a reply has no latency.
            let known = |value| (interval.messages > 0).then_some(value);
            (self.p50_ns, self.p99_ns) = (known(interval.p50_ns), known(interval.p99_ns));
        }
    }
}

/// What the wall clock said, or will say, at a moment.
fn wall_clock(moment: Instant) -> SystemTime {
    let (now, wall) = (Instant::now(), SystemTime::now());
    match moment.checked_duration_since(now) {
        Some(ahead) => wall + ahead,
        None => wall - now.saturating_duration_since(moment),
    }
}
