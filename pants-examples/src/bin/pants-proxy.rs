//! pants-proxy: passes connections on to other servers, on every core.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use pants_examples::flags::CommonFlags;
use pants_examples::log::LevelFilter;
use pants_examples::program::Program;
use pants_examples::proxy::{self, ProxyFlags, Settings};

/// A proxy for TCP and Unix sockets, with one pinned thread per CPU.
///
/// Each connection is passed on to one of the upstream addresses, which are taken by turns; one that cannot be reached is
/// passed over. The end of each direction and resets are passed on as what they are.
///
/// SIGINT and SIGTERM end it in good order: nobody new is accepted, and the connections there are may finish within the drain
/// timeout. A second signal ends it at once.
#[derive(Debug, Parser)]
#[command(name = "pants-proxy", version, after_help = AFTER_HELP)]
struct Arguments {
    #[command(flatten)]
    proxy: ProxyFlags,
    /// Do not log the end of each connection
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    common: CommonFlags,
}

const AFTER_HELP: &str = "\
An address is a port, an IP address or a host name with a port, a Unix socket's path (/run/x.sock, unix:x.sock), or an
abstract Unix socket's name (@name).

Environment: PANTS_TO, PANTS_CONNECT_TIMEOUT and PANTS_FIN_TIMEOUT stand for the flags of these names; PANTS_LISTEN,
PANTS_SHARDS and so on for every key of the file, in which the section [proxy] is the proxy's own; PANTS_CONFIG names the
file; PANTS_LOG is the level of the log: off, error, warn (as with --quiet), info, debug, trace. --print-config shows every key.

Exit status: 0 after a drain; 1 if it failed while it ran; 2 if it did not start, with the reason on standard error; 130 or
143 if a second SIGINT or SIGTERM ended it.";

fn main() -> ExitCode {
    let program = Program("pants-proxy");
    let arguments = Arguments::parse();
    let common = &arguments.common;
    let config = match common.load(&proxy::KEYS, arguments.proxy.set()) {
        Ok(config) => config,
        Err(error) => return program.refuse(&error.to_string()),
    };
    let settings = match Settings::new(&config) {
        Ok(settings) => settings,
        Err(message) => return program.refuse(&message),
    };
    let level = if arguments.quiet { LevelFilter::WARN } else { LevelFilter::INFO };
    if let Some(status) = program.prepare(common, &config, level) {
        return status;
    }
    program.serve(config, move |shard| proxy::set_up(shard, &settings))
}
