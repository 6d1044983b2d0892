//! The leveller: keeps one listener's connections spread over the shards. Each shard has one for each such listener.
//!
//! Shards tell each other how many connections they have, by messages and some time after a change, so that nothing is shared
//! on the path of a connection and nothing is said while nothing happens.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pants_engine::{Balancer, Connection, ConnectionKey, Context, HandOffError, Handler, Newcomer, ServerKey};

use super::counts::{Counts, Statement};
use super::{Balance, Balancing};
use crate::bus::Bus;
use crate::bus::hand_off::UnderWay;
use crate::bus::request::Unanswered;
use crate::listener::GroupId;
use crate::listener::servers::{self, Served};
use crate::shard::Shard;
use crate::shard_id::ShardId;

/// A handler that can go on at another shard, for `balance = "rebalance"`: see
/// [`Shard::listen_movable`](crate::Shard::listen_movable).
///
/// # Examples
///
/// ```
/// use pants_shard::{Connection, Handler, Movable, Shard};
///
/// /// Says how much it has been sent.
/// struct Count(u64);
///
/// impl Handler for Count {
///     fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
///         self.0 += data.len() as u64;
///         connection.write(format!("{}\n", self.0).as_bytes());
///     }
/// }
///
/// impl Movable for Count {
///     type State = u64;
///
///     fn pack(&self) -> Option<u64> {
///         Some(self.0)
///     }
///
///     fn unpack(_shard: &mut Shard<'_>, count: u64) -> Self {
///         Self(count)
///     }
/// }
/// ```
pub trait Movable: Handler + Sized {
    /// What of a handler goes along.
    type State: Send + 'static;

    /// Called between callbacks when the connection is to move: what goes along, or `None` if it had better stay. The move may
    /// still be refused; then this handler goes on.
    fn pack(&self) -> Option<Self::State>;

    /// Makes the handler on the other shard. Its [`on_hand_off`](Handler::on_hand_off) comes next.
    fn unpack(shard: &mut Shard<'_>, state: Self::State) -> Self;
}

/// When a leveller acts.
#[derive(Clone, Copy, Debug)]
struct Policy {
    /// A shard may have so many times the mean.
    max_skew: f64,
    /// How long after a change the others are told, and how long moves are apart.
    interval: Duration,
    moves_per_interval: usize,
    /// One shard accepts for all.
    one_accepts: bool,
}

/// Moves one connection to another shard, if its handler lets it.
pub(crate) type Mover = Rc<dyn Fn(&Rc<Leveller>, &mut Context, ConnectionKey, ShardId)>;

pub(crate) struct Leveller {
    group: GroupId,
    /// The shard's servers of the group: one, or several where there were more sockets to take over than there are shards.
    servers: Vec<ServerKey>,
    bus: Bus,
    policy: Policy,
    /// `None` if live connections stay.
    mover: Option<Mover>,
    counts: RefCell<Counts>,
    /// What the others were told last.
    told: Cell<usize>,
    /// One of them has counted since what it has sent here, and is to be told what has become of it.
    is_owed: Cell<bool>,
    /// A look is due after the interval.
    scheduled: Cell<bool>,
    /// How many connections have been tried to move, so that those that stay do not keep the others.
    tried: Cell<usize>,
    /// The listener closes, and nothing leaves any more.
    is_closing: Cell<bool>,
}

impl Leveller {
    /// That of one shard's servers, if their balance asks for one. `members` are the shards that serve the listener, and perhaps
    /// only one of them accepts.
    pub(crate) fn of(shard: &Shard<'_>, served: &Served, members: Vec<ShardId>, one_accepts: bool) -> Option<Rc<Self>> {
        let Balancing { balance, mover } = &served.balancing;
        let by_count = matches!(balance, Balance::LeastConnections | Balance::Rebalance);
        if members.len() == 1 || !(by_count || one_accepts) {
            return None;
        }
        let (bus, config) = (shard.bus(), shard.config());
        Some(Rc::new(Self {
            group: served.group,
            servers: served.keys.clone(),
            policy: Policy {
                max_skew: config.max_skew(),
                interval: config.balance_interval(),
                moves_per_interval: config.moves_per_interval(),
                one_accepts,
            },
            mover: mover.clone().filter(|_| *balance == Balance::Rebalance),
            counts: RefCell::new(Counts::new(shard.id(), members)),
            told: Cell::new(0),
            is_owed: Cell::new(false),
            scheduled: Cell::new(false),
            tried: Cell::new(0),
            is_closing: Cell::new(false),
            bus,
        }))
    }

