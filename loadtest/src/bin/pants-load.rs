//! pants-load: loads a server and says what it did.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use loadtest::cli::{self, Cli, Command, RunArguments};
use loadtest::environment::Environment;
use loadtest::progress::Progress;
use loadtest::report::Report;
use loadtest::server::Process;
use loadtest::{descriptors, run, signals};

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
    let Command::Run(arguments) = command;
    match load(&arguments) {
        Ok(code) => code,
        Err(message) => fail(NOT_STARTED, &message),
    }
}

/// Runs and reports. An error means that the run has not started.
fn load(arguments: &RunArguments) -> Result<ExitCode, String> {
    let plan = arguments.plan()?;
    let config = arguments.config()?;
    let process =
        arguments.server_pid.map(Process::find).transpose().map_err(|error| format!("--server-pid: {error}"))?;
    // Now, and not when the run is over and its result would be lost.
    let json = arguments.json.as_ref().map(File::create).transpose().map_err(|error| format!("--json: {error}"))?;
    if let Some(warning) = descriptors::raise_limit(plan.connections) {
        eprintln!("pants-load: {warning}");
    }
    let interrupted = Arc::default();
    signals::watch(Arc::clone(&interrupted)).map_err(|error| format!("cannot catch signals: {error}"))?;
    let mut progress = Progress::new(&plan);
    let measured = match run::run(plan.clone(), config, process, interrupted, &mut progress) {
        Ok(measured) => measured,
        Err(error) => return Ok(fail(FAILED, &error.to_string())),
    };
    let report = Report::new(&plan, measured, Environment::read());
    say(&report.to_string());
    if let Some(file) = json
        && let Err(error) = write_json(file, &report)
    {
        return Ok(fail(FAILED, &format!("--json: {error}")));
    }
    Ok(if report.has_failed() { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

fn write_json(mut file: File, report: &Report) -> io::Result<()> {
    file.write_all(report.to_json()?.as_bytes())
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
