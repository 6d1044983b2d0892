//! side-by-side: the same work on pants, on its peers and on the kernel's floor, by turns in one run.

#![forbid(unsafe_code)]

mod builds;
mod campaign;
mod chart;
mod cli;
mod client;
mod contestant;
mod counts;
mod estimate;
mod figures;
mod latency;
mod machine;
mod memory;
mod output;
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
    if let Some(directory) = &arguments.output {
        output::prepare(directory)?;
    }
    let record = if arguments.from.is_empty() {
        let interrupted = Arc::<AtomicBool>::default();
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&interrupted)).map_err(|error| error.to_string())?;
        }
        campaign::run(arguments, &interrupted)?
    } else {
        Record::read_all(&arguments.from)?
    };
    println!("{}", report::all(&record));
    arguments.output.as_ref().map_or(Ok(()), |directory| output::write_all(directory, &record))
}