    /// Another shard has told how many it has.
    pub(crate) fn hear(self: &Rc<Self>, context: &mut Context, from: ShardId, statement: Statement) {
        self.counts.borrow_mut().hear(from, statement);
        // One that is full may have left connections in the queue.
        self.servers.iter().for_each(|&server| context.reconsider(server));
        if self.mover.is_some() {
            self.look_later(context);
        }
    }

    /// Another shard has counted what it has sent here. It is told what there is, even if that has gone by then, or was
    /// refused.
    pub(crate) fn note_arrival(self: &Rc<Self>, context: &mut Context) {
        self.is_owed.set(true);
        self.look_later(context);
    }

    /// Has connections stay where they are accepted from now on. Returns whether none that had left can come back.
    pub(crate) fn close(&self) -> bool {
        self.is_closing.set(true);
        !self.counts.borrow().any_under_way()
    }

    fn look_later(self: &Rc<Self>, context: &mut Context) {
        self.look_after(context, self.policy.interval);
    }

    fn look_after(self: &Rc<Self>, context: &mut Context, delay: Duration) {
        if !self.scheduled.replace(true) {
            let leveller = Rc::clone(self);
            context.defer(delay, move |context| leveller.look(context));
        }
    }

    /// Tells the others, if there is news, and moves connections, if there are too many.
    fn look(self: &Rc<Self>, context: &mut Context) {
        self.scheduled.set(false);
        let open = self.count(context);
        if (self.is_owed.get() || self.told.get() != open) && !self.tell(open) {
            // Somebody's lane is full.
            self.look_later(context);
        }
        if self.mover.is_some() {
            self.rebalance(context);
        }
    }

    /// How many connections this shard has.
    fn count(&self, context: &Context) -> usize {
        let open = self.servers.iter().map(|&server| context.connections_open(server)).sum();
        self.counts.borrow_mut().set_own(open);
        open
    }

    /// Returns whether all others will hear of it.
    fn tell(&self, open: usize) -> bool {
        let (group, own) = (self.group, self.bus.shard());
        let others = self.counts.borrow().others();
        let statement = self.counts.borrow_mut().state();
        let mut all = true;
        for other in others {
            let heard = move |shard: &mut Shard<'_>| {
                if let Some(leveller) = shard.leveller(group) {
                    leveller.hear(shard.context(), own, statement);
                }
            };
            all &= self.bus.send(other, heard).is_ok();
        }
        if all {
            self.told.set(open);
            self.is_owed.set(false);
        }
        all
    }

    fn rebalance(self: &Rc<Self>, context: &mut Context) {
        let Some(mover) = &self.mover else { return };
        self.counts.borrow_mut().assume_nothing();
        let moves = self.counts.borrow().moves(self.policy.max_skew, self.policy.moves_per_interval);
        if moves.is_empty() {
            return;
        }
        let connections: Vec<_> = self.servers.iter().flat_map(|&server| context.connections(server)).collect();
        let first = self.tried.get() % connections.len().max(1);
        let mut tried = connections[first..].iter().chain(&connections[..first]);
        for (to, count) in moves {
            for &connection in tried.by_ref().take(count) {
                mover(self, context, connection, to);
            }
        }
        self.tried.set(first + connections.len() - tried.count());
        // Those that stayed, and those that were too many at once; when the others have told what has come of it.
        self.look_after(context, self.policy.interval * 2);
    }

    /// Where a connection that has just come is to be served.
    fn place(&self, is_full: bool) -> ShardId {
        let counts = self.counts.borrow();
        if is_full {
            counts.emptiest_other().map_or(self.bus.shard(), |(shard, _)| shard)
        } else if self.policy.one_accepts {
            counts.emptiest()
        } else {
            counts.better_place(self.policy.max_skew).unwrap_or(self.bus.shard())
        }
    }

