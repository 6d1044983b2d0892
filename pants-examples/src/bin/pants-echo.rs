//! pants-echo: sends back what it is sent, on every core.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use pants_examples::flags::CommonFlags;
use pants_examples::signals::Stopper;
use pants_examples::{descriptors, log};
use pants_shard::{Config, Connection, Handler, Report, Running, Runtime, ShardId};

/// A TCP server that sends back what it is sent, with one pinned thread per CPU.
///
/// SIGINT and SIGTERM end it in good order: what has arrived is answered, and every connection is closed with FIN, within
/// the drain timeout. A second signal ends it at once.
#[derive(Debug, Parser)]
#[command(name = "pants-echo", version, after_help = AFTER_HELP)]
struct Arguments {
    #[command(flatten)]
    common: CommonFlags,
}

const AFTER_HELP: &str = "\
Environment: PANTS_LISTEN, PANTS_SHARDS and so on for every key of the file; PANTS_CONFIG names the file; PANTS_LOG is the
level of the log: off, error, warn, info, debug, trace. --print-config shows every key.

Exit status: 0 after a drain; 1 if it failed while it ran; 2 if it did not start, with the reason on standard error; 130 or
143 if a second SIGINT or SIGTERM ended it.";

/// What could not be done: exit status 2 before the first connection, 1 after.
const NOT_STARTED: u8 = 2;
const FAILED: u8 = 1;

struct Echo;

impl Handler for Echo {
    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        connection.write(data);
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = match arguments.common.load() {
        Ok(config) => config,
        Err(error) => return fail(NOT_STARTED, &error.to_string()),
    };
    if arguments.common.print_config {
        return say(&config.to_toml());
    }
    if arguments.common.check {
        return say("the configuration is valid\n");
    }
    match serve(config) {
        Ok(code) => code,
        Err(message) => fail(NOT_STARTED, &message),
    }
}

/// Starts, and waits for the end. An error means that it has not started.
fn serve(config: Config) -> Result<ExitCode, String> {
    log::install()?;
    if let Some(warning) = descriptors::raise_limit() {
        eprintln!("pants-echo: {warning}");
    }
    let stopper = Stopper::install().map_err(|error| format!("cannot catch signals: {error}"))?;
    let drain_timeout = config.drain_timeout();
    let running = start(config).map_err(|error| error.to_string())?;
    say(&describe(&running));
    let told = move || eprintln!("pants-echo: draining for at most {drain_timeout:?}; a second signal ends it at once");
    stopper
        .drain_on_signal(running.stop_handle(), told)
        .map_err(|error| format!("cannot wait for signals: {error}"))?;
    Ok(match running.join() {
        Ok(report) => say(&summarise(&report)),
        Err(error) => fail(FAILED, &error.to_string()),
    })
}

fn start(config: Config) -> pants_shard::Result<Running> {
    Runtime::new(config)?.start(|shard| {
        for address in shard.config().listen().to_vec() {
            shard.listen(address, |_peer| Echo)?;
        }
        Ok(())
    })
}

/// Where it listens, and which shard sits where.
fn describe(running: &Running) -> String {
    let addresses = running.addresses().into_iter().map(|address| format!("listening on {address}\n"));
    let shards = running.placement().iter().enumerate().map(|(index, cpu)| match cpu {
        Some(cpu) => format!("{} on CPU {cpu}\n", ShardId::new(index)),
        None => format!("{} not pinned\n", ShardId::new(index)),
    });
    addresses.chain(shards).collect()
}

fn summarise(report: &Report) -> String {
    let sum = |count: fn(&pants_shard::Stats) -> u64| report.shards.iter().map(count).sum::<u64>();
    format!(
        "drained: {} connections, {} bytes in, {} bytes out\n",
        sum(|stats| stats.connections_accepted),
        sum(|stats| stats.bytes_in),
        sum(|stats| stats.bytes_out)
    )
}

/// Prints to standard output. Whoever has closed that does not want to read it.
fn say(text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    ExitCode::SUCCESS
}

fn fail(code: u8, message: &str) -> ExitCode {
    for line in message.lines() {
        eprintln!("pants-echo: {line}");
    }
    ExitCode::from(code)
}
