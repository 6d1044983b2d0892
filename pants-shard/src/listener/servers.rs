//! What one shard serves of the groups: its keys there, and one acceptor for several sockets.

use std::cell::RefCell;
use std::rc::Rc;

use pants_engine::{Acceptor, Address, Context, Endpoint, Error, ServerKey, ServerOptions};

use super::{Declaration, GroupId};
use crate::balance::Balancing;
use crate::balance::leveller::{Leveller, Usher};
use crate::error::Result;
use crate::shard::{Local, Shard};

/// One shard's servers in a group: one, or several where there were more sockets to take over than there are shards.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) group: GroupId,
    pub(crate) declared: Address,
    pub(crate) keys: Vec<ServerKey>,
    /// The file of the Unix socket is removed by this shard, once another process has left it to this one.
    pub(crate) takes_file: bool,
    /// It is for the program's clients.
    pub(crate) is_public: bool,
    /// All shards' sockets are one, with one queue of connections: one shard accepts, and the others are sent theirs.
    pub(crate) one_queue: bool,
    pub(crate) balancing: Balancing,
    /// Once it listens, where the shards share the work by more than the kernel's hash.
    pub(crate) leveller: Option<Rc<Leveller>>,
}

/// What one shard serves, in the order of its declaration.
#[derive(Debug, Default)]
pub(crate) struct Servers {
    served: Vec<Served>,
    /// Servers are declared in set-up, or by all shards together.
    pub(crate) is_set_up: bool,
}

/// An acceptor that stands for several servers. The first one tells it of their beginning and end.
#[derive(Debug)]
pub(super) struct SharedAcceptor<A> {
    acceptor: Rc<RefCell<A>>,
    first: bool,
}

impl Served {
    pub(super) fn new(group: GroupId, declared: Address, keys: Vec<ServerKey>) -> Self {
        let balancing = Balancing::default();
        let (takes_file, is_public, one_queue, leveller) = (false, true, false, None);
        Self { group, declared, keys, takes_file, is_public, one_queue, balancing, leveller }
    }
}

impl Servers {
    pub(crate) fn insert(&mut self, served: Served) {
        self.served.push(served);
    }

    /// How often this shard has declared `address` for the program's clients.
    pub(crate) fn count(&self, address: &Address) -> usize {
        self.served.iter().filter(|served| served.is_public && served.declared == *address).count()
    }

    pub(crate) fn of(&self, group: GroupId) -> Vec<ServerKey> {
        self.served.iter().filter(|served| served.group == group).flat_map(|served| served.keys.clone()).collect()
    }

    /// The group that a server belongs to.
    pub(crate) fn group_of(&self, server: ServerKey) -> Option<GroupId> {
        self.served.iter().find(|served| served.keys.contains(&server)).map(|served| served.group)
    }

    /// Its first server in a group.
    pub(crate) fn first_of(&self, group: GroupId) -> Option<ServerKey> {
        self.served.iter().find(|served| served.group == group)?.keys.first().copied()
    }

    pub(crate) fn leveller(&self, group: GroupId) -> Option<Rc<Leveller>> {
        self.served.iter().find(|served| served.group == group)?.leveller.clone()
    }

    pub(crate) fn groups(&self) -> Vec<GroupId> {
        self.served.iter().map(|served| served.group).collect()
    }

    pub(crate) fn all(&self) -> &[Served] {
        &self.served
    }

    pub(crate) fn remove(&mut self, group: GroupId) {
        self.served.retain(|served| served.group != group);
    }
}

/// Declares, in set-up, a server that this shard alone has and that is not for the program's clients.
pub(crate) fn declare_private(
    shard: &mut Shard<'_>,
    address: Address,
    options: ServerOptions,
    acceptor: impl Acceptor,
) -> Result<ServerKey> {
    let local = Rc::clone(shard.local());
    let name = local.groups.new_name(&address, true);
    let declaration = Declaration { shard: shard.id(), address, name, options };
    let mut served = local.groups.bind(shard.context(), &local.config, None, &declaration, acceptor)?;
    served.is_public = false;
    let key = served.keys[0];
    local.servers.borrow_mut().insert(served);
    Ok(key)
}

/// Binds a shard's server at an address that all shards are to listen at from now on. The first shard makes the group.
pub(super) fn bind_late(
    shard: &mut Shard<'_>,
    group: Option<GroupId>,
    address: Address,
    options: ServerOptions,
    acceptor: impl Acceptor,
) -> Result<GroupId> {
    let local = Rc::clone(shard.local());
    // Port 0 may be asked for again and again.
    if group.is_none() && address.port() != Some(0) && local.groups.is_taken(&address) {
        return Err(crate::Error::AlreadyListening(address));
    }
    let balance = local.config.balance();
    let options = balance.server_options(options, local.config.placement(), shard.id());
    let name = local.groups.new_name(&address, false);
    let declaration = Declaration { shard: shard.id(), address, name, options };
    let mut served = local.groups.bind(shard.context(), &local.config, group, &declaration, acceptor)?;
    served.balancing.balance = balance;
    let group = served.group;
    local.servers.borrow_mut().insert(served);
    Ok(group)
}

