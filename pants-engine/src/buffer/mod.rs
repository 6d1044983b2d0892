//! Bytes on their way out: the outbox of small writes, and the queues of what the kernel would not take.

pub(crate) mod datagrams;
pub(crate) mod outbox;
pub(crate) mod write;
