//! pants-echo: sends back what it is sent, on every core.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use pants_examples::flags::CommonFlags;
use pants_examples::log::LevelFilter;
use pants_examples::program::Program;
use pants_shard::{Connection, Handler, Movable, Shard};

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

Sockets that systemd has left to it (LISTEN_FDS) are used for the addresses at which they are bound; NOTIFY_SOCKET is told that
it serves.

Exit status: 0 after a drain; 1 if it failed while it ran; 2 if it did not start, with the reason on standard error; 130 or
143 if a second SIGINT or SIGTERM ended it.";

struct Echo;

impl Handler for Echo {
    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        connection.write(data);
    }
}

/// It keeps nothing, so `balance = "rebalance"` may move it at any time.
impl Movable for Echo {
    type State = ();

    fn pack(&self) -> Option<()> {
        Some(())
    }

    fn unpack(_shard: &mut Shard<'_>, _state: ()) -> Self {
        Self
    }
}

fn main() -> ExitCode {
    let program = Program("pants-echo");
    let Arguments { common } = Arguments::parse();
    let config = match common.load(&[], Vec::new()) {
        Ok(config) => config,
        Err(error) => return program.refuse(&error.to_string()),
    };
    if let Some(status) = program.prepare(&common, &config, LevelFilter::WARN) {
        return status;
    }
    program.serve(config, |shard| {
        for address in shard.config().listen().to_vec() {
            shard.listen_movable(address, |_peer| Echo)?;
        }
        Ok(())
    })
}
