//! Thread-per-core servers on [`pants_engine`]: one pinned thread, a shard, per CPU.
//!
//! A [`Runtime`] starts the shards of a [`Config`] and calls a set-up closure on each. Every shard has its own engine, its
//! own `SO_REUSEPORT` listener at each address, and shares nothing with the others on the path of a message. A [`Bus`]
//! carries work between them.
//!
//! What it does not do: it installs no logger, allocator or signal handler,
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
//! * [`Runtime::handover`] and [`Runtime::inherit`]: restarts at which nobody is refused or reset; [`Listeners`]: addresses that come and go.
//! * [`Shard`] and [`ShardId`]: what set-up, timers and messages see; [`Shard::open_datagram`]: UDP on all shards.
//! * [`Bus`]: work between shards; [`Mailbox`]: messages of one type; [`Offloader`]: work that blocks, for helper threads.
//! * [`Metrics`], [`ShardMetrics`], [`BusStats`]: what the shards have done; [`Shard::serve_admin`] shows it.
//! * [`Config`], [`ConfigBuilder`], [`Flags`], [`OwnKey`], [`parse_timeout`]: settings and where they come from;
//!   [`Placement`]: which shard runs where; [`Machine`] and [`Topology`]: from what that follows.
//! * [`Balance`] and [`ListenerBuilder`]: which shard serves a connection; [`Movable`]: handlers that can go on at another one.
//! * [`engine`]: all of [`pants_engine`], what is most used of it also here.
//!
//! A handler sees its engine and not its shard: it keeps what it needs of that, such as a clone of the [`Bus`] or of
//! [`Shard::state`], which the acceptor's closure hands it.
//!
//! # Callbacks that block
//!
//! A callback that takes long keeps all other connections of its shard waiting. A watchdog thread looks after that: when a turn
//! of a shard's loop has lasted for 100 ms it warns, through `tracing`, of the shard, what runs there (the type of the handler, a
//! timer, a message from another thread) and how long so far, at most once a second, and again when that is over. It counts
//! such stalls in [`Stats::stalls`], costs the shards no reading of the clock, and sleeps when they do.
//!
//! What must block belongs on a helper thread: that is what an [`Offloader`] is for.

#![forbid(unsafe_code)]

mod admin;
mod affinity;
mod balance;
mod bus;
mod config;
mod error;
mod handover;
mod listener;
mod metrics;
mod offload;
mod placement;
mod runtime;
mod seat;
mod shard;
mod shard_id;
mod shutdown;
mod stall;
mod startup;
mod stop_handle;
mod sync;

pub use pants_engine as engine;
pub use pants_engine::{
    Acceptor, Address, AddressError, CloseReason, Closings, Connection, ConnectionKey, ConnectionOptions, Context,
    Credentials, Datagram, DatagramHandler, DatagramKey, DatagramOptions, Delimiter, Endpoint, Engine, EngineOptions,
    Error as EngineError, Frame, FrameError, Framer, HandOffError, Handler, Keepalive, LengthPrefix, Match, Overflow,
    Pattern, PatternError, Remote, ServerKey, ServerOptions, Stats, TimerKey, ToAddress, zerocopy,
};

pub use crate::balance::leveller::Movable;
pub use crate::balance::{Balance, UnknownBalance};
pub use crate::bus::mailbox::Mailbox;
pub use crate::bus::remote::RemoteBus;
pub use crate::bus::request::{Reply, Unanswered};
pub use crate::bus::timer::BusTimer;
pub use crate::bus::traffic::BusStats;
pub use crate::bus::{Bus, SendError};
pub use crate::config::{Config, ConfigBuilder, ConfigError, Flags, OwnKey, parse_timeout};
pub use crate::error::{Error, Result};
pub use crate::listener::builder::ListenerBuilder;
pub use crate::listener::changes::Listeners;
pub use crate::metrics::{Metrics, ShardMetrics};
pub use crate::offload::{OffloadError, Offloader};
pub use crate::placement::{CpuId, Layout, Machine, Placement, PlacementError, Policy, Shards, Topology, place};
pub use crate::runtime::{Report, Running, Runtime};
pub use crate::shard::Shard;
pub use crate::shard_id::ShardId;
pub use crate::stop_handle::StopHandle;

/// The README's programs, compiled with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
