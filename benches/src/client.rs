//! Closed-loop clients: every connection sends its next message when its reply is in. The bare minimum, as one would write it
//! in C: an epoll loop, one `recv` and one `send` a message, no clock, no histogram, and no byte looked at but the first.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::net::{RecvFlags, SendFlags, recv, send};

/// How many batches of events pass between two looks at the clock.
const BATCHES_PER_LOOK: usize = 64;

/// A client with all its connections made.
#[derive(Debug)]
pub struct Client {
    epoll: rustix::fd::OwnedFd,
    /// By descriptor: the connection, and how many bytes of its reply are in.
    streams: Vec<Option<(TcpStream, usize)>>,
    message: Vec<u8>,
    sent: usize,
    received: usize,
}

impl Client {
    /// Connects.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub fn connect(address: SocketAddr, connections: usize, size: usize) -> Self {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll instance");
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        let mut streams: Vec<Option<(TcpStream, usize)>> = Vec::new();
        for _ in 0..connections {
            let stream = TcpStream::connect(address).expect("the server accepts");
            stream.set_nodelay(true).and_then(|()| stream.set_nonblocking(true)).expect("a TCP socket");
            let slot = stream.as_raw_fd() as usize;
            epoll::add(&epoll, &stream, epoll::EventData::new_u64(slot as u64), flags).expect("a descriptor");
            streams.resize_with(streams.len().max(slot + 1), || None);
            streams[slot] = Some((stream, 0));
        }
        Self { epoll, streams, message: vec![b'x'; size], sent: 0, received: 0 }
    }

    /// Sends this many messages, and returns how long that took.
    ///
    /// # Panics
    ///
    /// If the server closes, echoes anything but what it was sent, or does not take a message at once.
    pub fn count(mut self, messages: usize) -> Duration {
        let begun = Instant::now();
        self.begin();
        let mut events = Vec::with_capacity(1024);
        while self.received < messages {
            self.turn(&mut events, messages);
        }
        begun.elapsed()
    }

    /// Sends messages for this long, and returns how many came back and in what time.
    ///
    /// # Panics
    ///
    /// As [`count`](Self::count).
    pub fn run(mut self, time: Duration) -> (usize, Duration) {
        let begun = Instant::now();
        self.begin();
        let mut events = Vec::with_capacity(1024);
        loop {
            for _ in 0..BATCHES_PER_LOOK {
                self.turn(&mut events, usize::MAX);
            }
            let elapsed = begun.elapsed();
            if elapsed >= time {
                return (self.received, elapsed);
            }
        }
    }

    fn begin(&mut self) {
        for (stream, _) in self.streams.iter().flatten() {
            say(stream, &self.message);
            self.sent += 1;
        }
    }

    fn turn(&mut self, events: &mut Vec<epoll::Event>, messages: usize) {
        let mut buffer = [0; 64 * 1024];
        epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), None).expect("events");
        for event in events.drain(..) {
            let slot = self.streams.get_mut(event.data.u64() as usize).and_then(Option::as_mut);
            let (stream, have) = slot.expect("one of ours");
            let (_, count) = recv(&*stream, &mut buffer[..], RecvFlags::empty()).expect("the server echoes");
            assert!(count > 0, "the server has closed");
            *have += count;
            if *have == self.message.len() {
                assert_eq!(buffer.first(), Some(&b'x'));
                *have = 0;
                self.received += 1;
                if self.sent < messages {
                    self.sent += 1;
                    say(stream, &self.message);
                }
            }
        }
    }
}

fn say(stream: &TcpStream, message: &[u8]) {
    assert_eq!(send(stream, message, SendFlags::NOSIGNAL), Ok(message.len()), "the server reads");
}
