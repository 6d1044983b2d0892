//! Addresses, and the sockets behind channels.

pub(crate) mod address;
mod lookups;
#[cfg_attr(not(test), expect(dead_code, reason = "nothing connects to a host name yet"))]
pub(crate) mod order;
mod parse;
#[cfg_attr(not(test), expect(dead_code, reason = "nothing connects to a host name yet"))]
pub(crate) mod resolve;
pub(crate) mod socket;
