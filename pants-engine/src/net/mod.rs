//! Addresses, and the sockets behind channels.

pub(crate) mod address;
pub(crate) mod socket;
