//! Non-blocking datagram sockets, UDP and Unix: the system calls on them.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketType};
use socket2::SockRef;

use crate::datagram::options::DatagramOptions;
use crate::net::address::Address;
use crate::net::endpoint::Endpoint;
use crate::net::socket::{Binding, Socket};
use crate::net::unix::SocketFile;

/// A non-blocking, close-on-exec datagram socket.
#[derive(Debug)]
pub(crate) struct DatagramSocket {
    /// The file that a Unix socket has made, which goes with it. Before `socket`, as [`SocketFile`] wants it.
    _file: Option<SocketFile>,
    socket: Socket,
    family: AddressFamily,
}

impl DatagramSocket {
    /// A socket bound to `address`, on the terms of [`Socket::bind`].
    pub(crate) fn bind(address: &Address, options: &DatagramOptions) -> Result<Self, (Address, io::Error)> {
        let binding = Binding { kind: SocketType::DGRAM, reuse_port: options.reuse_port, only_v6: true };
        let bound = Socket::bind_as(binding, address)?;
        Self::new(bound.socket, bound.file, options).map_err(|error| (address.clone(), error))
    }

    /// A socket that sends to `peer` and receives from it alone. A Unix one gets a name from the kernel ("autobind",
    /// unix(7)), since one without a name cannot be answered.
    pub(crate) fn connect(peer: &Endpoint, options: &DatagramOptions) -> io::Result<Self> {
        let socket = Self::new(Socket::new(peer, SocketType::DGRAM)?, None, options)?;
        if socket.family == AddressFamily::UNIX {
            net::bind(socket.as_fd(), &SocketAddrUnix::new_unnamed())?;
        }
        net::connect(socket.as_fd(), &peer.to_kernel()?)?;
        Ok(socket)
    }

    /// Takes over a socket that was made elsewhere.
    ///
    /// # Errors
    ///
    /// If it is neither a UDP nor a Unix datagram socket, or cannot be made non-blocking.
    pub(crate) fn adopt(fd: OwnedFd, options: &DatagramOptions) -> io::Result<Self> {
        let family = net::sockopt::socket_domain(&fd)?;
        let known = matches!(family, AddressFamily::INET | AddressFamily::INET6 | AddressFamily::UNIX);
        if !known || net::sockopt::socket_type(&fd)? != SocketType::DGRAM {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a UDP or Unix datagram socket"));
        }
        Self::new(Socket::from_any(fd)?, None, options)
    }

    fn new(socket: Socket, file: Option<SocketFile>, options: &DatagramOptions) -> io::Result<Self> {
        let family = net::sockopt::socket_domain(&socket)?;
        let settings = SockRef::from(&socket);
        if options.broadcast {
            settings.set_broadcast(true)?;
        }
        options.receive_buffer.map_or(Ok(()), |size| settings.set_recv_buffer_size(size))?;
        options.send_buffer.map_or(Ok(()), |size| settings.set_send_buffer_size(size))?;
        Ok(Self { _file: file, socket, family })
    }

    /// Takes one datagram: its length, which is more than the buffer's if its end was cut off, and where it is from.
    #[inline]
    pub(crate) fn recv_from(&self, buffer: &mut [u8]) -> Result<(usize, Endpoint), Errno> {
        let (_, length, from) = net::recvfrom(&self.socket, buffer, RecvFlags::TRUNC)?;
        Ok((length, from.map_or(Endpoint::Unnamed, |from| Endpoint::from_kernel(&from))))
    }

    /// Sends one datagram, to the connected peer if there is no `to`.
    #[inline]
    pub(crate) fn send_to(&self, data: &[u8], to: Option<&Endpoint>) -> Result<(), Errno> {
        let sent = match to {
            None => net::send(&self.socket, data, SendFlags::NOSIGNAL),
            Some(Endpoint::Ip(address)) => {
                net::sendto(&self.socket, data, SendFlags::NOSIGNAL, &self.in_family(*address))
            }
            Some(name) => net::sendto(&self.socket, data, SendFlags::NOSIGNAL, &name.to_kernel()?),
        };
        sent.map(drop)
    }

    /// An IPv6 socket that takes both families knows an IPv4 address as `::ffff:` (ipv6(7)).
    fn in_family(&self, address: SocketAddr) -> SocketAddr {
        match address.ip() {
            IpAddr::V4(ip) if self.family == AddressFamily::INET6 => {
                SocketAddrV6::new(ip.to_ipv6_mapped(), address.port(), 0, 0).into()
            }
            _ => address,
        }
    }

    /// Whether the kernel says when it takes datagrams again that it has refused with `EAGAIN`. When it is the receiver's
    /// queue that is full, which only happens between Unix sockets, it tells none but those that are connected to it.
    pub(crate) fn tells_of_room(&self, to: Option<&Endpoint>) -> bool {
        self.family != AddressFamily::UNIX || to.is_none()
    }

    pub(crate) fn local_address(&self) -> io::Result<Endpoint> {
        self.socket.local_address()
    }

    pub(crate) fn peer_address(&self) -> Option<Endpoint> {
        self.socket.peer_address()
    }
}

impl AsFd for DatagramSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
