//! side-by-side: the same work on pants, on its peers and on the kernel's floor, by turns in one run.

#![forbid(unsafe_code)]

mod builds;
mod campaign;
mod chart;
mod cli;
mod client;
mod contestant;
mod counts;
mod figures;
mod latency;
mod machine;
mod memory;
mod point;
mod process;
mod proxies;
mod record;
mod report;
mod rounds;
mod server;
mod stats;
mod table;
mod targets;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::cli::Arguments;
use crate::record::Record;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("side-by-side: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    if arguments.list {
        return campaign::list(contestant::ALL);
    }
    let record = match &arguments.from {
        Some(path) => Record::read(path)?,
        None => {
            let interrupted = Arc::<AtomicBool>::default();
            for signal in [SIGINT, SIGTERM] {
                signal_hook::flag::register(signal, Arc::clone(&interrupted)).map_err(|error| error.to_string())?;
            }
            campaign::run(arguments, &interrupted)?
        }
    };
    let tables = report::all(&record);
    println!("{tables}");
    let Some(directory) = &arguments.output else { return Ok(()) };
    campaign::make_directory(directory)?;
    let write = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::write(&path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
    };
    write("record.json", &serde_json::to_string(&record).map_err(|error| error.to_string())?)?;
    write("tables.md", &tables)?;
    chart::draw(&record).map_or(Ok(()), |chart| write("chart.svg", &chart))
}
