//! Non-blocking sockets: binding them all, and the one place where system calls on stream sockets are made.
//!
//! Errors are bare [`Errno`]s and [`io::Error`]s here; whoever knows the operation and the address adds them.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketFlags, SocketType};
use socket2::SockRef;

use crate::buffer::write::FilePiece;
use crate::net::address::Address;
use crate::net::endpoint::Endpoint;
use crate::net::unix::SocketFile;
use crate::options::ConnectionOptions;

/// A non-blocking, close-on-exec socket; a stream's, unless a [`DatagramSocket`](super::datagram::DatagramSocket) owns it.
#[derive(Debug)]
pub(crate) struct Socket(OwnedFd);

/// A socket that is bound to its address; a stream's does not listen yet.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) socket: Socket,
    pub(crate) local: Endpoint,
    /// The file that a Unix socket has made.
    pub(crate) file: Option<SocketFile>,
}

/// What a `connect` has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connect {
    /// That it is done, or has failed, shows when the socket becomes writable (connect(2)).
    Begun,
    /// The queue of a Unix server is full, and no edge will say when it is not (connect(2), `EAGAIN`).
    QueueFull,
}

impl Socket {
    /// A socket bound to `address`, whatever its form: a port alone takes IPv6 and IPv4, or IPv4 where there is no IPv6.
    ///
    /// # Errors
    ///
    /// What the operating system said, with the address as far as it was known.
    pub(crate) fn bind(address: &Address, reuse_port: bool) -> Result<Bound, (Address, io::Error)> {
        Self::bind_as(SocketType::STREAM, address, reuse_port)
    }

    /// As [`bind`](Self::bind), for a socket of any kind.
    pub(crate) fn bind_as(
        kind: SocketType,
        address: &Address,
        reuse_port: bool,
    ) -> Result<Bound, (Address, io::Error)> {
        match address {
            Address::Port(port) => {
                let all = |ip: IpAddr| Endpoint::from(SocketAddr::new(ip, *port));
                match Self::bind_to(kind, &all(Ipv6Addr::UNSPECIFIED.into()), reuse_port, true) {
                    Err(error) if lacks_ipv6(&error) => {
                        Self::bind_to(kind, &all(Ipv4Addr::UNSPECIFIED.into()), reuse_port, false)
                    }
                    result => result,
                }
                .map_err(|error| (all(Ipv6Addr::UNSPECIFIED.into()).into(), error))
            }
            Address::Host { name, port } => {
                let found = (name.as_str(), *port).to_socket_addrs().map_err(|error| (address.clone(), error))?;
                let bound = found.map(|found| Self::bind_to(kind, &found.into(), reuse_port, false));
                first_of(bound).map_err(|error| (address.clone(), error))
            }
            address => {
                let endpoint = place(address).ok_or_else(|| (address.clone(), io::ErrorKind::InvalidInput.into()))?;
                Self::bind_to(kind, &endpoint, reuse_port, false).map_err(|error| (address.clone(), error))
            }
        }
    }

    /// A stream's `SO_REUSEADDR` is on, so that a restart need not wait for old connections to leave TIME_WAIT (socket(7)).
    /// With UDP it would let others take the port over.
    fn bind_to(kind: SocketType, endpoint: &Endpoint, reuse_port: bool, dual_stack: bool) -> io::Result<Bound> {
        let socket = Self::new(endpoint, kind)?;
        let mut file = None;
        match endpoint {
            Endpoint::Ip(address) => {
                let options = SockRef::from(&socket.0);
                options.set_reuse_address(kind == SocketType::STREAM)?;
                options.set_reuse_port(reuse_port)?;
                if address.is_ipv6() {
                    options.set_only_v6(!dual_stack)?;
                }
                net::bind(&socket.0, &endpoint.to_kernel()?)?;
            }
            Endpoint::Path(path) => {
                let address = endpoint.to_kernel()?;
                file = Some(SocketFile::create(path, kind, || net::bind(&socket.0, &address))?);
            }
            Endpoint::Abstract(_) | Endpoint::Unnamed => net::bind(&socket.0, &endpoint.to_kernel()?)?,
        }
        let local = socket.local_address()?;
        Ok(Bound { socket, local, file })
    }

    fn new(endpoint: &Endpoint, kind: SocketType) -> io::Result<Self> {
        let family = match endpoint {
            Endpoint::Ip(SocketAddr::V4(_)) => AddressFamily::INET,
            Endpoint::Ip(SocketAddr::V6(_)) => AddressFamily::INET6,
            _ => AddressFamily::UNIX,
        };
        Ok(Self(net::socket_with(family, kind, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?))
    }

    /// Takes over a stream socket that was made elsewhere.
    ///
    /// # Errors
    ///
    /// If it is no stream socket, or cannot be made non-blocking.
    pub(crate) fn adopt(fd: OwnedFd) -> io::Result<Self> {
        if net::sockopt::socket_type(&fd)? != SocketType::STREAM {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a stream socket"));
        }
        Self::from_any(fd)
    }

    /// As [`adopt`](Self::adopt), for a socket of any kind.
    pub(crate) fn from_any(fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
        Ok(Self(fd))
    }

    pub(crate) fn listen(&self, backlog: u32) -> io::Result<()> {
        Ok(net::listen(&self.0, i32::try_from(backlog).unwrap_or(i32::MAX))?)
    }

    /// A socket that is to connect to `peer`.
    pub(crate) fn for_peer(peer: &Endpoint) -> io::Result<Self> {
        Self::for_peer_as(SocketType::STREAM, peer)
    }

    pub(crate) fn for_peer_as(kind: SocketType, peer: &Endpoint) -> io::Result<Self> {
        Self::new(peer, kind)
    }

    /// A socket that stands for one that is not there yet, so that the path of every message need not ask: it is connected to
    /// nothing, and every call on it fails.
    pub(crate) fn placeholder() -> io::Result<Self> {
        Self::new(&Endpoint::Unnamed, SocketType::STREAM)
    }

    /// Begins to connect, or tries again.
    pub(crate) fn connect(&self, peer: &Endpoint) -> io::Result<Connect> {
        match net::connect(&self.0, &peer.to_kernel()?) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(Connect::Begun),
            Err(Errno::AGAIN) if peer.ip().is_none() => Ok(Connect::QueueFull),
            Err(error) => Err(error.into()),
        }
    }

