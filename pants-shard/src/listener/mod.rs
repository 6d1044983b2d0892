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
    /// A successor has the sockets, and may come to serve.
    is_offered: bool,
}

/// Which declaration it was, in words that another process understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Declared {
    pub(crate) address: String,
    /// How often the same shard had declared the same address before: port 0 may be asked for twice.
    pub(crate) nth: usize,
    /// It is one shard's alone, and not for the program's clients; then it is counted apart, since the other shards have none.
    pub(crate) private: bool,
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
    name: Declared,
    resolved: Address,
    endpoint: Endpoint,
    /// The first `given` ones are there for the shards to take; the others are kept for a successor.
    sockets: Vec<OwnedFd>,
    given: usize,
    /// Whether a shard for which none is given binds a socket of its own (`SO_REUSEPORT`). If not, it shares a given one,
    /// as with a Unix socket, which has no such thing: then the shards accept from one queue.
    beside: bool,
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
    pub(crate) name: Declared,
    pub(crate) options: ServerOptions,
}

impl ListenerGroups {
    pub(crate) fn new(shards: usize, keeps_sockets: bool, given: Vec<Given>) -> Self {
        let table = Mutex::new(Table { given, ..Table::default() });
        Self { shards, keeps_sockets, table, datagrams: DatagramGroups::default() }
    }

    /// The group that a shard before this one has declared by this name in its set-up.
    pub(crate) fn declared(&self, name: &Declared) -> Option<GroupId> {
        self.lock().groups.iter().find(|group| group.name == *name).map(|group| group.id)
    }

    /// A name for one more group at `address`, which no other has.
    pub(crate) fn new_name(&self, address: &Address, private: bool) -> Declared {
        let mut name = Declared { address: address.to_string(), nth: 0, private };
        while self.declared(&name).is_some() {
            name.nth += 1;
        }
        name
    }

    /// The last group for the program's clients that listens at `address`, as it was declared or as it was resolved.
    pub(crate) fn find(&self, address: &Address) -> Option<(GroupId, Endpoint)> {
        let table = self.lock();
        let found = table.groups.iter().rev().find(|group| group.is_at(address) && !group.name.private);
        found.map(|group| (group.id, group.endpoint.clone()))
    }

    /// Whether a group listens at `address`, be it for the program's clients or not.
    pub(crate) fn is_taken(&self, address: &Address) -> bool {
        self.lock().groups.iter().any(|group| group.is_at(address))
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
        let given = Given::take(&mut table.given, declaration);
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
        let Declaration { address, name, .. } = declaration;
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
            name: name.clone(),
            resolved,
            endpoint,
            sockets: Vec::new(),
            given: usize::from(unix),
            beside: !unix,
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
                complete.push(group.name.clone());
            } else {
                tracing::warn!("sockets at {} are closed, since fewer shards than before listen there", group.declared);
            }
        }
        complete
    }

    /// A successor asks for the sockets. Returns whether it may have them: one at a time, since two would both serve.
    pub(crate) fn begin_offer(&self) -> bool {
        !std::mem::replace(&mut self.lock().is_offered, true)
    }

    /// It does not come to serve.
    pub(crate) fn end_offer(&self) {
        self.lock().is_offered = false;
    }

    /// Whether a successor has the sockets and has not said that it serves.
    pub(crate) fn is_offered(&self) -> bool {
        let table = self.lock();
        table.is_offered && !table.groups.iter().any(|group| group.yielded)
    }

    /// Calls `f` with the groups' sockets and claims, which are what a successor is given.
    pub(crate) fn offer<R>(&self, f: impl FnOnce(&[Offered<'_>]) -> R) -> R {
        let table = self.lock();
        let mut offered = Vec::new();
        for group in &table.groups {
            let kind = if group.borrowed { Kind::Borrowed } else { Kind::Socket };
            let sockets = group.sockets.iter().map(|socket| (kind, socket));
            let all = sockets.chain(group.claim.iter().map(|claim| (Kind::Claim, claim)));
            offered.extend(all.map(|(kind, fd)| Offered { kind, declared: group.name.clone(), fd: fd.as_fd() }));
        }
        f(&offered)
    }

    /// A successor accepts at these addresses from now on: nothing is accepted here, and nothing closed that it shares.
    pub(crate) fn yield_to_successor(&self, taken: &[Declared]) {
        for group in &mut self.lock().groups {
            if taken.contains(&group.name) {
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
        let (declared, name) = (declaration.address.clone(), declaration.name.clone());
        let Given { sockets, claim, borrowed, .. } = given;
        let given = sockets.len();
        let (members, yielded) = (Vec::new(), false);
        Ok(Self { id, declared, name, resolved, endpoint, sockets, given, beside, members, claim, borrowed, yielded })
    }

    fn is_at(&self, address: &Address) -> bool {
        self.declared == *address || self.resolved == *address || Address::from(self.endpoint.clone()) == *address
    }

    /// Which of the given sockets are those of one of `shards`: every one is somebody's, as long as all shards come.
    fn given_to(&self, member: usize, shards: usize) -> Vec<usize> {
        (member..self.given).step_by(shards).collect()
    }

    /// Keeps a second descriptor of a server's socket. Without one there is no server.
    fn keep(&mut self, context: &mut Context, key: ServerKey) -> Result<()> {
        let socket = context.server_socket(key).ok_or(pants_engine::Error::NoServer)?.try_clone_to_owned();
        self.sockets.push(socket.inspect_err(|_| context.close_server(key)).map_err(pants_engine::Error::Adopt)?);
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
        Listen { source, .. } | Bind { source, .. }
            if source.kind() == io::ErrorKind::AddrInUse && !is_unix(address) =>
        {
            Error::PortTaken(address.clone())
        }
        error => error.into(),
    }
}
