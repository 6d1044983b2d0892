//! What is measured: a kind of work, and how many connections, how long messages and how many of them in flight it has.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// The kinds of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Work {
    /// Sends back what comes, over TCP.
    Echo,
    /// Connections that are made, have one message sent back, and are closed.
    Churn,
    /// Sends back every line when it is whole.
    Lines,
    /// Sends back every datagram.
    Udp,
    /// Passes on what comes, between the client and an echo server.
    Proxy,
    /// Sends what comes from one connection to all.
    Broadcast,
    /// A million timers, without a client.
    Timers,
    /// The echo, of a server that has a million time-outs pending besides.
    IdleTimeouts,
}

/// One point: what all contestants do by turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) work: Work,
    /// Connections, or sockets with UDP; 0 where there is no client.
    pub(crate) connections: u32,
    /// Bytes of a message.
    pub(crate) size: u32,
    /// Messages that each connection keeps in flight.
    pub(crate) depth: u32,
    /// Whether the client sends the datagrams of one socket as one train (UDP_SEGMENT).
    pub(crate) trains: bool,
}

const KIB: u32 = 1024;

/// The connections, sizes and depths of the echo: every one with every other.
const ECHO_CONNECTIONS: [u32; 4] = [1, 50, 1_000, 10_000];
const ECHO_SIZES: [u32; 3] = [64, KIB, 16 * KIB];
const ECHO_DEPTHS: [u32; 2] = [1, 16];

/// Connections and sizes of the proxy.
const PROXY: [(u32, u32); 4] = [(50, 64), (1_000, 64), (20, 16 * KIB), (8, 256 * KIB)];

/// The most that is in flight together, in bytes. Past the bound of all TCP sockets of a machine (`net.ipv4.tcp_mem`), which is
/// a tenth of its memory or less, the kernel drops what comes and has it sent again, and what is measured is its patience.
const IN_FLIGHT_MAX: u64 = 512 << 20;

/// Sockets and datagrams in flight on each. With 256 in flight together some were lost, since a socket's receive buffer has no
/// more room by default; with 128 none.
const UDP: [(u32, u32, bool); 3] = [(50, 1, false), (8, 16, false), (2, 64, true)];

impl Point {
    /// The echo's that stands for all where one has to.
    pub(crate) const USUAL: Self = Self::new(Work::Echo, 50, 64, 1);

    /// One connection that waits for each reply.
    pub(crate) const LONE: Self = Self::new(Work::Echo, 1, 64, 1);

    const fn new(work: Work, connections: u32, size: u32, depth: u32) -> Self {
        Self { work, connections, size, depth, trains: false }
    }

    /// All points of a kind of work.
    pub(crate) fn all(work: Work) -> Vec<Self> {
        match work {
            Work::Echo => ECHO_CONNECTIONS
                .into_iter()
                .flat_map(|connections| ECHO_SIZES.map(|size| (connections, size)))
                .flat_map(|(connections, size)| ECHO_DEPTHS.map(|depth| Self::new(work, connections, size, depth)))
                .collect(),
            Work::Churn | Work::Lines | Work::IdleTimeouts => vec![Self::new(work, 50, 64, 1)],
            Work::Udp => {
                UDP.map(|(sockets, depth, trains)| Self { trains, ..Self::new(work, sockets, 64, depth) }).to_vec()
            }
            Work::Proxy => PROXY.map(|(connections, size)| Self::new(work, connections, size, 1)).to_vec(),
            Work::Broadcast => vec![Self::new(work, 1_000, 64, 1)],
            Work::Timers => vec![Self::new(work, 0, 0, 0)],
        }
    }

    /// Whether a filter is its name, or some whole numbers from its beginning, with the work or without: `50x64x1`, `50x64`,
    /// `echo/1`.
    pub(crate) fn matches(&self, filter: &str) -> bool {
        let name = self.to_string();
        let short = name.split_once('/').map_or("", |(_, short)| short);
        let begins =
            |name: &str| name.strip_prefix(filter).is_some_and(|rest| rest.is_empty() || rest.starts_with('x'));
        begins(&name) || begins(short)
    }

