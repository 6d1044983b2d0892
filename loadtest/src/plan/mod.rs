//! What one run is to do, valid: every value in its range, and how the shards part the connections and the messages.

pub mod part;
pub mod schedule;
pub mod sizes;
pub mod think;

use std::ops::Range;
use std::time::{Duration, Instant, SystemTime};

use clap::ValueEnum;

use crate::plan::part::Part;
use crate::plan::sizes::Sizes;
use crate::plan::think::Think;
use crate::protocol::Language;
use crate::sources::Sources;
use crate::target::Target;
use crate::units;

/// The most connections of a run.
pub const CONNECTIONS_MAX: usize = 1_000_000;

/// The largest message, in bytes.
pub const SIZE_MAX: usize = 16 << 20;

/// The smallest message that is a datagram: its number.
pub const DATAGRAM_MIN: usize = 8;

/// The largest: what UDP over IPv4 has room for (udp(7)). A Unix datagram, which the engine reads up to 64 KiB of, may be no
/// larger here.
pub const DATAGRAM_MAX: usize = 65_507;

/// The most messages in flight on one connection.
pub const DEPTH_MAX: usize = 65_536;

/// The most bytes in flight on one connection.
pub const IN_FLIGHT_BYTES_MAX: usize = 64 << 20;

/// The longest that a message may be waited for, once it is sent.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// The longest run, and the longest warm-up.
pub const DURATION_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The longest latency that is told from longer ones: two of the longest runs, since a message of an open loop may be due at the
/// beginning of what is measured and sent at the end of the cool-down, and more than a timeout.
pub const LATENCY_MAX: Duration = Duration::from_secs(15 * 24 * 60 * 60);

/// The highest rate of an open loop, in messages a second.
pub const RATE_MAX: f64 = 1e8;

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

impl Model {
    /// An open loop of this rate; a closed one stays closed.
    pub fn at(self, rate: f64) -> Self {
        match self {
            Self::Closed => Self::Closed,
            Self::Open { arrivals, .. } => Self::Open { rate, arrivals },
        }
    }
}

/// How the messages of an open loop follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
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
    /// What is spoken with it.
    pub protocol: Language,
    /// How many connections, over all shards.
    pub connections: usize,
    /// How many connections are held beside them, on which nothing is said.
    pub idle: usize,
    /// Bytes of a message, where the protocol has messages of any size.
    pub sizes: Sizes,
    /// Messages in flight on a connection.
    pub depth: usize,
    /// What sends the messages.
    pub model: Model,
    /// When it ends.
    pub extent: Extent,
    /// Over how long the connections are opened; each is loaded as soon as it is made. Without one all are made before the
    /// load begins.
    pub ramp: Duration,
    /// How long the load runs, after the ramp, before anything is measured.
    pub warmup: Duration,
    /// How long the load goes on after what is measured.
    pub cooldown: Duration,
    /// After how many messages a connection is closed and made anew.
    pub reconnect_after: Option<u64>,
    /// Whether a connection that has failed is made anew.
    pub reconnect_failed: bool,
    /// How long a connection waits, in a closed loop, between a reply and its next message.
    pub think: Option<Think>,
    /// How long a connection may take to be made, and a message to be answered.
    pub timeout: Duration,
    /// What the pattern is made from.
    pub seed: u64,
    /// Whether what comes back is compared with what was sent.
    pub verify: bool,
    /// When the load begins by the wall clock, if it does not when the connections are made.
    pub start_at: Option<SystemTime>,
    /// Which part of a test this is. What the plan asks for is this part's own.
    pub part: Part,
    /// The number of its first connection among those of all parts.
    pub first_connection: usize,
    /// Where the connections come from, by turns.
    pub sources: Sources,
}

/// The course of a run by the clock. A message is measured if it is due from `from` on and before `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// When the load begins.
    pub begin: Instant,
    /// When measuring begins: the warm-up is over.
    pub from: Instant,
    /// When measuring ends; `None` if not by the clock.
    pub until: Option<Instant>,
    /// When sending ends: the cool-down is over; `None` if not by the clock.
    pub stop: Option<Instant>,
}

/// A [`Window`] in nanoseconds from the load's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// When measuring begins.
    pub from: u64,
    /// When measuring ends: `u64::MAX` if not by the clock.
    pub until: u64,
    /// When sending ends: `u64::MAX` if not by the clock.
    pub stop: u64,
}

