//! The atomics that are shared between threads: the standard library's, or loom's when it models them.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU8, Ordering, fence};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU8, Ordering, fence};
