//! The flags that say where results go.

use std::fs::File;
use std::path::PathBuf;

use clap::Args;

use crate::report::record::Record;

/// The flags that say where results go.
#[derive(Debug, Args)]
pub struct OutputArguments {
    /// Write the results to this file too, as JSON; with several targets one for each, in their order
    #[arg(long, value_name = "FILE")]
    json: Vec<PathBuf>,
}

/// The files that results go to. They are open from before the run, so that no result is lost to a path that is wrong.
#[derive(Debug)]
pub struct Outputs {
    json: Option<File>,
}

impl OutputArguments {
    /// Creates the files of each of `count` targets.
    ///
    /// # Errors
    ///
    /// If one cannot be created, or there is not one for each target, in one line.
    pub fn open_each(&self, count: usize) -> Result<Vec<Outputs>, String> {
        Ok(create("--json", &self.json, count)?.into_iter().map(|json| Outputs { json }).collect())
    }
}

/// The file of each of `count` targets, if the flag was given at all.
fn create(flag: &str, paths: &[PathBuf], count: usize) -> Result<Vec<Option<File>>, String> {
    if paths.is_empty() {
        return Ok((0..count).map(|_| None).collect());
    }
    if paths.len() != count {
        return Err(format!("{flag}: it is given {} times, and must be once for each of {count} targets", paths.len()));
    }
    paths.iter().map(|path| File::create(path).map(Some).map_err(|error| format!("{flag}: {error}"))).collect()
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
