//! How connections come to be spread over the shards.

pub(crate) mod counts;
pub(crate) mod leveller;

use std::fmt;
use std::str::FromStr;

use pants_engine::ServerOptions;
use thiserror::Error;

use self::leveller::Mover;
use crate::placement::{CpuId, Placement};
use crate::shard_id::ShardId;

/// Which shard serves a connection; chosen for each listener, see [`Shard::listener`](crate::Shard::listener).
///
/// With a Unix socket, which all shards share, one shard accepts and sends each connection to the shard that has the fewest,
/// whatever is chosen here but `rebalance`, which moves live ones besides.
///
/// Its text form is that of the configuration's `balance` key.
///
/// ```
/// use pants_shard::Balance;
///
/// assert_eq!("least-connections".parse::<Balance>()?, Balance::LeastConnections);
/// assert_eq!(Balance::default().to_string(), "kernel");
/// # Ok::<(), pants_shard::UnknownBalance>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Balance {
    /// `kernel`: the one that the kernel picks by a hash of the addresses and ports (`SO_REUSEPORT`, socket(7)).
    #[default]
    Kernel,
    /// `cpu`: the one on the CPU that handles the connection's packets (`SO_INCOMING_CPU`, socket(7)), which with a network device
    /// of several queues is the CPU that takes its interrupts. Over loopback that is the client's own CPU. It needs pinned shards,
    /// and Linux 6.2; before, and for a CPU that has no shard, it is as `kernel`.
    Cpu,
    /// `least-connections`: the one that the kernel picks; while that has more than its share, by the factor
    /// `balance.max_skew`, it sends new ones on to the shard that has the fewest. The shards tell each other how many they
    /// have, `balance.interval` after a change.
    LeastConnections,
    /// `rebalance`: the same, and live connections too move from shards that have more than their share to those that have
    /// less, `balance.moves_per_interval` at a time, where their handlers are [`Movable`](crate::Movable).
    Rebalance,
}

/// How one listener's connections are balanced.
#[derive(Clone, Default)]
pub(crate) struct Balancing {
    pub(crate) balance: Balance,
    /// Moves live connections; `None` where nothing is known of how to move their handlers.
    pub(crate) mover: Option<Mover>,
}

/// The text names no [`Balance`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("must be \"kernel\", \"cpu\", \"least-connections\" or \"rebalance\", not {0:?}")]
pub struct UnknownBalance(String);

impl Balance {
    /// A server's options on one shard, with what this policy asks of the kernel.
    pub(crate) fn server_options(self, options: ServerOptions, placement: &Placement, shard: ShardId) -> ServerOptions {
        if self != Self::Cpu {
            return options;
        }
        let cpu = placement.iter().nth(shard.index()).flatten();
        if cpu.is_none() {
            tracing::warn!(%shard, "balance = \"cpu\" needs pinned shards; without, the kernel's hash decides");
        }
        ServerOptions { incoming_cpu: cpu.map(CpuId::get).or(options.incoming_cpu), ..options }
    }
}

impl fmt::Debug for Balancing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balancing").field("balance", &self.balance).finish_non_exhaustive()
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "kernel",
            Self::Cpu => "cpu",
            Self::LeastConnections => "least-connections",
            Self::Rebalance => "rebalance",
        })
    }
}

impl FromStr for Balance {
    type Err = UnknownBalance;

    fn from_str(text: &str) -> Result<Self, UnknownBalance> {
        match text {
            "kernel" => Ok(Self::Kernel),
            "cpu" => Ok(Self::Cpu),
            "least-connections" => Ok(Self::LeastConnections),
            "rebalance" => Ok(Self::Rebalance),
            _ => Err(UnknownBalance(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_balance_is_read_and_written_back() {
        for balance in [Balance::Kernel, Balance::Cpu, Balance::LeastConnections, Balance::Rebalance] {
            assert_eq!(balance.to_string().parse(), Ok(balance));
        }
        assert_eq!(
            "Kernel".parse::<Balance>().unwrap_err().to_string(),
            "must be \"kernel\", \"cpu\", \"least-connections\" or \"rebalance\", not \"Kernel\""
        );
    }
}
