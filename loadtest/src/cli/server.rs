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
    /// The server's process on this machine, to report what it took; with several targets one for all, or one for each
    #[arg(long, value_name = "PID", conflicts_with = "server_cmd")]
    server_pid: Vec<u32>,
    /// Start this server for the run, report what it took, and end it: a program and its arguments, quoted as in a
    /// shell, that stays in the foreground; with several targets one for all, or one for each
    #[arg(long, value_name = "COMMAND")]
    server_cmd: Vec<ServerCommand>,
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
    /// Whether system calls are to be counted, for which the load has to go on for a while.
    pub fn counts_syscalls(&self) -> bool {
        self.server_syscalls
    }

    /// Finds the process of each target's server, or starts it and waits until the target answers.
    ///
    /// # Errors
    ///
    /// If it is not there, does not start or does not answer, or nothing is named whose system calls could be counted; in one
    /// line.
    pub fn hosts(&self, targets: &[&Target], interrupted: &AtomicBool) -> Result<Vec<Host>, String> {
        for (flag, given) in [("--server-pid", self.server_pid.len()), ("--server-cmd", self.server_cmd.len())] {
            if given > 1 && given != targets.len() {
                let count = targets.len();
                return Err(format!("{flag}: expected one for all targets, or one for each of {count}, found {given}"));
            }
        }
        if self.server_syscalls && self.server_pid.is_empty() && self.server_cmd.is_empty() {
            return Err("--server-syscalls needs a server: --server-cmd or --server-pid".to_owned());
        }
        let mut hosts: Vec<Host> = Vec::with_capacity(targets.len());
        for (index, target) in targets.iter().enumerate() {
            let shared = hosts.first().filter(|_| self.server_pid.len().max(self.server_cmd.len()) == 1);
            let host = match shared.map(|first| first.subject) {
                Some(subject) => Host { subject, started: None },
                None => self.host(index, target, interrupted)?,
            };
            hosts.push(host);
        }
        Ok(hosts)
    }

    fn host(&self, index: usize, target: &Target, interrupted: &AtomicBool) -> Result<Host, String> {
        let command = self.server_cmd.get(index);
        let started = command.map(|command| command.start(target, self.server_wait, interrupted)).transpose();
        let started = started.map_err(|error| format!("--server-cmd: {error}"))?;
        let named = self.server_pid.get(index).copied().map(Process::find).transpose();
        let named = named.map_err(|error| format!("--server-pid: {error}"))?;
        let process = started.as_ref().map(Server::process).or(named);
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

pub(super) fn wait(text: &str) -> Result<Duration, String> {
    time(text, Duration::from_millis(1), WAIT_MAX)
}
