//! A restart that loses no connection: the running process leaves its listening sockets to the next one.
//!
//! Both have a descriptor of each socket for a while, so that its queue is never without somebody who accepts from it.

mod offer;
mod predecessor;
mod wire;

pub(crate) use self::offer::offer;
pub(crate) use self::predecessor::Predecessor;
