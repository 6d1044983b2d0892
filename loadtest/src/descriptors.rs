//! The descriptor limit of the process: one descriptor is one connection.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that are needed beside the connections: the standard ones, and a few for every shard's engine.
const SPARE: u64 = 64;

/// Raises the soft limit to the hard one if `connections` need it, and returns a warning if that is not enough.
pub fn raise_limit(connections: usize) -> Option<String> {
    let needed = connections as u64 + SPARE;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return None;
    }
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let why = raised.err().map(|error| format!(" (raising it failed: {error})")).unwrap_or_default();
    (limit < needed).then(|| {
        format!(
            "the descriptor limit is {limit}{why}, too low for {connections} connections; raise it with `ulimit -Hn`"
        )
    })
}
