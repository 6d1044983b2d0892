//! Addresses, and the sockets behind channels.

pub(crate) mod address;
mod parse;
pub(crate) mod socket;
