//! The flags that say where results go.

use std::collections::HashSet;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
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
    json: Option<Destination>,
    csv: Option<Destination>,
    hgrm: Option<Destination>,
    html: Option<Destination>,
}

/// A file that a result will go to. What it holds stays until there is one, for a run that does not start.
#[derive(Debug)]
pub struct Destination {
    flag: &'static str,
    path: PathBuf,
    file: File,
}

impl Destination {
    /// Opens the file that this flag names, and makes it if it is not there.
    ///
    /// # Errors
    ///
    /// If it cannot be written to, in one line.
    pub fn open(flag: &'static str, path: &Path) -> Result<Self, String> {
        let opened = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let file = opened.map_err(|error| format!("{flag}: {}: {error}", path.display()))?;
        Ok(Self { flag, path: path.to_owned(), file })
    }

    /// Checks that it is none of the files that are read: a result would take their place.
    ///
    /// # Errors
    ///
    /// Which of them it is, in one line.
    pub fn check_inputs(&self, inputs: &[PathBuf]) -> Result<(), String> {
        let own = self.identity();
        let is_own = |input: &&PathBuf| own.is_some() && own == fs::metadata(input).ok().and_then(|it| identity(&it));
        match inputs.iter().find(is_own) {
            Some(input) => Err(format!("{}: {} is a file that is read; name another", self.flag, input.display())),
            None => Ok(()),
        }
    }

    /// Has what `write` writes in place of what it held.
    ///
    /// # Errors
    ///
    /// If it cannot be written, in one line.
    pub fn write(self, write: impl FnOnce(File) -> io::Result<()>) -> Result<(), String> {
        let Self { flag, path, file } = self;
        // A pipe or a device holds nothing.
        let emptied = if file.metadata().is_ok_and(|it| it.is_file()) { file.set_len(0) } else { Ok(()) };
        emptied.and_then(|()| write(file)).map_err(|error| format!("{flag}: {}: {error}", path.display()))
    }

    fn identity(&self) -> Option<(u64, u64)> {
        self.file.metadata().ok().and_then(|it| identity(&it))
    }
}

/// What tells a regular file from all others, whatever its path. A device may be written to twice.
fn identity(file: &Metadata) -> Option<(u64, u64)> {
    file.is_file().then(|| (file.dev(), file.ino()))
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
        let open = |(flag, paths): (&'static str, &Vec<PathBuf>), target: usize| {
            paths.get(target).map(|path| Destination::open(flag, path)).transpose()
        };
        let [json, csv, hgrm, html] = flags;
        let open = |target| {
            Ok(Outputs {
                json: open(json, target)?,
                csv: open(csv, target)?,
                hgrm: open(hgrm, target)?,
                html: open(html, target)?,
            })
        };
        let all = (0..targets).map(open).collect::<Result<Vec<_>, String>>()?;
        let mut seen = HashSet::new();
        let is_seen = |it: &&Destination| it.identity().is_some_and(|identity| !seen.insert(identity));
        if let Some(twice) = all.iter().flat_map(Outputs::destinations).find(is_seen) {
            return Err(format!("{}: two results cannot go to one file", twice.path.display()));
        }
        Ok(all)
    }
}

impl Outputs {
    fn destinations(&self) -> impl Iterator<Item = &Destination> {
        [&self.json, &self.csv, &self.hgrm, &self.html].into_iter().flatten()
    }

    /// Checks that none of them is a file that is read.
    ///
    /// # Errors
    ///
    /// Which of them is, in one line.
    pub fn check_inputs(&self, inputs: &[PathBuf]) -> Result<(), String> {
        self.destinations().try_for_each(|destination| destination.check_inputs(inputs))
    }

    /// Writes the results.
    ///
    /// # Errors
    ///
    /// If a file cannot be written, in one line; the others are.
    pub fn write(self, record: &Record) -> Result<(), String> {
        let text = |text: &str, mut file: File| file.write_all(text.as_bytes());
        let results = [
            self.json.map(|it| it.write(|file| record.write(file))),
            self.csv.map(|it| it.write(|file| text(&csv::text(record), file))),
            self.hgrm.map(|it| it.write(|file| text(&hgrm::text(record).map_err(io::Error::other)?, file))),
            self.html.map(|it| it.write(|file| text(&html::page(record), file))),
        ];
        let errors: Vec<String> = results.into_iter().flatten().filter_map(Result::err).collect();
        if errors.is_empty() { Ok(()) } else { Err(errors.join("; ")) }
    }
}