impl Window {
    /// The same, counted from the load's beginning.
    pub fn span(&self) -> Span {
        let since = |instant: Option<Instant>| instant.map_or(u64::MAX, |instant| nanos_between(self.begin, instant));
        Span { from: since(Some(self.from)), until: since(self.until), stop: since(self.stop) }
    }
}

impl Span {
    /// Whether a message that is due at this time is measured.
    #[inline]
    pub fn measures(&self, due: u64) -> bool {
        (self.from..self.until).contains(&due)
    }

    /// In which second of the measured time something happens at `now`: what comes after its end is of its last second.
    pub fn second(&self, now: u64) -> u64 {
        let last = self.until.saturating_sub(1).max(self.from);
        (now.clamp(self.from, last) - self.from) / SECOND_NS
    }
}

/// Nanoseconds in a second.
const SECOND_NS: u64 = 1_000_000_000;

/// The nanoseconds from one moment to another; 0 if that is not later.
#[inline]
pub fn nanos_between(from: Instant, to: Instant) -> u64 {
    let time = to.saturating_duration_since(from);
    time.as_secs() * SECOND_NS + u64::from(time.subsec_nanos())
}

impl Plan {
    /// Checks what no single value shows.
    ///
    /// # Errors
    ///
    /// What does not fit, as one sentence.
    pub fn check(&self) -> Result<(), String> {
        let size = self.protocol.request_max(&self.sizes);
        if size.saturating_mul(self.depth) > IN_FLIGHT_BYTES_MAX {
            return Err(format!(
                "--size times --depth must be at most {}: {} in flight on a connection is too much",
                units::bytes(IN_FLIGHT_BYTES_MAX as u64),
                units::bytes((size as u64).saturating_mul(self.depth as u64)),
            ));
        }
        if self.think.is_some() && matches!(self.model, Model::Open { .. }) {
            return Err("--think and --rate contradict each other: in an open loop nobody waits for a reply".to_owned());
        }
        if self.target.is_datagram() { self.check_datagrams() } else { Ok(()) }
    }

    fn check_datagrams(&self) -> Result<(), String> {
        if self.protocol != Language::Echo {
            return Err(format!("--protocol {}: datagrams are echoes only", self.protocol.name()));
        }
        if self.idle > 0 {
            return Err("--idle cannot be used with datagrams, which have no connections to hold".to_owned());
        }
        if self.reconnect_after.is_some() || self.reconnect_failed {
            return Err("--reconnect cannot be used with datagrams, which have no connections to make anew".to_owned());
        }
        if self.sizes.min() < DATAGRAM_MIN || self.sizes.max() > DATAGRAM_MAX {
            return Err(format!(
                "--size {}: a datagram must be {DATAGRAM_MIN} to {DATAGRAM_MAX} bytes, of which {DATAGRAM_MIN} are its number, \
                 and these have {} to {}",
                self.sizes,
                self.sizes.min(),
                self.sizes.max()
            ));
        }
        Ok(())
    }

    /// Checks that this many shards can carry it out.
    ///
    /// # Errors
    ///
    /// Why not, as one sentence.
    pub fn check_shards(&self, shards: usize) -> Result<(), String> {
        if matches!(self.model, Model::Open { .. }) && self.connections < shards {
            return Err(format!(
                "--rate needs a connection for each shard's part of the schedule: {shards} shards have {} --connections",
                self.connections
            ));
        }
        Ok(())
    }

    /// The connections of one shard, by their numbers.
    pub fn share(&self, shard: usize, shards: usize) -> Range<usize> {
        part(self.connections, shard, shards)
    }

