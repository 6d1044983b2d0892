//! What the benchmarks share: echo servers to compare, and the client that loads them.
//!
//! Times depend on the machine and on what else it does; a benchmark prints ratios between servers that were loaded in turn,
//! in one run. The counts that do not vary are guarded by tests instead.

#![forbid(unsafe_code)]

pub mod client;
pub mod floor;
