//! The directory into which a run writes: the record, the tables and the chart.

use std::path::Path;

use crate::record::Record;
use crate::{chart, report};

/// The record's file.
const RECORD: &str = "record.json";

/// Makes the directory, so that one that cannot be made is told before hours of measuring.
///
/// # Errors
///
/// In one line.
pub(crate) fn prepare(directory: &Path) -> Result<(), String> {
    std::fs::create_dir_all(directory)
        .map_err(|error| format!("cannot make the directory {}: {error}", directory.display()))
}

/// Writes the record as it is by now. One that is there is replaced when the new one is whole.
///
/// # Errors
///
/// In one line, which names the file.
pub(crate) fn write_record(directory: &Path, record: &Record) -> Result<(), String> {
    let text = serde_json::to_string(record).map_err(|error| error.to_string())?;
    let (path, unfinished) = (directory.join(RECORD), directory.join("record.json.part"));
    write(&unfinished, &text)?;
    std::fs::rename(&unfinished, &path).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

/// Writes everything.
///
/// # Errors
///
/// As [`write_record`].
pub(crate) fn write_all(directory: &Path, record: &Record) -> Result<(), String> {
    write_record(directory, record)?;
    write(&directory.join("tables.md"), &report::all(record))?;
    chart::draw(record).map_or(Ok(()), |chart| write(&directory.join("chart.svg"), &chart))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_replaced_as_a_whole() {
        let directory = std::env::temp_dir().join(format!("side-by-side-output-{}", std::process::id()));
        prepare(&directory).unwrap();
        for rounds in [3, 4] {
            write_record(&directory, &Record { rounds, ..Record::default() }).unwrap();
            assert_eq!(Record::read(&directory.join(RECORD)).unwrap().rounds, rounds);
        }
        let files = std::fs::read_dir(&directory).unwrap().count();
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(files, 1);
        assert!(write_record(&directory, &Record::default()).unwrap_err().contains("record.json"));
    }
}
