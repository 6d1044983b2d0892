//! The listeners of all shards at one address: which socket is bound first, and what the others bind to.

use std::io;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};
use std::sync::{Mutex, PoisonError};

use pants_engine::{Acceptor, Address, Context, ServerKey, ServerOptions};

use crate::error::{Error, Result};

/// The addresses that the shards have declared, shared by all. Port 0 is resolved once, by the shard that comes first.
#[derive(Debug, Default)]
pub(crate) struct ListenerGroups(Mutex<Vec<Group>>);

#[derive(Debug)]
struct Group {
    declared: Address,
    /// How often the same shard had declared the same address before: port 0 may be asked for twice.
    nth: usize,
    resolved: Address,
    /// A Unix socket, which knows no `SO_REUSEPORT`: the shards accept from the one queue.
    socket: Option<OwnedFd>,
    /// Held for as long as the runtime serves.
    claim: Option<UnixDatagram>,
}

/// Names a listener: the servers of all shards at one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ListenerId(usize);

/// What one shard has declared in its set-up.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    addresses: Vec<Address>,
    servers: Vec<ServerKey>,
}

impl ListenerGroups {
    /// Binds one shard's socket at `address`.
    ///
    /// `SO_REUSEPORT` would let a second program bind the same port and take a part of its connections. So whoever comes
    /// first looks whether the port is free, unless `share` says that it need not be.
    pub(crate) fn bind(
        &self,
        context: &mut Context,
        declared: &mut Declared,
        address: Address,
        share: bool,
        options: ServerOptions,
        acceptor: impl Acceptor,
    ) -> Result<(ListenerId, ServerKey)> {
        let nth = declared.addresses.iter().filter(|known| **known == address).count();
        let mut groups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = groups.iter().position(|group| group.declared == address && group.nth == nth);
        let listener = ListenerId(known.unwrap_or(groups.len()));
        let key = if let Some(group) = known.map(|known| &groups[known]) {
            match &group.socket {
                Some(socket) => {
                    let socket = socket.try_clone().map_err(pants_engine::Error::Adopt)?;
                    context.bind_socket(socket, options, acceptor)?
                }
                None => context.bind(&group.resolved, options, acceptor)?,
            }
        } else {
            let unix = matches!(address, Address::Path(_) | Address::Abstract(_));
            let claim = if options.reuse_port && !share && !unix {
                let claim = claim(&address)?;
                context.probe(&address).map_err(|error| port_taken(error, &address))?;
                claim
            } else {
                None
            };
            let key = context.bind(&address, options, acceptor).map_err(|error| port_taken(error, &address))?;
            let bound = context.server_address(key).ok_or(pants_engine::Error::NoServer)?;
            let resolved = match address {
                Address::Port(port) => Address::Port(bound.port().unwrap_or(port)),
                _ => bound.into(),
            };
            let socket = context.server_socket(key).filter(|_| unix).map(|socket| socket.try_clone_to_owned());
            let socket = socket.transpose().map_err(pants_engine::Error::Adopt)?;
            groups.push(Group { declared: address.clone(), nth, resolved, socket, claim });
            key
        };
        declared.addresses.push(address);
        declared.servers.push(key);
        Ok((listener, key))
    }

    /// The listeners close, and the addresses are for whoever comes next: a successor need not wait for the drain's end.
    pub(crate) fn release_claims(&self) {
        for group in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            group.claim = None;
            group.socket = None;
        }
    }
}

impl Declared {
    /// The servers that wait to be opened, in the order of their declaration.
    pub(crate) fn servers(self) -> impl Iterator<Item = ServerKey> {
        self.servers.into_iter()
    }
}

/// Claims an address among the programs on Pants, which may all be between their look and their `listen`.
///
/// The claim is an abstract Unix socket: it belongs to the network namespace, as ports do, and ends with its process
/// (unix(7)). Port 0 needs none.
fn claim(address: &Address) -> Result<Option<UnixDatagram>> {
    let port = match address {
        Address::Port(port) | Address::Host { port, .. } => *port,
        Address::Socket(socket) => socket.port(),
        _ => return Ok(None),
    };
    if port == 0 {
        return Ok(None);
    }
    let name = UnixAddress::from_abstract_name(format!("pants/{address}"));
    match name.and_then(|name| UnixDatagram::bind_addr(&name)) {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(Error::PortTaken(address.clone())),
        // A system without Unix sockets has the other look still.
        Err(_) => Ok(None),
    }
}

fn port_taken(error: pants_engine::Error, address: &Address) -> Error {
    match error {
        pants_engine::Error::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
            Error::PortTaken(address.clone())
        }
        error => error.into(),
    }
}
