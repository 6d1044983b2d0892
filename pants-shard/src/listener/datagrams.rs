//! The datagram channels of all shards at one address: one port, a socket for each shard, and nobody else beside them.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pants_engine::{
    Address, Context, Datagram, DatagramHandler, DatagramKey, DatagramOptions, Endpoint, Engine, ToAddress,
};

use super::claim::{Space, claim};
use super::{is_unix, port_taken, resolve};
use crate::error::{Error, Result};
use crate::shard::Shard;
use crate::shard_id::ShardId;

/// The addresses at which the shards have declared datagram channels, shared by all.
#[derive(Debug, Default)]
pub(super) struct DatagramGroups(Mutex<Vec<Group>>);

#[derive(Debug)]
struct Group {
    declared: Address,
    resolved: Address,
    /// The shards that have come.
    members: Vec<ShardId>,
    /// Held for as long as the runtime serves.
    claim: Option<OwnedFd>,
}

impl Shard<'_> {
    /// Declares a datagram channel at `address` with default options; see
    /// [`open_datagram_with`](Self::open_datagram_with).
    ///
    /// # Errors
    ///
    /// As [`open_datagram_with`](Self::open_datagram_with).
    pub fn open_datagram(&mut self, address: impl ToAddress, handler: impl DatagramHandler) -> Result<DatagramKey> {
        self.open_datagram_with(address, DatagramOptions::default(), handler)
    }

    /// Declares a datagram channel, in set-up: its socket is bound now, and read when every shard has bound its own.
    ///
    /// Shards that declare the same UDP address share it (`SO_REUSEPORT`, which is set as they need it), each with a socket
    /// and a handler of its own. Port 0 is resolved once, for all. With `share_port` off, an address that another program has
    /// is refused.
    ///
    /// **A flow stays with its shard.** The kernel chooses the socket by a hash of the sender's and the own address and port,
    /// so that all datagrams of one sender reach the same shard, as long as no socket of the address comes or goes. What
    /// arrives before the last shard has bound its socket may be read by another shard than what follows. When a shard's
    /// channel closes, by its handler or because that has panicked, the kernel spreads the senders anew over those that are
    /// left, and most change their shard. So it is in a drain: each shard answers what has arrived at its socket, and closes
    /// that when its handler does ([`DatagramHandler::on_shutdown`]). Another program that shares the port changes the spread
    /// too when it comes and when it goes, and so does the next process of a
    /// [`handover`](crate::Runtime::handover): datagram sockets are not handed over, and without `share_port` it does not
    /// start.
    ///
    /// An answer leaves from the address that the machine's routes choose. Where it has several, a channel at all of them (a
    /// port alone, `0.0.0.0`, `[::]`) may answer from another one than was asked, and a connected client does not hear that;
    /// declare each address on its own there.
    ///
    /// A Unix datagram socket has one queue, and one shard has it: declare it on that one alone, which passes on what is for
    /// others over the [`Bus`](crate::Bus).
    ///
    /// # Errors
    ///
    /// If the address is not understood or taken, an option is out of range, a second shard declares a Unix socket, or set-up
    /// is over. Then the handler is dropped and gets no callback.
    ///
    /// # Examples
    ///
    /// ```
    /// use pants_shard::{Config, Datagram, DatagramHandler, Endpoint, Runtime};
    /// use std::net::UdpSocket;
    ///
    /// struct Echo;
    ///
    /// impl DatagramHandler for Echo {
    ///     fn on_read(&mut self, datagram: &mut Datagram<'_>, data: &[u8], from: &Endpoint) {
    ///         datagram.send_to(data, from);
    ///     }
    /// }
    ///
    /// let running = Runtime::new(Config::default())?
    ///     .start(|shard| shard.open_datagram("127.0.0.1:0", Echo).map(drop))?;
    /// let client = UdpSocket::bind("127.0.0.1:0")?;
    /// client.connect(running.datagram_addresses()[0].socket_address().expect("it is UDP"))?;
    /// client.send(b"hello")?;
    /// let mut answer = [0; 16];
    /// let length = client.recv(&mut answer)?;
    /// assert_eq!(&answer[..length], b"hello");
    /// running.drain();
    /// running.join()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open_datagram_with(
        &mut self,
        address: impl ToAddress,
        options: DatagramOptions,
        handler: impl DatagramHandler,
    ) -> Result<DatagramKey> {
        let address = address.to_address().map_err(pants_engine::Error::from)?;
        let local = Rc::clone(self.local());
        if local.servers.borrow().is_set_up {
            return Err(Error::LateDatagrams);
        }
        let share = local.config.share_port();
        let reuse_port = options.reuse_port || share || local.shards > 1;
        let options = DatagramOptions { reuse_port, ..options };
        let key = local.groups.datagrams.open(self, address, share, options, handler)?;
        local.startup.note_datagram_address(local_address(self.context(), key)?);
        Ok(key)
    }
}

impl DatagramGroups {
    /// Opens one shard's channel in the group of its address, which the first shard makes. Port 0 may be asked for twice:
    /// a shard's second declaration of an address is for the second group.
    fn open(
        &self,
        shard: &mut Shard<'_>,
        address: Address,
        share: bool,
        options: DatagramOptions,
        handler: impl DatagramHandler,
    ) -> Result<DatagramKey> {
        let mut groups = self.lock();
        let id = shard.id();
        let mut declared = groups.iter_mut().filter(|group| group.declared == address);
        if let Some(group) = declared.find(|group| !group.members.contains(&id)) {
            if is_unix(&address) {
                return Err(Error::UnixDatagrams(address));
            }
            let key = bind(shard.context(), &group.resolved, options, handler)?;
            group.members.push(id);
            return Ok(key);
        }
        let (mut place, mut claimed) = (address.clone(), None);
        if options.reuse_port && !share && !is_unix(&address) {
            claimed = claim(Space::Datagrams, &address)?;
            place = probe(&address)?;
        }
        let key = bind(shard.context(), &place, options, handler)?;
        let resolved = resolve(&address, &local_address(shard.context(), key)?);
        let claim = claimed.map(OwnedFd::from);
        groups.push(Group { declared: address, resolved, members: vec![id], claim });
        Ok(key)
    }

    /// The channels close, and the addresses are for whoever comes next.
    pub(super) fn release_claims(&self) {
        self.lock().iter_mut().for_each(|group| group.claim = None);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Group>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Finds out whether nobody has `address`, and resolves its port. The kernel may give a socket that shares its port
/// another one's when it asks for any, and does not when it shares with nobody.
fn probe(address: &Address) -> Result<Address> {
    // An engine of its own: when it goes its socket has closed, and not a turn later.
    let mut engine = Engine::new()?;
    let key = bind(engine.context(), address, DatagramOptions::default(), Probe)?;
    Ok(resolve(address, &local_address(engine.context(), key)?))
}

/// Nothing is read.
struct Probe;

impl DatagramHandler for Probe {
    fn on_read(&mut self, _datagram: &mut Datagram<'_>, _data: &[u8], _from: &Endpoint) {}
}

fn bind(
    context: &mut Context,
    address: &Address,
    options: DatagramOptions,
    handler: impl DatagramHandler,
) -> Result<DatagramKey> {
    context.open_datagram_with(address, options, handler).map_err(|error| port_taken(error, address))
}

fn local_address(context: &mut Context, key: DatagramKey) -> Result<Endpoint> {
    let channel = context.datagram(key).ok_or(pants_engine::Error::Stopping)?;
    Ok(channel.local_address().clone())
}
