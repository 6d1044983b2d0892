//! One end of a channel: an IP address and port, or the name of a Unix socket.

use std::ffi::OsStr;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rustix::net::addr::SocketAddrArg;
use rustix::net::{SocketAddrAny, SocketAddrUnix};

/// One end of a channel, as the kernel names it.
///
/// It is cheap to clone. An IPv4 peer of a server that takes both families is given as what it is, without `::ffff:`.
///
/// # Examples
///
/// ```
/// use pants_engine::Endpoint;
/// use std::net::SocketAddr;
///
/// let address: SocketAddr = "127.0.0.1:4040".parse()?;
/// let endpoint = Endpoint::from(address);
/// assert_eq!(endpoint.to_string(), "127.0.0.1:4040");
/// assert_eq!(endpoint.port(), Some(4040));
/// assert!(endpoint.ip().is_some_and(|ip| ip.is_loopback()));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Endpoint {
    /// An IP address and a port.
    Ip(SocketAddr),
    /// A Unix socket with a path.
    Path(Arc<Path>),
    /// A Unix socket with a name in Linux' abstract namespace (unix(7)).
    Abstract(Arc<[u8]>),
    /// A socket without a name, as that of a Unix client most often is.
    Unnamed,
}

impl Endpoint {
    /// The IP address and port; `None` for a Unix socket.
    pub fn socket_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            _ => None,
        }
    }

    /// The IP address; `None` for a Unix socket.
    pub fn ip(&self) -> Option<IpAddr> {
        self.socket_address().map(|address| address.ip())
    }

    /// The port; `None` for a Unix socket.
    pub fn port(&self) -> Option<u16> {
        self.socket_address().map(|address| address.port())
    }

    /// What the kernel calls it if that is an IP address.
    #[inline]
    pub(crate) fn from_ip(address: SocketAddr) -> Self {
        Self::Ip(without_mapping(address))
    }

    /// What the kernel calls it.
    pub(crate) fn from_kernel(address: &SocketAddrAny) -> Self {
        if let Ok(address) = SocketAddr::try_from(address.clone()) {
            return Self::from_ip(address);
        }
        match SocketAddrUnix::try_from(address.clone()) {
            Ok(unix) => match (unix.path_bytes(), unix.abstract_name()) {
                (Some(path), _) => Self::Path(Path::new(OsStr::from_bytes(path)).into()),
                (None, Some(name)) if !name.is_empty() => Self::Abstract(name.into()),
                _ => Self::Unnamed,
            },
            Err(_) => Self::Unnamed,
        }
    }

    /// What the kernel is told.
    ///
    /// # Errors
    ///
    /// If a Unix name is longer than the kernel takes.
    pub(crate) fn to_kernel(&self) -> rustix::io::Result<SocketAddrAny> {
        Ok(match self {
            Self::Ip(address) => address.as_any(),
            Self::Path(path) => SocketAddrUnix::new(&**path)?.as_any(),
            Self::Abstract(name) => SocketAddrUnix::new_abstract_name(name)?.as_any(),
            Self::Unnamed => SocketAddrUnix::new_unnamed().as_any(),
        })
    }
}

/// An IPv4 address in IPv6's clothes (`::ffff:`) as what it is. Any other stays whole: the scope of a link-local one is a
/// part of it, without which nothing can be sent there (RFC 4007).
#[inline]
fn without_mapping(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(mapped) => match mapped.ip().to_ipv4_mapped() {
            Some(ip) => SocketAddr::new(ip.into(), mapped.port()),
            None => address,
        },
        SocketAddr::V4(_) => address,
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl PartialEq<SocketAddr> for Endpoint {
    fn eq(&self, address: &SocketAddr) -> bool {
        self.socket_address() == Some(*address)
    }
}

/// As an address is written: `127.0.0.1:4040`, `/run/pants.sock`, `@name`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Path(path) => path.display().fmt(f),
            Self::Abstract(name) => write!(f, "@{}", name.escape_ascii()),
            Self::Unnamed => f.write_str("unnamed"),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const _: () = assert!(size_of::<Endpoint>() <= 32, "every connection holds one");

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV6;

    use super::*;

    #[test]
    fn every_kind_survives_the_trip_through_the_kernels_form() {
        let ip = |text: &str| Endpoint::Ip(text.parse().unwrap());
        let name: Arc<[u8]> = b"na\0me".as_slice().into();
        for endpoint in [ip("127.0.0.1:1"), ip("[::1]:65535"), Endpoint::Path(Path::new("/a/b").into())] {
            assert_eq!(Endpoint::from_kernel(&endpoint.to_kernel().unwrap()), endpoint);
        }
        for endpoint in [Endpoint::Abstract(name), Endpoint::Unnamed] {
            assert_eq!(Endpoint::from_kernel(&endpoint.to_kernel().unwrap()), endpoint);
        }
    }

    #[test]
    fn an_ipv4_peer_of_a_dual_stack_server_is_named_as_such() {
        let mapped: SocketAddr = "[::ffff:127.0.0.1]:5".parse().unwrap();
        let plain: SocketAddr = "127.0.0.1:5".parse().unwrap();
        assert_eq!(Endpoint::from_kernel(&mapped.as_any()), plain);
    }

    #[test]
    fn a_link_local_address_keeps_its_scope_and_its_flow() {
        let address = SocketAddr::V6(SocketAddrV6::new("fe80::1".parse().unwrap(), 5, 7, 3));
        assert_eq!(Endpoint::from_kernel(&address.as_any()), address);
    }

    #[test]
    fn a_name_that_is_too_long_is_an_error() {
        assert!(Endpoint::Path(Path::new(&"x".repeat(200)).into()).to_kernel().is_err());
        assert!(Endpoint::Abstract(vec![b'x'; 200].into()).to_kernel().is_err());
    }
}
