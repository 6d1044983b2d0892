//! The floor of proxies: an epoll loop that passes on what comes by one `recv` and one `send`, through one 64 KiB buffer.
//!
//! It does what a proxy cannot do without: it keeps what the kernel does not take and reads no more of that direction until
//! it has left, and it passes on the end of either direction by itself.

#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use clap::Parser;
use contestants::{Arguments, Work};
use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, sockopt};

const LISTENER: u64 = u64::MAX;
const NEW: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);
/// Edge-triggered, in both directions at once: a socket is registered and never again.
const BOTH_WAYS: EventFlags = EventFlags::IN.union(EventFlags::OUT).union(EventFlags::RDHUP).union(EventFlags::ET);
/// The peer's FIN, its reset, or an error.
const SPECIAL: EventFlags = EventFlags::RDHUP.union(EventFlags::HUP).union(EventFlags::ERR);

/// One of the two sockets of a pair.
struct End {
    socket: OwnedFd,
    /// The descriptor of the other one.
    other: RawFd,
    /// The kernel may hold input.
    readable: bool,
    /// Its input comes to an end, or to an error: a short read does not show that there is no more.
    special: bool,
    /// FIN has come.
    ended: bool,
    /// The kernel may take output: it has connected, and the last `send` was not cut short.
    writable: bool,
    /// What it did not take.
    rest: Vec<u8>,
    /// FIN follows the rest.
    fin: bool,
}

struct Proxy {
    epoll: OwnedFd,
    listener: OwnedFd,
    to: SocketAddr,
    /// By descriptor.
    ends: Vec<Option<End>>,
    buffer: Box<[u8]>,
}

fn main() {
    let arguments = Arguments::parse();
    let (Work::Proxy, Some(to)) = (arguments.work, arguments.to) else {
        contestants::refuse("floor-proxy", &arguments);
    };
    let (listener, address) = contestants::listener();
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll instance");
    epoll::add(&epoll, &listener, epoll::EventData::new_u64(LISTENER), EventFlags::IN).expect("a descriptor");
    contestants::announce(address);
    let buffer = vec![0; 64 * 1024].into();
    Proxy { epoll, listener: listener.into(), to, ends: Vec::new(), buffer }.serve();
}

impl Proxy {
    fn serve(&mut self) {
        let mut events = Vec::with_capacity(1024);
        loop {
            epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None).expect("events");
            for event in events.drain(..) {
                match event.data.u64() {
                    LISTENER => self.accept(),
                    descriptor => self.handle(descriptor as RawFd, event.flags),
                }
            }
        }
    }

    fn accept(&mut self) {
        let Ok(client) = net::accept_with(&self.listener, NEW) else { return };
        let upstream = net::socket_with(AddressFamily::INET, SocketType::STREAM, NEW, None).expect("a descriptor");
        match net::connect(&upstream, &self.to) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(_) => return,
        }
        let (one, two) = (client.as_raw_fd(), upstream.as_raw_fd());
        for (socket, other) in [(client, two), (upstream, one)] {
            sockopt::set_tcp_nodelay(&socket, true).expect("a TCP socket");
            let descriptor = socket.as_raw_fd() as usize;
            let data = epoll::EventData::new_u64(descriptor as u64);
            epoll::add(&self.epoll, &socket, data, BOTH_WAYS).expect("a descriptor");
            self.ends.resize_with(self.ends.len().max(descriptor + 1), || None);
            let (readable, special, ended, writable, fin) = (false, false, false, false, false);
            let rest = Vec::new();
            self.ends[descriptor] = Some(End { socket, other, readable, special, ended, writable, rest, fin });
        }
    }

    fn handle(&mut self, descriptor: RawFd, flags: EventFlags) {
        // Its pair may have gone earlier in this batch.
        let Some(Some(end)) = self.ends.get_mut(descriptor as usize) else { return };
        let other = end.other;
        end.special |= flags.intersects(SPECIAL);
        end.readable |= flags.intersects(EventFlags::IN | SPECIAL);
        let room = !end.writable && flags.contains(EventFlags::OUT);
        let flushed = if room { end.flush().and_then(|()| self.pass(other, descriptor)) } else { Ok(()) };
        if flushed.and_then(|()| self.pass(descriptor, other)).is_err() || self.is_over(descriptor, other) {
            self.ends[descriptor as usize] = None;
            self.ends[other as usize] = None;
        }
    }

    /// Passes on what there is, as far as it can be.
    fn pass(&mut self, from: RawFd, to: RawFd) -> Result<(), Errno> {
        let Self { ends, buffer, .. } = self;
        let Ok([Some(from), Some(to)]) = ends.get_disjoint_mut([from as usize, to as usize]) else { return Ok(()) };
        while from.readable && to.writable {
            match net::recv(&from.socket, &mut **buffer, RecvFlags::empty()) {
                Ok((0, _)) => {
                    (from.readable, from.ended, to.fin) = (false, true, true);
                    to.finish()?;
                }
                Ok((count, _)) => {
                    from.readable = count == buffer.len() || from.special;
                    let sent = to.send(&buffer[..count])?;
                    if sent < count {
                        to.rest.extend_from_slice(&buffer[sent..count]);
                        to.writable = false;
                    }
                }
                Err(Errno::AGAIN) => (from.readable, from.special) = (false, false),
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Whether both directions have come to their ends, and all has left.
    fn is_over(&self, one: RawFd, two: RawFd) -> bool {
        [one, two]
            .iter()
            .all(|&end| self.ends[end as usize].as_ref().is_some_and(|end| end.ended && end.rest.is_empty()))
    }
}

impl End {
    /// Sends what the kernel has had no room for.
    fn flush(&mut self) -> Result<(), Errno> {
        let sent = self.send(&self.rest)?;
        self.rest.drain(..sent);
        self.writable = self.rest.is_empty();
        self.finish()
    }

    /// One `send`; gives how much the kernel has taken.
    fn send(&self, bytes: &[u8]) -> Result<usize, Errno> {
        match net::send(&self.socket, bytes, SendFlags::NOSIGNAL) {
            Err(Errno::AGAIN) => Ok(0),
            sent => sent,
        }
    }

    /// Sends FIN if it is due.
    fn finish(&self) -> Result<(), Errno> {
        if self.fin && self.rest.is_empty() { net::shutdown(&self.socket, Shutdown::Write) } else { Ok(()) }
    }
}
