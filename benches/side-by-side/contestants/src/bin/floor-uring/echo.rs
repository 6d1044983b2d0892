//! `echo`: what comes goes back.

use std::collections::VecDeque;

use crate::ring::{Completion, Piece, Ring, Slot};

/// Serves for ever.
pub(crate) fn serve() {
    let (listener, address) = contestants::listener();
    // The accepted sockets have this from the listener.
    rustix::net::sockopt::set_tcp_nodelay(&listener, true).expect("a TCP socket");
    let mut ring = Ring::new(&listener).expect("io_uring, of Linux 6.1 or newer");
    let mut echo = Echo::default();
    let mut completions = Vec::new();
    contestants::announce(address);
    loop {
        ring.wait(&mut completions).expect("completions");
        for completion in completions.drain(..) {
            echo.handle(completion, &mut ring);
        }
    }
}

/// All the connections.
#[derive(Default)]
struct Echo {
    streams: Vec<Stream>,
    /// The connections whose receive ended for want of buffers.
    starved: Vec<Slot>,
}

/// A connection.
#[derive(Default)]
struct Stream {
    /// What has come and has not been sent; the first is being sent, because only one send at a time keeps the order.
    pieces: VecDeque<Piece>,
    /// Whether the peer has not ended yet.
    is_receiving: bool,
}

impl Echo {
    fn handle(&mut self, completion: Completion, ring: &mut Ring) {
        match completion {
            Completion::Accepted(slot) => {
                let index = slot as usize;
                if index >= self.streams.len() {
                    self.streams.resize_with(index + 1, Stream::default);
                }
                self.streams[index].is_receiving = true;
                ring.receive(slot);
            }
            Completion::Received(slot, piece) => {
                let pieces = &mut self.streams[slot as usize].pieces;
                pieces.push_back(piece);
                if pieces.len() == 1 {
                    ring.send(slot, piece);
                }
            }
            Completion::Starved(slot) if ring.has_buffers() => ring.receive(slot),
            Completion::Starved(slot) => self.starved.push(slot),
            Completion::Ended(slot) => {
                self.streams[slot as usize].is_receiving = false;
                self.close_if_done(slot, ring);
            }
            Completion::Sent(slot, count) => self.handle_sent(slot, count, ring),
        }
    }

    fn handle_sent(&mut self, slot: Slot, count: Option<u32>, ring: &mut Ring) {
        let pieces = &mut self.streams[slot as usize].pieces;
        let Some(count) = count else {
            // The peer is gone: what was for it is dropped, and the receive ends by itself.
            for piece in pieces.drain(..) {
                ring.give_back(piece, self.starved.pop());
            }
            return self.close_if_done(slot, ring);
        };
        let piece = pieces.front_mut().expect("it is being sent");
        piece.start += count;
        piece.length -= count;
        if piece.length == 0 {
            ring.give_back(*piece, self.starved.pop());
            pieces.pop_front();
        }
        if let Some(next) = pieces.front() {
            ring.send(slot, *next);
        } else {
            self.close_if_done(slot, ring);
        }
    }

    fn close_if_done(&mut self, slot: Slot, ring: &mut Ring) {
        let stream = &self.streams[slot as usize];
        if !stream.is_receiving && stream.pieces.is_empty() {
            ring.close(slot);
        }
    }
}
