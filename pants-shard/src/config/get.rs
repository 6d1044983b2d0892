//! What a configuration says, one value at a time.

use std::path::Path;
use std::time::Duration;

use pants_engine::{Address, ConnectionOptions, EngineOptions, ServerOptions};

use super::Config;
use crate::balance::Balance;
use crate::placement::{Layout, Placement};

impl Config {
    /// How many shards there are, and the CPU of each.
    #[must_use]
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// Whether each shard stays on one CPU.
    #[must_use]
    pub fn pin(&self) -> bool {
        self.values.pin
    }

    /// How shards are laid over cores when no CPUs are listed.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.values.layout
    }

    /// How long a stop waits for connections to finish; 0 to 1 hour.
    #[must_use]
    pub fn drain_timeout(&self) -> Duration {
        self.values.drain_timeout
    }

    /// How long a shard looks for work before it sleeps, 1 µs to 1 s; `None` is not at all.
    #[must_use]
    pub fn busy_poll(&self) -> Option<Duration> {
        self.values.busy_poll
    }

    /// For how long a callback may hold its shard up before that is reported, 1 ms to 1 hour; `None` is for ever.
    #[must_use]
    pub fn stall_after(&self) -> Option<Duration> {
        self.values.stall_after
    }

    /// The most threads that do blocking work for all shards; 1 to 64.
    #[must_use]
    pub fn offload_threads(&self) -> usize {
        self.values.offload_threads
    }

    /// The addresses to listen on; at least one.
    #[must_use]
    pub fn listen(&self) -> &[Address] {
        &self.values.listen
    }

    /// Where a process takes over from the one before it, and leaves to the next; `None` is nowhere. See
    /// [`Runtime::handover`](crate::Runtime::handover).
    #[must_use]
    pub fn handover(&self) -> Option<&Path> {
        self.values.handover.as_deref()
    }

    /// Whether a port may be shared with another program's listener.
    #[must_use]
    pub fn share_port(&self) -> bool {
        self.values.share_port
    }

    /// How many connections the kernel may hold until a shard accepts them; 1 to 65535.
    #[must_use]
    pub fn backlog(&self) -> u32 {
        self.values.backlog
    }

    /// Whether small writes leave at once (`TCP_NODELAY`).
    #[must_use]
    pub fn nodelay(&self) -> bool {
        self.values.nodelay
    }

    /// Which shard serves a connection.
    #[must_use]
    pub fn balance(&self) -> Balance {
        self.values.balance
    }

    /// The most connections that one shard may have, 1 or more; `None` is no limit.
    #[must_use]
    pub fn max_connections(&self) -> Option<usize> {
        self.values.max_connections
    }

    /// The queued bytes above which a connection is not read; more than the low water, and at most the cap.
    #[must_use]
    pub fn write_high_water(&self) -> usize {
        self.values.write_high_water
    }

    /// The queued bytes below which a connection is read again; 4 KiB or more.
    #[must_use]
    pub fn write_low_water(&self) -> usize {
        self.values.write_low_water
    }

    /// The queued bytes that a connection may never pass; 1 GiB or less.
    #[must_use]
    pub fn write_cap(&self) -> usize {
        self.values.write_cap
    }

    /// How long a frame may be, its delimiter or header included; 1 byte to 1 GiB.
    #[must_use]
    pub fn buffer_limit(&self) -> usize {
        self.values.buffer_limit
    }

    /// After how long a silent connection is closed, 1 ms to 10 years; `None` is never.
    #[must_use]
    pub fn idle_timeout(&self) -> Option<Duration> {
        self.values.idle_timeout
    }

    /// After how long a connection is closed whose peer sends nothing, 1 ms to 10 years; `None` is never.
    #[must_use]
    pub fn read_timeout(&self) -> Option<Duration> {
        self.values.read_timeout
    }

    /// After how long a connection is closed whose peer takes no data, 1 ms to 10 years; `None` is never.
    #[must_use]
    pub fn write_stall_timeout(&self) -> Option<Duration> {
        self.values.write_stall_timeout
    }

    /// How long connecting to another server may take, 1 ms to 10 years; `None` is as long as the system takes.
    #[must_use]
    pub fn connect_timeout(&self) -> Option<Duration> {
        self.values.connect_timeout
    }

    /// How many times as full as the mean a shard may be before connections leave it; 1.01 to 10.
    #[must_use]
    pub fn max_skew(&self) -> f64 {
        self.values.max_skew
    }

    /// How often shards tell each other how full they are; 10 ms to 1 minute.
    #[must_use]
    pub fn balance_interval(&self) -> Duration {
        self.values.balance_interval
    }

    /// The most connections that a shard moves in an interval; 1 to 4096.
    #[must_use]
    pub fn moves_per_interval(&self) -> usize {
        self.values.moves_per_interval
    }

    /// Where to serve metrics and health; `None` is nowhere.
    #[must_use]
    pub fn admin_listen(&self) -> Option<&Address> {
        self.values.admin_listen.as_ref()
    }

    /// The text of a key of the program's own, which has passed its check.
    ///
    /// # Panics
    ///
    /// If no such key was [declared](super::ConfigBuilder::own_keys).
    #[must_use]
    pub fn own(&self, path: &str) -> &str {
        self.values.own.get(path).unwrap_or_else(|| panic!("no key {path} was declared"))
    }

    /// What an engine's options are by this configuration.
    pub fn engine_options(&self) -> EngineOptions {
        EngineOptions { busy_poll: self.busy_poll().unwrap_or_default(), ..EngineOptions::default() }
    }

    /// What a server's options are by this configuration.
    pub fn server_options(&self) -> ServerOptions {
        ServerOptions {
            connection: ConnectionOptions {
                idle_timeout: self.idle_timeout(),
                read_timeout: self.read_timeout(),
                write_stall_timeout: self.write_stall_timeout(),
                connect_timeout: self.connect_timeout(),
                buffer_limit: self.buffer_limit(),
                write_high_water: self.write_high_water(),
                write_low_water: self.write_low_water(),
                write_cap: self.write_cap(),
                nodelay: self.nodelay(),
                ..ConnectionOptions::default()
            },
            max_connections: self.max_connections(),
            backlog: self.backlog(),
            ..ServerOptions::default()
        }
    }
}
