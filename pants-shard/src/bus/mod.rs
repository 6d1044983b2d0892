//! The bus: work from one shard for another. It never blocks the sender.

pub(crate) mod hand_off;
pub(crate) mod lanes;
pub(crate) mod mailbox;
pub(crate) mod message;
#[cfg(all(test, loom))]
mod models;
pub(crate) mod remote;
pub(crate) mod request;
mod room;
pub(crate) mod timer;
pub(crate) mod traffic;

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use pants_engine::Doorbell;

use self::hand_off::Moves;
use self::lanes::{LaneEnds, Lanes};
use self::message::{Message, unbox};
use self::request::{Ask, AskLater, Pending, Reply, Unanswered};
use self::timer::{BusTimer, BusTimers, Cycle, Defer, Timing};
use crate::shard::Shard;
use crate::shard_id::ShardId;

/// Sends work to the shards of a runtime; each shard has its own. Cheap to clone, for handlers to keep.
///
/// Messages of one shard to another arrive in the order of their sending. Each pair of shards has a lane of its own, which
/// holds 1,024 messages with up to 8 shards and fewer with more, 16 at the least; a full one gives the message back, but
/// to a handle [with overflow](Self::with_overflow). What was accepted runs, even if the runtime stops meanwhile.
///
/// # Examples
///
/// Counting on shard 0 what happens on all:
///
/// ```
/// use pants_shard::{Config, Runtime, ShardId, Shards};
/// use std::cell::Cell;
///
/// let config = Config::builder().shards("2".parse::<Shards>()?).build()?;
/// Runtime::new(config)?.run(|shard| {
///     let bus = shard.bus();
///     let _ = bus.send(ShardId::new(0), |zero| {
///         let count = zero.state::<Cell<u32>>();
///         count.set(count.get() + 1);
///         if count.get() == zero.shards() as u32 {
///             zero.stop();
///         }
///     });
///     Ok(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Bus {
    inner: Rc<Inner>,
    overflow: usize,
}

struct Inner {
    shard: ShardId,
    lanes: Rc<Lanes<Box<dyn Message>>>,
    pending: Pending,
    timers: BusTimers,
    moves: Moves,
    sealed: Cell<bool>,
}

/// Why a message was not taken. Each gives it back.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum SendError<T> {
    /// The lane to that shard is full: it is behind. Try again later, or drop something.
    #[error("the lane to the shard is full")]
    Full(T),
    /// The runtime has stopped, or that shard has.
    #[error("the runtime has stopped")]
    Stopped(T),
    /// The runtime has no such shard.
    #[error("there is no such shard")]
    NoSuchShard(T),
    /// A cycle was asked for with an interval of zero.
    #[error("a cycle's interval must be longer than zero")]
    ZeroInterval(T),
    /// The connection cannot be handed off: it is not made yet, closes, or leaves already.
    #[error("the connection is not made yet, or ends here")]
    CannotLeave(T),
}

impl<T> SendError<T> {
    /// The message.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(message)
            | Self::Stopped(message)
            | Self::NoSuchShard(message)
            | Self::ZeroInterval(message)
            | Self::CannotLeave(message) => message,
        }
    }

    /// The same, of what `f` makes of the message.
    fn map<U>(self, f: impl FnOnce(T) -> U) -> SendError<U> {
        match self {
            Self::Full(message) => SendError::Full(f(message)),
            Self::Stopped(message) => SendError::Stopped(f(message)),
            Self::NoSuchShard(message) => SendError::NoSuchShard(f(message)),
            Self::ZeroInterval(message) => SendError::ZeroInterval(f(message)),
            Self::CannotLeave(message) => SendError::CannotLeave(f(message)),
        }
    }
}

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Stopped(_) => "Stopped(..)",
            Self::NoSuchShard(_) => "NoSuchShard(..)",
            Self::ZeroInterval(_) => "ZeroInterval(..)",
            Self::CannotLeave(_) => "CannotLeave(..)",
        })
    }
}

impl Bus {
    pub(crate) fn new(shard: ShardId, ends: LaneEnds<Box<dyn Message>>, doorbells: &[Doorbell], moves: Moves) -> Self {
        let lanes = Rc::new(Lanes::new(ends, doorbells));
        let (pending, timers, sealed) = (Pending::default(), BusTimers::default(), Cell::new(false));
        Self { inner: Rc::new(Inner { shard, lanes, pending, timers, moves, sealed }), overflow: 0 }
    }

    /// How many shards the runtime has.
    pub fn shards(&self) -> usize {
        self.inner.lanes.shards()
    }

    /// The shard whose bus this is.
    pub fn shard(&self) -> ShardId {
        self.inner.shard
    }

