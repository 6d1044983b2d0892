//! The table of keys: from it the configuration is read, checked, printed and documented.

use std::time::Duration;

use pants_engine::Address;

use super::key::{Key, Kind};
use super::value::{self, format_duration, format_size, quote};
use crate::placement::Shards;

/// Every key but a program's own, in the order in which they are read, printed and documented.
pub(super) static KEYS: [Key; 27] = [
    Key {
        path: "runtime.shards",
        variable: "PANTS_SHARDS",
        default: "auto",
        about: "How many shards, each a thread of its own: \"auto\", one per CPU, or 1 to 1024.",
        kind: Kind::Field(
            |values, value| value::shards(value).map(|shards| values.shards = shards),
            |values| match values.shards {
                Shards::Auto => quote(values.shards),
                Shards::Count(count) => count.to_string(),
            },
        ),
    },
    Key {
        path: "runtime.cpus",
        variable: "PANTS_CPUS",
        default: "all",
        about: "The CPUs to pin shards to, in order, such as [0, 1] or \"0-3,8\"; \"all\" that the process may use.",
        kind: Kind::Field(
            |values, value| value::cpus(value).map(|cpus| values.cpus = cpus),
            |values| values.cpus.as_ref().map_or_else(|| quote("all"), |cpus| array(cpus.iter().map(usize::to_string))),
        ),
    },
    Key {
        path: "runtime.pin",
        variable: "PANTS_PIN",
        default: "true",
        about: "Whether each shard stays on one CPU.",
        kind: Kind::Field(
            |values, value| value::boolean(value).map(|pin| values.pin = pin),
            |values| values.pin.to_string(),
        ),
    },
    Key {
        path: "runtime.layout",
        variable: "PANTS_LAYOUT",
        default: "spread",
        about: "Whether shards \"spread\" over cores and NUMA nodes or \"pack\" together, when no CPUs are listed.",
        kind: Kind::Field(
            |values, value| value::named(value, "\"spread\" or \"pack\"").map(|layout| values.layout = layout),
            |values| quote(values.layout),
        ),
    },
    Key {
        path: "runtime.drain_timeout",
        variable: "PANTS_DRAIN_TIMEOUT",
        default: "10s",
        about: "How long a stop waits for connections to finish: \"0s\" to \"1h\".",
        kind: Kind::Field(
            |values, value| value::duration(value, value::DRAIN).map(|timeout| values.drain_timeout = timeout),
            |values| quote(format_duration(values.drain_timeout)),
        ),
    },
    Key {
        path: "runtime.busy_poll",
        variable: "PANTS_BUSY_POLL",
        default: "off",
        about: "How long a shard looks for work, on its CPU, before it sleeps: \"1us\" to \"1s\", or \"off\".",
        kind: Kind::Field(
            |values, value| value::duration_or_off(value, value::BUSY_POLL).map(|time| values.busy_poll = time),
            |values| duration_or_off(values.busy_poll),
        ),
    },
    Key {
        path: "runtime.stall_after",
        variable: "PANTS_STALL_AFTER",
        default: "100ms",
        about: "A callback that holds its shard up for longer is reported: \"1ms\" to \"1h\", or \"off\".",
        kind: Kind::Field(
            |values, value| value::duration_or_off(value, value::STALL).map(|time| values.stall_after = time),
            |values| duration_or_off(values.stall_after),
        ),
    },
    Key {
        path: "runtime.offload_threads",
        variable: "PANTS_OFFLOAD_THREADS",
        default: "4",
        about: "The most threads, for all shards together, that do blocking work: 1 to 64.",
        kind: Kind::Field(
            |values, value| value::count(value, value::OFFLOAD_THREADS).map(|count| values.offload_threads = count),
            |values| values.offload_threads.to_string(),
        ),
    },
    Key {
        path: "runtime.handover",
        variable: "PANTS_HANDOVER",
        default: "off",
        about: "The Unix socket at which a process takes over from the last one, and leaves to the next: a path, or \"off\".",
        kind: Kind::Field(
            |values, value| value::path_or_off(value).map(|path| values.handover = path),
            |values| quote(values.handover.as_ref().map_or("off".into(), |path| path.to_string_lossy())),
        ),
    },
    Key {
        path: "listener.listen",
        variable: "PANTS_LISTEN",
        default: "127.0.0.1:4040",
        about: "An address or port to listen on, or an array of them; a port alone is on all interfaces.",
        kind: Kind::Field(
            |values, value| value::listen(value).map(|addresses| values.listen = addresses),
            |values| array(values.listen.iter().map(quote)),
        ),
    },
    Key {
        path: "listener.share_port",
        variable: "PANTS_SHARE_PORT",
        default: "false",
        about: "Whether a port may be shared with another program's listener.",
        kind: Kind::Field(
            |values, value| value::boolean(value).map(|share_port| values.share_port = share_port),
            |values| values.share_port.to_string(),
        ),
    },
    Key {
        path: "listener.backlog",
        variable: "PANTS_BACKLOG",
        default: "4096",
        about: "How many connections the kernel holds until a shard accepts them: 1 to 65535.",
        kind: Kind::Field(
            |values, value| value::count(value, value::BACKLOG).map(|count| values.backlog = count),
            |values| values.backlog.to_string(),
        ),
    },
    Key {
        path: "listener.nodelay",
        variable: "PANTS_NODELAY",
        default: "true",
        about: "Whether small writes leave at once (TCP_NODELAY).",
        kind: Kind::Field(
            |values, value| value::boolean(value).map(|nodelay| values.nodelay = nodelay),
            |values| values.nodelay.to_string(),
        ),
    },
    Key {
        path: "listener.balance",
        variable: "PANTS_BALANCE",
        default: "kernel",
        about: "Which shard serves a connection: \"kernel\", \"cpu\", \"least-connections\" or \"rebalance\".",
        kind: Kind::Field(
            |values, value| value::named(value, value::BALANCES).map(|balance| values.balance = balance),
            |values| quote(values.balance),
        ),
    },
    Key {
        path: "limits.max_connections",
        variable: "PANTS_MAX_CONNECTIONS",
        default: "unlimited",
        about: "The most connections of one shard: 1 or more, or \"unlimited\".",
        kind: Kind::Field(
            |values, value| value::max_connections(value).map(|limit| values.max_connections = limit),
            |values| values.max_connections.map_or_else(|| quote("unlimited"), |limit| limit.to_string()),
        ),
    },
    Key {
        path: "limits.write_high_water",
        variable: "PANTS_WRITE_HIGH_WATER",
        default: "256KiB",
        about: "The queued bytes above which a connection is not read; above write_low_water, at most write_cap.",
        kind: Kind::Field(
            |values, value| value::size(value, value::MARK).map(|size| values.write_high_water = size),
            |values| size(values.write_high_water),
        ),
    },
    Key {
        path: "limits.write_low_water",
        variable: "PANTS_WRITE_LOW_WATER",
        default: "64KiB",
        about: "The queued bytes below which a connection is read again: \"4KiB\" or more.",
        kind: Kind::Field(
            |values, value| value::size(value, value::MARK).map(|size| values.write_low_water = size),
            |values| size(values.write_low_water),
        ),
    },
    Key {
        path: "limits.write_cap",
        variable: "PANTS_WRITE_CAP",
        default: "16MiB",
        about: "The queued bytes that a connection may never pass: \"16KiB\" to \"1GiB\".",
        kind: Kind::Field(
            |values, value| value::size(value, value::CAP).map(|size| values.write_cap = size),
            |values| size(values.write_cap),
        ),
    },
    Key {
        path: "limits.buffer_limit",
        variable: "PANTS_BUFFER_LIMIT",
        default: "64KiB",
        about: "The longest that a frame may be, its delimiter or header included: \"1B\" to \"1GiB\".",
        kind: Kind::Field(
            |values, value| value::size(value, value::BUFFER).map(|size| values.buffer_limit = size),
            |values| size(values.buffer_limit),
        ),
    },
    Key {
        path: "timeouts.idle",
        variable: "PANTS_IDLE_TIMEOUT",
        default: "10m",
        about: "Closes a connection over which nothing has passed for this long: \"1ms\" to \"3650d\", or \"off\".",
        kind: Kind::Field(
            |values, value| value::duration_or_off(value, value::TIMEOUT).map(|time| values.idle_timeout = time),
            |values| duration_or_off(values.idle_timeout),
        ),
    },
    Key {
        path: "timeouts.read",
        variable: "PANTS_READ_TIMEOUT",
        default: "off",
        about: "Closes a connection from whose peer nothing has come for this long: \"1ms\" to \"3650d\", or \"off\".",
        kind: Kind::Field(
            |values, value| value::duration_or_off(value, value::TIMEOUT).map(|time| values.read_timeout = time),
            |values| duration_or_off(values.read_timeout),
        ),
    },
    Key {
        path: "timeouts.write_stall",
        variable: "PANTS_WRITE_STALL_TIMEOUT",
        default: "1m",
        about: "Resets a connection whose peer takes no data for this long: \"1ms\" to \"3650d\", or \"off\".",
        kind: Kind::Field(
            |values, value| value::duration_or_off(value, value::TIMEOUT).map(|time| values.write_stall_timeout = time),
            |values| duration_or_off(values.write_stall_timeout),
        ),
    },
    Key {
        path: "timeouts.connect",
        variable: "PANTS_CONNECT_TIMEOUT",
        default: "5s",
        about: "How long connecting to another server may take: \"1ms\" to \"3650d\", or \"off\".",
        kind: Kind::Field(
            |values, value| value::duration_or_off(value, value::TIMEOUT).map(|time| values.connect_timeout = time),
            |values| duration_or_off(values.connect_timeout),
        ),
    },
    Key {
        path: "balance.max_skew",
        variable: "PANTS_MAX_SKEW",
        default: "1.05",
        about: "How many times as full as the mean a shard may be before connections leave it: 1.01 to 10.",
        kind: Kind::Field(
            |values, value| value::ratio(value, value::SKEW).map(|skew| values.max_skew = skew),
            |values| values.max_skew.to_string(),
        ),
    },
    Key {
        path: "balance.interval",
        variable: "PANTS_BALANCE_INTERVAL",
        default: "100ms",
        about: "How often shards tell each other how full they are: \"10ms\" to \"1m\".",
        kind: Kind::Field(
            |values, value| value::duration(value, value::INTERVAL).map(|time| values.balance_interval = time),
            |values| quote(format_duration(values.balance_interval)),
        ),
    },
    Key {
        path: "balance.moves_per_interval",
        variable: "PANTS_MOVES_PER_INTERVAL",
        default: "64",
        about: "The most connections that a shard moves in an interval: 1 to 4096.",
        kind: Kind::Field(
            |values, value| value::count(value, value::MOVES).map(|count| values.moves_per_interval = count),
            |values| values.moves_per_interval.to_string(),
        ),
    },
    Key {
        path: "admin.listen",
        variable: "PANTS_ADMIN_LISTEN",
        default: "off",
        about: "Where to serve metrics and health: an address or port, or \"off\".",
        kind: Kind::Field(
            |values, value| value::address_or_off(value).map(|address| values.admin_listen = address),
            |values| quote(values.admin_listen.as_ref().map_or_else(|| "off".to_owned(), Address::to_string)),
        ),
    },
];

fn array(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

fn duration_or_off(duration: Option<Duration>) -> String {
    quote(duration.map_or_else(|| "off".to_owned(), format_duration))
}

fn size(bytes: usize) -> String {
    quote(format_size(bytes as u64))
}
