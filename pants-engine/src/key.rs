//! Generational keys: what a channel or a timer is called, and what a poll token carries.

use std::fmt;

/// Where a slot is and which of its tenants is meant.
///
/// A slot counts its tenants, so a key outlives what it names without ever reaching the next tenant.
/// One word, so that it is compared and passed as one: the generation above, the index below.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key(u64);

// A key travels through the kernel as epoll's 64 bits of user data.
const _: () = assert!(usize::BITS == 64, "pants needs a 64-bit target");

impl Key {
    /// Names nothing: a slab retires a slot before its generation, and refuses one before its index, gets this far.
    pub(crate) const NONE: Self = Self(u64::MAX);

    pub(crate) const fn new(index: u32, generation: u32) -> Self {
        Self((generation as u64) << 32 | index as u64)
    }

    pub(crate) const fn index(self) -> u32 {
        self.0 as u32
    }

    pub(crate) const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(crate) const fn to_token(self) -> usize {
        self.0 as usize
    }

    pub(crate) const fn from_token(token: usize) -> Self {
        Self(token as u64)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.index(), self.generation())
    }
}

/// Names one connection of one engine, for as long as the program likes to keep it.
///
/// After the connection has closed its key reaches nothing; it never reaches a later connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionKey(pub(crate) Key);

/// Names one server (a listening socket) of one engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServerKey(pub(crate) Key);

/// Names one timer of one engine; [`Context::cancel`](crate::Context::cancel) takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerKey(pub(crate) Key);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_the_trip_through_a_token() {
        for index in [0, 1, u32::MAX - 1, u32::MAX] {
            for generation in [0, 1, u32::MAX] {
                let key = Key::from_token(Key::new(index, generation).to_token());
                assert_eq!((key.index(), key.generation()), (index, generation));
            }
        }
    }
}
