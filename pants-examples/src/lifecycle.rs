//! How a program begins and ends beside others: what it inherits, and to whom it hands over.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use listenfd::ListenFd;
use pants_shard::Runtime;

/// Flags for a restart that nobody notices.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct LifecycleFlags {
    /// Take the listening sockets over from the process that was started with the same path, if there is one, and leave them
    /// to the next: to restart the program without losing a connection, start it once more
    #[arg(long, value_name = "PATH")]
    pub handover: Option<PathBuf>,
}

impl LifecycleFlags {
    /// Gives a runtime what the flags say, and the sockets that systemd has left to this process (sd_listen_fds(3)).
    ///
    /// # Errors
    ///
    /// If a socket that was left is none that streams are accepted from.
    pub fn apply(&self, runtime: Runtime) -> Result<Runtime, String> {
        let inherited = inherited_sockets().map_err(|error| format!("cannot use an inherited socket: {error}"))?;
        let runtime = runtime.inherit(inherited).map_err(|error| error.to_string())?;
        Ok(match &self.handover {
            Some(path) => runtime.handover(path),
            None => runtime,
        })
    }
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