    /// Sets what the options say of sockets.
    pub(crate) fn configure(&self, options: &ConnectionOptions) -> io::Result<()> {
        let socket = SockRef::from(&self.0);
        if matches!(net::sockopt::socket_domain(&self.0)?, AddressFamily::INET | AddressFamily::INET6) {
            socket.set_tcp_nodelay(options.nodelay)?;
        }
        Ok(())
    }

    /// Takes one connection off a listening socket's queue.
    #[inline]
    pub(crate) fn accept(&self) -> Result<(Self, Endpoint), Errno> {
        let (fd, peer) = net::acceptfrom_with(&self.0, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
        Ok((Self(fd), peer.map_or_else(unknown_address, |peer| Endpoint::from_kernel(&peer))))
    }

    #[inline]
    pub(crate) fn recv(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        net::recv(&self.0, buffer, RecvFlags::empty()).map(|(received, _)| received)
    }

    #[inline]
    pub(crate) fn send(&self, bytes: &[u8]) -> Result<usize, Errno> {
        net::send(&self.0, bytes, SendFlags::NOSIGNAL)
    }

    pub(crate) fn send_vectored(&self, slices: &[IoSlice<'_>]) -> Result<usize, Errno> {
        net::sendmsg(&self.0, slices, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL)
    }

    /// Sends a piece of a file straight from the page cache (sendfile(2)); what is not in it is read first, and that blocks.
    pub(crate) fn send_file(&self, piece: &FilePiece, most: usize) -> Result<usize, Errno> {
        let mut offset = piece.offset;
        let most = usize::try_from(piece.left).map_or(most, |left| left.min(most));
        rustix::fs::sendfile(&self.0, &piece.file, Some(&mut offset), most)
    }

    /// Sends FIN behind whatever is on its way.
    pub(crate) fn shutdown_write(&self) -> Result<(), Errno> {
        net::shutdown(&self.0, Shutdown::Write)
    }

    /// Makes closing send RST and drop what is queued in the kernel (`SO_LINGER` with zero, socket(7)).
    pub(crate) fn reset_on_close(&self) {
        // It can only fail for a socket that is none; then closing it is all there is to do anyway.
        let _ = SockRef::from(&self.0).set_linger(Some(Duration::ZERO));
    }

    /// The error that the kernel holds for this socket, which is thereby taken.
    pub(crate) fn take_error(&self) -> Option<io::Error> {
        match SockRef::from(&self.0).take_error() {
            Ok(error) => error,
            Err(error) => Some(error),
        }
    }

    /// This end's name.
    pub(crate) fn local_address(&self) -> io::Result<Endpoint> {
        Ok(Endpoint::from_kernel(&net::getsockname(&self.0)?))
    }

    /// The other end's name, while the kernel knows it.
    pub(crate) fn peer_address(&self) -> Option<Endpoint> {
        let peer = net::getpeername(&self.0).ok()?;
        Some(peer.map_or_else(unknown_address, |peer| Endpoint::from_kernel(&peer)))
    }

    /// Whether there is a peer: the last word on whether connecting has succeeded.
    pub(crate) fn has_peer(&self) -> bool {
        net::getpeername(&self.0).is_ok()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The one place that `address` names; `None` for a host, whose name must be resolved. A port alone is this machine's, as a
/// client means it.
pub(crate) fn place(address: &Address) -> Option<Endpoint> {
    match address {
        Address::Port(port) => Some(SocketAddr::from((Ipv4Addr::LOCALHOST, *port)).into()),
        Address::Socket(address) => Some((*address).into()),
        Address::Path(path) => Some(Endpoint::Path(path.as_path().into())),
        Address::Abstract(name) => Some(Endpoint::Abstract(name.as_slice().into())),
        Address::Host { .. } => None,
    }
}

/// The first that is no error; if all are, the last error.
fn first_of<T>(results: impl Iterator<Item = io::Result<T>>) -> io::Result<T> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for result in results {
        match result {
            Ok(value) => return Ok(value),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn lacks_ipv6(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}

/// The kernel may forget the address of a peer that has reset before it was accepted.
fn unknown_address() -> Endpoint {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_sockets_inherit_nodelay_from_the_listening_one() {
        let listening = Socket::bind(&"127.0.0.1:0".parse().unwrap(), false).unwrap();
        let (listening, address) = (listening.socket, listening.local.socket_address().unwrap());
        listening.configure(&ConnectionOptions::default()).unwrap();
        listening.listen(1).unwrap();
        let _client = std::net::TcpStream::connect(address).unwrap();
        let (accepted, peer) = listening.accept().unwrap();
        assert!(SockRef::from(&accepted.0).tcp_nodelay().unwrap());
        assert!(SockRef::from(&accepted.0).nonblocking().unwrap());
        assert_eq!(peer, _client.local_addr().unwrap());
    }
}
