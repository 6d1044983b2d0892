//! The load generator of pants: loads a server over TCP, UDP or Unix sockets, verifies every byte that comes back, and says what
//! happened.
//!
//! It is written on [`pants_shard`]: each shard opens its share of the connections and keeps its own [`count::tally`], and the
//! tallies are merged at the end. The load is a *closed loop*, in which a connection sends its next message when a reply has come,
//! so that a slow server is sent less; or an *open loop*, in which messages are due by a schedule, whatever becomes of those before
//! them, and a slow server shows in how long they wait (Schroeder, Wierman and Harchol-Balter, "Open versus closed: a cautionary
//! tale", NSDI 2006).
//!
//! In an open loop three times are kept apart. The *response time* of a message counts from when it was due to its reply's last
//! byte, its *service time* from when it was sent; what lies between is the wait for a connection that was free. The *lag* is how
//! late the generator itself was with a message that had one. What was given up, or was due and never sent, is counted in
//! the response times as at least as long as it was waited for.
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
//! * [`count`]: what is counted. [`verdict`], [`report`]: what it all means. [`summary`], [`output`]: how it is
//!   told, to people, to other programs and to browsers.
//! * [`compare`], [`merge`]: what several results mean. [`stats`]: the statistics for that.
//!
//! The edge, with sockets, clocks and terminals:
//!
//! * [`cli`]: the command line. [`signals`], [`descriptors`]: the process. [`limits`]: what the kernel allows of connections.
//! * [`load`]: the load itself, on the shards. [`run`]: its course. [`measure`]: from a plan to a report;
//!   [`repeat`]: many of them, in turns.
//! * [`search`]: the highest rate that holds a target. [`sweep`]: how a server scales, in a table of [`scaling`].
//! * [`server`]: the measured process. [`environment`]: where it was measured. [`progress`]: what is shown meanwhile.

#![forbid(unsafe_code)]

pub mod cli;
pub mod compare;
pub mod count;
pub mod cpus;
pub mod descriptors;
pub mod environment;
pub mod limits;
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
pub mod sources;
pub mod stats;
pub mod summary;
pub mod sweep;
pub mod target;
pub mod units;
pub mod verdict;
