//! Addresses, and sockets.

pub(crate) mod address;
pub(crate) mod batch;
pub(crate) mod credentials;
pub(crate) mod datagram;
pub(crate) mod endpoint;
mod lookups;
pub(crate) mod order;
mod parse;
pub(crate) mod resolve;
pub(crate) mod socket;
pub(crate) mod unix;
