//! `broadcast`: the first connection sends, and every connection receives.

use std::io;
use std::net::SocketAddr;

use rustix::event::epoll::EventFlags;

use crate::message::Message;
use crate::slice::{Load, Slice, Slices};
use crate::stream::{Buffer, READ_WRITE, Stream};

/// All the connections. A message of a slice is one delivery.
#[derive(Debug)]
pub(crate) struct Broadcast {
    streams: Vec<Stream>,
    message: Message,
    buffer: Box<Buffer>,
    /// By connection: the place in `delivered` of the message that it receives next.
    next: Vec<u32>,
    /// Of each message in flight, how many connections have it; the places are used in turn.
    delivered: Vec<usize>,
}

impl Broadcast {
    /// Connects one after the other: each sends a message, which all that are there then receive, so that the server knows
    /// them all. A server of several threads may have a thread hear of a message only when it has accepted the next connection,
    /// which then gets one more.
    pub(crate) fn connect(to: SocketAddr, count: usize, mut message: Message, slices: &Slices) -> io::Result<Self> {
        let mut streams: Vec<Stream> = Vec::with_capacity(count);
        let mut buffer = Box::new([0; _]);
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
        let (next, delivered) = (vec![0; count], vec![0; message.depth()]);
        Ok(Self { streams, message, buffer, next, delivered })
    }

    /// Notes that the connection in `slot` has received its next message, and returns whether all have received that now.
    fn note_delivery(&mut self, slot: usize) -> bool {
        let place = self.next[slot] as usize;
        self.next[slot] = if place + 1 == self.delivered.len() { 0 } else { place as u32 + 1 };
        self.delivered[place] += 1;
        let is_complete = self.delivered[place] == self.streams.len();
        if is_complete {
            self.delivered[place] = 0;
        }
        is_complete
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
        self.next.fill(0);
        self.delivered.fill(0);
        self.send(self.message.depth(), slice)
    }

    #[inline]
    fn handle(&mut self, slot: usize, flags: EventFlags, slice: &mut Slice, _slices: &Slices) -> io::Result<()> {
        let stream = &mut self.streams[slot];
        stream.send_rest(&self.message)?;
        if Stream::is_readable(flags) {
            let messages = stream.receive(&mut self.message, &mut self.buffer)?;
            slice.give_back(messages);
            let wanted = (0..messages).filter(|_| self.note_delivery(slot)).count();
            self.send(wanted, slice)?;
        }
        Ok(())
    }

    fn wrong(&self) -> u64 {
        self.message.wrong
    }
}
