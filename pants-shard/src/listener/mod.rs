//! The listeners of all shards at one address: which socket is bound first, and what the others bind to.

pub(crate) mod builder;
pub(crate) mod changes;
mod claim;
mod datagrams;
pub(crate) mod given;
pub(crate) mod servers;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pants_engine::{Acceptor, Address, Context, Endpoint, ServerKey, ServerOptions};

use self::claim::{Space, claim};
use self::datagrams::DatagramGroups;
use self::given::{Given, Kind};
use self::servers::{Served, SharedAcceptor};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::shard_id::ShardId;

/// The addresses that the shards have declared, shared by all. Port 0 is resolved once, by the shard that comes first.
#[derive(Debug)]
pub(crate) struct ListenerGroups {
    shards: usize,
    /// Whether a successor may ask for the sockets.
    keeps_sockets: bool,
    table: Mutex<Table>,
    datagrams: DatagramGroups,
}

#[derive(Debug, Default)]
struct Table {
    groups: Vec<Group>,
    next: usize,
    /// What other processes have left to this one, and no shard has declared yet.
    given: Vec<Given>,
}

/// Which declaration it was, in words that another process understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Declared {
    pub(crate) address: String,
    /// How many groups were declared with the same address before.
    pub(crate) nth: usize,
}

/// Which group it is, for as long as the process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupId(usize);

impl GroupId {
    /// Which of a group's members does for all what only one can do: not the same one for every group.
    pub(crate) fn sole(self, members: &[ShardId]) -> ShardId {
        members[self.0 % members.len()]
    }
}

#[derive(Debug)]
struct Group {
    id: GroupId,
    declared: Address,
    /// How many groups were declared with the same address before: port 0 may be asked for twice.
    nth: usize,
    resolved: Address,
    endpoint: Endpoint,
    /// The first `given` ones are there for the shards to take; the others are kept for a successor.
    sockets: Vec<OwnedFd>,
    given: usize,
    /// Whether a shard for which none is given binds a socket of its own (`SO_REUSEPORT`). If not, it shares a given one,
    /// as with a Unix socket, which has no such thing: then the shards accept from one queue.
    beside: bool,
    /// Shards join it: it is for the program's clients.
    is_public: bool,
    /// The shards that have come.
    members: Vec<ShardId>,
    /// Held for as long as the runtime serves.
    claim: Option<OwnedFd>,
    /// The sockets belong to somebody else still.
    borrowed: bool,
    /// A successor accepts here.
    yielded: bool,
}

/// What one shard declares.
#[derive(Debug)]
pub(crate) struct Declaration {
    pub(crate) shard: ShardId,
    pub(crate) address: Address,
    pub(crate) nth: usize,
    pub(crate) is_public: bool,
    pub(crate) options: ServerOptions,
}

impl ListenerGroups {
    pub(crate) fn new(shards: usize, keeps_sockets: bool, given: Vec<Given>) -> Self {
        let table = Mutex::new(Table { given, ..Table::default() });
        Self { shards, keeps_sockets, table, datagrams: DatagramGroups::default() }
    }

    /// The group of an address that a shard before this one has declared in its set-up, and this one not yet.
    pub(crate) fn declared(&self, address: &Address, shard: ShardId) -> Option<GroupId> {
        let table = self.lock();
        let is_open = |group: &&Group| group.is_public && group.declared == *address && !group.members.contains(&shard);
        table.groups.iter().find(is_open).map(|group| group.id)
    }

    /// How many groups were declared with just this address.
    pub(crate) fn count(&self, address: &Address) -> usize {
        self.lock().groups.iter().filter(|group| group.declared == *address).count()
    }

    /// The last group that listens at `address`, as it was declared or as it was resolved.
    pub(crate) fn find(&self, address: &Address) -> Option<(GroupId, Endpoint)> {
        let table = self.lock();
        let is_there = |group: &&Group| {
            group.declared == *address
                || group.resolved == *address
                || Address::from(group.endpoint.clone()) == *address
        };
        table.groups.iter().rev().find(is_there).map(|group| (group.id, group.endpoint.clone()))
    }

    /// The shards that serve a group, once all have declared theirs.
    pub(crate) fn members(&self, id: GroupId) -> Vec<ShardId> {
        self.lock().groups.iter().find(|group| group.id == id).map_or_else(Vec::new, |group| group.members.clone())
    }

    pub(crate) fn endpoint(&self, id: GroupId) -> Option<Endpoint> {
        self.lock().groups.iter().find(|group| group.id == id).map(|group| group.endpoint.clone())
    }