    /// Has `work` run on `shard`, which may be this one, in one of its next turns.
    ///
    /// # Errors
    ///
    /// If the lane is full, the runtime has stopped or has no such shard; `work` comes back.
    pub fn send<F>(&self, shard: ShardId, work: F) -> Result<(), SendError<F>>
    where
        F: FnOnce(&mut Shard<'_>) + Send + 'static,
    {
        self.push(shard, work)
    }

    fn push<M: Message + 'static>(&self, shard: ShardId, message: M) -> Result<(), SendError<M>> {
        if self.is_sealed() {
            return Err(SendError::Stopped(message));
        }
        self.inner.lanes.push(shard, Box::new(message), self.overflow).map_err(|error| error.map(unbox))
    }

    /// The same bus, with what meets a full lane waiting on this shard: up to `capacity` messages for each other shard, which
    /// go into the lane as soon as there is room, in their order and before anything newer. Beyond that it is
    /// [`SendError::Full`] as ever. Requests, timers and what cancels them wait as well.
    ///
    /// The messages that wait for a shard are those of all this shard's handles together, and `capacity` is what this handle
    /// will bring them to. While there are some, a handle without overflow finds the lane full. When the runtime stops, they
    /// are delivered before their shard leaves.
    ///
    /// # Examples
    ///
    /// ```
    /// use pants_shard::{Config, Runtime, Shards};
    ///
    /// let config = Config::builder().shards("1".parse::<Shards>()?).build()?;
    /// Runtime::new(config)?.run(|shard| {
    ///     let bus = shard.bus().with_overflow(100_000);
    ///     for _ in 0..10_000 {
    ///         assert!(bus.send(shard.id(), |_| {}).is_ok());
    ///     }
    ///     assert!(bus.overflowed() > 0);
    ///     shard.stop();
    ///     Ok(())
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "the bus itself stays as it is"]
    pub fn with_overflow(&self, capacity: usize) -> Self {
        Self { overflow: capacity, ..self.clone() }
    }

    /// How many messages of this shard have met a full lane and waited, since the start.
    pub fn overflowed(&self) -> u64 {
        self.inner.lanes.overflowed()
    }

    /// Has `work` run on `shard`, and what it returns given to `then` on this one. `then` runs exactly once: it gets
    /// [`Unanswered`] if `work` panics or the runtime ends before it has run.
    ///
    /// The answer's way back is kept free from here on, so that no answer is ever refused: a shard may have 1,024 requests
    /// under way with each other one, whatever its [overflow](Self::with_overflow). One that asks on behalf of its connections had
    /// better pause reading a connection for as long as that waits for an answer or two.
    ///
    /// A connection may end before its answer comes: see [`Handler::on_end`](crate::Handler::on_end).
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), and [`SendError::Full`] if too many requests are under way with `shard`. Both closures come
    /// back, and `then` does not run.
    ///
    /// # Examples
    ///
    /// ```
    /// use pants_shard::{Config, Runtime, ShardId, Shards};
    ///
    /// let config = Config::builder().shards("2".parse::<Shards>()?).build()?;
    /// Runtime::new(config)?.run(|shard| {
    ///     if shard.id() == ShardId::new(0) {
    ///         let bus = shard.bus();
    ///         let asked = bus.request(ShardId::new(1), |one| one.id().index() * 21 * 2, |zero, answer| {
    ///             assert_eq!(answer, Ok(42));
    ///             zero.stop();
    ///         });
    ///         assert!(asked.is_ok());
    ///     }
    ///     Ok(())
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn request<T, W, R>(&self, shard: ShardId, work: W, then: R) -> Result<(), SendError<(W, R)>>
    where
        T: Send + 'static,
        W: FnOnce(&mut Shard<'_>) -> T + Send + 'static,
        R: FnOnce(&mut Shard<'_>, Result<T, Unanswered>) + 'static,
    {
        self.ask(shard, work, then, |work, reply| Ask { work, reply }, |Ask { work, reply }| (work, reply))
    }

    /// As [`request`](Self::request), for work that cannot answer at once: it is given the [`Reply`], which it may keep.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request).
    pub fn request_later<T, W, R>(&self, shard: ShardId, work: W, then: R) -> Result<(), SendError<(W, R)>>
    where
        T: Send + 'static,
        W: FnOnce(&mut Shard<'_>, Reply<T>) + Send + 'static,
        R: FnOnce(&mut Shard<'_>, Result<T, Unanswered>) + 'static,
    {
        self.ask(shard, work, then, |work, reply| AskLater { work, reply }, |AskLater { work, reply }| (work, reply))
    }

    fn ask<T, W, R, M>(
        &self,
        shard: ShardId,
        work: W,
        then: R,
        wrap: impl FnOnce(W, Reply<T>) -> M,
        unwrap: impl FnOnce(M) -> (W, Reply<T>),
    ) -> Result<(), SendError<(W, R)>>
    where
        T: Send + 'static,
        R: FnOnce(&mut Shard<'_>, Result<T, Unanswered>) + 'static,
        M: Message + 'static,
    {
        let Inner { lanes, pending, .. } = &*self.inner;
        if shard.index() >= lanes.shards() {
            return Err(SendError::NoSuchShard((work, then)));
        }
        if pending.is_full(shard) {
            return Err(SendError::Full((work, then)));
        }
        // Shared with the continuation, so that a refused request gives it back.
        let then = Rc::new(Cell::new(Some(then)));
        let kept = Rc::clone(&then);
        let way = pending.begin(shard, lanes.doorbell(self.shard()), move |shard, answer| {
            if let Some(then) = kept.take() {
                then(shard, answer);
            }
        });
        self.push(shard, wrap(work, Reply::new(way))).map_err(|error| {
            error.map(|message| {
                let (work, reply) = unwrap(message);
                if let Some(request) = reply.disarm() {
                    drop(pending.take(request));
                }
                (work, then.take().expect("a request that was not sent is not answered"))
            })
        })
    }

    /// Has `work` run on `shard` when `delay` has passed since now, on the terms of
    /// [`Context::defer`](pants_engine::Context::defer). The timer is cancelled by [`BusTimer::cancel`], from here.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn defer<F>(&self, shard: ShardId, delay: Duration, work: F) -> Result<BusTimer, SendError<F>>
    where
        F: FnOnce(&mut Shard<'_>) + Send + 'static,
    {
        self.set(shard, Defer { timing: self.timing(delay), work }, |Defer { work, .. }| work)
    }

    /// Has `work` run on `shard` every `interval`, counted from now, on the terms of
    /// [`Context::cycle_from`](pants_engine::Context::cycle_from).
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), and [`SendError::ZeroInterval`] if `interval` is zero.
    pub fn cycle<F>(&self, shard: ShardId, interval: Duration, work: F) -> Result<BusTimer, SendError<F>>
    where
        F: FnMut(&mut Shard<'_>) + Send + 'static,
    {
        if interval.is_zero() {
            return Err(SendError::ZeroInterval(work));
        }
        self.set(shard, Cycle { timing: self.timing(interval), work }, |Cycle { work, .. }| work)
    }

    fn timing(&self, delay: Duration) -> Timing {
        Timing::new(self.timers().next_id(self.shard()), delay)
    }

    fn set<F, M: Message + AsRef<Timing> + 'static>(
        &self,
        shard: ShardId,
        message: M,
        unwrap: impl FnOnce(M) -> F,
    ) -> Result<BusTimer, SendError<F>> {
        let timer = BusTimer::new(self.clone(), shard, message.as_ref());
        self.push(shard, message).map(|()| timer).map_err(|error| error.map(unwrap))
    }

    /// Has a copy of `work` run on every shard, this one included. Returns the shards that it did not reach: their lanes are
    /// full, or the runtime has stopped. To try again keep a clone, and [`send`](Self::send) it, which also says which.
    pub fn broadcast<F>(&self, work: F) -> Vec<ShardId>
    where
        F: FnOnce(&mut Shard<'_>) + Clone + Send + 'static,
    {
        let all = (0..self.inner.lanes.shards()).map(ShardId::new);
        all.filter(|&shard| self.send(shard, work.clone()).is_err()).collect()
    }

    /// Begins a request of the helper threads, which stand behind the last shard among those that answer.
    pub(crate) fn begin_offload<T: Send + 'static>(
        &self,
        then: impl FnOnce(&mut Shard<'_>, Result<T, Unanswered>) + 'static,
    ) -> Reply<T> {
        let Inner { shard, lanes, pending, .. } = &*self.inner;
        Reply::new(pending.begin(self.helpers(), lanes.doorbell(*shard), then))
    }

    /// Whether no more may be offloaded for now.
    pub(crate) fn has_offloaded_enough(&self) -> bool {
        self.inner.pending.is_full(self.helpers())
    }

    /// Whether the helper threads have something of this shard.
    pub(crate) fn has_offloaded(&self) -> bool {
        self.inner.pending.under_way(self.helpers()) > 0
    }

    fn helpers(&self) -> ShardId {
        ShardId::new(self.shards())
    }

    pub(crate) fn lanes(&self) -> &Rc<Lanes<Box<dyn Message>>> {
        &self.inner.lanes
    }

    pub(crate) fn pending(&self) -> &Pending {
        &self.inner.pending
    }

    pub(crate) fn timers(&self) -> &BusTimers {
        &self.inner.timers
    }

    pub(crate) fn is_sealed(&self) -> bool {
        self.inner.sealed.get()
    }

    /// Refuses everything from now on.
    pub(crate) fn seal(&self) {
        self.inner.sealed.set(true);
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus").field("shard", &self.inner.shard).field("shards", &self.inner.lanes.shards()).finish()
    }
}
