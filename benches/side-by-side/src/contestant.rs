//! The contestants: what they are, what work they do and how, and where their versions stand.

use crate::point::{Point, Work};

/// A program, or one of the ways in which a program does its work.
#[derive(Debug)]
pub(crate) struct Contestant {
    /// Its name; ways of one program have the program's name in front.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) poller: Poller,
    pub(crate) program: Program,
    /// Which of its ways.
    pub(crate) variant: Option<&'static str>,
    pub(crate) version: Version,
    pub(crate) works: &'static [Work],
}

/// What a contestant is to the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The least that the work can cost: a loop over bare system calls.
    Floor,
    /// Pants itself.
    Pants,
    /// A framework that programs are written with.
    Framework,
    /// A finished proxy.
    Proxy,
}

/// What a contestant waits with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Poller {
    Epoll,
    IoUring,
    /// It does not wait for sockets.
    None,
}

/// What is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// A program of the package `contestants`.
    Own(&'static str),
    /// The programs of pants: `pants-echo` and `pants-proxy`, and one of `contestants` for other work.
    Pants,
    /// What is installed on the machine.
    Haproxy,
    Nginx,
}

/// Where a version stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// This project's.
    Project,
    /// A crate's, in the lock file.
    Crate(&'static str),
    /// What the program of this name says with `-v`.
    Said(&'static str),
}

use Poller::{Epoll, IoUring};
use Work::{Broadcast, Churn, Echo, IdleTimeouts, Lines, Timers, Udp};

const STREAMS: &[Work] = &[Echo, Churn];
const STREAMS_AND_UDP: &[Work] = &[Echo, Churn, Udp];

/// All of them.
pub(crate) const ALL: &[Contestant] = &[
    floor("floor-epoll", Epoll, &[Echo, Churn, Lines]),
    floor("floor-uring", IoUring, STREAMS).of(Version::Crate("io-uring")),
    floor("floor-udp", Epoll, &[Udp]).by("floor-udp", "one-a-call"),
    floor("floor-udp", Epoll, &[Udp]).by("floor-udp-batched", "batched"),
    floor("floor-udp", Epoll, &[Udp]).by("floor-udp-gso", "gso"),
    floor("floor-proxy", Epoll, &[Work::Proxy]),
    floor("floor-broadcast", Epoll, &[Broadcast]),
    pants(&[Echo, Churn, Lines, Udp, Work::Proxy, Broadcast, Timers, IdleTimeouts]),
    pants(&[Echo]).by("pants-busy-poll", BUSY_POLL),
    pants(&[Udp]).by("pants-no-segmentation", "no-segmentation"),
    pants(&[Broadcast]).by("pants-two-shards", "two-shards"),
    pants(&[IdleTimeouts]).by("pants-idle-timeouts", "idle-timeouts"),
    framework("mio", Epoll, STREAMS_AND_UDP),
    framework("tokio", Epoll, &[Echo, Churn, Lines, Udp, Broadcast]).by("tokio", "current-thread"),
    framework("tokio", Epoll, &[Echo, Churn, Lines, Udp, Broadcast]).by("tokio-multi-thread", "multi-thread"),
    framework("tokio-timers", Poller::None, &[Timers]).of(Version::Crate("tokio")),
    framework("monoio", IoUring, STREAMS_AND_UDP).by("monoio", "io_uring"),
    framework("monoio", Epoll, STREAMS_AND_UDP).by("monoio-epoll", "epoll"),
    framework("glommio", IoUring, STREAMS_AND_UDP),
    framework("compio", IoUring, STREAMS_AND_UDP).by("compio", "io_uring"),
    framework("compio", Epoll, STREAMS_AND_UDP).by("compio-epoll", "epoll"),
    framework("may", Epoll, STREAMS_AND_UDP),
    proxy("haproxy", Program::Haproxy),
    proxy("nginx", Program::Nginx),
];

/// Frameworks that one would look for here, which are not measured.
pub(crate) const NOT_TO_BE_HAD: [&str; 2] = ["gnet", "Seastar"];

/// Why they are not.
pub(crate) const WHY_NOT: &str = "not to be had from the registries that the project uses";

/// The way of pants in which a shard looks for work before it sleeps.
pub(crate) const BUSY_POLL: &str = "busy-poll";

const fn new(name: &'static str, kind: Kind, poller: Poller, works: &'static [Work]) -> Contestant {
    Contestant { name, kind, poller, program: Program::Own(name), variant: None, version: Version::Project, works }
}

const fn floor(name: &'static str, poller: Poller, works: &'static [Work]) -> Contestant {
    new(name, Kind::Floor, poller, works)
}

const fn framework(name: &'static str, poller: Poller, works: &'static [Work]) -> Contestant {
    new(name, Kind::Framework, poller, works).of(Version::Crate(name))
}

const fn pants(works: &'static [Work]) -> Contestant {
    Contestant { program: Program::Pants, ..new("pants", Kind::Pants, Epoll, works) }
}

const fn proxy(name: &'static str, program: Program) -> Contestant {
    Contestant { program, ..new(name, Kind::Proxy, Epoll, &[Work::Proxy]).of(Version::Said(name)) }
}

impl Contestant {
    /// Its version stands there.
    const fn of(self, version: Version) -> Self {
        Self { version, ..self }
    }

    /// One of the program's ways, under a name of its own.
    const fn by(self, name: &'static str, variant: &'static str) -> Self {
        Self { name, variant: Some(variant), ..self }
    }

    /// Whether it does the work of this point.
    pub(crate) fn takes_part(&self, point: &Point) -> bool {
        // Looking for work between messages pays for one connection; with more there is no time between messages.
        self.works.contains(&point.work) && (self.variant != Some(BUSY_POLL) || *point == Point::LONE)
    }

    /// Whether a name on the command line is meant for it: its own, or the beginning of it up to a hyphen.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.name.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }
}

/// The contestant of this name.
pub(crate) fn find(name: &str) -> Option<&'static Contestant> {
    ALL.iter().find(|contestant| contestant.name == name)
}

