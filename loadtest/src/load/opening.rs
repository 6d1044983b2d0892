//! How a shard's connections are made, and made anew.

use std::rc::Rc;
use std::time::{Duration, Instant};

use pants_shard::{Context, EngineError};

use crate::count::failure::Kind;
use crate::load::pool::Next;
use crate::load::talk::Carried;
use crate::load::worker::{Stage, Worker};
use crate::plan::Plan;

/// Connections that one shard has on their way at a time, well below the backlog of a common server (4,096, listen(2)).
const CONNECTING_MAX: usize = 256;

/// How long after its failure a connection is made anew.
const RECONNECT_AFTER: Duration = Duration::from_millis(100);

/// How far the opening of a shard's connections is: first those that are only held, then the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opening {
    /// How many are only held.
    idle: usize,
    /// How many there are to be.
    all: usize,
    /// How many have been begun.
    begun: usize,
    /// Begun, and neither made nor failed; those that are made anew are among them.
    pending: usize,
    /// Whether a timer begins the next one of a ramp.
    is_timed: bool,
    /// Over how long those that are loaded are begun, once the load has begun; zero if before it.
    ramp: Duration,
}

impl Opening {
    /// For one of the shards.
    pub(super) fn new(plan: &Plan, shard: usize, shards: usize) -> Self {
        let idle = plan.idle_share(shard, shards);
        Self {
            idle,
            all: idle + plan.share(shard, shards).len(),
            begun: 0,
            pending: 0,
            is_timed: false,
            ramp: plan.ramp,
        }
    }

    /// How many may have been begun by now; `elapsed` is since the load's beginning.
    fn due(&self, elapsed: Option<Duration>) -> usize {
        if self.ramp.is_zero() {
            return self.all;
        }
        let Some(elapsed) = elapsed else { return self.idle };
        let loaded = self.all - self.idle;
        let past = (loaded as f64 * elapsed.as_secs_f64() / self.ramp.as_secs_f64()) as usize;
        // The first one at once, and none at the ramp's end.
        self.idle + loaded.min(past + 1)
    }

    /// How long after the load's beginning the next one may be begun.
    fn next_due(&self) -> Duration {
        let loaded = (self.all - self.idle) as f64;
        self.ramp.mul_f64((self.begun - self.idle) as f64 / loaded)
    }
}

impl<T: Carried> Worker<T> {
    /// Begins as many connections as may be on their way. When all are made that are to be there when the load begins, the shard
    /// is ready.
    pub(super) fn open_more(self: &Rc<Self>, context: &mut Context) {
        let elapsed = match self.stage.get() {
            Stage::Opening | Stage::Ready => None,
            Stage::Running(window) => Some(Instant::now().saturating_duration_since(window.begin)),
            Stage::Over => return,
        };
        let due = self.opening.get().due(elapsed);
        loop {
            let opening = self.opening.get();
            if opening.begun >= due || opening.pending >= CONNECTING_MAX {
                break;
            }
            self.opening.set(Opening { begun: opening.begun + 1, ..opening });
            self.connect(context, opening.begun.checked_sub(opening.idle).map(|index| index as u32));
        }
        let opening = self.opening.get();
        match self.stage.get() {
            Stage::Opening if opening.begun == due && opening.pending == 0 => self.arrive(),
            Stage::Running(window) if opening.begun == due && due < opening.all && !opening.is_timed => {
                self.opening.set(Opening { is_timed: true, ..opening });
                let worker = Rc::clone(self);
                context.defer_until(window.begin + opening.next_due(), move |context| {
                    worker.opening.set(Opening { is_timed: false, ..worker.opening.get() });
                    worker.open_more(context);
                });
            }
            _ => {}
        }
    }

    fn connect(self: &Rc<Self>, context: &mut Context, index: Option<u32>) {
        match (T::connect(self, context, index), index) {
            (Ok(()), _) => {}
            (Err(error), Some(index)) => self.handle_failure(context, index, kind_of(&error), Some(error.to_string())),
            (Err(error), None) => self.handle_idle_failure(kind_of(&error), error.to_string()),
        }
    }

    /// A connection is on its way.
    pub(super) fn add_pending(&self) {
        let opening = self.opening.get();
        self.opening.set(Opening { pending: opening.pending + 1, ..opening });
    }

    fn settle_pending(self: &Rc<Self>, context: &mut Context) {
        let opening = self.opening.get();
        self.opening.set(Opening { pending: opening.pending - 1, ..opening });
        if opening.begun < opening.all || self.stage.get() == Stage::Opening {
            self.open_more(context);
        }
    }

