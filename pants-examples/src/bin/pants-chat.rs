//! pants-chat: a chat by lines, on every core.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use pants_examples::chat;
use pants_examples::flags::CommonFlags;
use pants_examples::log::LevelFilter;
use pants_examples::program::Program;

/// A chat by lines with rooms and nicknames, for telnet, socat and nc, with one pinned thread per CPU.
///
/// Whoever connects is a guest in the lobby; /help lists the commands. A line may have 512 bytes. Who reads slowly misses
/// messages and is told how many; nobody waits for that.
///
/// SIGINT and SIGTERM end it in good order: everybody is told, and every connection is closed with FIN, within the drain
/// timeout. A second signal ends it at once.
#[derive(Debug, Parser)]
#[command(name = "pants-chat", version, after_help = AFTER_HELP)]
struct Arguments {
    #[command(flatten)]
    common: CommonFlags,
}

const AFTER_HELP: &str = "\
Environment: PANTS_LISTEN, PANTS_SHARDS and so on for every key of the file; PANTS_CONFIG names the file; PANTS_LOG is the
level of the log: off, error, warn, info, debug, trace. --print-config shows every key. A member misses messages when
limits.write_high_water bytes wait for it.

Exit status: 0 after a drain; 1 if it failed while it ran; 2 if it did not start, with the reason on standard error; 130 or
143 if a second SIGINT or SIGTERM ended it.";

fn main() -> ExitCode {
    let program = Program("pants-chat");
    let Arguments { common } = Arguments::parse();
    let config = match common.load(&[], Vec::new()) {
        Ok(config) => config,
        Err(error) => return program.refuse(&error.to_string()),
    };
    if let Some(status) = program.prepare(&common, &config, LevelFilter::WARN) {
        return status;
    }
    program.serve(config, chat::set_up)
}
