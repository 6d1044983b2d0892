//! The load itself, on the shards: connections, what is said on them, and how the shards part the work.

mod clock;
pub mod control;
pub mod conversation;
mod datagrams;
pub mod exchange;
pub mod link;
mod opening;
pub mod pacer;
pub mod pool;
pub mod talk;
pub mod worker;
