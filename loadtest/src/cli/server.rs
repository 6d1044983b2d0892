//! The flags that say which process the server is.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Args;

use crate::cli::time;
use crate::server::Process;
use crate::server::command::{Server, ServerCommand};
use crate::server::watch::Subject;
use crate::target::Target;

/// The longest that a server may take to be there.
const WAIT_MAX: Duration = Duration::from_secs(600);

/// The flags that say which process the server is.
#[derive(Debug, Args)]
pub struct ServerArguments {
    /// The server's process on this machine, to report what it took
    #[arg(long, value_name = "PID", conflicts_with = "server_cmd")]
    server_pid: Option<u32>,
    /// Start this server for the run, report what it took, and end it: a program and its arguments, quoted as in a shell
    #[arg(long, value_name = "COMMAND")]
    server_cmd: Option<ServerCommand>,
    /// How long the server that is started may take to be there, up to 10m
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = wait, requires = "server_cmd")]
    server_wait: Duration,
    /// Count the server's system calls too, with strace, for a second after the measured time
    #[arg(long, conflicts_with = "count")]
    server_syscalls: bool,
}

/// The server of a run. One that was started is ended when this is dropped.
#[derive(Debug)]
pub struct Host {
    /// What is to be looked at, if anything is.
    pub subject: Option<Subject>,
    started: Option<Server>,
}

impl ServerArguments {
    /// Finds the server's process, or starts it and waits until `target` answers.
    ///
    /// # Errors
    ///
    /// If it is not there, does not start or does not answer, or nothing is named whose system calls could be counted; in one
    /// line.
    pub fn host(&self, target: &Target, interrupted: &AtomicBool) -> Result<Host, String> {
        let of_cmd = |error| format!("--server-cmd: {error}");
        let started = self.server_cmd.as_ref().map(|command| command.start(target, self.server_wait, interrupted));
        let started = started.transpose().map_err(of_cmd)?;
        let named = self.server_pid.map(Process::find).transpose().map_err(|error| format!("--server-pid: {error}"))?;
        let process = started.as_ref().map(Server::process).or(named);
        if self.server_syscalls && process.is_none() {
            return Err("--server-syscalls needs a server: --server-cmd or --server-pid".to_owned());
        }
        Ok(Host { subject: process.map(|process| Subject { process, syscalls: self.server_syscalls }), started })
    }
}

impl Host {
    /// Checks that a server that was started is still there.
    ///
    /// # Errors
    ///
    /// How it ended, in one line.
    pub fn check(&mut self) -> Result<(), String> {
        self.started.as_mut().map_or(Ok(()), Server::check)
    }
}

fn wait(text: &str) -> Result<Duration, String> {
    time(text, Duration::from_millis(1), WAIT_MAX)
}
