//! Addresses, and sockets.

pub(crate) mod address;
pub(crate) mod datagram;
pub(crate) mod endpoint;
pub(crate) mod resolve;
pub(crate) mod socket;
pub(crate) mod unix;
