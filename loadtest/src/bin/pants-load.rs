//! pants-load: loads a server and says what it did.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use loadtest::cli::compare::CompareArguments;
use loadtest::cli::merge::MergeArguments;
use loadtest::cli::run::RunArguments;
use loadtest::cli::search::SearchArguments;
use loadtest::cli::server::Host;
use loadtest::cli::sweep::SweepArguments;
use loadtest::cli::{self, Cli, Command};
use loadtest::measure::Trial;
use loadtest::progress::{self, Progress};
use loadtest::repeat::{self, Repeated, Spread};
use loadtest::report::record::Record;
use loadtest::{limits, search, signals, sweep};

/// Some request failed, or the run did, or it says nothing about the server.
const FAILED: u8 = 1;

/// The run did not start.
const NOT_STARTED: u8 = 2;

/// Why nothing started, where nothing failed.
const NOTHING_MEASURED: &str = "interrupted before anything was measured";

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
        Command::Compare(arguments) => compare(&arguments),
        Command::Merge(arguments) => merge(&arguments),
    };
    match done {
        Ok(code) => code,
        Err(message) => fail(NOT_STARTED, &message),
    }
}

/// Runs and reports. An error means that the run has not started.
fn load(arguments: &RunArguments) -> Result<ExitCode, String> {
    let mut task = arguments.task()?;
    let outputs = arguments.open_outputs()?;
    let interrupted = catch_signals()?;
    let targets: Vec<_> = task.trials.iter().map(|trial| trial.plan.target.clone()).collect();
    // They are to have the limits that they would have had.
    let mut hosts = arguments.server.hosts(&targets.iter().collect::<Vec<_>>(), &interrupted)?;
    task.trials.iter_mut().zip(&hosts).for_each(|(trial, host)| trial.server = host.subject);
    make_room(&mut task.trials)?;
    let single = task.trials.len() == 1 && task.rounds == 1;
    let mut said = Vec::new();
    let Repeated { runs, failure } = repeat::repeat(&task, &interrupted, |turn, report| {
        said.push(say(&if single { report.to_string() } else { repeat::line(turn, report) }));
    });
    if runs.iter().all(Vec::is_empty) {
        return Err(failure.unwrap_or_else(|| NOTHING_MEASURED.to_owned()));
    }
    let served = hosts.iter_mut().try_for_each(Host::check).map_err(|error| format!("--server-cmd: {error}"));
    drop(hosts);
    if !single {
        said.extend(runs.iter().map(|runs| say(&Spread(runs).to_string())));
    }
    let good = failure.is_none() && runs.iter().flatten().all(|run| run.is_valid() && !run.has_failed());
    let written = outputs.into_iter().zip(runs).map(|(outputs, runs)| outputs.write(&Record::new(runs)));
    // Each is tried, whatever becomes of those before it.
    let written = written.collect::<Vec<_>>().into_iter().chain(said).collect::<Result<(), String>>();
    Ok(conclude(written.and(served), failure, good))
}

/// Compares. An error means that nothing was compared.
fn compare(arguments: &CompareArguments) -> Result<ExitCode, String> {
    let comparison = arguments.compare()?;
    let output = arguments.open_output()?;
    let said = say(&comparison.to_string());
    let written = output.map_or(Ok(()), |output| {
        output.write(|mut file| writeln!(file, "{}", serde_json::to_string_pretty(&comparison)?))
    });
    Ok(conclude(written.and(said), None, !comparison.has_regression()))
}

/// Merges. An error means that nothing was merged.
fn merge(arguments: &MergeArguments) -> Result<ExitCode, String> {
    let merged = arguments.merge()?;
    let outputs = arguments.open_outputs()?;
    let said = say(&merged.to_string());
    let good = merged.record.runs.iter().all(|run| run.is_valid() && !run.has_failed());
    Ok(conclude(outputs.write(&merged.record).and(said), None, good))
}

/// Searches and reports. An error means that the search has not started.
fn find(arguments: &SearchArguments) -> Result<ExitCode, String> {
    let mut task = arguments.task()?;
    let outputs = arguments.output.open()?;
    let interrupted = catch_signals()?;
    let mut hosts = arguments.server.hosts(&[&task.trial.plan.target], &interrupted)?;
    task.trial.server = hosts.first().and_then(|host| host.subject);
    make_room(slice::from_mut(&mut task.trial))?;
    let mut progress = Progress::new();
    let closed = search::probe(&task, &interrupted, &mut progress)?;
    let searched = search::search(&task, closed, &interrupted, &mut progress);
    let served = hosts.iter_mut().try_for_each(Host::check).map_err(|error| format!("--server-cmd: {error}"));
    drop(hosts);
    let said = say(&searched.to_string());
    let found = searched.findings.is_found();
    let record = Record { search: Some(searched.findings), ..Record::new(searched.runs) };
    Ok(conclude(outputs.write(&record).and(said).and(served), searched.failure, found))
}

/// Sweeps and reports. An error means that nothing was measured.
fn scale(arguments: &SweepArguments) -> Result<ExitCode, String> {
    let mut task = arguments.task()?;
    let outputs = arguments.output.open()?;
    let interrupted = catch_signals()?;
    make_room(slice::from_mut(&mut task.trial))?;
    let swept = sweep::sweep(&task, &interrupted, &mut Progress::new());
    if swept.runs.is_empty() {
        return Err(swept.failure.unwrap_or_else(|| NOTHING_MEASURED.to_owned()));
    }
    let said = say(&swept.to_string());
    let right = swept.runs.iter().all(|run| run.is_valid() && !run.has_failed());
    let record = Record { sweep: Some(swept.scaling), ..Record::new(swept.runs) };
    Ok(conclude(outputs.write(&record).and(said), swept.failure, right))
}

/// The status of what was written, and was good if nothing has failed.
fn conclude(written: Result<(), String>, failure: Option<String>, good: bool) -> ExitCode {
    match written.err().or(failure) {
        Some(error) => fail(FAILED, &error),
        None if good => ExitCode::SUCCESS,
        None => ExitCode::from(FAILED),
    }
}

/// Gives what the user's signals will set.
fn catch_signals() -> Result<Arc<AtomicBool>, String> {
    let interrupted = Arc::default();
    signals::watch(Arc::clone(&interrupted)).map_err(|error| format!("cannot catch signals: {error}"))?;
    Ok(interrupted)
}

/// Makes room for the connections of these loads. An error says what they would not fit.
fn make_room(trials: &mut [Trial]) -> Result<(), String> {
    for Trial { plan, config, .. } in trials {
        if let Some(note) = limits::make_room(plan, config.placement().len())? {
            progress::note(&note);
        }
    }
    Ok(())
}

/// Prints to standard output. Whoever has closed that does not want to read it.
///
/// # Errors
///
/// If it cannot be written for another reason, in one line.
fn say(text: &str) -> Result<(), String> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("standard output: {error}")),
        _ => Ok(()),
    }
}

fn fail(code: u8, message: &str) -> ExitCode {
    progress::note(message);
    ExitCode::from(code)
}
