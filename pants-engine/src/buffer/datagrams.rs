//! A queue of whole datagrams that wait, bounded.

use std::collections::VecDeque;

use crate::limits;
use crate::net::endpoint::Endpoint;

#[derive(Debug, Default)]
pub(crate) struct DatagramQueue {
    datagrams: VecDeque<Queued>,
    /// Invariant: the sum of the datagrams' lengths.
    bytes: usize,
}

#[derive(Debug)]
struct Queued {
    /// Whom it is for, or from; `None` for the peer of a connected socket.
    to: Option<Endpoint>,
    data: Box<[u8]>,
}

impl DatagramQueue {
    /// Adds a datagram, unless the queue would then hold more than `cap` bytes; each datagram counts
    /// [`limits::DATAGRAM_OVERHEAD_BYTES`] more than it has, so that empty ones have a bound too.
    pub(crate) fn push(&mut self, data: &[u8], to: Option<&Endpoint>, cap: usize) -> bool {
        let overhead = (self.datagrams.len() + 1) * limits::DATAGRAM_OVERHEAD_BYTES;
        if self.bytes + data.len() + overhead > cap {
            return false;
        }
        self.bytes += data.len();
        self.datagrams.push_back(Queued { to: to.cloned(), data: data.into() });
        true
    }

    /// The datagram that has waited longest, and whom it is for.
    pub(crate) fn front(&self) -> Option<(&[u8], Option<&Endpoint>)> {
        self.datagrams.front().map(|queued| (&*queued.data, queued.to.as_ref()))
    }

    pub(crate) fn pop(&mut self) -> Option<(Box<[u8]>, Option<Endpoint>)> {
        let queued = self.datagrams.pop_front()?;
        self.bytes -= queued.data.len();
        if self.datagrams.is_empty() {
            // A burst's memory is not kept.
            self.datagrams = VecDeque::new();
        }
        Some((queued.data, queued.to))
    }

    pub(crate) fn len(&self) -> usize {
        self.datagrams.len()
    }

    /// How many bytes its datagrams have; `None` if there is none, for the empty ones have no bytes.
    pub(crate) fn bytes(&self) -> Option<usize> {
        (!self.datagrams.is_empty()).then_some(self.bytes)
    }
}

const _: () = assert!(size_of::<Queued>() <= limits::DATAGRAM_OVERHEAD_BYTES);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_order_and_destinations_are_kept() {
        let to: Endpoint = "127.0.0.1:1".parse::<std::net::SocketAddr>().unwrap().into();
        let mut queue = DatagramQueue::default();
        assert_eq!((queue.bytes(), queue.front()), (None, None));
        assert!(queue.push(b"one", Some(&to), 1000));
        assert!(queue.push(b"", None, 1000));
        assert!(queue.push(b"three", None, 1000));
        assert_eq!((queue.bytes(), queue.len()), (Some(8), 3));
        assert_eq!(queue.front(), Some((b"one".as_slice(), Some(&to))));
        assert_eq!(queue.pop(), Some((b"one".as_slice().into(), Some(to))));
        assert_eq!(queue.front(), Some((b"".as_slice(), None)));
        assert_eq!(queue.pop(), Some((b"".as_slice().into(), None)));
        assert_eq!(queue.front(), Some((b"three".as_slice(), None)));
        assert_eq!((queue.pop(), queue.pop()), (Some((b"three".as_slice().into(), None)), None));
        assert_eq!(queue.bytes(), None);
    }

    #[test]
    fn the_cap_holds_for_long_and_for_empty_datagrams() {
        for length in [0, 1, 100] {
            let each = length + limits::DATAGRAM_OVERHEAD_BYTES;
            let mut queue = DatagramQueue::default();
            for _ in 0..5 {
                assert!(queue.push(&vec![0; length], None, 5 * each));
            }
            assert!(!queue.push(&vec![0; length], None, 6 * each - 1));
            assert_eq!(queue.bytes(), Some(5 * length));
            queue.pop();
            assert!(queue.push(&vec![0; length], None, 5 * each));
        }
        assert!(!DatagramQueue::default().push(b"", None, 0));
    }
}
