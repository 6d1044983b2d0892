//! Thread-per-core servers on [`pants_engine`]: one pinned thread, a shard, per CPU.
//!
//! A [`Runtime`] starts the shards of a [`Config`] and calls a set-up closure on each. Every shard has its own engine, its
//! own `SO_REUSEPORT` listener at each address, and shares nothing with the others on the path of a message. A [`Bus`]
//! carries work between them.
//!
//! What it does not do: it moves no connection from one shard to another, installs no logger, allocator or signal handler,
//! and has no futures.
//!
//! ```no_run
//! use pants_shard::{Config, Connection, Handler, Runtime};
//!
//! struct Echo;
//!
//! impl Handler for Echo {
//!     fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
//!         connection.write(data);
//!     }
//! }
//!
//! fn main() -> pants_shard::Result<()> {
//!     Runtime::new(Config::load()?)?.run(|shard| {
//!         for address in shard.config().listen().to_vec() {
//!             shard.listen(address, |_peer| Echo)?;
//!         }
//!         Ok(())
//!     })
//! }
//! ```
//!
//! # Contents
//!
//! * [`Runtime`], [`Running`], [`StopHandle`] and [`Report`]: starting, stopping, what became of it.
//! * [`Runtime::handover`] and [`Runtime::inherit`]: restarts that lose no connection; [`Listeners`]: addresses that come and go.
//! * [`Shard`] and [`ShardId`]: what set-up, timers and messages see.
//! * [`Bus`]: work between shards.
//! * [`Config`], [`ConfigBuilder`], [`Flags`], [`parse_timeout`]: settings and where they come from; [`Placement`]: which shard runs where.
//! * [`engine`]: all of [`pants_engine`], what is most used of it also here.
//!
//! A handler sees its engine and not its shard: it keeps what it needs of that, such as a clone of the [`Bus`] or of
//! [`Shard::state`], which the acceptor's closure hands it.

#![forbid(unsafe_code)]

mod affinity;
mod bus;
mod config;
mod error;
mod handover;
mod listener;
mod placement;
mod runtime;
mod seat;
mod shard;
mod shard_id;
mod shutdown;
mod startup;

pub use pants_engine as engine;
pub use pants_engine::{
    Acceptor, Address, AddressError, CloseReason, Connection, ConnectionKey, ConnectionOptions, Context, Credentials,
    Datagram, DatagramHandler, DatagramKey, DatagramOptions, Delimiter, Endpoint, Engine, EngineOptions,
    Error as EngineError, Frame, FrameError, Framer, Handler, Keepalive, LengthPrefix, Match, Overflow, Pattern,
    PatternError, Remote, ServerKey, ServerOptions, Stats, TimerKey, ToAddress, zerocopy,
};

pub use crate::bus::remote::RemoteBus;
pub use crate::bus::request::{Reply, Unanswered};
pub use crate::bus::timer::BusTimer;
pub use crate::bus::{Bus, SendError};
pub use crate::config::{Config, ConfigBuilder, ConfigError, Flags, parse_timeout};
pub use crate::error::{Error, Result};
pub use crate::listener::changes::Listeners;
pub use crate::placement::{CpuId, Placement, PlacementError, Policy, Shards, place};
pub use crate::runtime::{Report, Running, Runtime, StopHandle};
pub use crate::shard::Shard;
pub use crate::shard_id::ShardId;

/// The README's programs, compiled with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
