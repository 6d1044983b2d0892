//! The load generator of pants: loads a server over TCP, verifies every byte that comes back, and says what happened.
//!
//! It is written on [`pants_shard`]: each shard opens its share of the connections and keeps its own [`tally`], and the
//! tallies are merged at the end. The load is a *closed loop*: a connection sends its next message when a reply has come, so
//! that a slow server is sent less. What an open loop would show, how long messages wait that come at their own time, this
//! does not (Schroeder, Wierman and Harchol-Balter, "Open versus closed: a cautionary tale", NSDI 2006).
//!
//! What it does not do: it speaks no protocol but the echo of its own pattern, and it does not open connections anew that
//! have failed.
//!
//! # Contents
//!
//! Pure, from bytes, times and texts to values:
//!
//! * [`units`], [`cpus`], [`proc`], [`target`]: what users and the kernel's files say.
//! * [`plan`]: what is asked for. [`protocol`]: what a connection says, and what it makes of the answers.
//! * [`count`]: what is counted. [`verdict`], [`report`], [`summary`]: what it all means.
//!
//! The edge, with sockets, clocks and terminals:
//!
//! * [`cli`]: the command line. [`signals`], [`descriptors`]: the process.
//! * [`search`]: the highest rate that holds a target. [`sweep`]: how a server scales, in a table of [`scaling`].
//! * [`load`]: the load itself, on the shards. [`run`]: its course. [`measure`]: from a plan to a report.
//! * [`server`]: the measured process. [`environment`]: where it was measured. [`progress`]: what is shown meanwhile.

#![forbid(unsafe_code)]

pub mod cli;
pub mod compare;
pub mod count;
pub mod cpus;
pub mod descriptors;
pub mod environment;
pub mod load;
pub mod measure;
pub mod merge;
pub mod output;
pub mod plan;
pub mod proc;
pub mod progress;
pub mod protocol;
pub mod repeat;
pub mod report;
pub mod run;
pub mod scaling;
pub mod search;
pub mod server;
pub mod signals;
pub mod stats;
pub mod summary;
pub mod sweep;
pub mod target;
pub mod units;
pub mod verdict;
