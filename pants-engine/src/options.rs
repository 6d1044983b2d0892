//! What can be set on an engine, a server and a connection, with the defaults.
//!
//! Of sockets an option is offered if it is of use to a stream that never blocks, if a server can set it once on its
//! listening socket, from which the accepted ones inherit it, and if it can be set without `unsafe`.
//! [`ConnectionOptions`] says which are not, and how to set those.

use std::net::IpAddr;
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
    ///
    /// ```
    /// use pants_engine::{Engine, EngineOptions};
    /// use std::time::Duration;
    ///
    /// let options = EngineOptions { busy_poll: Duration::from_micros(50), ..EngineOptions::default() };
    /// let mut engine = Engine::with_options(options)?;
    /// engine.poll(Some(Duration::from_millis(1)))?;
    /// assert_eq!(engine.context().stats().busy_polls, 1);
    ///
    /// let options = EngineOptions { busy_poll: Duration::from_secs(2), ..EngineOptions::default() };
    /// assert!(Engine::with_options(options).is_err());
    /// # Ok::<(), pants_engine::Error>(())
    /// ```
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
/// # Socket options
///
/// Those from [`nodelay`](Self::nodelay) on are the socket's own. A client's socket gets them before it connects, an adopted
/// one when it is taken over. A server sets them on its listening socket, before it listens: accepted sockets inherit all of
/// them, so they cost nothing per connection. One that is `None` is left as it is: for a new socket at the kernel's default.
///
/// Unix sockets have no use for any but [`send_buffer`](Self::send_buffer), and that their servers' connections do not
/// inherit. The others are skipped there without an error, so that the same options do for both.
///
/// Not offered are
///
/// * `SO_PRIORITY`, which accepted sockets do not inherit; [`dscp`](Self::dscp) implies a priority, and they do inherit that;
/// * `TCP_QUICKACK` and `TCP_CORK`, which are no settings but steps in a conversation (tcp(7)); what one callback writes
///   leaves together without a cork;
/// * `SO_RCVLOWAT` and `SO_RCVTIMEO`, which go with sockets that block, and `SO_LINGER`: closing is
///   [`close`](crate::Connection::close), resetting [`abort`](crate::Connection::abort);
/// * `TCP_DEFER_ACCEPT` and `TCP_FASTOPEN`, which cannot be set without `unsafe` code for now;
/// * what must be set before a socket is bound, and few need: `SO_BINDTODEVICE`, `IP_FREEBIND`, `IP_TRANSPARENT` (ip(7));
/// * what is chosen for a machine rather than for a program and has a sysctl for it: `TCP_CONGESTION`,
///   `TCP_NOTSENT_LOWAT`, `TCP_MAXSEG` (tcp(7)).
///
/// A program sets those itself: on [`Connection::socket`](crate::Connection::socket) or
/// [`Context::server_socket`](crate::Context::server_socket), or on a socket that it makes itself and hands to
/// [`Context::adopt_connection`](crate::Context::adopt_connection) or
/// [`Context::adopt_server`](crate::Context::adopt_server).
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
    /// The address of this machine that a client's connection comes from. Default: `None`, the one that the kernel's routes
    /// give.
    ///
    /// The port is chosen when the connection is made (`IP_BIND_ADDRESS_NO_PORT`, ip(7)), and may be that of another
    /// connection which goes elsewhere. So each local address has all of `net.ipv4.ip_local_port_range`, some 28,000 ports by
    /// default, for each place that is connected to; connections beyond that need more local addresses. Of the machine's own
    /// there are many: all of 127.0.0.0/8.
    ///
    /// It must be of the family of the address that is connected to, or connecting fails with
    /// [`InvalidInput`](std::io::ErrorKind::InvalidInput); of a host's addresses those of the other family fail so, and the
    /// next is tried. One that is not this machine's fails with
    /// [`AddrNotAvailable`](std::io::ErrorKind::AddrNotAvailable), as connecting does when all ports are taken. A
    /// link-local address of IPv6 has the scope of the address that is connected to. Connections that a server accepts or
    /// that are adopted, and Unix sockets, have no use for it.
    pub local_address: Option<IpAddr>,
    /// The longest a frame may be, in bytes, its delimiter or header included; a longer one ends the connection, after
    /// [`on_overflow_error`](crate::Handler::on_overflow_error). It bounds what is kept of a frame that has not come whole, and does
    /// not matter without a [delimiter](crate::Connection::set_delimiter). One that waits for more, a number of bytes or a
    /// [`LengthPrefix`](crate::LengthPrefix), needs a higher one. At least 1. Default: 64 KiB.
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
    /// Whether the engine pauses reading at the high-water mark. Two peers that both do, and both write more than all buffers
    /// on the way hold before they read, wait for each other until the write-stall timeout. Default: `true`.
    pub auto_pause: bool,
    /// Whether small segments leave at once (`TCP_NODELAY`, tcp(7)). Default: `true`.
    pub nodelay: bool,
    /// Whether the kernel finds out, over a connection on which nothing passes, whether the peer is still there
    /// (`SO_KEEPALIVE`, socket(7)). If it is not, [`on_error`](crate::Handler::on_error) is told of
    /// [`TimedOut`](std::io::ErrorKind::TimedOut). Default: `None`.
    pub keepalive: Option<Keepalive>,
    /// How long sent bytes may stay unacknowledged before the kernel gives the connection up (`TCP_USER_TIMEOUT`, tcp(7)).
    /// With [`keepalive`](Self::keepalive) it is this, not the number of probes, that ends a connection. 1 ms to 2147483647
    /// ms; what is finer than 1 ms is cut off. Default: `None`, by the number of retransmissions (about 15 minutes).
    pub user_timeout: Option<Duration>,
    /// What the kernel may hold of bytes on their way out, in bytes (`SO_SNDBUF`, socket(7)): 1 to 1073741823. The kernel
    /// cuts it to `net.core.wmem_max`, doubles it for its own bookkeeping, and no longer adapts the size to the connection.
    /// Default: `None`.
    pub send_buffer: Option<usize>,
    /// What the kernel may hold of bytes that have not been read, in bytes (`SO_RCVBUF`, socket(7)), on the same terms;
    /// the bound is `net.core.rmem_max`. It bounds the TCP window, whose scale is agreed when a connection is made; so tcp(7)
    /// wants it set before that, which for an adopted connection is too late. Default: `None`.
    pub receive_buffer: Option<usize>,
    /// How routers are to treat the packets: the differentiated services code point (RFC 2474), 0 to 63, in `IP_TOS` and
    /// `IPV6_TCLASS` (ip(7), ipv6(7)). Default: `None`.
    pub dscp: Option<u8>,
    /// The mark by which the machine's own firewall and routing know the packets (`SO_MARK`, socket(7)). Needs
    /// `CAP_NET_ADMIN` or `CAP_NET_RAW`. Default: `None`.
    pub mark: Option<u32>,
    /// How long a read may poll the network device's queue for input (`SO_BUSY_POLL`, socket(7)), for devices that
    /// can: 1 µs to 2147483647 µs; what is finer than 1 µs is cut off. More than `net.core.busy_read` needs `CAP_NET_ADMIN`.
    /// Default: `None`.
    pub busy_poll: Option<Duration>,
}

