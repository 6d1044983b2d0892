//! The flags of `compare`.

use std::path::{Path, PathBuf};
use std::slice;

use clap::Args;

use crate::cli::output::Destination;
use crate::compare::Comparison;
use crate::compare::sides::Sides;
use crate::report::record::Record;

/// What `compare` says of its exit status.
pub(crate) const AFTER_HELP: &str = "\
Measure both in one command, in turns:
  pants-load run tcp://HOST:1 tcp://HOST:2 --repeat 10 --json A.json --json B.json

Exit status: 0 if no figure is worse by more than the bound; 1 if one is, and that is no chance; 2 if nothing was compared, with
the reason on standard error. Of comparisons of a server with itself at most one in twenty shows any difference at all.";

/// The flags of `compare`.
#[derive(Debug, Args)]
pub struct CompareArguments {
    /// The results of the baseline, as `run --json` has written them
    #[arg(value_name = "BASELINE")]
    baseline: PathBuf,
    /// The results to compare with it
    #[arg(value_name = "CANDIDATE", required = true)]
    candidates: Vec<PathBuf>,
    /// How much worse a figure may be before it is a regression
    #[arg(long, value_name = "PERCENT", default_value = "5%", value_parser = bound)]
    bound: f64,
    /// Compare even what cannot be compared: invalid runs, other loads
    #[arg(long)]
    force: bool,
    /// Write the comparison to this file too, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl CompareArguments {
    /// The file that the comparison goes to, if any.
    ///
    /// # Errors
    ///
    /// If it cannot be created, or is one of those that are compared, in one line.
    pub fn open_output(&self) -> Result<Option<Destination>, String> {
        let Some(path) = &self.json else { return Ok(None) };
        let destination = Destination::open("--json", path)?;
        destination.check_inputs(&[slice::from_ref(&self.baseline), &self.candidates].concat())?;
        Ok(Some(destination))
    }

    /// The comparison that these flags ask for.
    ///
    /// # Errors
    ///
    /// If the files cannot be read or compared, in one line.
    pub fn compare(&self) -> Result<Comparison, String> {
        let files = std::iter::once(&self.baseline).chain(&self.candidates);
        let records = files.map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
        let Sides { sides, objections, warnings } = Sides::new(&records)?;
        if let Some(first) = objections.first()
            && !self.force
        {
            let more = match objections.len() - 1 {
                0 => String::new(),
                more => format!(", and {more} more"),
            };
            return Err(format!("{first}{more}; --force compares them all the same"));
        }
        let mut comparison = Comparison::new(&sides[0], &sides[1..], self.bound);
        comparison.warnings.splice(0..0, objections.into_iter().chain(warnings));
        Ok(comparison)
    }
}

/// A record, by the name of its file.
///
/// # Errors
///
/// If it cannot be read, in one line.
pub(crate) fn read(path: &Path) -> Result<(String, Record), String> {
    Record::read(path).map(|record| (path.display().to_string(), record))
}

fn bound(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').unwrap_or(text).trim().parse::<f64>().ok();
    let percent = percent.filter(|percent| (0.0..=1_000.0).contains(percent));
    percent.map(|percent| percent / 100.0).ok_or_else(|| "must be a percentage from 0% to 1000%".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_a_percentage() {
        assert_eq!((bound("5%"), bound("2.5"), bound("0%")), (Ok(0.05), Ok(0.025), Ok(0.0)));
        for wrong in ["", "-1%", "x", "NaN", "inf", "2000%"] {
            assert!(bound(wrong).is_err(), "{wrong}");
        }
    }
}
