//! What one run is to do, valid: every value in its range, and how the shards part the connections and the messages.

pub mod sizes;

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::plan::sizes::Sizes;
use crate::sources::Sources;
use crate::target::Target;
use crate::units;

/// The most connections of a run.
pub const CONNECTIONS_MAX: usize = 1_000_000;

/// The largest message, in bytes.
pub const SIZE_MAX: usize = 16 << 20;

/// The most messages in flight on one connection.
pub const DEPTH_MAX: usize = 65_536;

/// The most bytes in flight on one connection.
pub const IN_FLIGHT_BYTES_MAX: usize = 64 << 20;

/// The longest that a message may be waited for: the end of the histogram's range.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// The longest run, and the longest warm-up.
pub const DURATION_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// When a run ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// When this much time has been measured.
    Time(Duration),
    /// When this many messages have been sent and answered.
    Count(u64),
}

/// What a message is sent upon (Schroeder, Wierman and Harchol-Balter, "Open versus closed: a cautionary tale", NSDI 2006).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Model {
    /// A reply: a connection sends its next message when one has come.
    Closed,
    /// The time: messages are due by a schedule, whatever becomes of those before them.
    Open {
        /// How many a second, over all shards.
        rate: f64,
        /// How they follow each other.
        arrivals: Arrivals,
    },
}

/// How the messages of an open loop follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrivals {
    /// As those of many who know nothing of each other: the gaps are exponential.
    Poisson,
    /// At equal distances.
    Constant,
}

/// What one run is to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is loaded.
    pub target: Target,
    /// How many connections, over all shards.
    pub connections: usize,
    /// Bytes of a message.
    pub sizes: Sizes,
    /// Messages in flight on a connection.
    pub depth: usize,
    /// What sends the messages.
    pub model: Model,
    /// When it ends.
    pub extent: Extent,
    /// How long the load runs before anything is measured.
    pub warmup: Duration,
    /// How long a connection may take to be made, and a message to be answered.
    pub timeout: Duration,
    /// What the pattern is made from.
    pub seed: u64,
    /// Whether what comes back is compared with what was sent.
    pub verify: bool,
    /// Where the connections come from, by turns.
    pub sources: Sources,
}

/// The time in which a message must be sent to be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// When measuring begins: the warm-up is over.
    pub from: Instant,
    /// When sending ends; `None` if not by the clock.
    pub until: Option<Instant>,
}

impl Window {
    /// Whether a message may be sent at `now`. A window that has ended does not open again.
    #[inline]
    pub fn permits(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

impl Plan {
    /// Checks what no single value shows.
    ///
    /// # Errors
    ///
    /// What does not fit, as one sentence.
    pub fn check(&self) -> Result<(), String> {
        if self.sizes.max().saturating_mul(self.depth) > IN_FLIGHT_BYTES_MAX {
            return Err(format!(
                "--size times --depth must be at most {}: {} in flight on a connection is too much",
                units::bytes(IN_FLIGHT_BYTES_MAX as u64),
                units::bytes((self.sizes.max() as u64).saturating_mul(self.depth as u64)),
            ));
        }
        Ok(())
    }

    /// The connections of one shard, by their numbers.
    pub fn share(&self, shard: usize, shards: usize) -> Range<usize> {
        let bound = |shard: usize| (self.connections as u128 * shard as u128 / shards.max(1) as u128) as usize;
        bound(shard)..bound(shard + 1)
    }

    /// How many messages one connection sends at most.
    pub fn quota(&self, connection: usize) -> u64 {
        match self.extent {
            Extent::Time(_) => u64::MAX,
            Extent::Count(count) => {
                let (connection, connections) = (connection as u64, self.connections as u64);
                count / connections + u64::from(connection < count % connections)
            }
        }
    }

    /// The window of a run whose load begins at `begin`.
    pub fn window(&self, begin: Instant) -> Window {
        let from = begin + self.warmup;
        let until = match self.extent {
            Extent::Time(duration) => Some(from + duration),
            Extent::Count(_) => None,
        };
        Window { from, until }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn plan(connections: usize, extent: Extent) -> Plan {
        Plan {
            target: "tcp://127.0.0.1:4040".parse().unwrap(),
            connections,
            sizes: Sizes::fixed(64),
            depth: 1,
            model: Model::Closed,
            extent,
            warmup: Duration::ZERO,
            timeout: Duration::from_secs(5),
            seed: 1,
            verify: true,
            sources: Sources::default(),
        }
    }

    #[test]
    fn every_connection_is_one_shard_s() {
        for connections in 1..40 {
            for shards in 1..10 {
                let plan = plan(connections, Extent::Count(1));
                let shares: Vec<_> = (0..shards).map(|shard| plan.share(shard, shards)).collect();
                assert!(shares.iter().cloned().flatten().eq(0..connections));
                let lengths = || shares.iter().map(ExactSizeIterator::len);
                assert!(lengths().max().unwrap() - lengths().min().unwrap() <= 1, "the shares are even");
            }
        }
    }

    #[test]
    fn the_quotas_add_up_to_the_count() {
        for connections in 1..30 {
            for count in 1..100 {
                let plan = plan(connections, Extent::Count(count));
                assert_eq!((0..connections).map(|connection| plan.quota(connection)).sum::<u64>(), count);
            }
        }
    }

    #[test]
    fn the_window_begins_after_the_warm_up() {
        let mut plan = plan(1, Extent::Time(Duration::from_secs(10)));
        plan.warmup = Duration::from_secs(1);
        let begin = Instant::now();
        let window = plan.window(begin);
        assert_eq!(window.from - begin, Duration::from_secs(1));
        assert_eq!(window.until.unwrap() - window.from, Duration::from_secs(10));
    }

    #[test]
    fn too_much_in_flight_is_refused() {
        let plan = Plan { sizes: Sizes::fixed(SIZE_MAX), depth: 5, ..plan(1, Extent::Count(1)) };
        assert!(plan.check().unwrap_err().contains("64.0 MiB"));
        assert_eq!(Plan { depth: 4, ..plan }.check(), Ok(()));
    }
}
