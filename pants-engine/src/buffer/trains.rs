//! The outbox of datagrams: where those that a handler sends while it reads gather, so that they leave in one `sendmmsg`.
//!
//! There is one for the whole engine, and it is empty but for the time that one channel reads. Datagrams of one length to one
//! destination that follow each other are a *train*, which the kernel takes as one message and cuts itself (GSO, `UDP_SEGMENT`
//! in udp(7)); the last may be shorter.

use std::net::SocketAddr;

use crate::key::Key;
use crate::limits;

#[derive(Debug, Default)]
pub(crate) struct Trains {
    /// The channel whose handler reads.
    open_to: Option<Key>,
    /// Its next datagram need not wait for others.
    straight: bool,
    /// The trains' datagrams, one behind the other. Its memory is taken when it is first needed.
    bytes: Box<[u8]>,
    /// How many of `bytes` are filled.
    len: usize,
    trains: Vec<Train>,
}

/// Datagrams that leave as one message; most often it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Train {
    /// `None` for the peer of a connected socket.
    pub(crate) to: Option<SocketAddr>,
    /// The length of each but the last, in bytes.
    pub(crate) segment: usize,
    /// How many there are. Invariant: more than one only if none is empty.
    pub(crate) count: usize,
    start: usize,
    end: usize,
}

impl Trains {
    /// Lets `key` gather here what it sends, but for the first datagram if that goes `straight` to the socket.
    pub(crate) fn open_to(&mut self, key: Key, straight: bool) {
        debug_assert!(self.trains.is_empty(), "what was gathered has left");
        (self.open_to, self.straight) = (Some(key), straight);
    }

    /// Whether what `key` sends now is to be gathered.
    pub(crate) fn takes_from(&mut self, key: Key) -> bool {
        self.open_to == Some(key) && !std::mem::take(&mut self.straight)
    }

    /// Ends what [`open_to`](Self::open_to) began.
    pub(crate) fn shut(&mut self) {
        self.open_to = None;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.trains.is_empty()
    }

    /// Adds a datagram, to the last train if it may be `joined`; `false` if there is no room.
    pub(crate) fn push(&mut self, data: &[u8], to: Option<SocketAddr>, joined: bool) -> bool {
        if self.bytes.is_empty() {
            self.bytes = vec![0; limits::DATAGRAM_OUTBOX_BYTES].into();
            self.trains.reserve_exact(limits::DATAGRAM_OUTBOX_MAX);
        }
        let (start, end) = (self.len, self.len + data.len());
        let Some(room) = self.bytes.get_mut(start..end) else { return false };
        if let Some(last) = self.trains.last_mut().filter(|last| joined && last.takes(data.len(), to)) {
            (last.count, last.end) = (last.count + 1, end);
        } else {
            if self.trains.len() == limits::DATAGRAM_OUTBOX_MAX {
                return false;
            }
            self.trains.push(Train { to, segment: data.len(), count: 1, start, end });
        }
        room.copy_from_slice(data);
        self.len = end;
        true
    }

    /// The trains from the one at `position` on, in the order in which they were begun.
    pub(crate) fn from(&self, position: usize) -> &[Train] {
        self.trains.get(position..).unwrap_or_default()
    }

    /// All bytes of a train.
    pub(crate) fn bytes_of(&self, train: &Train) -> &[u8] {
        &self.bytes[train.start..train.end]
    }

    /// A train's datagrams.
    pub(crate) fn datagrams_of(&self, train: &Train) -> impl Iterator<Item = &[u8]> {
        let piece = |number| train.start + number * train.segment;
        (0..train.count).map(move |number| &self.bytes[piece(number)..piece(number + 1).min(train.end)])
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
        self.trains.clear();
    }
}

impl Train {
    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether a datagram of `length` to `to` can follow its last one. Behind a shorter one none can.
    fn takes(&self, length: usize, to: Option<SocketAddr>) -> bool {
        (1..=self.segment).contains(&length)
            && self.len() == self.count * self.segment
            && self.to == to
            && self.count < limits::TRAIN_DATAGRAMS_MAX
            && self.len() + length <= limits::TRAIN_BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(port: u16) -> Option<SocketAddr> {
        Some(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// The trains as destinations' ports, segments and counts.
    fn shape(trains: &Trains) -> Vec<(u16, usize, usize)> {
        trains.from(0).iter().map(|train| (train.to.map_or(0, |to| to.port()), train.segment, train.count)).collect()
    }

    #[test]
    fn one_length_to_one_destination_is_a_train_that_a_shorter_one_ends() {
        let mut trains = Trains::default();
        for (length, port) in [(3, 1), (3, 1), (2, 1), (2, 1), (3, 1), (3, 2), (0, 2), (0, 2), (1, 2)] {
            assert!(trains.push(&vec![port as u8; length], to(port), true));
        }
        assert_eq!(shape(&trains), [(1, 3, 3), (1, 2, 1), (1, 3, 1), (2, 3, 1), (2, 0, 1), (2, 0, 1), (2, 1, 1)]);
        let lengths: Vec<Vec<usize>> =
            trains.from(0).iter().map(|train| trains.datagrams_of(train).map(<[u8]>::len).collect()).collect();
        assert_eq!(lengths, [vec![3, 3, 2], vec![2], vec![3], vec![3], vec![0], vec![0], vec![1]]);
        assert_eq!(trains.bytes_of(&trains.from(3)[0]), [2, 2, 2]);
        trains.clear();
        assert!(trains.is_empty() && trains.from(0).is_empty() && trains.from(9).is_empty());
    }

    #[test]
    fn unjoined_every_datagram_is_a_train_of_its_own() {
        let mut trains = Trains::default();
        assert!((0..3).all(|_| trains.push(b"x", None, false)));
        assert_eq!(shape(&trains), [(0, 1, 1); 3]);
    }

    #[test]
    fn trains_datagrams_and_bytes_have_bounds() {
        let mut trains = Trains::default();
        assert!((0..64 * 2 + 1).all(|_| trains.push(b"x", to(1), true)));
        assert_eq!(shape(&trains), [(1, 1, 64), (1, 1, 64), (1, 1, 1)]);
        trains.clear();
        assert!((0..4).all(|_| trains.push(&[0; 16_000], to(1), true)));
        assert!(trains.push(&[0; 1_507], to(1), true));
        assert_eq!(shape(&trains), [(1, 16_000, 5)]);
        assert!(!trains.push(&[0; 30], to(1), true), "65,536 bytes");
        assert!(trains.push(&[0; 29], to(1), true));
        trains.clear();
        assert!((0..32).all(|_| trains.push(b"x", to(1), false)));
        assert!(!trains.push(b"x", to(1), false));
        assert!(trains.push(b"x", to(1), true), "the last train still grows");
        // A train that would be longer than a packet.
        trains.clear();
        assert!((0..4).all(|_| trains.push(&[0; 16_000], to(1), true)) && trains.push(&[0; 1_508], to(1), true));
        assert_eq!(shape(&trains), [(1, 16_000, 4), (1, 1_508, 1)]);
    }
}
