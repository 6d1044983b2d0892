//! What the programs on pants do alike: say where they listen, drain at a signal, and tell by their status how it went.

use std::io::{self, Write};
use std::process::ExitCode;

use pants_shard::{Config, Report, Running, Runtime, Shard, ShardId, Stats};

use crate::descriptors;
use crate::flags::CommonFlags;
use crate::lifecycle;
use crate::log::{self, LevelFilter};
use crate::notice;
use crate::signals::Stopper;

/// What could not be done: exit status 2 before the first connection, 1 after.
const NOT_STARTED: u8 = 2;
const FAILED: u8 = 1;

/// A program, by the name that its messages begin with.
#[derive(Clone, Copy, Debug)]
pub struct Program(pub &'static str);

impl Program {
    /// Serves what `set_up` declares on each shard, until a signal has ended it. Gives the status to exit with.
    pub fn serve<F>(self, config: Config, set_up: F) -> ExitCode
    where
        F: Fn(&mut Shard<'_>) -> pants_shard::Result<()> + Send + Sync + 'static,
    {
        match self.start(config, set_up) {
            Ok(running) => match running.join() {
                Ok(report) => self.say(&summarise(&report)),
                Err(error) => self.fail(FAILED, &error.to_string()),
            },
            Err(message) => self.refuse(&message),
        }
    }

    /// Does what the flags ask for instead of serving, or else installs the logger, by default from `level` on. Gives the status
    /// to exit with, if that was all.
    pub fn prepare(self, common: &CommonFlags, config: &Config, level: LevelFilter) -> Option<ExitCode> {
        if common.print_config {
            return Some(self.say(&config.to_toml()));
        }
        let level = match log::level(level) {
            Ok(level) => level,
            Err(message) => return Some(self.refuse(&message)),
        };
        if common.check {
            return Some(self.say("the configuration is valid\n"));
        }
        log::install(level);
        None
    }

    fn start<F>(self, config: Config, set_up: F) -> Result<Running, String>
    where
        F: Fn(&mut Shard<'_>) -> pants_shard::Result<()> + Send + Sync + 'static,
    {
        let Self(name) = self;
        if let Some(warning) = descriptors::raise_limit() {
            eprintln!("{name}: {warning}");
        }
        let stopper = Stopper::install().map_err(|error| format!("cannot catch signals: {error}"))?;
        let drain_timeout = config.drain_timeout();
        let runtime = Runtime::new(config).map_err(|error| error.to_string())?;
        let running = lifecycle::inherit(runtime)?.start(set_up).map_err(|error| error.to_string())?;
        self.say(&describe(&running));
        self.complain(notice::ready());
        // In one piece, so that a drain that is over at once does not cut it.
        let told = format!("{name}: draining for at most {drain_timeout:?}; a second signal ends it at once\n");
        let handle = running.stop_handle();
        stopper
            .drain_on_signal(move || {
                // Before the drain, at whose end the process ends.
                self.complain(notice::stopping());
                handle.drain();
                eprint!("{told}");
            })
            .map_err(|error| format!("cannot wait for signals: {error}"))?;
        Ok(running)
    }

    /// A service manager that cannot be told is no reason to end.
    fn complain(self, told: io::Result<()>) {
        if let Err(error) = told {
            eprintln!("{}: cannot tell the service manager: {error}", self.0);
        }
    }

    /// Prints to standard output. Whoever has closed that does not want to read it.
    pub fn say(self, text: &str) -> ExitCode {
        let mut out = io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        ExitCode::SUCCESS
    }

    /// Says on standard error why the program does not start.
    pub fn refuse(self, message: &str) -> ExitCode {
        self.fail(NOT_STARTED, message)
    }

    fn fail(self, code: u8, message: &str) -> ExitCode {
        for line in message.lines() {
            eprintln!("{}: {line}", self.0);
        }
        ExitCode::from(code)
    }
}

/// Where it listens, and which shard sits where.
fn describe(running: &Running) -> String {
    let addresses = running.addresses().into_iter().map(|address| format!("listening on {address}\n"));
    let datagrams = running.datagram_addresses().into_iter().map(|address| format!("datagrams at {address}\n"));
    let shards = running.placement().iter().enumerate().map(|(index, cpu)| match cpu {
        Some(cpu) => format!("{} on CPU {cpu}\n", ShardId::new(index)),
        None => format!("{} not pinned\n", ShardId::new(index)),
    });
    let admin = running.admin_address().map(|address| format!("admin endpoint on {address}\n"));
    addresses.chain(datagrams).chain(admin).chain(shards).collect()
}

fn summarise(report: &Report) -> String {
    let sum = |count: fn(&Stats) -> u64| report.shards.iter().map(count).sum::<u64>();
    let connections = sum(|stats| stats.connections_accepted);
    format!(
        "drained: {connections} connection{}, {} bytes in, {} bytes out\n",
        if connections == 1 { "" } else { "s" },
        sum(|stats| stats.bytes_in),
        sum(|stats| stats.bytes_out)
    )
}