/// When the kernel asks a silent peer whether it is still there (tcp(7)).
///
/// # Examples
///
/// ```
/// use pants_engine::{ConnectionOptions, Keepalive};
/// use std::time::Duration;
///
/// // A peer that has vanished is found out after 60 s + 4 × 15 s.
/// let keepalive = Keepalive { idle: Duration::from_secs(60), interval: Duration::from_secs(15), count: 4 };
/// let options = ConnectionOptions { keepalive: Some(keepalive), ..ConnectionOptions::default() };
/// # drop(options);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// How long nothing has come before the first probe (`TCP_KEEPIDLE`): whole seconds, 1 s to 32767 s.
    pub idle: Duration,
    /// From one probe to the next (`TCP_KEEPINTVL`): whole seconds, 1 s to 32767 s.
    pub interval: Duration,
    /// How many probes stay unanswered before the connection is given up (`TCP_KEEPCNT`): 1 to 127.
    pub count: u32,
}

impl Keepalive {
    fn check(&self) -> Result<()> {
        let is_valid =
            |time: Duration| time.subsec_nanos() == 0 && (1..=limits::KEEPALIVE_SECONDS_MAX).contains(&time.as_secs());
        if !is_valid(self.idle) {
            return Err(Error::Options("keepalive.idle must be whole seconds, 1 s to 32767 s"));
        }
        if !is_valid(self.interval) {
            return Err(Error::Options("keepalive.interval must be whole seconds, 1 s to 32767 s"));
        }
        if !(1..=limits::KEEPALIVE_PROBES_MAX).contains(&self.count) {
            return Err(Error::Options("keepalive.count must be 1 to 127 probes"));
        }
        Ok(())
    }
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self {
            idle_timeout: None,
            read_timeout: None,
            write_stall_timeout: Some(Duration::from_secs(60)),
            connect_timeout: Some(Duration::from_secs(5)),
            local_address: None,
            buffer_limit: limits::BUFFER_LIMIT_BYTES,
            write_high_water: limits::WRITE_HIGH_WATER_BYTES,
            write_low_water: limits::WRITE_LOW_WATER_BYTES,
            write_cap: limits::WRITE_CAP_BYTES,
            auto_pause: true,
            nodelay: true,
            keepalive: None,
            user_timeout: None,
            send_buffer: None,
            receive_buffer: None,
            dscp: None,
            mark: None,
            busy_poll: None,
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
        self.check_socket()
    }

