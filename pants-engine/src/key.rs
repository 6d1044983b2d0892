//! Generational keys: what a channel or a timer is called, and what a poll token carries.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};

/// Where a slot is and which of its tenants is meant.
///
/// A slot counts its tenants, so a key outlives what it names without ever reaching the next tenant.
/// One word, so that it is compared and passed as one: the generation above, the index below. Generations begin with 1, so
/// that no key is zero, and an `Option` of one is a word too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(NonZeroU64);

// A key travels through the kernel as epoll's 64 bits of user data.
const _: () = assert!(usize::BITS == 64, "pants needs a 64-bit target");

impl Key {
    pub(crate) const fn new(index: u32, generation: NonZeroU32) -> Self {
        match NonZeroU64::new((generation.get() as u64) << 32 | index as u64) {
            Some(key) => Self(key),
            None => unreachable!(),
        }
    }

    pub(crate) const fn index(self) -> u32 {
        self.0.get() as u32
    }

    pub(crate) const fn generation(self) -> u32 {
        (self.0.get() >> 32) as u32
    }

    /// The key of the next tenant of this place; none when the generations are used up.
    pub(crate) const fn next_tenant(self) -> Option<Self> {
        match NonZeroU32::MIN.checked_add(self.generation()) {
            Some(generation) => Some(Self::new(self.index(), generation)),
            None => None,
        }
    }

    pub(crate) const fn to_token(self) -> usize {
        self.0.get() as usize
    }

    /// Where the key in a token points to, whether it is one or not.
    pub(crate) const fn index_in_token(token: usize) -> usize {
        token as u32 as usize
    }

    /// The key in a token; there is none in 0, which is the doorbell's.
    pub(crate) const fn from_token(token: usize) -> Option<Self> {
        match NonZeroU64::new(token as u64) {
            Some(key) => Some(Self(key)),
            None => None,
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.index(), self.generation())
    }
}

/// Names one connection of one engine, for as long as the program likes to keep it.
///
/// After the connection has closed its key reaches nothing; it never reaches a later connection. It says nothing of which
/// engine it is of: one that is sent to another engine's thread must come back to be of use. The order is arbitrary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionKey(pub(crate) Key);

/// Names one server (a listening socket) of one engine. The order is arbitrary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerKey(pub(crate) Key);

/// Names one datagram channel of one engine; [`Context::datagram`](crate::Context::datagram) takes it. The order is
/// arbitrary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DatagramKey(pub(crate) Key);

/// Names one timer of one engine; [`Context::cancel`](crate::Context::cancel) takes it. The order is arbitrary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerKey(pub(crate) Key);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_the_trip_through_a_token() {
        for index in [0, 1, u32::MAX - 1, u32::MAX] {
            for generation in [1, 2, u32::MAX] {
                let key = Key::new(index, NonZeroU32::new(generation).unwrap());
                assert_eq!(Key::from_token(key.to_token()), Some(key));
                assert_eq!((key.index(), key.generation()), (index, generation));
            }
        }
        assert_eq!(Key::from_token(0), None);
    }
}
