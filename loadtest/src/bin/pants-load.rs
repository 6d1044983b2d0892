//! pants-load: loads a server and says what it did.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use loadtest::cli::run::RunArguments;
use loadtest::cli::{self, Cli, Command};
use loadtest::measure::measure;
use loadtest::progress::Progress;
use loadtest::report::record::Record;
use loadtest::{limits, signals};

/// Some request failed, or the run did, or it says nothing about the server.
const FAILED: u8 = 1;

/// The run did not start.
const NOT_STARTED: u8 = 2;

fn main() -> ExitCode {
    let Cli { command } = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version are no errors; clap prints them where they belong.
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => return fail(NOT_STARTED, &cli::describe(&error)),
    };
    let Command::Run(arguments) = command;
    match load(&arguments) {
        Ok(code) => code,
        Err(message) => fail(NOT_STARTED, &message),
    }
}

/// Runs and reports. An error means that the run has not started.
fn load(arguments: &RunArguments) -> Result<ExitCode, String> {
    let mut trial = arguments.trial()?;
    let outputs = arguments.output.open()?;
    let interrupted = Arc::default();
    signals::watch(Arc::clone(&interrupted)).map_err(|error| format!("cannot catch signals: {error}"))?;
    // It is to have the limits that it would have had.
    let mut host = arguments.server.host(&trial.plan.target, &interrupted)?;
    trial.server = host.subject;
    if let Some(note) = limits::make_room(&mut trial.plan, trial.config.placement().len())? {
        eprintln!("pants-load: {note}");
    }
    let mut progress = Progress::new(&trial.plan);
    let report = match measure(&trial, &interrupted, &mut progress) {
        Ok(report) => report,
        Err(error) => return Ok(fail(FAILED, &error)),
    };
    let server = host.check();
    drop(host);
    say(&report.to_string());
    let failed = report.has_failed() || !report.is_valid();
    if let Err(error) = outputs.write(&Record::new(vec![report])) {
        return Ok(fail(FAILED, &error));
    }
    if let Err(error) = server {
        return Ok(fail(FAILED, &format!("--server-cmd: {error}")));
    }
    Ok(if failed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

/// Prints to standard output. Whoever has closed that does not want to read it.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn fail(code: u8, message: &str) -> ExitCode {
    eprintln!("pants-load: {message}");
    ExitCode::from(code)
}