    fn check_socket(&self) -> Result<()> {
        self.keepalive.as_ref().map_or(Ok(()), Keepalive::check)?;
        let counts = |units: u128| (1..=limits::KERNEL_INT_MAX).contains(&units);
        if self.user_timeout.is_some_and(|timeout| !counts(timeout.as_millis())) {
            return Err(Error::Options("user_timeout must be 1 ms to 2147483647 ms"));
        }
        if self.busy_poll.is_some_and(|time| !counts(time.as_micros())) {
            return Err(Error::Options("busy_poll must be 1 µs to 2147483647 µs"));
        }
        let holds = |size: usize| (1..=limits::SOCKET_BUFFER_BYTES_MAX).contains(&size);
        if self.send_buffer.is_some_and(|size| !holds(size)) {
            return Err(Error::Options("send_buffer must be 1 to 1073741823 bytes"));
        }
        if self.receive_buffer.is_some_and(|size| !holds(size)) {
            return Err(Error::Options("receive_buffer must be 1 to 1073741823 bytes"));
        }
        if self.dscp.is_some_and(|dscp| dscp > limits::DSCP_MAX) {
            return Err(Error::Options("dscp must be 0 to 63"));
        }
        Ok(())
    }
}

/// What can be set on a server. What cannot, and how to set it all the same, [`ConnectionOptions`] says.
///
/// # Examples
///
/// ```
/// use pants_engine::ServerOptions;
///
/// let options = ServerOptions { max_connections: Some(10_000), reuse_port: true, ..ServerOptions::default() };
/// # drop(options);
/// ```
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
    /// Whether other sockets of this user may listen at the same address (`SO_REUSEPORT`, socket(7)). Not for Unix sockets,
    /// nor for [adopted](crate::Context::adopt_server) ones. Default: `false`.
    pub reuse_port: bool,
    /// Whether a server at an IPv6 address leaves IPv4 alone (`IPV6_V6ONLY`, ipv6(7)). If not, one at `[::]` takes both. A
    /// port alone always does, and an [adopted](crate::Context::adopt_server) socket stays as it is. Default: `true`.
    pub only_v6: bool,
    /// Of the sockets that share an address by [`reuse_port`](Self::reuse_port), the kernel prefers this one for connections
    /// whose packets that CPU handles (`SO_INCOMING_CPU`, socket(7)): 0 to 2147483647. Not for Unix sockets. Default: `None`.
    pub incoming_cpu: Option<usize>,
    /// Whether the server stands beside the service, as one that tells how the program is does. [`Stats`](crate::Stats) do not
    /// count its connections, though they do their bytes; and a [drain](crate::Context::drain) neither ends nor waits for
    /// it and them: it can tell how the drain goes, and is closed when that is over. Default: `false`.
    pub attendant: bool,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            connection: ConnectionOptions::default(),
            max_connections: None,
            backlog: limits::BACKLOG,
            reuse_port: false,
            only_v6: true,
            incoming_cpu: None,
            attendant: false,
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
        if self.incoming_cpu.is_some_and(|cpu| i32::try_from(cpu).is_err()) {
            return Err(Error::Options("incoming_cpu must be 0 to 2147483647"));
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

    #[track_caller]
    fn assert_range<T>(name: &str, set: impl Fn(T) -> ConnectionOptions, good: [T; 2], bad: [T; 2]) {
        for value in good {
            set(value).check().unwrap();
        }
        for value in bad {
            let error = set(value).check().unwrap_err().to_string();
            assert!(error.starts_with(&format!("options: {name} must be ")), "{error}");
        }
    }

    #[test]
    fn every_range_ends_where_its_message_says() {
        let options = ConnectionOptions::default;
        let (millis, micros, secs) = (Duration::from_millis, Duration::from_micros, Duration::from_secs);
        let int = 2_147_483_647;
        let set = |time| ConnectionOptions { user_timeout: Some(time), ..options() };
        assert_range("user_timeout", set, [millis(1), millis(int)], [micros(999), millis(int + 1)]);
        let set = |time| ConnectionOptions { busy_poll: Some(time), ..options() };
        assert_range("busy_poll", set, [micros(1), micros(int)], [Duration::from_nanos(999), micros(int + 1)]);
        let set = |size| ConnectionOptions { send_buffer: Some(size), ..options() };
        assert_range("send_buffer", set, [1, 1_073_741_823], [0, 1_073_741_824]);
        let set = |size| ConnectionOptions { receive_buffer: Some(size), ..options() };
        assert_range("receive_buffer", set, [1, 1_073_741_823], [0, 1_073_741_824]);
        let set = |dscp| ConnectionOptions { dscp: Some(dscp), ..options() };
        assert_range("dscp", set, [0, 63], [64, u8::MAX]);

        let probes = Keepalive { idle: secs(60), interval: secs(10), count: 3 };
        let keep = |keepalive| ConnectionOptions { keepalive: Some(keepalive), ..options() };
        let set = |idle| keep(Keepalive { idle, ..probes });
        assert_range("keepalive.idle", set, [secs(1), secs(32_767)], [millis(1500), secs(32_768)]);
        let set = |interval| keep(Keepalive { interval, ..probes });
        assert_range("keepalive.interval", set, [secs(1), secs(32_767)], [secs(0), secs(32_768)]);
        let set = |count| keep(Keepalive { count, ..probes });
        assert_range("keepalive.count", set, [1, 127], [0, 128]);
    }

    #[test]
    fn a_servers_own_ranges_end_where_their_messages_say() {
        let with_cpu = |cpu| ServerOptions { incoming_cpu: Some(cpu), ..ServerOptions::default() }.check();
        assert!(with_cpu(0).is_ok() && with_cpu(2_147_483_647).is_ok());
        let error = with_cpu(2_147_483_648).unwrap_err().to_string();
        assert_eq!(error, "options: incoming_cpu must be 0 to 2147483647");
    }
}