    /// Messages that each connection keeps in flight in fact: fewer than the point's depth where all together were too much.
    pub(crate) fn depth_in_fact(&self) -> u32 {
        let bytes = u64::from(self.connections) * u64::from(self.size);
        let most = IN_FLIGHT_MAX.checked_div(bytes).unwrap_or(u64::MAX).max(1);
        u32::try_from(most).map_or(self.depth, |most| self.depth.min(most))
    }

    /// Whether its instructions, allocations and system calls are counted: few, since a count takes seconds and is exact.
    pub(crate) fn is_counted(&self) -> bool {
        match self.work {
            Work::Echo => self.connections == 50 && self.size == 64,
            Work::Proxy => (self.connections, self.size) == PROXY[0] || (self.connections, self.size) == PROXY[3],
            Work::Timers => false,
            _ => true,
        }
    }

    /// Whether latencies are measured: where messages are sent one at a time, since an open loop has its own schedule.
    pub(crate) fn has_latency(&self) -> bool {
        self.work == Work::Echo && self.depth == 1
    }
}

impl Work {
    /// Its name, as on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Churn => "churn",
            Self::Lines => "lines",
            Self::Udp => "udp",
            Self::Proxy => "proxy",
            Self::Broadcast => "broadcast",
            Self::Timers => "timers",
            Self::IdleTimeouts => "idle-timeouts",
        }
    }

    /// What a server is asked to do for it.
    pub(crate) fn of_server(self) -> &'static str {
        if matches!(self, Self::Churn | Self::IdleTimeouts) { "echo" } else { self.name() }
    }

    /// What the client is asked to do for it.
    pub(crate) fn of_client(self) -> &'static str {
        if matches!(self, Self::Proxy | Self::IdleTimeouts) { "echo" } else { self.name() }
    }

    /// What counts as one of its messages.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Echo | Self::Proxy | Self::IdleTimeouts => "message",
            Self::Churn => "connection",
            Self::Lines => "line",
            Self::Udp => "datagram",
            Self::Broadcast => "delivery",
            Self::Timers => "timer",
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.work.name())?;
        if self.work == Work::Timers {
            return write!(f, "1000000");
        }
        write!(f, "{}x{}x{}", self.connections, self.size, self.depth)?;
        f.write_str(if self.trains { "-gso" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_echo_has_24_points_and_every_point_a_name_of_its_own() {
        assert_eq!(Point::all(Work::Echo).len(), 24);
        let names: Vec<String> =
            Work::value_variants().iter().flat_map(|work| Point::all(*work)).map(|point| point.to_string()).collect();
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
        assert!(names.contains(&"echo/10000x16384x16".to_owned()) && names.contains(&"udp/2x64x64-gso".to_owned()));
    }

    #[test]
    fn a_filter_is_whole_numbers_of_a_name_with_the_work_or_without() {
        for filter in ["50x64x1", "50x64", "50", "echo/50x64x1", "echo/50"] {
            assert!(Point::USUAL.matches(filter), "{filter}");
        }
        for filter in ["0x64", "udp/50", "50x64x16", "5", ""] {
            assert!(!Point::USUAL.matches(filter), "{filter}");
        }
    }

    #[test]
    fn a_filter_that_is_a_whole_name_is_not_another_ones_beginning() {
        let deep = Point { depth: 16, ..Point::USUAL };
        assert!(deep.matches("50x64") && deep.matches("50x64x16") && !deep.matches("50x64x1"));
    }

    #[test]
    fn only_the_largest_point_has_less_in_flight_than_its_depth() {
        let all: Vec<Point> = Work::value_variants().iter().flat_map(|work| Point::all(*work)).collect();
        let less: Vec<String> =
            all.iter().filter(|point| point.depth_in_fact() < point.depth).map(Point::to_string).collect();
        assert_eq!(less, ["echo/10000x16384x16"]);
        let largest = Point { connections: 10_000, size: 16 * KIB, depth: 16, ..Point::USUAL };
        assert_eq!(largest.depth_in_fact(), 3);
    }

    #[test]
    fn the_points_that_stand_for_others_are_among_all() {
        let all = Point::all(Work::Echo);
        assert!(all.contains(&Point::USUAL) && all.contains(&Point::LONE));
    }
}
