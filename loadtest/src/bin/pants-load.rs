//! pants-load: loads a server and says what it did.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use loadtest::cli::output::Outputs;
use loadtest::cli::run::RunArguments;
use loadtest::cli::search::SearchArguments;
use loadtest::cli::sweep::SweepArguments;
use loadtest::cli::{self, Cli, Command};
use loadtest::measure::{Trial, measure};
use loadtest::progress::Progress;
use loadtest::report::record::Record;
use loadtest::{descriptors, search, signals, sweep};

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
        Command::Sweep(arguments) => scale(&arguments),
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
    Ok(conclude(outputs, &Record::new(vec![report]), None, !failed))
}

/// Searches and reports. An error means that the search has not started.
fn find(arguments: &SearchArguments) -> Result<ExitCode, String> {
    let task = arguments.task()?;
    let outputs = arguments.output.open()?;
    let interrupted = prepare(&task.trial)?;
    let closed = search::probe(&task, &interrupted)?;
    let searched = search::search(&task, closed, &interrupted);
    say(&searched.to_string());
    let found = searched.findings.is_found();
    let record = Record { search: Some(searched.findings), ..Record::new(searched.runs) };
    Ok(conclude(outputs, &record, searched.failure, found))
}

/// Sweeps and reports. An error means that nothing was measured.
fn scale(arguments: &SweepArguments) -> Result<ExitCode, String> {
    let task = arguments.task()?;
    let outputs = arguments.output.open()?;
    let interrupted = prepare(&task.trial)?;
    let swept = sweep::sweep(&task, &interrupted);
    if let (Some(failure), true) = (&swept.failure, swept.runs.is_empty()) {
        return Err(failure.clone());
    }
    say(&swept.to_string());
    let right = swept.runs.iter().all(|run| run.is_valid() && !run.has_failed());
    let record = Record { sweep: Some(swept.scaling), ..Record::new(swept.runs) };
    Ok(conclude(outputs, &record, swept.failure, right))
}

/// Writes the results; gives the status: good if nothing has failed, and that not either.
fn conclude(outputs: Outputs, record: &Record, failure: Option<String>, good: bool) -> ExitCode {
    match outputs.write(record).err().or(failure) {
        Some(error) => fail(FAILED, &error),
        None if good => ExitCode::SUCCESS,
        None => ExitCode::from(FAILED),
    }
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
