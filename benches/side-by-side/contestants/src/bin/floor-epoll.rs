//! The floor: an echo server that is nothing but an epoll loop, one `recv` and one `send` a message.

#![forbid(unsafe_code)]

use std::net::TcpStream;
use std::os::fd::AsRawFd;

use clap::Parser;
use contestants::{Arguments, Work};
use rustix::event::epoll;
use rustix::net::{RecvFlags, SendFlags, recv, send};

fn main() {
    let arguments = Arguments::parse();
    match arguments.work {
        Work::Echo => echo(),
        _ => contestants::refuse("floor-epoll", &arguments),
    }
}

fn echo() {
    const ACCEPT: u64 = u64::MAX;
    let (listener, address) = contestants::listener();
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll instance");
    let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
    epoll::add(&epoll, &listener, epoll::EventData::new_u64(ACCEPT), epoll::EventFlags::IN).expect("a descriptor");
    let mut streams: Vec<Option<TcpStream>> = Vec::new();
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
                let slot = stream.as_raw_fd() as usize;
                epoll::add(&epoll, &stream, epoll::EventData::new_u64(slot as u64), flags).expect("a descriptor");
                streams.resize_with(streams.len().max(slot + 1), || None);
                streams[slot] = Some(stream);
                continue;
            }
            let Some(stream) = &streams[id as usize] else { continue };
            let count = recv(stream, &mut *buffer, RecvFlags::empty()).map_or(0, |(count, _)| count);
            if count == 0 || send(stream, &buffer[..count], SendFlags::NOSIGNAL) != Ok(count) {
                streams[id as usize] = None;
            }
        }
    }
}
