//! The claim of an address among the programs on Pants, which keeps two that start at once apart.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};

use pants_engine::Address;

use crate::error::{Error, Result};

/// What an address is claimed for: TCP and UDP have ports of their own.
#[derive(Clone, Copy, Debug)]
pub(super) enum Space {
    Listeners,
    Datagrams,
}

/// Claims an address among the programs on Pants, which may all be between their look and their `listen`.
///
/// The claim is an abstract Unix socket: it belongs to the network namespace, as ports do, and ends with its process
/// (unix(7)), or with the successor that it is passed on to. Port 0 needs none.
pub(super) fn claim(space: Space, address: &Address) -> Result<Option<UnixDatagram>> {
    if address.port().is_none_or(|port| port == 0) {
        return Ok(None);
    }
    let name = match space {
        Space::Listeners => format!("pants/{address}"),
        Space::Datagrams => format!("pants/udp/{address}"),
    };
    let name = UnixAddress::from_abstract_name(name);
    match name.and_then(|name| UnixDatagram::bind_addr(&name)) {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(Error::PortTaken(address.clone())),
        // A system without Unix sockets has the other look still.
        Err(_) => Ok(None),
    }
}
