//! The descriptor limit of the process: one descriptor is one connection.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::units;

/// Descriptors that are needed beside the connections: the standard ones, files of results, the runtime's own.
const SPARE: u64 = 64;

/// Descriptors of one shard's engine: its poller, its waker, its timer.
const PER_SHARD: u64 = 4;

/// Raises the soft limit, which is low for the sake of programs that use `select`, to the hard one if that many connections
/// need it (getrlimit(2), `RLIMIT_NOFILE`).
///
/// # Errors
///
/// If the hard limit is too low for them: what it is, and how to raise it.
pub fn make_room(connections: usize, shards: usize) -> Result<(), String> {
    let needed = connections as u64 + SPARE + PER_SHARD * shards as u64;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    check(connections, needed, limit.maximum)?;
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    raised.map_err(|error| format!("cannot raise the descriptor limit to its hard limit: {error}"))
}

/// How many this process may have open; `None` if that is not bounded.
pub fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

fn check(connections: usize, needed: u64, hard: Option<u64>) -> Result<(), String> {
    let Some(hard) = hard.filter(|hard| *hard < needed) else { return Ok(()) };
    Err(format!(
        "{} connections need {needed} descriptors, and a process may have {hard} here: raise that as root with `ulimit -n \
         {needed}`, or share the connections among several pants-load and merge what they find",
        units::count(connections as u64),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_connections_than_the_hard_limit_are_refused_with_the_way_out() {
        assert_eq!(check(1_000, 1_068, None), Ok(()));
        assert_eq!(check(1_000, 1_068, Some(1_068)), Ok(()));
        let error = check(1_000, 1_068, Some(1_067)).unwrap_err();
        assert!(
            error.starts_with("1,000 connections need 1068 descriptors, and a process may have 1067 here"),
            "{error}"
        );
        assert!(error.contains("`ulimit -n 1068`"), "{error}");
    }

    #[test]
    fn a_run_of_this_machine_s_size_has_room() {
        make_room(10, 2).unwrap();
        assert!(limit().is_none_or(|limit| limit >= 10));
        assert!(make_room(1 << 40, 1).unwrap_err().contains("descriptors"));
    }
}
