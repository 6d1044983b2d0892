//! `broadcast`: the first connection sends, and every connection receives.

use std::io;
use std::net::SocketAddr;

use rustix::event::epoll::EventFlags;

use crate::message::Message;
use crate::slice::{Load, Slice, Slices};
use crate::stream::{BUFFER, READ_WRITE, Stream};

/// All the connections. A message of a slice is one delivery.
#[derive(Debug)]
pub(crate) struct Broadcast {
    streams: Vec<Stream>,
    message: Message,
    buffer: Vec<u8>,
    /// How many deliveries have come since the sender last sent.
    delivered: usize,
}

impl Broadcast {
    /// Connects one after the other: each sends a message, which all that are there then receive, so that the server knows
    /// them all. A server of several threads may have a thread hear of a message only when it has accepted the next connection,
    /// which then gets one more.
    pub(crate) fn connect(to: SocketAddr, count: usize, mut message: Message, slices: &Slices) -> io::Result<Self> {
        let mut streams: Vec<Stream> = Vec::with_capacity(count);
        let mut buffer = vec![0; BUFFER];
        for _ in 0..count {
            let mut stream = Stream::connect(to, 0)?;
            stream.echo_once(&mut message, &mut buffer)?;
            for earlier in &mut streams {
                earlier.wait_for_one(&mut message, &mut buffer)?;
            }
            streams.push(stream);
        }
        for (slot, stream) in streams.iter_mut().enumerate() {
            stream.receive(&mut message, &mut buffer)?;
            slices.watch(&*stream, slot, READ_WRITE)?;
        }
        Ok(Self { streams, message, buffer, delivered: 0 })
    }

    /// Sends so many messages from the first connection, or as many as the slice has leave for.
    fn send(&mut self, wanted: usize, slice: &mut Slice) -> io::Result<()> {
        let everyone = self.streams.len();
        let messages = (0..wanted).take_while(|_| slice.take_all(everyone)).count();
        if messages > 0 { self.streams[0].send(&self.message, messages) } else { Ok(()) }
    }
}

impl Load for Broadcast {
    fn begin(&mut self, slice: &mut Slice, _slices: &Slices) -> io::Result<()> {
        self.delivered = 0;
        self.send(self.message.depth(), slice)
    }

    #[inline]
    fn handle(&mut self, slot: usize, flags: EventFlags, slice: &mut Slice, _slices: &Slices) -> io::Result<()> {
        let stream = &mut self.streams[slot];
        stream.send_rest(&self.message)?;
        if Stream::is_readable(flags) {
            let messages = stream.receive(&mut self.message, &mut self.buffer)?;
            // See `connect` for the one message too many.
            slice.give_back(messages.min(slice.in_flight as usize))?;
            self.delivered += messages;
            let everyone = self.streams.len();
            if self.delivered >= everyone {
                let wanted = self.delivered / everyone;
                self.delivered %= everyone;
                self.send(wanted, slice)?;
            }
        }
        Ok(())
    }

    fn wrong(&self) -> u64 {
        self.message.wrong
    }
}
