//! Non-blocking stream sockets: the one place where system calls on them are made.
//!
//! Errors are bare [`Errno`]s and [`io::Error`]s here; whoever knows the operation and the address adds them.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{self, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketFlags};
use socket2::{Domain, Protocol, SockRef, Type};

use crate::net::address::Address;

/// A non-blocking, close-on-exec stream socket.
#[derive(Debug)]
pub(crate) struct Socket(OwnedFd);

impl Socket {
    /// A TCP socket bound to `address`, not listening yet.
    ///
    /// `SO_REUSEADDR` is on, so that a restart need not wait for old connections to leave TIME_WAIT (socket(7)).
    pub(crate) fn bind(address: SocketAddr, reuse_port: bool, dual_stack: bool) -> io::Result<Self> {
        let socket = stream_socket(address)?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(reuse_port)?;
        if address.is_ipv6() {
            socket.set_only_v6(!dual_stack)?;
        }
        socket.bind(&address.into())?;
        Ok(Self(socket.into()))
    }

    /// As [`bind`](Self::bind), for every form of address: a port alone takes IPv6 and IPv4, or IPv4 where there is no IPv6.
    /// Gives the address that it came to be, or was to be.
    pub(crate) fn bind_address(
        address: &Address,
        reuse_port: bool,
    ) -> Result<(Self, SocketAddr), (SocketAddr, io::Error)> {
        let (address, dual_stack) = match *address {
            Address::Socket(address) => (address, false),
            Address::Port(port) => (SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), true),
            Address::Host { .. } | Address::Path(_) | Address::Abstract(_) => {
                let refusal = format!("servers at addresses such as {address} are not supported yet");
                return Err((unknown_address(), io::Error::new(io::ErrorKind::Unsupported, refusal)));
            }
        };
        let bound = match Self::bind(address, reuse_port, dual_stack) {
            Err(error) if dual_stack && lacks_ipv6(&error) => {
                Self::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())), reuse_port, false)
            }
            result => result,
        };
        let named = bound.and_then(|socket| socket.local_address().map(|local| (socket, local)));
        named.map_err(|error| (address, error))
    }

    pub(crate) fn listen(&self, backlog: u32) -> io::Result<()> {
        Ok(net::listen(&self.0, i32::try_from(backlog).unwrap_or(i32::MAX))?)
    }

    /// Begins to connect; that it is done, or has failed, shows when the socket becomes writable (connect(2)).
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        let socket = Self(stream_socket(address)?.into());
        match net::connect(&socket.0, &address) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes one connection off a listening socket's queue.
    #[inline]
    pub(crate) fn accept(&self) -> Result<(Self, SocketAddr), Errno> {
        let (fd, peer) = net::acceptfrom_with(&self.0, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
        let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
        Ok((Self(fd), peer.map_or_else(unknown_address, canonical)))
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

    /// Sends FIN behind whatever is on its way.
    pub(crate) fn shutdown_write(&self) -> Result<(), Errno> {
        net::shutdown(&self.0, Shutdown::Write)
    }

    /// Makes closing send RST and drop what is queued in the kernel (`SO_LINGER` with zero, socket(7)).
    pub(crate) fn reset_on_close(&self) {
        // It can only fail for a socket that is none; then closing it is all there is to do anyway.
        let _ = SockRef::from(&self.0).set_linger(Some(Duration::ZERO));
    }

    pub(crate) fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        SockRef::from(&self.0).set_tcp_nodelay(nodelay)
    }

    /// The error that the kernel holds for this socket, which is thereby taken.
    pub(crate) fn take_error(&self) -> Option<io::Error> {
        match SockRef::from(&self.0).take_error() {
            Ok(error) => error,
            Err(error) => Some(error),
        }
    }

    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::try_from(net::getsockname(&self.0)?)?)
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

fn stream_socket(address: SocketAddr) -> io::Result<socket2::Socket> {
    let kind = Type::STREAM.nonblocking().cloexec();
    socket2::Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))
}

fn lacks_ipv6(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}

/// An IPv4 peer of a dual-stack server as what it is, without the `::ffff:` in front.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The kernel may forget the address of a peer that has reset before it was accepted.
fn unknown_address() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_sockets_inherit_nodelay_from_the_listening_one() {
        let listening = Socket::bind("127.0.0.1:0".parse().unwrap(), false, false).unwrap();
        listening.set_nodelay(true).unwrap();
        listening.listen(1).unwrap();
        let _client = std::net::TcpStream::connect(listening.local_address().unwrap()).unwrap();
        let (accepted, peer) = listening.accept().unwrap();
        assert!(SockRef::from(&accepted.0).tcp_nodelay().unwrap());
        assert!(SockRef::from(&accepted.0).nonblocking().unwrap());
        assert_eq!(peer, _client.local_addr().unwrap());
    }

    #[test]
    fn an_ipv4_peer_of_a_dual_stack_server_is_named_as_such() {
        assert_eq!(canonical("[::ffff:127.0.0.1]:5".parse().unwrap()), "127.0.0.1:5".parse().unwrap());
    }
}
