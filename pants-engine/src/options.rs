//! What can be set on an engine, a server and a connection, with the defaults.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::limits;

/// What can be set on an engine.
///
/// # Examples
///
/// ```
/// use pants_engine::{Engine, EngineOptions};
///
/// let engine = Engine::with_options(EngineOptions { abort_on_panic: true, ..EngineOptions::default() })?;
/// # drop(engine);
/// # Ok::<(), pants_engine::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// How long the engine sleeps at most while an [`every_turn`](crate::Context::every_turn) timer exists. Default: 200 ms.
    pub longest_turn: Duration,
    /// How long the engine looks for work, on the CPU, before it sleeps: up to 1 s. Default: zero, not at all.
    ///
    /// What comes meanwhile is met without the time a wake takes, and other threads' messages cost no system call. It is
    /// for engines with a CPU of their own. An idle engine still sleeps: after eight polls in a row without work it sleeps at
    /// once, until an event ends a sleep within this time, which a poll would have met. What this comes to,
    /// [`busy_polls`](crate::Stats::busy_polls) and [`busy_poll_hits`](crate::Stats::busy_poll_hits) say.
    pub busy_poll: Duration,
    /// Whether a callback's panic aborts the process instead of closing its channel. Default: `false`.
    pub abort_on_panic: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { longest_turn: limits::LONGEST_TURN, busy_poll: Duration::ZERO, abort_on_panic: false }
    }
}

impl EngineOptions {
    pub(crate) fn check(&self) -> Result<()> {
        if self.longest_turn.is_zero() {
            return Err(Error::Options("longest_turn must be longer than zero"));
        }
        if self.busy_poll > limits::BUSY_POLL_MAX {
            return Err(Error::Options("busy_poll must not be longer than 1 s"));
        }
        Ok(())
    }
}

/// What can be set on a connection; a server's connections share their server's.
///
/// # Examples
///
/// ```
/// use pants_engine::ConnectionOptions;
/// use std::time::Duration;
///
/// let options = ConnectionOptions { idle_timeout: Some(Duration::from_secs(30)), ..ConnectionOptions::default() };
/// # drop(options);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionOptions {
    /// Closes a connection over which no byte has passed for this long, with
    /// [`CloseReason::IdleTimeout`](crate::CloseReason::IdleTimeout). Resolution: 1 ms. Default: `None`.
    pub idle_timeout: Option<Duration>,
    /// Closes a connection from whose peer no byte has come for this long, with
    /// [`CloseReason::ReadTimeout`](crate::CloseReason::ReadTimeout); while reading is paused the peer is not waited for. Resolution:
    /// 1 ms. Default: `None`.
    pub read_timeout: Option<Duration>,
    /// Resets a connection whose peer has taken none of its queued bytes for this long, with
    /// [`CloseReason::WriteStalled`](crate::CloseReason::WriteStalled). Resolution: 1 ms. Default: 60 s.
    pub write_stall_timeout: Option<Duration>,
    /// How long a client's connection may take to be made. Resolution: 1 ms. Default: 5 s.
    pub connect_timeout: Option<Duration>,
    /// The longest a frame may be, in bytes, its delimiter or header included; a longer one ends the connection, after
    /// [`on_overflow_error`](crate::Handler::on_overflow_error). It bounds what is kept of a frame that has not come whole, and does
    /// not matter without a [delimiter](crate::Connection::set_delimiter). At least 1. Default: 64 KiB.
    pub buffer_limit: usize,
    /// Above this many queued bytes in memory the connection is not read until the queue is down to
    /// [`write_low_water`](Self::write_low_water). Default: 256 KiB.
    pub write_high_water: usize,
    /// See [`write_high_water`](Self::write_high_water), which it is below. Default: 64 KiB.
    pub write_low_water: usize,
    /// A write of more than this many bytes, or that would make the queue longer than that, is refused and ends the
    /// connection, after
    /// [`on_overflow_error`](crate::Handler::on_overflow_error). At least `write_high_water` and 16 KiB. Default: 16 MiB.
    pub write_cap: usize,
    /// Whether the engine pauses reading at the high-water mark. Default: `true`.
    pub auto_pause: bool,
    /// Whether small segments leave at once (`TCP_NODELAY`, tcp(7)). Default: `true`.
    pub nodelay: bool,
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self {
            idle_timeout: None,
            read_timeout: None,
            write_stall_timeout: Some(Duration::from_secs(60)),
            connect_timeout: Some(Duration::from_secs(5)),
            buffer_limit: limits::BUFFER_LIMIT_BYTES,
            write_high_water: limits::WRITE_HIGH_WATER_BYTES,
            write_low_water: limits::WRITE_LOW_WATER_BYTES,
            write_cap: limits::WRITE_CAP_BYTES,
            auto_pause: true,
            nodelay: true,
        }
    }
}

