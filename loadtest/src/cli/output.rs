//! The flags that say where results go.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::output::{csv, hgrm, html};
use crate::report::record::Record;

/// The flags that say where results go. Each takes a file for each target.
#[derive(Debug, Args)]
pub struct OutputArguments {
    /// Write the report to this file too, as JSON
    #[arg(long, value_name = "FILE")]
    json: Vec<PathBuf>,
    /// Write rate, failures and response times of each second to this file, as comma-separated values
    #[arg(long, value_name = "FILE")]
    csv: Vec<PathBuf>,
    /// Write the distribution of response times to this file, for HdrHistogram's plotter, in milliseconds
    #[arg(long, value_name = "FILE")]
    hgrm: Vec<PathBuf>,
    /// Write the report to this file, as a page for browsers that needs no other file
    #[arg(long, value_name = "FILE")]
    html: Vec<PathBuf>,
}

/// The files that the results of one target go to. They are open from before the run, so that no result is lost to a path that
/// is wrong.
#[derive(Debug, Default)]
pub struct Outputs {
    json: Option<File>,
    csv: Option<File>,
    hgrm: Option<File>,
    html: Option<File>,
}

impl OutputArguments {
    /// Creates the files of a command with one target.
    ///
    /// # Errors
    ///
    /// If one cannot be created, or there are too many, in one line.
    pub fn open(&self) -> Result<Outputs, String> {
        self.open_each(1).map(|mut outputs| outputs.pop().unwrap_or_default())
    }

    /// Creates the files of this many targets, in their order.
    ///
    /// # Errors
    ///
    /// If one cannot be created, or a flag does not have one for each target, in one line.
    pub fn open_each(&self, targets: usize) -> Result<Vec<Outputs>, String> {
        let flags = [("--json", &self.json), ("--csv", &self.csv), ("--hgrm", &self.hgrm), ("--html", &self.html)];
        for (flag, paths) in flags {
            if !paths.is_empty() && paths.len() != targets {
                return Err(format!(
                    "{flag}: expected a file for each target, which is {targets}, found {}",
                    paths.len()
                ));
            }
        }
        let mut all: Vec<&Path> = flags.iter().flat_map(|(_, paths)| paths.iter().map(PathBuf::as_path)).collect();
        all.sort_unstable();
        if let Some(pair) = all.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("{}: two results cannot go to one file", pair[0].display()));
        }
        let create = |(flag, paths): (&str, &Vec<PathBuf>), target: usize| {
            let error = |error, path: &Path| format!("{flag}: {}: {error}", path.display());
            paths.get(target).map(|path| File::create(path).map_err(|e| error(e, path))).transpose()
        };
        let [json, csv, hgrm, html] = flags;
        let open = |target| {
            Ok(Outputs {
                json: create(json, target)?,
                csv: create(csv, target)?,
                hgrm: create(hgrm, target)?,
                html: create(html, target)?,
            })
        };
        (0..targets).map(open).collect()
    }
}

impl Outputs {
    /// Writes the results.
    ///
    /// # Errors
    ///
    /// If a file cannot be written, in one line; the others are.
    pub fn write(self, record: &Record) -> Result<(), String> {
        self.write_with(record, None)
    }

    /// Writes the results of a search, or of anything else.
    ///
    /// # Errors
    ///
    /// If a file cannot be written, in one line; the others are.
    pub fn write_with(self, record: &Record, curve: Option<&html::Curve>) -> Result<(), String> {
        let text = |text: &str, mut file: File| file.write_all(text.as_bytes());
        let distribution = |file| hgrm::text(record).map_err(io::Error::other).and_then(|found| text(&found, file));
        let results = [
            ("--json", self.json.map(|file| record.write(file))),
            ("--csv", self.csv.map(|file| text(&csv::text(record), file))),
            ("--hgrm", self.hgrm.map(distribution)),
            ("--html", self.html.map(|file| text(&html::page(record, curve), file))),
        ];
        let failed = results.into_iter().filter_map(|(flag, result)| Some((flag, result?.err()?)));
        let errors: Vec<String> = failed.map(|(flag, error)| format!("{flag}: {error}")).collect();
        if errors.is_empty() { Ok(()) } else { Err(errors.join("; ")) }
    }
}
