//! The file of results: the reports of one run or of several, as JSON.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::report::{Report, VERSION};
use crate::scaling::Scaling;
use crate::search::findings::Findings;

/// The reports of one run, or of several of the same plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The version of this form.
    pub version: u32,
    /// In the order in which they were made.
    pub runs: Vec<Report>,
    /// What a search has concluded from them: its points are theirs, in the same order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<Findings>,
    /// What a sweep has concluded from them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<Scaling>,
}

/// Just enough of a record to know its version.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// How many doubts about several runs are shown; the rest is in their reports.
const DOUBTS_SHOWN: usize = 4;

/// Why runs say nothing, and what to doubt in them: each sentence once, and only the first few.
pub fn doubts<'a>(runs: impl IntoIterator<Item = &'a Report>) -> Vec<String> {
    let mut doubts: Vec<String> = Vec::new();
    for run in runs {
        let invalid = run.invalid.iter().map(|reason| format!("INVALID: {reason}"));
        for doubt in invalid.chain(run.warnings.iter().map(|warning| format!("warning: {warning}"))) {
            if doubts.len() < DOUBTS_SHOWN && !doubts.contains(&doubt) {
                doubts.push(doubt);
            }
        }
    }
    doubts
}

impl Record {
    /// Of these runs.
    pub fn new(runs: Vec<Report>) -> Self {
        Self { version: VERSION, runs, search: None, sweep: None }
    }

    /// Checks that its runs are of one load, and not those of a search or of a sweep.
    ///
    /// # Errors
    ///
    /// What they are, in one line.
    pub fn check_alone(&self, name: &str) -> Result<(), String> {
        let what = match self {
            Self { search: Some(_), .. } => "a search",
            Self { sweep: Some(_), .. } => "a sweep",
            _ => return Ok(()),
        };
        Err(format!("{name}: its runs are those of {what}, each of another load or server; take results of `run`"))
    }

    /// Reads what [`write`](Self::write) has written.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or is not such a one, in one line that names it.
    pub fn read(path: &Path) -> Result<Self, String> {
        let file = path.display();
        let text = fs::read_to_string(path).map_err(|error| format!("{file}: {error}"))?;
        let wrong = |error: serde_json::Error| format!("{file}: this is no report of pants-load: {error}");
        let Versioned { version } = serde_json::from_str(&text).map_err(wrong)?;
        if version != VERSION {
            return Err(format!("{file}: it has version {version} of the form, and this program reads {VERSION}"));
        }
        serde_json::from_str(&text).map_err(wrong)
    }

    /// Writes it as JSON, with a line break at its end.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn write(&self, out: impl Write) -> io::Result<()> {
        let mut out = BufWriter::new(out);
        serde_json::to_writer_pretty(&mut out, self)?;
        out.write_all(b"\n")?;
        out.flush()
    }
}