/// Who is the floor of a point: the name of the contestant to which the others are compared.
pub(crate) fn floor_of(point: &Point) -> &'static str {
    match point.work {
        Echo | Churn | Lines => "floor-epoll",
        Udp => "floor-udp",
        Work::Proxy => "floor-proxy",
        Broadcast => "floor-broadcast",
        // Nobody sets timers for less than nothing; the ratio is to the peer.
        Timers => "tokio-timers",
        // What time-outs cost is seen beside the same program without them.
        IdleTimeouts => "pants",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_contestant_has_a_name_of_its_own() {
        let names: HashSet<&str> = ALL.iter().map(|contestant| contestant.name).collect();
        assert_eq!(names.len(), ALL.len());
    }

    #[test]
    fn pants_and_a_floor_take_part_in_every_point() {
        for point in Work::value_variants().iter().flat_map(|work| Point::all(*work)) {
            assert!(find("pants").unwrap().takes_part(&point), "{point}");
            assert!(find(floor_of(&point)).unwrap().takes_part(&point), "{point}");
        }
    }

    #[test]
    fn a_name_calls_all_ways_of_a_program_and_nobody_else() {
        let called = |name: &str| -> Vec<&str> {
            ALL.iter().filter(|contestant| contestant.is_called(name)).map(|contestant| contestant.name).collect()
        };
        assert_eq!(called("tokio"), ["tokio", "tokio-multi-thread", "tokio-timers"]);
        assert_eq!(called("tokio-multi-thread"), ["tokio-multi-thread"]);
        assert_eq!(called("m"), [""; 0]);
    }

    #[test]
    fn busy_polling_is_compared_with_one_connection_alone() {
        let polling = find("pants-busy-poll").unwrap();
        assert!(polling.takes_part(&Point::LONE) && !polling.takes_part(&Point::USUAL));
    }
}
