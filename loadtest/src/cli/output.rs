//! The flags that say where results go.

use std::fs::File;
use std::path::PathBuf;

use clap::Args;

use crate::report::record::Record;

/// The flags that say where results go.
#[derive(Debug, Args)]
pub struct OutputArguments {
    /// Write the report to this file too, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// The files that results go to. They are open from before the run, so that no result is lost to a path that is wrong.
#[derive(Debug)]
pub struct Outputs {
    json: Option<File>,
}

impl OutputArguments {
    /// Creates the files.
    ///
    /// # Errors
    ///
    /// If one cannot be created, in one line.
    pub fn open(&self) -> Result<Outputs, String> {
        let json = self.json.as_ref().map(File::create).transpose().map_err(|error| format!("--json: {error}"))?;
        Ok(Outputs { json })
    }
}

impl Outputs {
    /// Writes the results.
    ///
    /// # Errors
    ///
    /// If a file cannot be written, in one line.
    pub fn write(self, record: &Record) -> Result<(), String> {
        match self.json {
            Some(file) => record.write(file).map_err(|error| format!("--json: {error}")),
            None => Ok(()),
        }
    }
}
