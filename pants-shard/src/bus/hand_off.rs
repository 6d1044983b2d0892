//! Hand-off: a live connection goes on at another shard.
//!
//! It travels as a request. Both sides can reach it until it has arrived, so that one whose target refuses it, or never
//! comes to it, is taken back.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::{Arc, Mutex, PoisonError};

use pants_engine::{Connection, Context, Detached, HandOffError, Handler, LeftBehind};

use super::request::Unanswered;
use super::{Bus, SendError};
use crate::listener::GroupId;
use crate::listener::servers::Servers;
use crate::shard::Shard;
use crate::shard_id::ShardId;
use crate::shutdown::{Shutdown, Stage};

/// What one shard knows of its connections' moves.
pub(crate) struct Moves {
    shutdown: Arc<Shutdown>,
    /// Connections that have left and not arrived yet.
    under_way: Cell<usize>,
    /// Which of this shard's servers belongs to which group. Their levellers keep the bus, and with it this.
    servers: Weak<RefCell<Servers>>,
}

/// A connection that both ends can reach until one has it.
type Parcel = Arc<Mutex<Option<Detached>>>;

/// Counts a move until it has ended.
pub(crate) struct UnderWay(Bus);

impl Bus {
    /// Has `connection` go on at `shard`, after the present callback: with its socket, the bytes that are not read or not
    /// written yet, its delimiter, options and timeouts. There it belongs to the same listener, and to the handler that `make`
    /// makes, whose [`on_hand_off`](Handler::on_hand_off) comes first. The old handler is dropped, without
    /// [`on_close`](Handler::on_close), its [timers](Connection::defer) are cancelled, and the connection's key is another.
    ///
    /// If it cannot be taken over there, the connection is back after a while, with its old handler, whose
    /// [`on_hand_off_error`](Handler::on_hand_off_error) says why. Nothing is lost, doubled or reordered either way.
    ///
    /// # Errors
    ///
    /// If the runtime has no such shard, drains or has stopped; if the way there is full; or if the connection cannot
    /// [leave](Connection::can_detach), since it is not made yet, closes, or leaves already. `make` comes back.
    ///
    /// # Examples
    ///
    /// A connection goes to the shard that it asks for:
    ///
    /// ```
    /// use pants_shard::{Bus, Config, Connection, Handler, Runtime, ShardId};
    ///
    /// struct Session {
    ///     bus: Bus,
    ///     served: u64,
    /// }
    ///
    /// impl Handler for Session {
    ///     fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
    ///         self.served += 1;
    ///         let wanted = ShardId::new(usize::from(data[0]));
    ///         if wanted != self.bus.shard() {
    ///             let served = self.served;
    ///             let moved = self.bus.hand_off(connection, wanted, move |shard| Session { bus: shard.bus(), served });
    ///             if moved.is_err() {
    ///                 connection.write(b"not now\n");
    ///             }
    ///         }
    ///     }
    ///
    ///     fn on_hand_off(&mut self, connection: &mut Connection<'_>) {
    ///         connection.write(format!("{} after {}\n", self.bus.shard(), self.served).as_bytes());
    ///     }
    /// }
    ///
    /// let config = Config::builder().shards("2".parse::<pants_shard::Shards>()?).build()?;
    /// let running = Runtime::new(config)?.start(|shard| {
    ///     let bus = shard.bus();
    ///     shard.listen("127.0.0.1:0", move |_peer| Session { bus: bus.clone(), served: 0 })?;
    ///     Ok(())
    /// })?;
    /// # use std::io::{BufRead, BufReader, Write};
    /// # let address = running.addresses()[0].socket_address().unwrap();
    /// # let mut client = std::net::TcpStream::connect(address)?;
    /// # client.set_read_timeout(Some(std::time::Duration::from_millis(50)))?;
    /// # let mut heard = String::new();
    /// # for wanted in [0, 1, 0, 1].into_iter().cycle() {
    /// #     client.write_all(&[wanted])?;
    /// #     if BufReader::new(&client).read_line(&mut heard).is_ok() { break; }
    /// # }
    /// # assert!(heard.starts_with("shard-"));
    /// # running.stop();
    /// # running.join()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn hand_off<F, H>(&self, connection: &mut Connection<'_>, shard: ShardId, make: F) -> Result<(), SendError<F>>
    where
        F: FnOnce(&mut Shard<'_>) -> H + Send + 'static,
        H: Handler,
    {
        let make = self.check_move(shard, make)?;
        if !connection.can_detach() {
            return Err(SendError::CannotLeave(make));
        }
        let under_way = UnderWay::begin(self);
        connection.detach(move |context, connection, left_behind| {
            under_way.send(context, shard, connection, left_behind, make);
        });
        Ok(())
    }

    /// Gives back what could not leave for `shard` now, and why.
    pub(crate) fn check_move<T>(&self, shard: ShardId, leaves: T) -> Result<T, SendError<T>> {
        if shard.index() >= self.shards() {
            return Err(SendError::NoSuchShard(leaves));
        }
        if self.is_sealed() || self.inner.moves.shutdown.stage() >= Stage::Draining {
            return Err(SendError::Stopped(leaves));
        }
        if self.inner.lanes.is_full(shard) || self.inner.pending.is_full(shard) {
            return Err(SendError::Full(leaves));
        }
        Ok(leaves)
    }

    pub(crate) fn moves(&self) -> &Moves {
        &self.inner.moves
    }
}

impl Moves {
    pub(crate) fn new(shutdown: Arc<Shutdown>, servers: Weak<RefCell<Servers>>) -> Self {
        Self { shutdown, under_way: Cell::new(0), servers }
    }

