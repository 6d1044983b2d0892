//! The load generator of pants: loads a server over TCP, UDP or Unix sockets, verifies every byte that comes back, and says what
//! happened.
//!
//! It is written on [`pants_shard`]: each shard opens its share of the connections and keeps its own [`tally`], and the
//! tallies are merged at the end. The load is a *closed loop*: a connection sends its next message when a reply has come, so
//! that a slow server is sent less. What an open loop would show, how long messages wait that come at their own time, this
//! does not (Schroeder, Wierman and Harchol-Balter, "Open versus closed: a cautionary tale", NSDI 2006).
//!
//! It speaks the echo of its own pattern, HTTP/1.1, lines, and whatever has one request and one reply. What it does not do: it
//! speaks no TLS, and it has no scripts.
//!
//! # Contents
//!
//! Pure, from bytes, times and texts to values:
//!
//! * [`units`], [`cpus`], [`proc`], [`target`], [`sources`]: what users and the kernel's files say.
//! * [`plan`]: what is asked for. [`protocol`]: what a connection says, and what it makes of the answers.
//! * [`count`]: what is counted. [`verdict`], [`report`], [`summary`]: what it all means.
//!
//! The edge, with sockets, clocks and terminals:
//!
//! * [`cli`]: the command line. [`signals`], [`descriptors`]: the process. [`limits`]: what the kernel allows of connections.
//! * [`load`]: the load itself, on the shards. [`run`]: its course. [`measure`]: from a plan to a report.
//! * [`server`]: the measured process. [`environment`]: where it was measured. [`progress`]: what is shown meanwhile.

#![forbid(unsafe_code)]

pub mod cli;
pub mod count;
pub mod cpus;
pub mod descriptors;
pub mod environment;
pub mod limits;
pub mod load;
pub mod measure;
pub mod plan;
pub mod proc;
pub mod progress;
pub mod protocol;
pub mod report;
pub mod run;
pub mod server;
pub mod signals;
pub mod sources;
pub mod summary;
pub mod target;
pub mod units;
pub mod verdict;
