//! Every bound of the engine, in one place, with the relations between them checked at compile time.

use std::time::Duration;

/// The engine's one read buffer: what a single `recv` can bring, in bytes.
pub(crate) const READ_BUFFER_BYTES: usize = 64 * 1024;

/// What one connection may read at a stretch before the others have their turn, in bytes.
pub(crate) const READ_BUDGET_BYTES: usize = 4 * READ_BUFFER_BYTES;

/// Datagrams that one channel may read, or send from its queue, at a stretch before the others have their turn.
pub(crate) const DATAGRAM_BUDGET: usize = 256;

/// What one connection may write from its queue at a stretch before the others have their turn, in bytes.
pub(crate) const WRITE_BUDGET_BYTES: usize = 1024 * 1024;

/// How often `on_write` may write more within one turn of its connection.
pub(crate) const ON_WRITE_ROUNDS_MAX: usize = 16;

/// Connections one server accepts in a turn.
pub(crate) const ACCEPT_BUDGET: usize = 64;

/// Messages each source (inbox, lanes) delivers in a turn.
pub(crate) const SOURCE_BUDGET: usize = 256;

/// Expired timers run in a turn, and timers moved to a finer part of the wheel; the rest have their turn in the next one.
pub(crate) const TIMER_BUDGET: usize = 4096;

/// Events taken from the kernel in a turn.
pub(crate) const EVENTS_MAX: usize = 1024;

/// Small writes of one callback are gathered up to this many bytes; a larger one goes straight to the socket.
pub(crate) const OUTBOX_BYTES: usize = 16 * 1024;

/// What a callback writes to another connection is gathered in writes of up to this many bytes. A longer one goes straight to
/// the socket, since there is seldom a second.
pub(crate) const RELAYED_COPY_BYTES: usize = 4 * 1024;

/// So many messages that went to other connections are held, to leave together. With 8 or 32 a proxy is no faster, and a message
/// waits for as many callbacks at most.
pub(crate) const HELD_MAX: usize = 16;

/// A message of up to this many bytes is copied to be held; with a longer one goes the buffer that it was read into. So an engine
/// that relays long ones has up to [`HELD_MAX`] read buffers more, 1 MiB.
pub(crate) const HELD_COPY_BYTES: usize = 1024;

/// The grain of a connection's write queue, in bytes: small writes share a chunk.
pub(crate) const CHUNK_BYTES: usize = 16 * 1024;

/// The first chunk behind a piece of a file in a write queue, in bytes: room for the header of the next one.
pub(crate) const HEADER_CHUNK_BYTES: usize = 256;

/// Fewer bytes than this that are shared with other connections are copied into a write queue all the same: a reference to them
/// takes 32 bytes and a slice of a `sendmsg`, and its count is written by all who share it.
pub(crate) const SHARED_BYTES_MIN: usize = 256;

/// What a queued piece of a file counts for at the water marks and the cap, in bytes: its descriptor is dear, not its memory.
pub(crate) const FILE_PIECE_BYTES: usize = 4 * 1024;

/// What one `recv` takes off the read budget at least, so that a peer that sends little at a time cannot have very many of them.
pub(crate) const READ_COST_MIN_BYTES: usize = 4 * 1024;

/// Slices in one `sendmsg`. The kernel takes 1,024 (`IOV_MAX`, sysconf(3)); 64 chunks already fill a send buffer.
pub(crate) const SLICES_MAX: usize = 64;

/// The least that is added at a time to the part of a frame kept from an earlier read, in bytes; with more kept, as much again.
/// So what lies behind that frame is hardly copied.
pub(crate) const GATHER_BYTES: usize = 1024;

/// Default of [`LengthPrefix::max`](crate::LengthPrefix::max), in bytes.
pub(crate) const LENGTH_PREFIX_MAX_BYTES: usize = 16 * 1024 * 1024;

/// What a compiled [`Pattern`](crate::Pattern) may take, in bytes.
pub(crate) const PATTERN_BYTES: usize = 1024 * 1024;

/// What a [`Pattern`](crate::Pattern) may take for the states it has met in searching, in bytes.
pub(crate) const PATTERN_CACHE_BYTES: usize = 1024 * 1024;

/// How long the first addresses of a host may hang before the next is tried as well (RFC 8305, section 8).
pub(crate) const CONNECTION_ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// How long to wait before a Unix server is tried again whose queue was full.
pub(crate) const CONNECT_AGAIN_AFTER: Duration = Duration::from_millis(10);

/// Messages the engine's own inbox holds before it says it is full.
pub(crate) const INBOX_MAX: usize = 1024;

/// Default of [`ConnectionOptions::buffer_limit`](crate::ConnectionOptions::buffer_limit), in bytes, as in the Python framework.
pub(crate) const BUFFER_LIMIT_BYTES: usize = 64 * 1024;

