//! The file of results: the reports of one run or of several, as JSON.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::report::{Report, VERSION};

/// The reports of one run, or of several of the same plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The version of this form.
    pub version: u32,
    /// In the order in which they were made.
    pub runs: Vec<Report>,
}

/// Just enough of a record to know its version.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl Record {
    /// Of these runs.
    pub fn new(runs: Vec<Report>) -> Self {
        Self { version: VERSION, runs }
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
    pub fn write(&self, mut out: impl Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut out, self)?;
        out.write_all(b"\n")
    }
}