    /// Binds one shard's socket in `group`, or where there is none in a new one, or takes those that are given.
    ///
    /// `SO_REUSEPORT` would let a second program bind the same port and take a part of its connections. So whoever comes
    /// first looks whether the port is free, unless it is to be shared. One shard comes after the other.
    pub(crate) fn bind(
        &self,
        context: &mut Context,
        config: &Config,
        group: Option<GroupId>,
        declaration: &Declaration,
        acceptor: impl Acceptor,
    ) -> Result<Served> {
        let mut table = self.lock();
        let known = table.groups.iter_mut().find(|known| Some(known.id) == group);
        let options = declaration.options.clone();
        let share = config.share_port();
        let reuse_port = options.reuse_port || share || self.shards > 1 || self.keeps_sockets;
        let options = ServerOptions { reuse_port, ..options };
        if let Some(group) = known {
            return self.join(group, context, declaration.shard, options, acceptor);
        }
        let given = Given::take(&mut table.given, &declaration.address, declaration.nth);
        let id = GroupId(table.next);
        table.next += 1;
        let (served, group) = match given {
            Some(given) => {
                let mut group = Group::of_given(id, declaration, given)?;
                (self.join(&mut group, context, declaration.shard, options, acceptor)?, group)
            }
            None => self.found(id, context, declaration, share, options, acceptor)?,
        };
        table.groups.push(group);
        Ok(served)
    }

    /// The first shard's part where nothing is given.
    fn found(
        &self,
        id: GroupId,
        context: &mut Context,
        declaration: &Declaration,
        share: bool,
        options: ServerOptions,
        acceptor: impl Acceptor,
    ) -> Result<(Served, Group)> {
        let Declaration { address, nth, .. } = declaration;
        let unix = is_unix(address);
        let mut claimed = None;
        if options.reuse_port && !share && !unix {
            claimed = claim(Space::Listeners, address)?;
            context.probe(address).map_err(|error| port_taken(error, address))?;
        }
        let key = context.bind(address, options, acceptor).map_err(|error| port_taken(error, address))?;
        let endpoint = context.server_address(key).ok_or(pants_engine::Error::NoServer)?;
        let resolved = resolve(address, &endpoint);
        let mut group = Group {
            id,
            declared: address.clone(),
            nth: *nth,
            resolved,
            endpoint,
            sockets: Vec::new(),
            given: usize::from(unix),
            beside: !unix,
            is_public: declaration.is_public,
            members: vec![declaration.shard],
            claim: claimed.map(OwnedFd::from),
            borrowed: false,
            yielded: false,
        };
        if unix || self.keeps_sockets {
            group.keep(context, key)?;
        }
        let mut served = Served::new(id, declaration.address.clone(), vec![key]);
        served.one_queue = !group.beside;
        Ok((served, group))
    }

    /// A shard comes to a group: it takes the sockets that are given for it, binds one, or shares one.
    fn join(
        &self,
        group: &mut Group,
        context: &mut Context,
        shard: ShardId,
        options: ServerOptions,
        acceptor: impl Acceptor,
    ) -> Result<Served> {
        let member = group.members.len();
        let given = group.given_to(member, self.shards);
        let mut served = Served::new(group.id, group.declared.clone(), Vec::with_capacity(given.len().max(1)));
        if given.is_empty() && group.beside {
            let options = ServerOptions { reuse_port: true, ..options };
            let key = context.bind(&group.resolved, options, acceptor).map_err(|e| port_taken(e, &group.resolved))?;
            if self.keeps_sockets {
                group.keep(context, key)?;
            }
            served.keys.push(key);
        } else {
            let given = if given.is_empty() { vec![member % group.given] } else { given };
            let acceptors = SharedAcceptor::new(acceptor, given.len());
            for (socket, acceptor) in given.into_iter().zip(acceptors) {
                let socket = group.sockets[socket].try_clone().map_err(pants_engine::Error::Adopt)?;
                served.keys.push(context.bind_socket(socket, options.clone(), acceptor)?);
            }
            served.takes_file = member == 0 && !group.borrowed;
            served.one_queue = !group.beside;
        }
        group.members.push(shard);
        Ok(served)
    }

    /// All shards have set up: lets go of what was given and nobody wants, so that no connection waits there. Gives the
    /// groups that go on with all of what was given to them, by address and number.
    pub(crate) fn settle(&self) -> Vec<Declared> {
        let mut table = self.lock();
        for given in table.given.drain(..) {
            tracing::warn!("a socket that was left to this process is closed, since no shard listens at {given}");
        }
        let mut complete = Vec::new();
        for group in &mut table.groups {
            let (given, members) = (group.given, group.members.len());
            let mut index = 0..;
            group.sockets.retain(|_| index.next().is_some_and(|index| index >= given || index % self.shards < members));
            group.given = (0..given).filter(|index| index % self.shards < members).count();
            if group.given == given {
                complete.push(group.name());
            } else {
                tracing::warn!("sockets at {} are closed, since fewer shards than before listen there", group.declared);
            }
        }
        complete
    }