impl ConnectionOptions {
    pub(crate) fn check(&self) -> Result<()> {
        if self.write_low_water >= self.write_high_water {
            return Err(Error::Options("write_low_water must be below write_high_water"));
        }
        if self.write_high_water > self.write_cap {
            return Err(Error::Options("write_high_water must not be above write_cap"));
        }
        if self.write_cap < limits::OUTBOX_BYTES {
            return Err(Error::Options("write_cap must be at least 16 KiB"));
        }
        if self.buffer_limit == 0 {
            return Err(Error::Options("buffer_limit must be at least 1"));
        }
        for timeout in [self.idle_timeout, self.read_timeout, self.write_stall_timeout, self.connect_timeout] {
            if timeout == Some(Duration::ZERO) {
                return Err(Error::Options("a timeout must be longer than zero; None turns it off"));
            }
        }
        Ok(())
    }
}

/// What can be set on a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerOptions {
    /// What its connections start with.
    pub connection: ConnectionOptions,
    /// At this many open connections the server stops accepting until one closes; those that arrive meanwhile wait in
    /// the kernel's queue. At least 1. Default: `None`, no bound but the descriptors.
    pub max_connections: Option<usize>,
    /// Connections the kernel queues before the server accepts them; it cuts this to `net.core.somaxconn` (listen(2)).
    /// Default: 4096.
    pub backlog: u32,
    /// Whether other sockets of this user may listen at the same address (`SO_REUSEPORT`, socket(7)). Default: `false`.
    pub reuse_port: bool,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            connection: ConnectionOptions::default(),
            max_connections: None,
            backlog: limits::BACKLOG,
            reuse_port: false,
        }
    }
}

impl ServerOptions {
    pub(crate) fn check(&self) -> Result<()> {
        self.connection.check()?;
        if self.max_connections == Some(0) {
            return Err(Error::Options("max_connections must be at least 1; None means no bound"));
        }
        if self.backlog == 0 || i32::try_from(self.backlog).is_err() {
            return Err(Error::Options("backlog must be between 1 and 2147483647"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        ServerOptions::default().check().unwrap();
        EngineOptions::default().check().unwrap();
    }

    #[test]
    fn an_engines_times_have_bounds() {
        let options = EngineOptions::default;
        assert!(EngineOptions { longest_turn: Duration::ZERO, ..options() }.check().is_err());
        assert!(EngineOptions { busy_poll: limits::BUSY_POLL_MAX, ..options() }.check().is_ok());
        let too_long = limits::BUSY_POLL_MAX + Duration::from_nanos(1);
        assert!(EngineOptions { busy_poll: too_long, ..options() }.check().is_err());
    }

    #[test]
    fn marks_out_of_order_are_refused() {
        let options = ConnectionOptions::default;
        let high = options().write_high_water;
        assert!(ConnectionOptions { write_low_water: high, ..options() }.check().is_err());
        assert!(ConnectionOptions { write_cap: high - 1, ..options() }.check().is_err());
        assert!(ConnectionOptions { write_cap: high, ..options() }.check().is_ok());
        assert!(ConnectionOptions { idle_timeout: Some(Duration::ZERO), ..options() }.check().is_err());
    }
}
