//! How connections come to be spread over the shards.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Which shard serves a connection.
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
    /// `cpu`: the one on the CPU that handles the connection's packets (`SO_INCOMING_CPU`, socket(7)).
    Cpu,
    /// `least-connections`: the one that the kernel picks, which hands it on to the emptiest while it is too full itself.
    LeastConnections,
    /// `rebalance`: the one that the kernel picks; live connections move from shards that are too full to emptier ones.
    Rebalance,
}

/// The text names no [`Balance`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("must be \"kernel\", \"cpu\", \"least-connections\" or \"rebalance\", not {0:?}")]
pub struct UnknownBalance(String);

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