/// Default of [`ConnectionOptions::write_high_water`](crate::ConnectionOptions::write_high_water), in bytes.
pub(crate) const WRITE_HIGH_WATER_BYTES: usize = 256 * 1024;

/// Default of [`ConnectionOptions::write_low_water`](crate::ConnectionOptions::write_low_water), in bytes.
pub(crate) const WRITE_LOW_WATER_BYTES: usize = 64 * 1024;

/// Default of [`ConnectionOptions::write_cap`](crate::ConnectionOptions::write_cap), in bytes.
pub(crate) const WRITE_CAP_BYTES: usize = 16 * 1024 * 1024;

/// Default of [`ServerOptions::backlog`](crate::ServerOptions::backlog): the kernel's own bound since Linux 5.4,
/// `net.core.somaxconn` (listen(2)).
pub(crate) const BACKLOG: u32 = 4096;

/// The most a socket's buffer may be asked to hold, in bytes: half of what the kernel's `int` counts, since it doubles the
/// size (socket(7)).
pub(crate) const SOCKET_BUFFER_BYTES_MAX: usize = i32::MAX as usize / 2;

/// The most that the kernel's `int` counts, in whatever unit an option has.
pub(crate) const KERNEL_INT_MAX: u128 = i32::MAX as u128;

/// The longest that `TCP_KEEPIDLE` and `TCP_KEEPINTVL` take (`MAX_TCP_KEEPIDLE` in the kernel's `net/tcp.h`).
pub(crate) const KEEPALIVE_SECONDS_MAX: u64 = 32_767;

/// The most that `TCP_KEEPCNT` takes (`MAX_TCP_KEEPCNT` in the kernel's `net/tcp.h`).
pub(crate) const KEEPALIVE_PROBES_MAX: u32 = 127;

/// The highest differentiated services code point: it has six bits (RFC 2474).
pub(crate) const DSCP_MAX: u8 = 63;

/// Default of [`DatagramOptions::send_queue_cap`](crate::DatagramOptions::send_queue_cap), in bytes.
pub(crate) const DATAGRAM_QUEUE_BYTES: usize = 1024 * 1024;

/// What a queued datagram takes beside its bytes.
pub(crate) const DATAGRAM_OVERHEAD_BYTES: usize = 64;

/// Messages that one `recvmmsg` may bring. With GRO each may be a train of datagrams.
pub(crate) const DATAGRAM_BATCH: usize = 32;

/// Datagrams that are read by one `recvfrom` each before more are asked for at a time.
pub(crate) const DATAGRAM_SINGLES: usize = 2;

/// Up to so many messages a batch is a small one, for which less is prepared.
pub(crate) const DATAGRAM_BATCH_SMALL: usize = 4;

/// What lies from one message of a batch to the next, in bytes. The line on top has them share no place in the caches.
pub(crate) const DATAGRAM_SLOT_BYTES: usize = READ_BUFFER_BYTES + 64;

/// What a handler sends while it reads is gathered up to this many bytes.
pub(crate) const DATAGRAM_OUTBOX_BYTES: usize = 64 * 1024;

/// Datagrams, or trains of them, that are gathered, and leave in one `sendmmsg`.
pub(crate) const DATAGRAM_OUTBOX_MAX: usize = 32;

/// A longer datagram goes straight to the socket: to copy it would cost more than its system call.
pub(crate) const DATAGRAM_GATHERED_BYTES_MAX: usize = 16 * 1024;

/// Datagrams in one train (`UDP_MAX_SEGMENTS` in the kernel's `linux/udp.h`, which newer ones have doubled).
pub(crate) const TRAIN_DATAGRAMS_MAX: usize = 64;

/// The longest train, in bytes: what an IPv4 packet holds beside its header and UDP's (RFC 791, RFC 768).
pub(crate) const TRAIN_BYTES_MAX: usize = 65_507;

/// Datagrams a channel could not send of which its handler is told one by one.
pub(crate) const DATAGRAM_FAILURES_MAX: usize = 64;

/// How long a closed connection waits for its peer's FIN, discarding input, before its descriptor is freed.
pub(crate) const LINGER: Duration = Duration::from_secs(5);

/// The first pause after `accept` ran out of descriptors; it doubles from one attempt to the next.
pub(crate) const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(10);

/// The longest pause between attempts to accept without descriptors, and how long such a shortage is suffered before the
/// connections that wait are turned away.
pub(crate) const ACCEPT_PAUSE_MAX: Duration = Duration::from_millis(500);

/// The same complaint is logged at most this often.
pub(crate) const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Default of [`EngineOptions::longest_turn`](crate::EngineOptions::longest_turn), as in the Python framework.
pub(crate) const LONGEST_TURN: Duration = Duration::from_millis(200);

