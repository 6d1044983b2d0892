//! The floor: an echo server that is nothing but an epoll loop, one `recv` and one `send` a message, as one would write it
//! in C.
//!
//! It has no timeouts, no statistics and no way to stop but its process's end.

#![forbid(unsafe_code)]

mod echo;
mod lines;
mod stream;

use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};

use clap::Parser;
use contestants::{Arguments, Work};
use rustix::event::epoll;
use rustix::net::SocketFlags;

use crate::stream::{BUFFER, Stream};

fn main() {
    let arguments = Arguments::parse();
    match arguments.work {
        Work::Echo => serve(echo::handle),
        Work::Lines => serve(lines::handle),
        _ => contestants::refuse("floor-epoll", &arguments),
    }
}

/// The listener's token; a stream's is its descriptor.
const ACCEPT: u64 = u64::MAX;

/// The events of one call.
const EVENTS: usize = 1024;

/// Serves for ever. `handle` is given every stream that has something to read, or room again for what it keeps; the stream is
/// closed when it returns none.
fn serve(handle: impl Fn(&mut Stream, &mut [u8; BUFFER]) -> Option<()>) {
    let (listener, address) = contestants::listener();
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll instance");
    epoll::add(&epoll, &listener, epoll::EventData::new_u64(ACCEPT), epoll::EventFlags::IN).expect("a descriptor");
    let mut streams: Vec<Option<Stream>> = Vec::new();
    let mut events = Vec::with_capacity(EVENTS);
    let mut buffer = Box::new([0; BUFFER]);
    contestants::announce(address);
    loop {
        // A debugger, or a driver that stops and continues this process, interrupts the call.
        let _ = epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None);
        for event in events.drain(..) {
            let token = event.data.u64();
            if token == ACCEPT {
                accept(&listener, &epoll, &mut streams);
                continue;
            }
            let slot = &mut streams[token as usize];
            if let Some(stream) = slot
                && stream.is_ready(event.flags)
                && handle(stream, &mut buffer).is_none()
            {
                *slot = None;
            }
        }
    }
}

/// Accepts all that wait.
fn accept(listener: &TcpListener, epoll: &OwnedFd, streams: &mut Vec<Option<Stream>>) {
    let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
    while let Ok(socket) = rustix::net::accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
        let _ = rustix::net::sockopt::set_tcp_nodelay(&socket, true);
        let slot = socket.as_raw_fd() as usize;
        epoll::add(epoll, &socket, epoll::EventData::new_u64(slot as u64), flags).expect("a descriptor");
        if slot >= streams.len() {
            streams.resize_with(slot + 1, || None);
        }
        streams[slot] = Some(Stream::new(socket));
    }
}