    /// How many idle connections are one shard's.
    pub fn idle_share(&self, shard: usize, shards: usize) -> usize {
        part(self.idle, shard, shards).len()
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

    /// When a load begins whose connections are made `now`, which is `wall` by the wall clock: at once, or when it is time to.
    pub fn begin(&self, now: Instant, wall: SystemTime) -> Instant {
        let ahead = self.start_at.and_then(|at| at.duration_since(wall).ok());
        now + ahead.unwrap_or_default()
    }

    /// How much later than it was to begin a load has begun, that was measured from `measured_from` on.
    pub fn lateness(&self, measured_from: SystemTime) -> Duration {
        let late = self.start_at.and_then(|at| measured_from.duration_since(at + self.ramp + self.warmup).ok());
        late.unwrap_or_default()
    }

    /// The part of this plan that one of several processes has: its share of the connections, of the messages and of the rate.
    ///
    /// # Errors
    ///
    /// If there are more parts than connections or messages, as one sentence.
    pub fn of_part(self, part: Part) -> Result<Self, String> {
        let connections = part.share(self.connections as u64);
        let too_many = |what: &str| format!("--part {part}: there are more parts than {what}");
        if connections.is_empty() {
            return Err(too_many("--connections"));
        }
        let extent = match self.extent {
            Extent::Time(_) => self.extent,
            Extent::Count(count) => {
                let share = part.share(count);
                Extent::Count(share.end - share.start)
            }
        };
        if extent == Extent::Count(0) {
            return Err(too_many("messages in --count"));
        }
        let model = match self.model {
            Model::Closed => Model::Closed,
            Model::Open { rate, arrivals } => Model::Open { rate: rate / part.of() as f64, arrivals },
        };
        let first_connection = connections.start as usize;
        let connections = (connections.end - connections.start) as usize;
        let idle = part.share(self.idle as u64);
        let idle = (idle.end - idle.start) as usize;
        Ok(Self { connections, idle, model, extent, part, first_connection, ..self })
    }

    /// The place of a shard among those of all parts, and how many they are.
    pub fn place(&self, shard: usize, shards: usize) -> (usize, usize) {
        (self.part.index() * shards + shard, self.part.of() * shards)
    }

    /// The window of a run whose load begins at `begin`.
    pub fn window(&self, begin: Instant) -> Window {
        let from = begin + self.ramp + self.warmup;
        let until = match self.extent {
            Extent::Time(duration) => Some(from + duration),
            Extent::Count(_) => None,
        };
        Window { begin, from, until, stop: until.map(|until| until + self.cooldown) }
    }
}

/// One part of a number of things that are parted evenly.
fn part(all: usize, part: usize, parts: usize) -> Range<usize> {
    let bound = |part: usize| (all as u128 * part as u128 / parts.max(1) as u128) as usize;
    bound(part)..bound(part + 1)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn plan(connections: usize, extent: Extent) -> Plan {
        Plan {
            target: "tcp://127.0.0.1:4040".parse().unwrap(),
            protocol: Language::Echo,
            connections,
            idle: 0,
            sizes: Sizes::fixed(64),
            depth: 1,
            model: Model::Closed,
            extent,
            ramp: Duration::ZERO,
            warmup: Duration::ZERO,
            cooldown: Duration::ZERO,
            reconnect_after: None,
            reconnect_failed: false,
            think: None,
            timeout: Duration::from_secs(5),
            seed: 1,
            verify: true,
            start_at: None,
            part: Part::WHOLE,
            first_connection: 0,
            sources: Sources::default(),
        }
    }

    #[test]
    fn the_parts_of_a_plan_add_up_to_it() {
        let whole =
            Plan { model: Model::Open { rate: 1_000.0, arrivals: Arrivals::Poisson }, ..plan(10, Extent::Count(101)) };
        let (mut connections, mut count, mut rate) = (0, 0, 0.0);
        for part in ["0/4", "1/4", "2/4", "3/4"] {
            let own = whole.clone().of_part(part.parse().unwrap()).unwrap();
            assert_eq!(own.first_connection, connections, "its connections follow those of the part before");
            connections += own.connections;
            let (Extent::Count(own_count), Model::Open { rate: own_rate, .. }) = (own.extent, own.model) else {
                panic!()
            };
            count += own_count;
            rate += own_rate;
        }
        assert_eq!((connections, count, rate), (10, 101, 1_000.0));
        for (connections, messages, part) in [(3, 101, "0/4"), (10, 3, "0/4")] {
            let plan = plan(connections, Extent::Count(messages));
            assert!(plan.of_part(part.parse().unwrap()).unwrap_err().contains("more parts than"));
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
    fn ramp_warm_up_window_and_cool_down_follow_each_other() {
        let second = Duration::from_secs(1);
        let plan =
            Plan { ramp: 3 * second, warmup: second, cooldown: 2 * second, ..plan(1, Extent::Time(10 * second)) };
        let span = plan.window(Instant::now()).span();
        assert_eq!(span, Span { from: 4 * SECOND_NS, until: 14 * SECOND_NS, stop: 16 * SECOND_NS });
        let plan = Plan { extent: Extent::Count(1), ..plan };
        assert_eq!(plan.window(Instant::now()).span(), Span { from: 4 * SECOND_NS, until: u64::MAX, stop: u64::MAX });
    }

    #[test]
    fn every_moment_is_of_a_second_of_the_measured_time() {
        let span = Span { from: 100, until: 100 + 5 * SECOND_NS / 2, stop: u64::MAX };
        let seconds = [0, 100, 99 + SECOND_NS, 100 + SECOND_NS, span.until - 1, span.until, u64::MAX];
        assert_eq!(seconds.map(|now| span.second(now)), [0, 0, 0, 1, 2, 2, 2]);
        assert_eq!([99, 100, span.until - 1, span.until].map(|due| span.measures(due)), [false, true, true, false]);
    }

    #[test]
    fn an_open_loop_has_no_think_time_and_a_connection_for_each_shard() {
        let open = Model::Open { rate: 1e3, arrivals: Arrivals::Poisson };
        let plan = Plan { model: open, ..plan(2, Extent::Count(1)) };
        assert_eq!((plan.check(), plan.check_shards(2)), (Ok(()), Ok(())));
        assert!(plan.check_shards(3).unwrap_err().contains("3 shards have 2 --connections"));
        let plan = Plan { think: Some("5ms".parse().unwrap()), ..plan };
        assert!(plan.check().unwrap_err().contains("contradict"));
    }

    #[test]
    fn the_shards_of_all_parts_have_one_schedule_together() {
        let whole =
            Plan { model: Model::Open { rate: 4_000.0, arrivals: Arrivals::Constant }, ..plan(8, Extent::Count(100)) };
        let mut due = Vec::new();
        for part in ["0/2", "1/2"] {
            let own = whole.clone().of_part(part.parse().unwrap()).unwrap();
            let Model::Open { rate, arrivals } = own.model else { panic!() };
            for shard in 0..2 {
                let (place, places) = own.place(shard, 2);
                due.push(schedule::Schedule::new(rate * own.part.of() as f64, arrivals, 1, place, places).next());
            }
        }
        assert_eq!(due, [0, 250_000, 500_000, 750_000], "no two are due at once");
    }

    #[test]
    fn a_load_begins_at_its_time_or_late_and_then_at_once() {
        let second = Duration::from_secs(1);
        let (now, noon) = (Instant::now(), SystemTime::UNIX_EPOCH + 1_000_000 * second);
        let plan = Plan { start_at: Some(noon), warmup: second, ..plan(1, Extent::Count(1)) };
        assert_eq!(plan.begin(now, noon - 5 * second), now + 5 * second);
        assert_eq!(plan.begin(now, noon + 5 * second), now);
        assert_eq!(Plan { start_at: None, ..plan.clone() }.begin(now, noon), now);
        assert_eq!(plan.lateness(noon + second), Duration::ZERO);
        assert_eq!(plan.lateness(noon + 4 * second), 3 * second);
        assert_eq!(Plan { start_at: None, ..plan }.lateness(noon + 4 * second), Duration::ZERO);
    }

    #[test]
    fn too_much_in_flight_is_refused() {
        let plan = Plan { sizes: Sizes::fixed(SIZE_MAX), depth: 5, ..plan(1, Extent::Count(1)) };
        assert!(plan.check().unwrap_err().contains("64.0 MiB"));
        assert_eq!(Plan { depth: 4, ..plan }.check(), Ok(()));
    }

    #[test]
    fn datagrams_have_their_own_bounds() {
        let udp = Plan { target: "udp://127.0.0.1:4040".parse().unwrap(), ..plan(1, Extent::Count(1)) };
        for (sizes, fits) in [("8", true), ("65507", true), ("7", false), ("65508", false), ("exp:64", false)] {
            let checked = Plan { sizes: sizes.parse().unwrap(), ..udp.clone() }.check();
            assert_eq!(checked.is_ok(), fits, "{sizes}: {checked:?}");
        }
        let lines = Plan { protocol: Language::Lines, ..udp };
        assert!(lines.check().unwrap_err().contains("--protocol lines: datagrams are echoes only"));
    }
}
