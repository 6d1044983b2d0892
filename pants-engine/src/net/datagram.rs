//! Non-blocking datagram sockets, UDP and Unix: the system calls on them.

use std::array;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::socket::sockopt::UdpGroSegment;
use quinn_udp::UdpSocketState;
use rustix::io::Errno;
use rustix::net::addr::SocketAddrArg;
use rustix::net::{
    self, AddressFamily, MMsgHdr, RecvFlags, SendAncillaryBuffer, SendFlags, SocketAddrUnix, SocketType,
};
use socket2::{MsgHdr, SockAddr, SockRef};
use zerocopy::{Immutable, IntoBytes};

use crate::buffer::trains::{Train, Trains};
use crate::datagram::options::DatagramOptions;
use crate::limits;
use crate::net::address::Address;
use crate::net::batch::{self, Batch};
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
    /// By which many datagrams are read in one call; `None` where they are not.
    receiver: Option<&'static UdpSocketState>,
    /// Whether the kernel cuts trains for this socket, as far as is known.
    segmentation: bool,
    /// Whether trains may be received whole as soon as that pays.
    trains_on_demand: bool,
    /// Whether they may come whole now, so that only [`recv_batch`](Self::recv_batch) can tell them from a datagram.
    receives_trains: bool,
}

/// The control message that has the kernel cut a train (`UDP_SEGMENT`, udp(7)), as cmsg(3) lays it out.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct SegmentLength {
    length: usize,
    level: i32,
    kind: i32,
    segment: u16,
    padding: [u8; size_of::<usize>() - size_of::<u16>()],
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
        let socket = Self::new(Socket::from_any(fd)?, None, options)?;
        // Whoever has it too may not know trains from datagrams, or may have them come whole at any time.
        Ok(Self { trains_on_demand: false, receives_trains: true, ..socket })
    }

    fn new(socket: Socket, file: Option<SocketFile>, options: &DatagramOptions) -> io::Result<Self> {
        let family = net::sockopt::socket_domain(&socket)?;
        let settings = SockRef::from(&socket);
        if options.broadcast {
            settings.set_broadcast(true)?;
        }
        options.receive_buffer.map_or(Ok(()), |size| settings.set_recv_buffer_size(size))?;
        options.send_buffer.map_or(Ok(()), |size| settings.set_send_buffer_size(size))?;
        let receiver = if family == AddressFamily::UNIX { None } else { batch::receiver()? };
        let trains_are_known = receiver.is_some_and(|receiver| receiver.max_gso_segments() > 1);
        let segmentation = options.segmentation && trains_are_known;
        Ok(Self {
            _file: file,
            socket,
            family,
            receiver,
            segmentation,
            trains_on_demand: segmentation,
            receives_trains: false,
        })
    }

    /// Has the kernel pass on as one what has come as a train (`UDP_GRO`, udp(7)), if it may.
    #[cold]
    pub(crate) fn have_trains_received(&mut self) {
        if std::mem::take(&mut self.trains_on_demand) {
            // Without it datagrams come one by one.
            self.receives_trains = nix::sys::socket::setsockopt(&self.socket, UdpGroSegment, &true).is_ok();
        }
    }

    pub(crate) fn receives_trains(&self) -> bool {
        self.receives_trains
    }

    /// Whether many datagrams can be read in one call, and gathered for another.
    pub(crate) fn has_batches(&self) -> bool {
        self.receiver.is_some()
    }

    /// Takes up to `width` messages. Fewer show that no more are there.
    #[inline]
    pub(crate) fn recv_batch(&self, batch: &mut Batch, width: usize) -> io::Result<usize> {
        self.receiver.map_or(Ok(0), |receiver| batch.recv(receiver, &self.socket, width))
    }

    /// Whether datagrams may leave as trains.
    pub(crate) fn sends_trains(&self) -> bool {
        self.segmentation
    }

    /// Sends a train as one message. `Ok(None)` if it has to leave in pieces: the kernel has taken none of it, for a reason
    /// that may not hold for a single datagram.
    pub(crate) fn send_train(&mut self, bytes: &[u8], train: &Train) -> Result<Option<usize>, Errno> {
        let control = SegmentLength::new(train.segment);
        let to = train.to.map(|to| SockAddr::from(self.in_family(to)));
        let slices = [IoSlice::new(bytes)];
        let mut message = MsgHdr::new().with_buffers(&slices).with_control(control.as_bytes());
        if let Some(to) = &to {
            message = message.with_addr(to);
        }
        let sent = SockRef::from(&self.socket).sendmsg(&message, SendFlags::NOSIGNAL.bits() as i32);
        let Err(error) = sent else { return Ok(Some(1)) };
        match Errno::from_io_error(&error) {
            // The device, or something on the way to it, cannot cut trains.
            Some(Errno::IO | Errno::OPNOTSUPP) | None => self.segmentation = false,
            // Its datagrams need to be fragmented, it is for port 0, from which anybody may send, or there is room only for some.
            Some(Errno::INVAL | Errno::MSGSIZE | Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => {}
            Some(errno) => return Err(errno),
        }
        Ok(None)
    }

    /// Sends the first of `trains`, each of which is one datagram, in one call. Returns how many the kernel has taken: not all
    /// if it refuses one. Then the next call says why.
    pub(crate) fn send_batch(&self, gathered: &Trains, trains: &[Train]) -> Result<usize, Errno> {
        if trains.len() <= limits::DATAGRAM_BATCH_SMALL {
            self.send_at_most::<{ limits::DATAGRAM_BATCH_SMALL }>(gathered, trains)
        } else {
            self.send_at_most::<{ limits::DATAGRAM_OUTBOX_MAX }>(gathered, trains)
        }
    }

    fn send_at_most<const MAX: usize>(&self, gathered: &Trains, trains: &[Train]) -> Result<usize, Errno> {
        let names: [_; MAX] = array::from_fn(|i| trains.get(i)?.to.map(|to| self.in_family(to).as_any()));
        let slices: [_; MAX] =
            array::from_fn(|i| [IoSlice::new(trains.get(i).map_or(&[], |train| gathered.bytes_of(train)))]);
        let mut controls: [_; MAX] = array::from_fn(|_| SendAncillaryBuffer::default());
        let mut parts = names.iter().zip(&slices).zip(&mut controls);
        let mut messages: [MMsgHdr<'_>; MAX] = array::from_fn(|_| match parts.next() {
            Some(((Some(name), slices), control)) => MMsgHdr::new_with_addr(name, slices, control),
            Some(((None, slices), control)) => MMsgHdr::new(slices, control),
            None => unreachable!("there are as many"),
        });
        net::sendmmsg(&self.socket, &mut messages[..trains.len().min(MAX)], SendFlags::NOSIGNAL)
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

impl SegmentLength {
    fn new(segment: usize) -> Self {
        let length = size_of::<usize>() + 2 * size_of::<i32>() + size_of::<u16>();
        // `SOL_UDP` and `UDP_SEGMENT` (the kernel's `linux/socket.h` and `linux/udp.h`).
        let (level, kind) = (17, 103);
        Self { length, level, kind, segment: segment as u16, padding: Default::default() }
    }
}

impl AsFd for DatagramSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
