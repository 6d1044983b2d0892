//! Sockets that other processes have left to this one: those of its predecessor, and those that were inherited.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use pants_engine::{Address, Endpoint};
use rustix::net::{AddressFamily, SocketAddrUnix, getsockname, sockopt};

use super::{Declaration, Declared};

/// What a descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A listening socket.
    Socket,
    /// A listening socket that belongs to somebody else still, systemd say, as does the file of a Unix one.
    Borrowed,
    /// The claim of the address.
    Claim,
}

impl Kind {
    /// What it is called on its way to a successor.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Borrowed => "borrowed",
            Self::Claim => "claim",
        }
    }
}

/// What was left for one address.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) name: Name,
    pub(crate) sockets: Vec<OwnedFd>,
    pub(crate) claim: Option<OwnedFd>,
    pub(crate) borrowed: bool,
}

/// How it is known which address that is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// The predecessor's declaration.
    Declared(Declared),
    /// Where the sockets are bound.
    Bound(Endpoint),
}

impl Given {
    /// Makes room for what was left for the same address.
    pub(crate) fn entry(all: &mut Vec<Self>, name: Name) -> &mut Self {
        let index = all.iter().position(|given| given.name == name).unwrap_or_else(|| {
            all.push(Self { name, sockets: Vec::new(), claim: None, borrowed: false });
            all.len() - 1
        });
        &mut all[index]
    }

    /// Takes what was left for a declaration.
    pub(super) fn take(all: &mut Vec<Self>, declaration: &Declaration) -> Option<Self> {
        let matches = |given: &Self| match &given.name {
            Name::Declared(declared) => *declared == declaration.name,
            Name::Bound(endpoint) => is_place_of(endpoint, &declaration.address),
        };
        let index = all.iter().position(|given| !given.sockets.is_empty() && matches(given))?;
        Some(all.remove(index))
    }

    pub(super) fn endpoint(&self) -> io::Result<Endpoint> {
        local_endpoint(&self.sockets[0])
    }

    /// Has the sockets let others be bound beside them, and tells whether they do. They do not if they are Unix sockets, or
    /// another user's: the kernel lets one user's sockets share a port (socket(7), `SO_REUSEPORT`).
    pub(super) fn share_port(&self) -> io::Result<bool> {
        let user = rustix::process::geteuid().as_raw();
        for socket in &self.sockets {
            if sockopt::socket_domain(socket)? == AddressFamily::UNIX || rustix::fs::fstat(socket)?.st_uid != user {
                return Ok(false);
            }
            sockopt::set_socket_reuseport(socket, true)?;
        }
        Ok(true)
    }
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Name::Declared(declared) => f.write_str(&declared.address),
            Name::Bound(endpoint) => endpoint.fmt(f),
        }
    }
}

/// Where a socket is bound.
pub(crate) fn local_endpoint(socket: &OwnedFd) -> io::Result<Endpoint> {
    let address = getsockname(socket)?;
    if let Ok(address) = SocketAddr::try_from(address.clone()) {
        return Ok(address.into());
    }
    let unix = SocketAddrUnix::try_from(address)?;
    let path = unix.path().and_then(|path| Some(Endpoint::Path(std::path::Path::new(path.to_str().ok()?).into())));
    let name = unix.abstract_name().map(|name| Endpoint::Abstract(name.into()));
    Ok(path.or(name).unwrap_or(Endpoint::Unnamed))
}

/// Whether a socket that listens at `endpoint` is what `address` asks for.
fn is_place_of(endpoint: &Endpoint, address: &Address) -> bool {
    match address {
        Address::Port(port) => {
            endpoint.ip().is_some_and(|ip| ip.is_unspecified()) && endpoint.port() == Some(*port) && *port != 0
        }
        address => Address::from(endpoint.clone()) == *address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_socket_is_for_the_address_that_names_its_place() {
        let any: Endpoint = "[::]:4040".parse::<SocketAddr>().unwrap().into();
        let local: Endpoint = "127.0.0.1:4040".parse::<SocketAddr>().unwrap().into();
        assert!(is_place_of(&any, &Address::Port(4040)));
        assert!(!is_place_of(&local, &Address::Port(4040)));
        assert!(!is_place_of(&any, &Address::Port(4041)));
        assert!(is_place_of(&local, &"127.0.0.1:4040".parse().unwrap()));
        assert!(is_place_of(&Endpoint::Path(std::path::Path::new("/run/x").into()), &"/run/x".parse().unwrap()));
    }
}
