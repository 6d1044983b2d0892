//! `echo` and `lines`: every connection sends its next messages when the last are back.

use std::io;
use std::net::SocketAddr;

use rustix::event::epoll::EventFlags;

use crate::message::Message;
use crate::slice::{Load, Slice, Slices};
use crate::stream::{Buffer, READ_WRITE, Stream};

/// Past half of the ports of an address, `connect` looks for a free one for long.
const CONNECTIONS_PER_SOURCE: usize = 5_000;

/// All the connections.
#[derive(Debug)]
pub(crate) struct Streams {
    streams: Vec<Stream>,
    message: Message,
    buffer: Box<Buffer>,
}

impl Streams {
    /// Connects, and has one message echoed on each connection.
    pub(crate) fn connect(to: SocketAddr, count: usize, mut message: Message, slices: &Slices) -> io::Result<Self> {
        let mut streams = Vec::with_capacity(count);
        let mut buffer = Box::new([0; _]);
        for slot in 0..count {
            let mut stream = Stream::connect(to, (slot / CONNECTIONS_PER_SOURCE) as u8)?;
            stream.echo_once(&mut message, &mut buffer)?;
            slices.watch(&stream, slot, READ_WRITE)?;
            streams.push(stream);
        }
        Ok(Self { streams, message, buffer })
    }
}

impl Load for Streams {
    fn begin(&mut self, slice: &mut Slice, _slices: &Slices) -> io::Result<()> {
        for stream in &mut self.streams {
            let messages = slice.take(self.message.depth());
            if messages == 0 {
                break;
            }
            stream.send(&self.message, messages)?;
        }
        Ok(())
    }

    #[inline]
    fn handle(&mut self, slot: usize, flags: EventFlags, slice: &mut Slice, _slices: &Slices) -> io::Result<()> {
        let stream = &mut self.streams[slot];
        stream.send_rest(&self.message)?;
        if Stream::is_readable(flags) {
            let messages = stream.receive(&mut self.message, &mut self.buffer)?;
            slice.give_back(messages);
            let next = slice.take(messages);
            if next > 0 {
                stream.send(&self.message, next)?;
            }
        }
        Ok(())
    }

    fn wrong(&self) -> u64 {
        self.message.wrong
    }
}