/// The longest [`EngineOptions::busy_poll`](crate::EngineOptions::busy_poll).
pub(crate) const BUSY_POLL_MAX: Duration = Duration::from_secs(1);

/// Busy polls in vain after which the engine sleeps at once.
pub(crate) const BUSY_POLL_MISSES_MAX: u32 = 8;

/// Looks at the doorbell between two system calls of a busy poll: about as long as one of those takes, so that neither a
/// message nor an event is seen much later than the other.
pub(crate) const BUSY_POLL_LOOKS: u32 = 16;

/// The heap of precise timers is not searched for cancelled ones below this length.
pub(crate) const PRECISE_SWEEP_MIN: usize = 64;

/// A sleep that the poller's timeout would end within this time is measured from a fresh reading of the clock, not from the turn's;
/// a longer one ends half of it early, to be measured anew. So a timer is late by the length of a turn only if that is past this
/// half.
pub(crate) const FRESH_CLOCK_WITHIN: Duration = Duration::from_millis(250);

/// As far ahead the end of a sleep is set, by the alarm or by the poller's timeout, at most: well inside what `epoll_wait` can count
/// (2³¹ ms). With no timer there is no end.
pub(crate) const LONGEST_SLEEP: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest host name, in bytes: 255 in a message (RFC 1035, section 2.3.4), less its first length and the root's.
pub(crate) const HOST_NAME_BYTES_MAX: usize = 253;

/// The longest part of a host name between dots, in bytes (RFC 1035, section 2.3.4).
pub(crate) const HOST_LABEL_BYTES_MAX: usize = 63;

/// The longest path or abstract name of a Unix socket, in bytes: `sun_path` has 108, and one is the NUL behind the path or
/// before the name (unix(7)).
pub(crate) const UNIX_NAME_BYTES_MAX: usize = 107;

/// Addresses of one host name that are tried.
pub(crate) const ADDRESSES_MAX: usize = 16;

/// Lookups of host names that run at once in a process, without those that are slow.
pub(crate) const LOOKUP_THREADS: usize = 4;

/// Threads that look up host names in a process, those with slow lookups among them.
pub(crate) const LOOKUP_THREADS_MAX: usize = 64;

/// Lookups that may wait for a thread.
pub(crate) const LOOKUPS_QUEUED_MAX: usize = 1024;

/// A lookup that has run for so long is slow: another may run beside it.
pub(crate) const LOOKUP_SLOW: Duration = Duration::from_secs(1);

/// How long a thread that looks up host names waits for another one before it ends.
pub(crate) const LOOKUP_IDLE: Duration = Duration::from_secs(10);

/// How often a Unix socket is bound anew to a path at which the file has changed meanwhile.
pub(crate) const SOCKET_FILE_ATTEMPTS: u32 = 3;

const _: () = assert!(READ_BUFFER_BYTES <= READ_BUDGET_BYTES);
// The longest datagram of UDP: 65,535 bytes with its header (RFC 768).
const _: () = assert!(READ_BUFFER_BYTES >= 65_535);
const _: () = assert!(DATAGRAM_SLOT_BYTES >= 65_535 && 2 * DATAGRAM_SINGLES <= DATAGRAM_BATCH_SMALL);
const _: () = assert!(DATAGRAM_BATCH_SMALL < DATAGRAM_BATCH && DATAGRAM_BATCH_SMALL < DATAGRAM_OUTBOX_MAX);
const _: () = assert!(DATAGRAM_GATHERED_BYTES_MAX <= DATAGRAM_OUTBOX_BYTES && TRAIN_BYTES_MAX <= DATAGRAM_OUTBOX_BYTES);
const _: () = assert!(GATHER_BYTES <= READ_BUFFER_BYTES);
const _: () = assert!(HELD_COPY_BYTES <= RELAYED_COPY_BYTES && 2 * RELAYED_COPY_BYTES <= OUTBOX_BYTES);
const _: () = assert!(OUTBOX_BYTES <= WRITE_LOW_WATER_BYTES);
const _: () = assert!(WRITE_LOW_WATER_BYTES < WRITE_HIGH_WATER_BYTES && WRITE_HIGH_WATER_BYTES <= WRITE_CAP_BYTES);
const _: () = assert!(READ_BUDGET_BYTES <= WRITE_CAP_BYTES - WRITE_HIGH_WATER_BYTES);
const _: () = assert!(SLICES_MAX <= 1024);
const _: () = assert!(LONGEST_SLEEP.as_millis() < i32::MAX as u128);
const _: () = assert!(HOST_LABEL_BYTES_MAX <= HOST_NAME_BYTES_MAX);
const _: () = assert!(LOOKUP_THREADS < LOOKUP_THREADS_MAX);
