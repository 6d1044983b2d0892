//! Bytes on their way: in, what is left of a frame that has not come whole; out, the outbox of small writes, and the queues of
//! what the kernel would not take.

pub(crate) mod datagrams;
pub(crate) mod input;
pub(crate) mod outbox;
pub(crate) mod read;
pub(crate) mod trains;
pub(crate) mod write;
