//! The floor of a broadcast: an epoll loop that sends what one connection says to all, from where it was received.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use clap::Parser;
use contestants::{Arguments, Work};
use rustix::event::epoll;
use rustix::net::{RecvFlags, SendFlags, recv, send};

fn main() {
    let arguments = Arguments::parse();
    match (arguments.work, &arguments.variant) {
        (Work::Broadcast, None) => broadcast(),
        _ => contestants::refuse("floor-broadcast", &arguments),
    }
}

fn broadcast() {
    const ACCEPT: u64 = u64::MAX;
    let (listener, address) = contestants::listener();
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll instance");
    let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
    epoll::add(&epoll, &listener, epoll::EventData::new_u64(ACCEPT), epoll::EventFlags::IN).expect("a descriptor");
    let mut members: BTreeMap<u64, TcpStream> = BTreeMap::new();
    let mut events = Vec::with_capacity(1024);
    let mut buffer = vec![0; 64 * 1024];
    contestants::announce(address);
    loop {
        epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None).expect("events");
        for event in events.drain(..) {
            let id = event.data.u64();
            if id == ACCEPT {
                let Ok((stream, _)) = listener.accept() else { continue };
                stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true)).expect("a TCP socket");
                let id = stream.as_raw_fd() as u64;
                epoll::add(&epoll, &stream, epoll::EventData::new_u64(id), flags).expect("a descriptor");
                members.insert(id, stream);
                continue;
            }
            let Some(speaker) = members.get(&id) else { continue };
            let count = recv(speaker, &mut *buffer, RecvFlags::empty()).map_or(0, |(count, _)| count);
            if count == 0 {
                members.remove(&id);
                continue;
            }
            // Whoever does not take it all at once has to go: a floor queues nothing.
            members.retain(|_, member| send(member, &buffer[..count], SendFlags::NOSIGNAL) == Ok(count));
        }
    }
}
