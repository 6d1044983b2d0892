//! Non-blocking sockets: binding them all, and the one place where system calls on stream sockets are made.
//!
//! Errors are bare [`Errno`]s and [`io::Error`]s here; whoever knows the operation and the address adds them.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::sockopt::IpBindAddressNoPort;
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketFlags, SocketType};
use socket2::{SockRef, TcpKeepalive};

use crate::buffer::write::FilePiece;
use crate::net::address::Address;
use crate::net::credentials::Credentials;
use crate::net::endpoint::Endpoint;
use crate::net::unix::SocketFile;
use crate::options::{ConnectionOptions, ServerOptions};

/// A non-blocking, close-on-exec socket; a stream's, unless a [`DatagramSocket`](super::datagram::DatagramSocket) owns it.
#[derive(Debug)]
pub(crate) struct Socket(OwnedFd);

/// A socket that is bound to its address; a stream's does not listen yet.
#[derive(Debug)]
pub(crate) struct Bound {
    /// The file that a Unix socket has made. Before `socket`, as [`SocketFile`] wants it.
    pub(crate) file: Option<SocketFile>,
    pub(crate) socket: Socket,
    pub(crate) local: Endpoint,
}

/// How a socket is bound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Binding {
    pub(crate) kind: SocketType,
    pub(crate) reuse_port: bool,
    /// At an IPv6 address only IPv6, not IPv4 as well.
    pub(crate) only_v6: bool,
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
    pub(crate) fn bind(address: &Address, options: &ServerOptions) -> Result<Bound, (Address, io::Error)> {
        let ServerOptions { reuse_port, only_v6, .. } = *options;
        Self::bind_as(Binding { kind: SocketType::STREAM, reuse_port, only_v6 }, address)
    }

    /// As [`bind`](Self::bind), for a socket of any kind.
    pub(crate) fn bind_as(binding: Binding, address: &Address) -> Result<Bound, (Address, io::Error)> {
        match address {
            Address::Port(port) => {
                let both = Binding { only_v6: false, ..binding };
                let all = |ip: IpAddr| Endpoint::from(SocketAddr::new(ip, *port));
                match Self::bind_to(&all(Ipv6Addr::UNSPECIFIED.into()), both) {
                    Err(error) if lacks_ipv6(&error) => Self::bind_to(&all(Ipv4Addr::UNSPECIFIED.into()), both),
                    result => result,
                }
                .map_err(|error| (all(Ipv6Addr::UNSPECIFIED.into()).into(), error))
            }
            Address::Host { name, port } => {
                let found = (name.as_str(), *port).to_socket_addrs().map_err(|error| (address.clone(), error))?;
                let bound = found.map(|found| Self::bind_to(&found.into(), binding));
                first_of(bound).map_err(|error| (address.clone(), error))
            }
            address => {
                let endpoint = place(address).ok_or_else(|| (address.clone(), io::ErrorKind::InvalidInput.into()))?;
                Self::bind_to(&endpoint, binding).map_err(|error| (address.clone(), error))
            }
        }
    }

    /// A stream's `SO_REUSEADDR` is on, so that a restart need not wait for old connections to leave TIME_WAIT (socket(7)).
    /// With UDP it would let others take the port over.
    fn bind_to(endpoint: &Endpoint, binding: Binding) -> io::Result<Bound> {
        let Binding { kind, reuse_port, only_v6 } = binding;
        let socket = Self::new(endpoint, kind)?;
        let mut file = None;
        match endpoint {
            Endpoint::Ip(address) => {
                let reference = SockRef::from(&socket.0);
                reference.set_reuse_address(kind == SocketType::STREAM)?;
                reference.set_reuse_port(reuse_port)?;
                if address.is_ipv6() {
                    reference.set_only_v6(only_v6)?;
                }
                net::bind(&socket.0, &endpoint.to_kernel()?)?;
            }
            Endpoint::Path(path) => {
                let address = endpoint.to_kernel()?;
                file = Some(SocketFile::create(path, || net::bind(&socket.0, &address))?);
            }
            Endpoint::Abstract(_) | Endpoint::Unnamed => net::bind(&socket.0, &endpoint.to_kernel()?)?,
        }
        let local = socket.local_address()?;
        Ok(Bound { file, socket, local })
    }

    /// A socket of the family that `endpoint` is of.
    pub(crate) fn new(endpoint: &Endpoint, kind: SocketType) -> io::Result<Self> {
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

    /// A socket that is to connect to `peer`, with what the options say of it.
    pub(crate) fn for_peer(peer: &Endpoint, options: &ConnectionOptions) -> io::Result<Self> {
        let socket = Self::new(peer, SocketType::STREAM)?;
        socket.configure(options)?;
        if let (Some(local), Some(peer)) = (options.local_address, peer.socket_address()) {
            socket.bind_local(local, peer)?;
        }
        Ok(socket)
    }

    /// Gives a client's socket its address; its port it gets when it connects.
    fn bind_local(&self, local: IpAddr, peer: SocketAddr) -> io::Result<()> {
        let local = match (local, peer) {
            (IpAddr::V4(_), SocketAddr::V4(_)) => SocketAddr::new(local, 0),
            // A link-local address means nothing without a scope, which must be the peer's.
            (IpAddr::V6(local), SocketAddr::V6(peer)) => SocketAddrV6::new(local, 0, 0, peer.scope_id()).into(),
            _ => {
                let problem = format!("the local address {local} is not of the family of {}", peer.ip());
                return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
            }
        };
        nix::sys::socket::setsockopt(&self.0, IpBindAddressNoPort, &true)?;
        Ok(net::bind(&self.0, &local)?)
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

    /// Sets what the options say of a listening socket. Accepted ones inherit what they say of connections.
    pub(crate) fn configure_server(&self, options: &ServerOptions) -> io::Result<()> {
        self.configure(&options.connection)?;
        match options.incoming_cpu {
            Some(cpu) if self.family()? != AddressFamily::UNIX => SockRef::from(&self.0).set_cpu_affinity(cpu),
            _ => Ok(()),
        }
    }

    /// Sets what the options say of sockets.
    pub(crate) fn configure(&self, options: &ConnectionOptions) -> io::Result<()> {
        let socket = SockRef::from(&self.0);
        if let Some(size) = options.send_buffer {
            socket.set_send_buffer_size(size)?;
        }
        if let Some(size) = options.receive_buffer {
            socket.set_recv_buffer_size(size)?;
        }
        match self.family()? {
            AddressFamily::INET => self.configure_tcp(options, false),
            AddressFamily::INET6 => self.configure_tcp(options, true),
            _ => Ok(()),
        }
    }

    fn configure_tcp(&self, options: &ConnectionOptions, ipv6: bool) -> io::Result<()> {
        let socket = SockRef::from(&self.0);
        socket.set_tcp_nodelay(options.nodelay)?;
        if let Some(keepalive) = options.keepalive {
            let times = TcpKeepalive::new().with_time(keepalive.idle).with_interval(keepalive.interval);
            socket.set_tcp_keepalive(&times.with_retries(keepalive.count))?;
        }
        if options.user_timeout.is_some() {
            socket.set_tcp_user_timeout(options.user_timeout)?;
        }
        if let Some(dscp) = options.dscp {
            // The two bits below it are the kernel's, for congestion (RFC 3168). An IPv6 socket may carry IPv4 too.
            let class = u32::from(dscp) << 2;
            socket.set_tos_v4(class)?;
            if ipv6 {
                socket.set_tclass_v6(class)?;
            }
        }
        if let Some(mark) = options.mark {
            socket.set_mark(mark)?;
        }
        if let Some(time) = options.busy_poll {
            socket.set_busy_poll(u32::try_from(time.as_micros()).unwrap_or(u32::MAX))?;
        }
        Ok(())
    }

    fn family(&self) -> io::Result<AddressFamily> {
        Ok(net::sockopt::socket_domain(&self.0)?)
    }

    /// Takes one connection off a listening socket's queue.
    #[inline]
    pub(crate) fn accept(&self) -> Result<(Self, Endpoint), Errno> {
        let (fd, peer) = net::acceptfrom_with(&self.0, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
        Ok((Self(fd), peer.map_or_else(unknown_address, |peer| Endpoint::from_kernel(&peer))))
    }

    #[inline]
    pub(crate) fn recv(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        net::recv(&self.0, buffer, RecvFlags::empty()).map(|(_, received)| received)
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

    /// Who is at the other end of a Unix socket.
    pub(crate) fn peer_credentials(&self) -> Option<Credentials> {
        // Other sockets, and Unix ones without a peer, would give a process number that is none.
        if self.family().ok()? != AddressFamily::UNIX || !self.has_peer() {
            return None;
        }
        let peer = net::sockopt::socket_peercred(&self.0).ok()?;
        let pid = u32::try_from(peer.pid.as_raw_pid()).ok()?;
        Some(Credentials { pid, uid: peer.uid.as_raw(), gid: peer.gid.as_raw() })
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
    use std::net::TcpStream;

    use super::*;
    use crate::options::Keepalive;

    /// A listening socket with a client and the accepted one.
    fn accepted(address: &str, options: &ServerOptions) -> (Socket, TcpStream, Socket) {
        let Bound { socket: listening, local, .. } = Socket::bind(&address.parse().unwrap(), options).unwrap();
        listening.configure_server(options).unwrap();
        listening.listen(1).unwrap();
        let port = local.port().unwrap();
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
        let client = client.or_else(|_| TcpStream::connect((Ipv6Addr::LOCALHOST, port))).unwrap();
        let (accepted, peer) = listening.accept().unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
        (listening, client, accepted)
    }

    fn all_set() -> ConnectionOptions {
        let secs = Duration::from_secs;
        ConnectionOptions {
            keepalive: Some(Keepalive { idle: secs(33), interval: secs(7), count: 4 }),
            user_timeout: Some(Duration::from_millis(3001)),
            send_buffer: Some(20_000),
            receive_buffer: Some(30_000),
            dscp: Some(46),
            ..ConnectionOptions::default()
        }
    }

    fn assert_all_set(socket: &Socket) {
        let socket = SockRef::from(&socket.0);
        assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(33));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(7));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 4);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_millis(3001)));
        assert_eq!((socket.send_buffer_size().unwrap(), socket.recv_buffer_size().unwrap()), (40_000, 60_000));
        assert_eq!(socket.tos_v4().unwrap(), 46 << 2);
    }

    #[test]
    fn accepted_sockets_inherit_every_option_from_the_listening_one() {
        let options = ServerOptions { connection: all_set(), incoming_cpu: Some(0), ..ServerOptions::default() };
        for address in ["127.0.0.1:0", "[::1]:0", "0"] {
            let (listening, _client, accepted) = accepted(address, &options);
            assert_all_set(&listening);
            assert_all_set(&accepted);
            assert!(SockRef::from(&accepted.0).nonblocking().unwrap());
            assert_eq!(SockRef::from(&listening.0).cpu_affinity().unwrap(), 0);
        }
        let (_listening, _client, accepted) = accepted("[::1]:0", &options);
        assert_eq!(SockRef::from(&accepted.0).tclass_v6().unwrap(), 46 << 2);
    }

    #[test]
    fn without_options_accepted_sockets_have_nodelay_and_the_kernels_defaults() {
        let (_listening, client, accepted) = accepted("127.0.0.1:0", &ServerOptions::default());
        let (ours, plain) = (SockRef::from(&accepted.0), SockRef::from(&client));
        assert!(ours.tcp_nodelay().unwrap() && !ours.keepalive().unwrap());
        assert_eq!(ours.tcp_user_timeout().unwrap(), plain.tcp_user_timeout().unwrap());
        assert_eq!(ours.tos_v4().unwrap(), 0);
    }

    #[test]
    fn a_client_and_a_unix_socket_take_the_same_options() {
        let client = Socket::for_peer(&SocketAddr::from((Ipv4Addr::LOCALHOST, 1)).into(), &all_set()).unwrap();
        assert_all_set(&client);
        let client = Socket::for_peer(&Endpoint::Unnamed, &all_set()).unwrap();
        assert_eq!(SockRef::from(&client.0).send_buffer_size().unwrap(), 40_000);
        assert!(!SockRef::from(&client.0).keepalive().unwrap(), "it is TCP's");
        let options = ServerOptions { connection: all_set(), incoming_cpu: Some(0), ..ServerOptions::default() };
        client.configure_server(&options).unwrap();
    }

    #[test]
    fn a_local_address_takes_no_port_before_it_connects_and_is_none_of_a_unix_socket_s() {
        for (local, peer) in [("127.0.0.2", "127.0.0.1:1"), ("::1", "[::1]:1")] {
            let options = ConnectionOptions { local_address: local.parse().ok(), ..ConnectionOptions::default() };
            let client = Socket::for_peer(&peer.parse::<SocketAddr>().unwrap().into(), &options).unwrap();
            assert_eq!(client.local_address().unwrap(), SocketAddr::new(local.parse().unwrap(), 0));
            assert!(nix::sys::socket::getsockopt(&client.0, IpBindAddressNoPort).unwrap());
            Socket::for_peer(&Endpoint::Unnamed, &options).unwrap();
        }
    }

    #[test]
    fn options_that_need_a_capability_are_set_and_inherited_or_refused() {
        let busy_poll = Some(Duration::from_micros(50));
        let connection = ConnectionOptions { mark: Some(7), busy_poll, ..ConnectionOptions::default() };
        let options = ServerOptions { connection, ..ServerOptions::default() };
        let bound = Socket::bind(&"127.0.0.1:0".parse().unwrap(), &options).unwrap();
        match bound.socket.configure_server(&options) {
            Ok(()) => {
                let (_listening, _client, accepted) = accepted("127.0.0.1:0", &options);
                let accepted = SockRef::from(&accepted.0);
                assert_eq!((accepted.mark().unwrap(), accepted.busy_poll().unwrap()), (7, 50));
            }
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
        }
    }

    #[test]
    fn an_ipv6_address_takes_ipv4_only_when_asked_and_a_port_alone_always() {
        let is_only_v6 = |address: &str, only_v6| {
            let options = ServerOptions { only_v6, ..ServerOptions::default() };
            let bound = Socket::bind(&address.parse().unwrap(), &options).unwrap();
            SockRef::from(&bound.socket.0).only_v6().unwrap()
        };
        assert!(is_only_v6("[::]:0", true) && !is_only_v6("[::]:0", false));
        assert!(!is_only_v6("0", true) && !is_only_v6("0", false));
    }
}
