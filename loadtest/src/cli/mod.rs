//! The command line: its commands and their flags, and what they ask for.

pub mod load;
pub mod output;
pub mod protocol;
pub mod run;
pub mod server;

use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::cli::run::RunArguments;
use crate::units;

const AFTER_HELP: &str = "\
Exit status: 0 if every message came back as it was sent; 1 if any failed, or the run is invalid since the generator could not
do its part or the server ended; 2 if the run did not start, with the reason on standard error. The first Ctrl-C reports what was measured so far; the second ends the program at once.";

/// Loads a server and says what it did.
#[derive(Debug, Parser)]
#[command(name = "pants-load", version, after_help = AFTER_HELP)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Load a server, and report what it did
    #[command(after_help = AFTER_HELP)]
    Run(RunArguments),
}

/// The one line that says what is wrong with a command line.
pub fn describe(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = first.trim_start_matches("error: ").split_whitespace().collect();
    format!("{}; see --help", words.join(" "))
}

fn number(text: &str, most: usize) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| format!("must be a number from 1 to {most}"))
}

fn time(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let time = units::parse_duration(text)?;
    let bounds = || format!("must be {} to {}", units::exact_duration(least), units::exact_duration(most));
    if (least..=most).contains(&time) { Ok(time) } else { Err(bounds()) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }
}