/// Lets a shard's servers of a group listen, or be sent what another shard accepts.
pub(crate) fn open(shard: &mut Shard<'_>, group: GroupId) -> Result<()> {
    let local = Rc::clone(shard.local());
    let mut servers = local.servers.borrow_mut();
    let Some(served) = servers.served.iter_mut().find(|served| served.group == group) else { return Ok(()) };
    let members = local.groups.members(group);
    let sole_acceptor = (served.one_queue && members.len() > 1).then(|| group.sole(&members));
    let leveller = Leveller::of(shard, served, members, sole_acceptor.is_some());
    for &key in &served.keys {
        match sole_acceptor {
            Some(sole) if sole != shard.id() => shard.context().open_passive(key)?,
            _ => shard.context().open(key)?,
        }
        if let Some(leveller) = &leveller {
            shard.context().set_balancer(key, Usher(Rc::clone(leveller)));
        }
    }
    served.leveller = leveller;
    Ok(())
}

/// Has a shard's servers of a group accept what is queued, and close, unless they wait for connections that they had sent
/// away and may be refused.
pub(super) fn retire(shard: &mut Shard<'_>, group: GroupId) {
    if shard.leveller(group).is_some_and(|leveller| !leveller.close()) {
        return;
    }
    let keys = shard.local().servers.borrow().of(group);
    keys.into_iter().for_each(|key| shard.context().retire_server(key));
}

/// Leaves the files of Unix sockets where they are, since a successor has the sockets and is about to serve.
pub(crate) fn leave_files(context: &mut Context, local: &Local) {
    for key in local.servers.borrow().all().iter().flat_map(|served| served.keys.iter().copied()) {
        // It fails for a server that has closed by now.
        let _ = context.remove_file_on_close(key, false);
    }
}

/// Where a successor accepts, closes the servers, and nothing that it needs. What is queued is for it. Servers that wait for
/// connections that they had sent away close when those are back.
pub(crate) fn yield_to_successor(context: &mut Context, local: &Local) {
    for served in local.servers.borrow().all().iter().filter(|served| local.groups.is_yielded(served.group)) {
        if served.leveller.as_ref().is_some_and(|leveller| !leveller.close()) {
            continue;
        }
        for key in served.keys.iter().copied() {
            // It fails for a server that has closed by now.
            let _ = context.remove_file_on_close(key, false);
            context.close_server(key);
        }
    }
}

/// Removes the files of Unix sockets from now on, since another process leaves them to this one.
pub(crate) fn take_files(shard: &mut Shard<'_>) {
    let local = Rc::clone(shard.local());
    for served in local.servers.borrow().all().iter().filter(|served| served.takes_file) {
        if let Err(error) = shard.context().remove_file_on_close(served.keys[0], true) {
            tracing::warn!("the file of the socket at {} is not there any more: {error}", served.declared);
        }
    }
}

/// Whether they have closed; then they are forgotten.
pub(super) fn has_retired(shard: &mut Shard<'_>, group: GroupId) -> bool {
    let keys = shard.local().servers.borrow().of(group);
    let have_closed = keys.into_iter().all(|key| shard.context().server_address(key).is_none());
    if have_closed {
        shard.local().servers.borrow_mut().remove(group);
    }
    have_closed
}

impl<A: Acceptor> SharedAcceptor<A> {
    /// The acceptors of this many servers.
    pub(super) fn new(acceptor: A, servers: usize) -> impl Iterator<Item = Self> {
        let acceptor = Rc::new(RefCell::new(acceptor));
        (0..servers).map(move |index| Self { acceptor: Rc::clone(&acceptor), first: index == 0 })
    }
}

// Callbacks never nest, so it is never borrowed twice.
impl<A: Acceptor> Acceptor for SharedAcceptor<A> {
    type Handler = A::Handler;

    fn on_accept(&mut self, peer: Endpoint) -> Option<A::Handler> {
        self.acceptor.borrow_mut().on_accept(peer)
    }

    fn on_listen(&mut self, address: &Endpoint) {
        if self.first {
            self.acceptor.borrow_mut().on_listen(address);
        }
    }

    fn on_error(&mut self, error: &Error) {
        self.acceptor.borrow_mut().on_error(error);
    }

    fn on_close(&mut self) {
        if self.first {
            self.acceptor.borrow_mut().on_close();
        }
    }
}
