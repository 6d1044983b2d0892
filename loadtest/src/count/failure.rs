//! What can go wrong with a message or a connection, by kind.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Why messages or connections failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Nothing listens there.
    Refused,
    /// The server has reset the connection.
    Reset,
    /// The connection was not made, or a message not answered, within the timeout.
    Timeout,
    /// The server has sent FIN with messages unanswered.
    ClosedEarly,
    /// The server has sent FIN in the midst of a reply, or has answered a datagram with a shorter one.
    Short,
    /// What came back is not what was sent. The connection goes on.
    Corrupt,
    /// More came back than was asked for.
    Surplus,
    /// The answer to a datagram came once more.
    Duplicate,
    /// What came back is not of the protocol.
    Malformed,
    /// The server answered that it failed, such as with an HTTP status of 400 or above. The connection goes on.
    Status,
    /// This process or machine has no descriptor left.
    Descriptors,
    /// This machine has no port left from which to connect.
    Ports,
    /// There is no way to the server.
    Unreachable,
    /// Anything else.
    Other,
}

impl Kind {
    /// Every kind, in the order of the reports.
    pub const ALL: [Self; 14] = [
        Self::Refused,
        Self::Reset,
        Self::Timeout,
        Self::ClosedEarly,
        Self::Short,
        Self::Corrupt,
        Self::Surplus,
        Self::Duplicate,
        Self::Malformed,
        Self::Status,
        Self::Descriptors,
        Self::Ports,
        Self::Unreachable,
        Self::Other,
    ];

    /// What a report calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::ClosedEarly => "closed early",
            Self::Short => "short",
            Self::Corrupt => "corrupt",
            Self::Surplus => "surplus",
            Self::Duplicate => "duplicate",
            Self::Malformed => "malformed",
            Self::Status => "status",
            Self::Descriptors => "no descriptors",
            Self::Ports => "no ports",
            Self::Unreachable => "unreachable",
            Self::Other => "other",
        }
    }

    /// Whether what fails so has come back all the same, so that no message is lost, and its connection goes on.
    pub const fn is_reply(self) -> bool {
        matches!(self, Self::Corrupt | Self::Duplicate | Self::Status)
    }

    /// What an error of the operating system means.
    pub fn of(error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
            Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => return Self::Descriptors,
            Some(rustix::io::Errno::ADDRNOTAVAIL) => return Self::Ports,
            _ => {}
        }
        match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::NotFound => Self::Refused,
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Self::Reset,
            ErrorKind::TimedOut => Self::Timeout,
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => Self::Unreachable,
            _ => Self::Other,
        }
    }
}

/// How often one kind has occurred.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Messages that were in flight on a connection which failed, or came back wrong.
    pub messages: u64,
    /// Connections that failed, at whatever point.
    pub connections: u64,
    /// What is known of the first.
    pub first: Option<String>,
}

/// How often each kind has occurred; those that have not are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failures {
    /// By kind.
    pub kinds: BTreeMap<Kind, Count>,
    /// Bytes of corrupt messages that were wrong.
    pub wrong_bytes: u64,
}

impl Failures {
    /// How often this kind has occurred.
    pub fn of(&self, kind: Kind) -> Count {
        self.kinds.get(&kind).cloned().unwrap_or_default()
    }

    /// Counts more of a kind; `detail` is asked only for the first.
    pub fn add(&mut self, kind: Kind, messages: u64, connections: u64, detail: impl FnOnce() -> Option<String>) {
        let count = self.kinds.entry(kind).or_default();
        count.messages += messages;
        count.connections += connections;
        if count.first.is_none() {
            count.first = detail();
        }
    }

    /// Adds what another shard has counted.
    pub fn merge(&mut self, other: &Self) {
        for (kind, count) in &other.kinds {
            self.add(*kind, count.messages, count.connections, || count.first.clone());
        }
        self.wrong_bytes += other.wrong_bytes;
    }

    /// Messages that have failed, in whatever way.
    pub fn messages(&self) -> u64 {
        self.kinds.values().map(|count| count.messages).sum()
    }

    /// Connections that have failed, in whatever way.
    pub fn connections(&self) -> u64 {
        self.kinds.values().map(|count| count.connections).sum()
    }

    /// How much has failed: for each kind its messages, or its connections where those are more.
    pub fn events(&self) -> u64 {
        self.kinds.values().map(|count| count.messages.max(count.connections)).sum()
    }

    /// Messages that were lost, without a reply.
    pub fn lost(&self) -> u64 {
        self.kinds.iter().filter(|(kind, _)| !kind.is_reply()).map(|(_, count)| count.messages).sum()
    }

    /// Whether nothing has failed.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn each_kind_has_its_own_count_and_its_own_first() {
        let mut failures = Failures::default();
        assert!(failures.is_empty());
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            failures.add(kind, index as u64, 1, || Some(format!("{index}")));
            failures.add(kind, 0, 0, || Some("later".to_owned()));
        }
        let mut twice = failures.clone();
        twice.merge(&failures);
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            let expected = Count { messages: 2 * index as u64, connections: 2, first: Some(format!("{index}")) };
            assert_eq!(twice.of(kind), expected);
        }
        let all = (0..Kind::ALL.len() as u64).sum::<u64>();
        assert_eq!((twice.messages(), twice.connections()), (2 * all, 2 * Kind::ALL.len() as u64));
        assert_eq!(
            twice.lost(),
            2 * (all - 5 - 7 - 9),
            "the corrupt ones, duplicates and those with a status have come back"
        );
    }

    #[test]
    fn errors_of_the_system_have_their_kinds() {
        for (errno, kind) in [(24, Kind::Descriptors), (23, Kind::Descriptors), (99, Kind::Ports), (104, Kind::Reset)] {
            assert_eq!(Kind::of(&io::Error::from_raw_os_error(errno)), kind);
        }
        assert_eq!(Kind::of(&io::ErrorKind::TimedOut.into()), Kind::Timeout);
    }
}
