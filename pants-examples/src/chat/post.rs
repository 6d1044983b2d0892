//! The post: what one shard sends to others, in order, and what happens while a lane is full.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use pants_shard::{Bus, Connection, ConnectionKey, Context, SendError, Shard, ShardId};

use super::LOG_TARGET;
use super::backlog::{BACKLOG_MAX, Backlog};
use super::hall::{Hall, REGISTRAR};
use super::name::Name;
use super::registrar::Registrar;

/// How long to wait before what did not go is sent again.
const RETRY_AFTER: Duration = Duration::from_millis(1);

/// What is sent. A copy shares its bytes.
#[derive(Clone, Debug)]
enum Parcel {
    /// A line for all in a room.
    Line { room: Name, line: Arc<[u8]> },
    /// A nickname that is free again, for the registrar.
    Release(Name),
}

/// One shard's way to the others.
pub(super) struct Post {
    pub(super) bus: Bus,
    /// By shard.
    backlogs: RefCell<Vec<Backlog<Parcel>>>,
    /// Connections that are not read while something waits.
    held: RefCell<Vec<ConnectionKey>>,
    /// Whether there is a timer to send again. Invariant: there is one while something waits.
    retries: Cell<bool>,
}

impl Parcel {
    fn open(self, shard: &mut Shard<'_>) {
        match self {
            Self::Line { room, line } => {
                if let Some(hall) = Hall::of(shard) {
                    hall.deliver(shard.context(), &room, &line, None);
                }
            }
            Self::Release(nick) => shard.state::<Registrar>().release(&nick),
        }
    }
}

impl Post {
    pub(super) fn new(shard: &Shard<'_>) -> Self {
        let backlogs = std::iter::repeat_with(Backlog::default).take(shard.shards()).collect();
        Self { bus: shard.bus(), backlogs: RefCell::new(backlogs), held: RefCell::default(), retries: Cell::new(false) }
    }

    pub(super) fn shards(&self) -> usize {
        self.backlogs.borrow().len()
    }

    /// Sends a line to all other shards. Returns whether it will reach them all.
    pub(super) fn send_line(self: &Rc<Self>, context: &mut Context, room: &Name, line: &Arc<[u8]>) -> bool {
        let others = (0..self.shards()).map(ShardId::new).filter(|&shard| shard != self.bus.shard());
        let parcel = || Parcel::Line { room: room.clone(), line: Arc::clone(line) };
        // Each is sent to, whatever becomes of the others.
        others.filter(|&shard| !self.send(context, shard, parcel(), BACKLOG_MAX)).count() == 0
    }

    /// Gives a nickname back. It is never dropped: there are no more of these than names that are taken.
    pub(super) fn release(self: &Rc<Self>, context: &mut Context, nick: Name) {
        self.send(context, REGISTRAR, Parcel::Release(nick), usize::MAX);
    }

    fn send(self: &Rc<Self>, context: &mut Context, shard: ShardId, parcel: Parcel, limit: usize) -> bool {
        let backlog = &mut self.backlogs.borrow_mut()[shard.index()];
        let arrives = backlog.send(parcel, limit, |parcel| self.try_send(shard, parcel));
        if !backlog.is_empty() && !self.retries.replace(true) {
            self.retry_later(context);
        }
        arrives
    }

    /// Whether the lane has taken it, or nobody will ever want it.
    fn try_send(&self, shard: ShardId, parcel: &Parcel) -> bool {
        let parcel = parcel.clone();
        !matches!(self.bus.send(shard, move |shard| parcel.open(shard)), Err(SendError::Full(_)))
    }

    /// Has a connection that has just said something not be read while something waits.
    pub(super) fn hold_if_behind(&self, connection: &mut Connection<'_>) {
        if self.retries.get() {
            connection.pause_reading();
            self.held.borrow_mut().push(connection.key());
        }
    }

    fn retry_later(self: &Rc<Self>, context: &mut Context) {
        let post = Rc::clone(self);
        context.defer(RETRY_AFTER, move |context| post.retry(context));
    }

    fn retry(self: &Rc<Self>, context: &mut Context) {
        let mut all_sent = true;
        for (index, backlog) in self.backlogs.borrow_mut().iter_mut().enumerate() {
            let shard = ShardId::new(index);
            backlog.retry(|parcel| self.try_send(shard, parcel));
            all_sent &= backlog.is_empty();
            let dropped = if backlog.is_empty() { backlog.take_dropped() } else { 0 };
            if dropped > 0 {
                tracing::warn!(target: LOG_TARGET, "{shard} was behind: {dropped} lines from {} dropped", self.bus.shard());
            }
        }
        if !all_sent {
            return self.retry_later(context);
        }
        self.retries.set(false);
        for key in self.held.take() {
            if let Some(mut connection) = context.connection(key) {
                connection.resume_reading();
            }
        }
    }
}
