//! What is counted: latencies, failures, and what one shard and all of them have of both.

pub mod buckets;
pub mod failure;
pub mod histogram;
pub mod series;
pub mod tally;
