//! Statistics over the figures of several runs; pure.

pub mod bootstrap;
mod random;

pub(crate) use random::Random;
