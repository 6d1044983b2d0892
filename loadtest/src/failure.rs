//! What can go wrong with a message or a connection, by kind.

use serde::Serialize;

/// Why messages or connections failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Nothing listens there.
    Refused,
    /// The server has reset the connection.
    Reset,
    /// The connection was not made, or a message not answered, within the timeout.
    Timeout,
    /// The server has sent FIN before it had answered everything.
    ClosedEarly,
    /// What came back is not what was sent. The connection goes on.
    Corrupt,
    /// Anything else, such as a lack of descriptors.
    Other,
}

impl Kind {
    /// Every kind, in the order of the reports.
    pub const ALL: [Self; 6] =
        [Self::Refused, Self::Reset, Self::Timeout, Self::ClosedEarly, Self::Corrupt, Self::Other];

    /// What a report calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::ClosedEarly => "closed early",
            Self::Corrupt => "corrupt",
            Self::Other => "other",
        }
    }

    /// What an error of the operating system means.
    pub fn of(error: std::io::ErrorKind) -> Self {
        match error {
            std::io::ErrorKind::ConnectionRefused => Self::Refused,
            std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe => Self::Reset,
            std::io::ErrorKind::TimedOut => Self::Timeout,
            _ => Self::Other,
        }
    }
}

/// How often one kind has occurred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Messages that were in flight on a connection which failed, or came back wrong.
    pub messages: u64,
    /// Connections that failed, at whatever point.
    pub connections: u64,
}

impl Count {
    /// Whether there was none.
    pub fn is_zero(self) -> bool {
        self == Self::default()
    }
}

/// How often each kind has occurred.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Failures {
    refused: Count,
    reset: Count,
    timeout: Count,
    closed_early: Count,
    corrupt: Count,
    other: Count,
    /// Bytes of corrupt messages that were wrong.
    pub wrong_bytes: u64,
    /// What the operating system said of the first one of the kind `other`.
    pub first_other: Option<String>,
}

impl Failures {
    /// How often this kind has occurred.
    pub fn of(&self, kind: Kind) -> Count {
        match kind {
            Kind::Refused => self.refused,
            Kind::Reset => self.reset,
            Kind::Timeout => self.timeout,
            Kind::ClosedEarly => self.closed_early,
            Kind::Corrupt => self.corrupt,
            Kind::Other => self.other,
        }
    }

    /// Counts more of a kind.
    pub fn add(&mut self, kind: Kind, more: Count) {
        let count = match kind {
            Kind::Refused => &mut self.refused,
            Kind::Reset => &mut self.reset,
            Kind::Timeout => &mut self.timeout,
            Kind::ClosedEarly => &mut self.closed_early,
            Kind::Corrupt => &mut self.corrupt,
            Kind::Other => &mut self.other,
        };
        count.messages += more.messages;
        count.connections += more.connections;
    }

    /// Adds what another shard has counted.
    pub fn merge(&mut self, other: &Self) {
        for kind in Kind::ALL {
            self.add(kind, other.of(kind));
        }
        self.wrong_bytes += other.wrong_bytes;
        if self.first_other.is_none() {
            self.first_other.clone_from(&other.first_other);
        }
    }

    /// All kinds together.
    pub fn total(&self) -> Count {
        Kind::ALL.into_iter().map(|kind| self.of(kind)).fold(Count::default(), |sum, count| Count {
            messages: sum.messages + count.messages,
            connections: sum.connections + count.connections,
        })
    }

    /// Whether nothing has failed.
    pub fn is_empty(&self) -> bool {
        self.total().is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_own_count_and_all_of_them_a_total() {
        let mut failures = Failures::default();
        assert!(failures.is_empty());
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            failures.add(kind, Count { messages: index as u64, connections: 1 });
        }
        let mut twice = failures.clone();
        twice.merge(&failures);
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(twice.of(kind), Count { messages: 2 * index as u64, connections: 2 });
        }
        assert_eq!(twice.total(), Count { messages: 30, connections: 12 });
    }
}
