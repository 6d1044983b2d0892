//! The flags that say which process the server is.

use clap::Args;

use crate::server::Process;

/// The flags that say which process the server is.
#[derive(Debug, Args)]
pub struct ServerArguments {
    /// The server's process on this machine, to report its CPU time
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
}

impl ServerArguments {
    /// The server's process, if one is named.
    ///
    /// # Errors
    ///
    /// If it is not there.
    pub fn process(&self) -> Result<Option<Process>, String> {
        self.server_pid.map(Process::find).transpose().map_err(|error| format!("--server-pid: {error}"))
    }
}