    /// Calls `f` with the groups' sockets and claims, which are what a successor is given.
    pub(crate) fn offer<R>(&self, f: impl FnOnce(&[Offered<'_>]) -> R) -> R {
        let table = self.lock();
        let mut offered = Vec::new();
        for group in &table.groups {
            let kind = if group.borrowed { Kind::Borrowed } else { Kind::Socket };
            let sockets = group.sockets.iter().map(|socket| (kind, socket));
            let all = sockets.chain(group.claim.iter().map(|claim| (Kind::Claim, claim)));
            offered.extend(all.map(|(kind, fd)| Offered { kind, declared: group.name(), fd: fd.as_fd() }));
        }
        f(&offered)
    }

    /// A successor accepts at these addresses from now on: nothing is accepted here, and nothing closed that it shares.
    pub(crate) fn yield_to_successor(&self, taken: &[Declared]) {
        for group in &mut self.lock().groups {
            if taken.contains(&group.name()) {
                group.yielded = true;
                group.sockets.clear();
                group.claim = None;
            }
        }
    }

    pub(crate) fn is_yielded(&self, id: GroupId) -> bool {
        self.lock().groups.iter().any(|group| group.id == id && group.yielded)
    }

    /// Forgets a group, whose servers are about to close.
    pub(crate) fn remove(&self, id: GroupId) {
        self.lock().groups.retain(|group| group.id != id);
    }

    /// The listeners close, and the addresses are for whoever comes next: a successor need not wait for the drain's end.
    pub(crate) fn release_claims(&self) {
        for group in &mut self.lock().groups {
            group.claim = None;
            group.sockets.clear();
        }
        self.datagrams.release_claims();
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One descriptor for a successor.
#[derive(Debug)]
pub(crate) struct Offered<'a> {
    pub(crate) kind: Kind,
    pub(crate) declared: Declared,
    pub(crate) fd: BorrowedFd<'a>,
}

impl Group {
    /// A group that goes on with sockets of another process.
    fn of_given(id: GroupId, declaration: &Declaration, given: Given) -> Result<Self> {
        let endpoint = given.endpoint().map_err(pants_engine::Error::Adopt)?;
        let beside = given.share_port().map_err(pants_engine::Error::Adopt)?;
        let resolved = resolve(&declaration.address, &endpoint);
        let Declaration { address: declared, nth, is_public, .. } = declaration;
        let (declared, nth, is_public) = (declared.clone(), *nth, *is_public);
        let Given { sockets, claim, borrowed, .. } = given;
        let given = sockets.len();
        let (members, yielded) = (Vec::new(), false);
        Ok(Self {
            id,
            declared,
            nth,
            resolved,
            endpoint,
            sockets,
            given,
            beside,
            is_public,
            members,
            claim,
            borrowed,
            yielded,
        })
    }

    fn name(&self) -> Declared {
        Declared { address: self.declared.to_string(), nth: self.nth }
    }

    /// Which of the given sockets are those of one of `shards`: every one is somebody's, as long as all shards come.
    fn given_to(&self, member: usize, shards: usize) -> Vec<usize> {
        (member..self.given).step_by(shards).collect()
    }

    fn keep(&mut self, context: &Context, key: ServerKey) -> Result<()> {
        let socket = context.server_socket(key).ok_or(pants_engine::Error::NoServer)?;
        self.sockets.push(socket.try_clone_to_owned().map_err(pants_engine::Error::Adopt)?);
        Ok(())
    }
}

fn is_unix(address: &Address) -> bool {
    matches!(address, Address::Path(_) | Address::Abstract(_))
}

/// What the other shards are to bind to when the first one's socket is at `endpoint`.
fn resolve(declared: &Address, endpoint: &Endpoint) -> Address {
    match declared {
        Address::Port(port) => Address::Port(endpoint.port().unwrap_or(*port)),
        _ => endpoint.clone().into(),
    }
}

fn port_taken(error: pants_engine::Error, address: &Address) -> Error {
    use pants_engine::Error::{Bind, Listen};
    match error {
        Listen { source, .. } | Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
            Error::PortTaken(address.clone())
        }
        error => error.into(),
    }
}