    /// Whether a connection is neither here nor there.
    pub(crate) fn any_under_way(&self) -> bool {
        self.under_way.get() > 0
    }
}

impl UnderWay {
    pub(crate) fn begin(bus: &Bus) -> Self {
        let count = &bus.inner.moves.under_way;
        count.set(count.get() + 1);
        Self(bus.clone())
    }

    /// Sends what has just left its engine.
    fn send<F, H>(self, context: &mut Context, to: ShardId, connection: Detached, left_behind: LeftBehind, make: F)
    where
        F: FnOnce(&mut Shard<'_>) -> H + Send + 'static,
        H: Handler,
    {
        let bus = self.0.clone();
        let servers = bus.inner.moves.servers.upgrade();
        let group = left_behind.server().and_then(|server| servers?.borrow().group_of(server));
        let parcel: Parcel = Arc::new(Mutex::new(Some(connection)));
        let left_behind = Rc::new(Cell::new(Some(left_behind)));
        let (there, here) = (Arc::clone(&parcel), (Arc::clone(&parcel), Rc::clone(&left_behind)));
        let sent = bus.request(
            to,
            move |shard| take_over(shard, group, &there, make),
            move |shard, answer| {
                // Until here it counts.
                let _under_way = self;
                let error = match answer {
                    Ok(Ok(())) => return,
                    Ok(Err(error)) => error,
                    Err(Unanswered) if shard.is_draining() => HandOffError::Stopping,
                    Err(Unanswered) => HandOffError::Panicked,
                };
                take_back(shard.context(), &here.0, here.1.take(), error);
            },
        );
        // What the present callback has sent meanwhile may have filled the lane.
        if let Err(error) = sent {
            let reason = if matches!(error, SendError::Full(_)) { HandOffError::Full } else { HandOffError::Stopping };
            take_back(context, &parcel, left_behind.take(), reason);
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let count = &self.0.inner.moves.under_way;
        count.set(count.get() - 1);
    }
}

/// On the target: takes what has come, unless there is a reason not to.
fn take_over<F, H>(shard: &mut Shard<'_>, group: Option<GroupId>, parcel: &Parcel, make: F) -> Result<(), HandOffError>
where
    F: FnOnce(&mut Shard<'_>) -> H,
    H: Handler,
{
    // It is drained where it was, which waits for it.
    if shard.is_draining() {
        return Err(HandOffError::Stopping);
    }
    if let Some(leveller) = group.and_then(|group| shard.leveller(group)) {
        leveller.note_arrival(shard.context());
    }
    let server = group.and_then(|group| shard.local().servers.borrow().first_of(group));
    shard.context().can_attach(server)?;
    // Before it is taken: should this panic, its origin still has it.
    let handler = make(shard);
    let mut parcel = parcel.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(connection) = parcel.take() else { return Err(HandOffError::Stopping) };
    shard.context().attach(connection, server, handler).map(drop).map_err(|refused| {
        *parcel = Some(refused.connection);
        refused.error
    })
}

/// On the origin: nobody else will have it.
fn take_back(context: &mut Context, parcel: &Parcel, left_behind: Option<LeftBehind>, error: HandOffError) {
    let connection = parcel.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let (Some(connection), Some(left_behind)) = (connection, left_behind)
        && let Err(refused) = context.attach_again(connection, left_behind, error)
    {
        let peer = refused.connection.peer_address();
        tracing::error!(%peer, "a connection that came back is lost: {}", refused.error);
    }
}
