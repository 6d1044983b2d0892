//! Two pinned threads that wake one another: one eventfd and one epoll instance each, and nothing else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, epoll, eventfd};

use crate::{cpus, on_cpu};

/// How long `trips` there and back take. Each way is a write and a wait; edges are not read.
pub fn ping_pong(trips: u64) -> Duration {
    let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
    let doors = Arc::new([(); 2].map(|()| eventfd(0, flags).expect("an eventfd")));
    let sides = [0, 1].map(|side| {
        let doors = Arc::clone(&doors);
        on_cpu(cpus()[side], move || {
            let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll instance");
            let edges = epoll::EventFlags::IN | epoll::EventFlags::ET;
            epoll::add(&epoll, &doors[side], epoll::EventData::new_u64(0), edges).expect("a descriptor");
            let mut events = Vec::with_capacity(8);
            let wait = |events: &mut Vec<_>| {
                events.clear();
                epoll::wait(&epoll, rustix::buffer::spare_capacity(events), None).expect("events");
            };
            let ring = || rustix::io::write(&doors[1 - side], &1_u64.to_ne_bytes()).expect("an eventfd");
            let begun = Instant::now();
            for _ in 0..trips {
                if side == 0 {
                    ring();
                    wait(&mut events);
                } else {
                    wait(&mut events);
                    ring();
                }
            }
            begun.elapsed()
        })
    });
    let [first, second] = sides.map(|side| side.join().unwrap());
    second.max(first)
}
