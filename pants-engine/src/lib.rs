//! A single-threaded, callback-driven network engine for Linux.
//!
//! An [`Engine`] watches channels (TCP servers, their connections, clients, and datagram sockets) and timers, and calls a program's
//! [`Handler`]s. It watches connections by edges, keeps one read buffer for all connections, allocates nothing per message, and makes
//! one `recv` and one `send` for a request and its reply.
//!
//! What it does not do: it starts no threads but those that resolve host names, parses no protocol, and has no futures. Threads, pinning
//! and a bus between engines are `pants-shard`'s.
//!
//! ```no_run
//! use pants_engine::{Connection, Engine, Handler};
//!
//! struct Echo;
//!
//! impl Handler for Echo {
//!     fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
//!         connection.write(data);
//!     }
//! }
//!
//! fn main() -> pants_engine::Result<()> {
//!     let mut engine = Engine::new()?;
//!     engine.listen(4040, |_peer| Echo)?;
//!     engine.start()
//! }
//! ```
//!
//! # Callbacks
//!
//! All callbacks of an engine run on its thread, one at a time, and never within one another: what a callback asks for, it may
//! be closing its own connection or writing to another, takes effect without calling anybody before it returns. So a
//! `RefCell` may stay borrowed across any call of this crate. A callback that panics ends its connection and nothing else.
//!
//! # Contents
//!
//! * The loop: [`Engine`], and what callbacks see of it, [`Context`].
//! * Callbacks: [`Handler`] for a connection, [`Acceptor`] for a server, [`DatagramHandler`] for a datagram channel.
//! * Channels: [`Connection`], [`Datagram`], [`CloseReason`], [`Credentials`], reached by [`ConnectionKey`], [`ServerKey`] and
//!   [`DatagramKey`].
//! * Frames: [`Delimiter`], [`LengthPrefix`], [`Pattern`] and [`Match`], [`Framer`].
//! * Time: [`Context::callback`], [`Context::every_turn`], [`Context::defer`], [`Context::defer_precise`],
//!   [`Context::cycle`], [`Connection::defer`].
//! * Settings: [`EngineOptions`], [`ServerOptions`], [`ConnectionOptions`] with [`Keepalive`], [`DatagramOptions`].
//! * Other threads: [`Remote`], for queues of one's own [`Doorbell`] and [`Source`], and [`Pulse`] for those that watch over an
//!   engine; [`Connection::detach`] and [`Context::attach`] for connections that move to another engine, [`Balancer`] for those
//!   that have just come.
//!
//! Small programs for many of these are in `examples/`; those who come from the Python framework find their words in
//! [`coming_from_python`].

#![forbid(unsafe_code)]

mod balance;
mod buffer;
mod busy;
mod channel;
mod clock;
pub mod coming_from_python;
mod connection;
mod context;
mod datagram;
mod dial;
mod dispatch;
mod doorbell;
mod engine;
mod error;
mod framing;
mod hand_off;
mod handler;
mod handlers;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals;
mod key;
mod limits;
mod net;
mod options;
mod poll;
mod pulse;
mod remote;
mod slab;
mod slots;
mod stats;
mod sync;
mod timers;
mod transport;

pub use crate::balance::{Balancer, Newcomer};
pub use crate::channel::state::CloseReason;
pub use crate::connection::Connection;
pub use crate::context::Context;
pub use crate::datagram::Datagram;
pub use crate::datagram::handler::DatagramHandler;
pub use crate::datagram::options::DatagramOptions;
pub use crate::doorbell::{Doorbell, Source};
pub use crate::engine::Engine;
pub use crate::error::{Error, Result};
pub use crate::framing::delimiter::Delimiter;
pub use crate::framing::framer::{Frame, FrameError, Framer};
pub use crate::framing::length::LengthPrefix;
pub use crate::framing::pattern::{Match, Pattern, PatternError};
pub use crate::hand_off::{Detached, HandOffError, LeftBehind, Refused};
pub use crate::handler::{Acceptor, Handler, Overflow};
pub use crate::key::{ConnectionKey, DatagramKey, ServerKey, TimerKey};
pub use crate::net::address::{Address, AddressError, ToAddress};
pub use crate::net::credentials::Credentials;
pub use crate::net::endpoint::Endpoint;
pub use crate::options::{ConnectionOptions, EngineOptions, Keepalive, ServerOptions};
pub use crate::pulse::{Activity, Beat, Pulse};
pub use crate::remote::{Remote, SendError};
pub use crate::stats::{Closings, Stats};
pub use zerocopy;
