//! What the benchmarks share: the bare client beside which the load generator is measured.
//!
//! Times depend on the machine and on what else it does; a benchmark prints ratios between contestants that were run in turn,
//! in one run. The counts that do not vary are guarded by tests instead.

#![forbid(unsafe_code)]

pub mod client;
