//! How a pair has ended, and through whom, in the words of the log. Pure.

use std::fmt;

use pants_shard::CloseReason;

/// One of the two sides of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Upstream,
}

/// How a pair has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// In good order; this side's FIN came first.
    Finished(Side),
    /// Otherwise; this side's connection was the first to be closed, and the other one for it.
    Broken(Side, CloseReason),
    /// Nothing passed for too long.
    Idle,
    /// No upstream could be reached; this is what the last one said.
    Unreachable(String),
}

impl Side {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Client => Self::Upstream,
            Self::Upstream => Self::Client,
        }
    }
}

impl Ending {
    /// Who is behind it.
    pub(super) fn by(&self) -> &'static str {
        match self {
            Self::Broken(_, CloseReason::Stopped | CloseReason::Overflow | CloseReason::Panicked) | Self::Idle => {
                "proxy"
            }
            Self::Finished(Side::Client) | Self::Broken(Side::Client, _) => "client",
            Self::Finished(Side::Upstream) | Self::Broken(Side::Upstream, _) | Self::Unreachable(_) => "upstream",
        }
    }

    /// Whether this is what ended the pair though `earlier` came before: a fault outweighs the end of one direction in good
    /// order; otherwise the first counts.
    pub(super) fn outweighs(&self, earlier: Option<&Self>) -> bool {
        match earlier {
            None => true,
            Some(Self::Finished(_)) => !matches!(self, Self::Finished(_)),
            Some(_) => false,
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished(_) => CloseReason::Finished.fmt(f),
            Self::Broken(_, reason) => reason.fmt(f),
            Self::Idle => CloseReason::IdleTimeout.fmt(f),
            Self::Unreachable(error) => f.write_str(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_outweighs_a_good_end_and_the_first_of_a_kind_stays() {
        let good = [Ending::Finished(Side::Client), Ending::Finished(Side::Upstream)];
        let bad = [Ending::Idle, Ending::Broken(Side::Client, CloseReason::Reset)];
        for ending in good.iter().chain(&bad) {
            assert!(ending.outweighs(None));
            assert!(bad.iter().all(|earlier| !ending.outweighs(Some(earlier))));
            assert!(good.iter().all(|earlier| ending.outweighs(Some(earlier)) == bad.contains(ending)));
        }
    }

    #[test]
    fn each_ending_is_put_down_to_who_is_behind_it() {
        for (ending, by, how) in [
            (Ending::Finished(Side::Client), "client", "finished"),
            (Ending::Broken(Side::Upstream, CloseReason::Reset), "upstream", "reset by peer"),
            (Ending::Broken(Side::Client, CloseReason::WriteStalled), "client", "write stalled"),
            (Ending::Broken(Side::Client, CloseReason::Stopped), "proxy", "engine stopped"),
            (Ending::Idle, "proxy", "idle timeout"),
            (Ending::Unreachable("refused".into()), "upstream", "refused"),
        ] {
            assert_eq!((ending.by(), ending.to_string().as_str()), (by, how));
        }
    }
}
