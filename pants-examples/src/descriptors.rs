//! The descriptor limit of the process: one descriptor is one connection.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Below this many descriptors a server should say so: ten thousand connections, and some for itself.
const LOW: u64 = 10_240;

/// Raises the soft limit to the hard one, and returns a warning if that is low.
///
/// The soft limit is low for the sake of programs that use `select`, which these do not (getrlimit(2), `RLIMIT_NOFILE`).
pub fn raise_limit() -> Option<String> {
    let hard = getrlimit(Resource::Nofile).maximum;
    let raised = setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard });
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let why = raised.err().map(|error| format!(" (raising it failed: {error})")).unwrap_or_default();
    (limit < LOW).then(|| {
        format!(
            "the descriptor limit is {limit}{why}, which bounds the connections; \
             raise it with `ulimit -Hn` or systemd's LimitNOFILE"
        )
    })
}