    /// A connection that was on its way is made; what is to be done about it.
    pub(super) fn handle_connected(
        self: &Rc<Self>,
        context: &mut Context,
        index: u32,
        key: T::Key,
        begun: Instant,
    ) -> Next {
        let next = self.handle_open(context, index, key, begun);
        self.settle_pending(context);
        next
    }

    /// A connection is made; what is to be done about it.
    pub(super) fn handle_open(&self, context: &mut Context, index: u32, key: T::Key, begun: Instant) -> Next {
        let mut pool = self.pool.borrow_mut();
        if pool.is_over() {
            return Next::Nothing;
        }
        pool.tally.connected += 1;
        pool.tally.connect.record(begun.elapsed());
        pool.handle_open(index, key);
        if pool.is_running() { pool.speak(index, context) } else { Next::Nothing }
    }

    /// A connection is made that is only held.
    pub(super) fn handle_idle_connected(self: &Rc<Self>, context: &mut Context, begun: Instant) {
        let mut pool = self.pool.borrow_mut();
        pool.tally.connected += 1;
        pool.tally.connect.record(begun.elapsed());
        drop(pool);
        self.settle_pending(context);
    }

    /// A connection was not made; one without an index is only held.
    pub(super) fn handle_connect_error(
        self: &Rc<Self>,
        context: &mut Context,
        index: Option<u32>,
        error: &EngineError,
    ) {
        match index {
            Some(index) => self.handle_failure(context, index, kind_of(error), Some(error.to_string())),
            None => self.handle_idle_failure(kind_of(error), error.to_string()),
        }
        self.settle_pending(context);
    }

    /// A connection has failed, and with it what was in flight: it is made anew later, if that is asked for.
    pub(super) fn handle_failure(
        self: &Rc<Self>,
        context: &mut Context,
        index: u32,
        kind: Kind,
        detail: Option<String>,
    ) {
        let again = self.pool.borrow_mut().fail(index, kind, detail, self.plan().reconnect_failed);
        if again {
            let worker = Rc::clone(self);
            context.defer(RECONNECT_AFTER, move |context| worker.reconnect(context, index));
        }
        self.finish_if_resolved();
    }

    /// A connection that is only held has failed.
    pub(super) fn handle_idle_failure(&self, kind: Kind, detail: String) {
        if !self.is_over() {
            self.pool.borrow_mut().tally.fail(kind, 0, Some(detail));
        }
    }

    /// A connection has nothing in flight and sends nothing over its socket: it comes to rest, or goes on over another one.
    /// Returns whether its socket is to be closed.
    pub(super) fn rest_or_reconnect(self: &Rc<Self>, context: &mut Context, index: u32) -> bool {
        let again = self.pool.borrow_mut().rest_or_wait(index);
        if again {
            self.reconnect(context, index);
        }
        self.finish_if_resolved();
        again
    }

    fn reconnect(self: &Rc<Self>, context: &mut Context, index: u32) {
        let is_wanted = self.pool.borrow_mut().renew(index, self.talk(index));
        if is_wanted {
            self.connect(context, Some(index));
        }
    }
}

fn kind_of(error: &EngineError) -> Kind {
    match error {
        EngineError::Connect { source, .. } => Kind::of(source),
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Extent;
    use crate::plan::tests::plan;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn without_a_ramp_all_connections_are_begun_before_the_load() {
        let plan = Plan { idle: 5, ..plan(10, Extent::Count(1)) };
        assert_eq!(Opening::new(&plan, 0, 1).due(None), 15);
        assert_eq!(Opening::new(&plan, 1, 2).due(None), 8);
    }

    #[test]
    fn a_ramp_spreads_those_that_are_loaded_evenly() {
        let plan = Plan { idle: 5, ramp: 10 * SECOND, ..plan(10, Extent::Count(1)) };
        let opening = Opening::new(&plan, 0, 1);
        assert_eq!(opening.due(None), 5, "those that are only held are there before");
        let due = |millis| opening.due(Some(Duration::from_millis(millis)));
        assert_eq!([0, 999, 1_000, 8_999, 9_000, 10_000, 99_000].map(due), [6, 6, 7, 14, 15, 15, 15]);
        for begun in 6..15 {
            let opening = Opening { begun, ..opening };
            assert_eq!(opening.due(Some(opening.next_due() + Duration::from_micros(1))), begun + 1, "when it is due");
        }
    }

    #[test]
    fn a_shard_without_connections_has_nothing_to_open() {
        let plan = Plan { ramp: SECOND, ..plan(1, Extent::Count(1)) };
        let opening = Opening::new(&plan, 0, 2);
        assert_eq!((opening.all, opening.due(None), opening.due(Some(SECOND))), (0, 0, 0));
    }
}
