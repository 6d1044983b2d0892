//! The flags of `merge`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::compare::read;
use crate::cli::output::{OutputArguments, Outputs};
use crate::merge::Merged;

/// What `merge` says of its exit status.
pub(crate) const AFTER_HELP: &str = "\
Fifty machines make one test with `run TARGET --part 0/50 --start-at TIME --json 0.json` and so on, up to 49/50.

Exit status: 0 if every message came back as it was sent; 1 if any failed or a result is invalid; 2 if the results cannot be
merged, with the reason on standard error.";

/// The flags of `merge`.
#[derive(Debug, Args)]
pub struct MergeArguments {
    /// The results of each machine, as `run --json` has written them
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    output: OutputArguments,
}

impl MergeArguments {
    /// The merged results.
    ///
    /// # Errors
    ///
    /// If the files cannot be read or merged, in one line.
    pub fn merge(&self) -> Result<Merged, String> {
        let records = self.files.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
        Merged::new(&records)
    }

    /// Creates the files that the merged results go to.
    ///
    /// # Errors
    ///
    /// If one cannot be created, or is one of those that are merged, in one line.
    pub fn open_outputs(&self) -> Result<Outputs, String> {
        let outputs = self.output.open()?;
        outputs.check_inputs(&self.files).map(|()| outputs)
    }
}
