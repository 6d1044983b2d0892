//! A closed-loop client: every connection sends its next message when its reply is in.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use rustix::event::epoll;

/// Sends `messages` of `size` bytes over `connections` connections, and returns how long that took, connecting apart.
///
/// # Panics
///
/// If the server refuses, closes, or echoes anything but what it was sent.
pub fn load(address: SocketAddr, connections: usize, messages: usize, size: usize) -> Duration {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll instance");
    let message = vec![b'x'; size];
    let mut streams = HashMap::new();
    for _ in 0..connections {
        let stream = TcpStream::connect(address).expect("the server accepts");
        stream.set_nodelay(true).expect("a TCP socket");
        let id = stream.as_raw_fd() as u64;
        epoll::add(&epoll, &stream, epoll::EventData::new_u64(id), epoll::EventFlags::IN).expect("a descriptor");
        streams.insert(id, (stream, 0));
    }
    let begun = Instant::now();
    for (stream, _) in streams.values_mut() {
        stream.write_all(&message).expect("the server reads");
    }
    let (mut sent, mut received) = (connections, 0);
    let mut events = Vec::with_capacity(connections);
    let mut buffer = vec![0; size];
    while received < messages {
        epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None).expect("events");
        for event in events.drain(..) {
            let (stream, have) = streams.get_mut(&event.data.u64()).expect("one of ours");
            let count = stream.read(&mut buffer[*have..]).expect("the server echoes");
            assert!(count > 0, "the server has closed");
            *have += count;
            if *have == size {
                assert_eq!(buffer.first(), Some(&b'x'));
                *have = 0;
                received += 1;
                if sent < messages {
                    sent += 1;
                    stream.write_all(&message).expect("the server reads");
                }
            }
        }
    }
    begun.elapsed()
}