    /// Sends a newcomer to another shard; gives it back if the way is full.
    fn send(self: &Rc<Self>, to: ShardId, newcomer: Newcomer) -> Option<Newcomer> {
        if self.is_closing.get() {
            return Some(newcomer);
        }
        let newcomer = match self.bus.check_move(to, newcomer) {
            Ok(newcomer) => newcomer,
            Err(error) => return Some(error.into_inner()),
        };
        let under_way = UnderWay::begin(&self.bus);
        let (group, own, server, statement) =
            (self.group, self.bus.shard(), self.servers[0], self.counts.borrow_mut().state());
        let parcel = Arc::new(Mutex::new(Some(newcomer)));
        let there = Arc::clone(&parcel);
        let here = Arc::clone(&parcel);
        let arrive = move |shard: &mut Shard<'_>| {
            let leveller = shard.leveller(group)?;
            leveller.counts.borrow_mut().hear(own, statement);
            leveller.note_arrival(shard.context());
            let server = leveller.servers[0];
            let mut parcel = there.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(newcomer) = parcel.take() {
                *parcel = shard.context().admit(server, newcomer).err();
            }
            leveller.count(shard.context());
            let statement = leveller.counts.borrow_mut().state();
            Some(statement)
        };
        // Whoever could not take it leaves it in the parcel.
        let leveller = Rc::clone(self);
        let settle = move |shard: &mut Shard<'_>, answer: Result<Option<Statement>, Unanswered>| {
            let _under_way = under_way;
            let newcomer = here.lock().unwrap_or_else(PoisonError::into_inner).take();
            leveller.counts.borrow_mut().settle(to, answer.ok().flatten());
            if let Some(newcomer) = newcomer {
                // It fails only where everything is being closed.
                drop(shard.context().admit_again(server, newcomer));
            }
            if leveller.is_closing.get() {
                // It may have been the last that its server has waited for.
                let local = shard.local();
                servers::yield_to_successor(shard.context(), local);
            }
        };
        if self.bus.request(to, arrive, settle).is_err() {
            return parcel.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
        self.counts.borrow_mut().send(to, self.policy.one_accepts);
        None
    }
}

/// Moves connections whose handlers are of type `H`.
pub(crate) fn mover<H: Movable>() -> Mover {
    Rc::new(|leveller, context, key, to| {
        let Some(mut connection) = context.connection(key).filter(Connection::can_detach) else { return };
        let leveller = Rc::clone(leveller);
        // In a timer of its own, which meets the handler. The program may have given the connection one of another type.
        connection.defer_if(Duration::ZERO, move |handler: &mut H, connection| {
            // If it cannot leave now, the next look tries another.
            if let Some(state) = handler.pack()
                && leveller.bus.hand_off(connection, to, move |shard| H::unpack(shard, state)).is_ok()
            {
                leveller.counts.borrow_mut().add(to);
            }
        });
    })
}

/// What a server's engine asks.
pub(crate) struct Usher(pub(crate) Rc<Leveller>);

impl Balancer for Usher {
    fn on_accept(&mut self, context: &mut Context, newcomer: Newcomer) -> Option<Newcomer> {
        let leveller = &self.0;
        leveller.count(context);
        let is_full = context.can_attach(Some(leveller.servers[0])) == Err(HandOffError::Full);
        let place = leveller.place(is_full);
        if place == leveller.bus.shard() { Some(newcomer) } else { leveller.send(place, newcomer) }
    }

    fn has_room_elsewhere(&self, max: usize) -> bool {
        self.0.counts.borrow().emptiest_other().is_some_and(|(_, open)| open < max)
    }

    fn on_change(&mut self, context: &mut Context, _open: usize) {
        let leveller = &self.0;
        let open = leveller.count(context);
        // Much at once the others should know before it is too much.
        let much = leveller.counts.borrow().tolerance(leveller.policy.max_skew) / 2;
        if open.abs_diff(leveller.told.get()) > much {
            leveller.tell(open);
        }
        leveller.look_later(context);
    }
}

impl fmt::Debug for Leveller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leveller").field("counts", &self.counts).finish_non_exhaustive()
    }
}
