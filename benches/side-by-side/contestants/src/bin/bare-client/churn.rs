//! `churn`: connections that carry one message each; so many are under way at once.

use std::io;
use std::net::SocketAddr;

use rustix::event::epoll::EventFlags;

use crate::message::Message;
use crate::slice::{Load, Slice, Slices};
use crate::stream::{Buffer, READ_WRITE, Stream};

/// Over so many addresses the connections are spread, so that those that have just closed leave ports for the next.
const SOURCES: u8 = 32;

/// The connections under way. A message of a slice is one connection, from its beginning to its end.
#[derive(Debug)]
pub(crate) struct Churn {
    to: SocketAddr,
    streams: Vec<Option<Stream>>,
    source: u8,
    message: Message,
    buffer: Box<Buffer>,
}

impl Churn {
    /// Nothing is under way between slices.
    pub(crate) fn new(to: SocketAddr, count: usize, mut message: Message) -> io::Result<Self> {
        let mut buffer = Box::new([0; _]);
        for _ in 0..count {
            Stream::connect(to, 0)?.echo_once(&mut message, &mut buffer)?;
        }
        let streams = std::iter::repeat_with(|| None).take(count).collect();
        Ok(Self { to, streams, source: 0, message, buffer })
    }

    /// Begins a connection, and sends its message at once: over the loopback interface it is made when `connect` returns.
    /// Where it is not, the message follows when the socket has room for it.
    fn start(&mut self, slot: usize, slices: &Slices) -> io::Result<()> {
        self.source = (self.source + 1) % SOURCES;
        let mut stream = Stream::connect(self.to, self.source)?;
        stream.send(&self.message, 1)?;
        slices.watch(&stream, slot, if stream.has_sent_all() { EventFlags::IN } else { READ_WRITE })?;
        self.streams[slot] = Some(stream);
        Ok(())
    }
}

impl Load for Churn {
    fn begin(&mut self, slice: &mut Slice, slices: &Slices) -> io::Result<()> {
        for slot in 0..slice.take(self.streams.len()) {
            self.start(slot, slices)?;
        }
        Ok(())
    }

    #[inline]
    fn handle(&mut self, slot: usize, flags: EventFlags, slice: &mut Slice, slices: &Slices) -> io::Result<()> {
        let Some(stream) = &mut self.streams[slot] else { return Ok(()) };
        stream.send_rest(&self.message)?;
        if Stream::is_readable(flags) && stream.receive(&mut self.message, &mut self.buffer)? > 0 {
            self.streams[slot] = None;
            slice.give_back(1);
            if slice.take(1) > 0 {
                self.start(slot, slices)?;
            }
        }
        Ok(())
    }

    fn wrong(&self) -> u64 {
        self.message.wrong
    }
}
