//! pants-load: loads a server and says what it did.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use loadtest::cli::run::RunArguments;
use loadtest::cli::search::SearchArguments;
use loadtest::cli::{self, Cli, Command};
use loadtest::measure::{Trial, measure};
use loadtest::progress::Progress;
use loadtest::report::record::Record;
use loadtest::{descriptors, search, signals};

/// Some request failed, or the run did.
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
    let done = match command {
        Command::Run(arguments) => load(&arguments),
        Command::Search(arguments) => find(&arguments),
    };
    match done {
        Ok(code) => code,
        Err(message) => fail(NOT_STARTED, &message),
    }
}

/// Runs and reports. An error means that the run has not started.
fn load(arguments: &RunArguments) -> Result<ExitCode, String> {
    let trial = arguments.trial()?;
    let outputs = arguments.output.open()?;
    let interrupted = prepare(&trial)?;
    let mut progress = Progress::new(&trial.plan);
    let report = match measure(&trial, &interrupted, &mut progress) {
        Ok(report) => report,
        Err(error) => return Ok(fail(FAILED, &error)),
    };
    say(&report.to_string());
    let failed = report.has_failed();
    if let Err(error) = outputs.write(&Record::new(vec![report])) {
        return Ok(fail(FAILED, &error));
    }
    Ok(if failed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

/// Searches and reports. An error means that the search has not started.
fn find(arguments: &SearchArguments) -> Result<ExitCode, String> {
    let task = arguments.task()?;
    let outputs = arguments.output.open()?;
    let interrupted = prepare(&task.trial)?;
    let closed = search::probe(&task, &interrupted)?;
    let (record, findings) = match search::search(&task, closed, &interrupted) {
        Ok(found) => found,
        Err(error) => return Ok(fail(FAILED, &error)),
    };
    say(&findings.to_string());
    if let Err(error) = outputs.write(&record) {
        return Ok(fail(FAILED, &error));
    }
    Ok(if findings.is_found() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// Readies the process for a load; gives what the user's signals will set.
fn prepare(trial: &Trial) -> Result<Arc<AtomicBool>, String> {
    if let Some(warning) = descriptors::raise_limit(trial.plan.connections) {
        eprintln!("pants-load: {warning}");
    }
    let interrupted = Arc::default();
    signals::watch(Arc::clone(&interrupted)).map_err(|error| format!("cannot catch signals: {error}"))?;
    Ok(interrupted)
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
