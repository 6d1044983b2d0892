//! Whose turn it is: each connection begins with another upstream, and goes through the others once if it must. Pure.

use std::cell::Cell;

use pants_shard::Address;

/// The upstreams of one shard, by turns.
#[derive(Debug)]
pub(super) struct Upstreams {
    /// Invariant: not empty, and no two are the same.
    addresses: Vec<Address>,
    /// With which one the next connection begins.
    next: Cell<usize>,
}

/// How far one connection has got with the upstreams.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    first: usize,
    pub(super) attempts: usize,
}

impl Upstreams {
    /// Shards that begin at different offsets do not all begin with the same upstream.
    pub(super) fn new(addresses: Vec<Address>, offset: usize) -> Self {
        assert!(!addresses.is_empty(), "a proxy has an upstream");
        Self { next: Cell::new(offset % addresses.len()), addresses }
    }

    /// Begins the next connection's turn.
    pub(super) fn begin(&self) -> Turn {
        let first = self.next.get();
        self.next.set((first + 1) % self.addresses.len());
        Turn { first, attempts: 0 }
    }

    /// The upstream to try next; `None` when each was tried.
    pub(super) fn try_next(&self, turn: &mut Turn) -> Option<&Address> {
        if turn.attempts == self.addresses.len() {
            return None;
        }
        turn.attempts += 1;
        self.last_tried(*turn)
    }

    /// The upstream that was tried last.
    pub(super) fn last_tried(&self, turn: Turn) -> Option<&Address> {
        let back = turn.attempts.checked_sub(1)?;
        self.addresses.get((turn.first + back) % self.addresses.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstreams(count: u16, offset: usize) -> Upstreams {
        Upstreams::new((0..count).map(Address::Port).collect(), offset)
    }

    /// The ports that one connection tries.
    fn tried(upstreams: &Upstreams) -> Vec<u16> {
        let mut turn = upstreams.begin();
        let mut ports = Vec::new();
        while let Some(Address::Port(port)) = upstreams.try_next(&mut turn) {
            ports.push(*port);
            assert_eq!(upstreams.last_tried(turn), Some(&Address::Port(*port)));
        }
        assert_eq!(turn.attempts, ports.len());
        ports
    }

    #[test]
    fn connections_begin_by_turns_and_try_each_upstream_once() {
        let upstreams = upstreams(3, 0);
        for order in [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]] {
            assert_eq!(tried(&upstreams), order);
        }
    }

    #[test]
    fn every_count_and_offset_gives_each_upstream_the_same_share() {
        for count in 1..6 {
            for offset in 0..8 {
                let upstreams = upstreams(count, offset);
                let mut firsts: Vec<u16> = (0..count).map(|_| tried(&upstreams)[0]).collect();
                assert_eq!(usize::from(firsts[0]), offset % usize::from(count));
                firsts.sort_unstable();
                assert_eq!(firsts, (0..count).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn nothing_was_tried_before_the_first_attempt() {
        let upstreams = upstreams(2, 1);
        assert_eq!(upstreams.last_tried(upstreams.begin()), None);
    }
}
