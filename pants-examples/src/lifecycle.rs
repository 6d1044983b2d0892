//! How a program begins beside others: what it inherits.

use std::io;
use std::os::fd::OwnedFd;

use listenfd::ListenFd;
use pants_shard::Runtime;

/// Gives a runtime the sockets that systemd has left to this process (sd_listen_fds(3)).
///
/// # Errors
///
/// If a socket that was left is none that streams are accepted from.
pub fn inherit(runtime: Runtime) -> Result<Runtime, String> {
    let inherited = inherited_sockets().map_err(|error| format!("cannot use an inherited socket: {error}"))?;
    runtime.inherit(inherited).map_err(|error| error.to_string())
}

fn inherited_sockets() -> io::Result<Vec<OwnedFd>> {
    let mut left = ListenFd::from_env();
    let count = left.len();
    let take = |index| match left.take_tcp_listener(index) {
        Ok(listener) => Ok(listener.map(OwnedFd::from)),
        Err(_) => Ok(left.take_unix_listener(index)?.map(OwnedFd::from)),
    };
    (0..count).map(take).filter_map(Result::transpose).collect()
}
