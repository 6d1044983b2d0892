//! Statistics over the figures of several runs; pure.

pub mod bootstrap;
mod random;
pub mod usl;

pub(crate) use random::Random;
