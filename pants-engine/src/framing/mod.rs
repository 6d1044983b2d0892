//! Framing: bytes in, frames out. Pure: no socket, no clock.

pub(crate) mod delimiter;
pub(crate) mod driver;
pub(crate) mod framer;
pub(crate) mod length;
mod needle;
pub(crate) mod pattern;
#[cfg(test)]
mod tests;
