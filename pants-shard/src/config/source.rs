//! Where settings come from, and how a fault in one is told: one line that names the place and the key.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

/// The place that a value was set; the later variants beat the earlier ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Default,
    /// The program's own code, through a builder.
    Program,
    File {
        path: PathBuf,
        line: usize,
    },
    /// An environment variable.
    Variable(String),
    /// A command-line flag.
    Flag(&'static str),
}

/// A valid value, and where it came from, so that a fault found later can still be blamed on the right line.
#[derive(Clone, Debug)]
pub(super) struct Sourced<T> {
    pub(super) value: T,
    pub(super) origin: Origin,
}

/// Configuration that cannot be used.
///
/// Its text has one line per problem, and each line names the file and line (or the variable, or the flag) and the key,
/// and says what to do:
///
/// ```text
/// pants.toml:3: shards: must be at least 1 or "auto", not 0
/// PANTS_IDLE_TIMEOUT: expected a duration such as "30s" or "off", found "5"
/// ```
#[non_exhaustive]
#[derive(Clone, PartialEq, Eq, Error)]
#[error("{}", lines.join("\n"))]
pub struct ConfigError {
    lines: Vec<String>,
}

/// As its display: what a `main` that returns it prints.
impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The problems found so far, and the keys that they are about.
#[derive(Clone, Debug, Default)]
pub(super) struct Problems {
    lines: Vec<String>,
    keys: Vec<&'static str>,
}

/// The known name that `word` was probably meant to be: one slip away, or two if the name is long.
pub(super) fn near_miss<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    known
        .into_iter()
        .map(|name| (distance(&word, name), name))
        .filter(|(distance, name)| *distance <= if name.len() < 6 { 1 } else { 2 })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// The number of letters to insert, delete or replace to turn one word into the other (Levenshtein, row by row).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (above, letter) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = above + 1;
        for (column, other) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

impl Origin {
    /// Begins an error line. A variable or a flag already names the key.
    pub(super) fn blame(&self, key: &str, what: impl fmt::Display) -> String {
        match self {
            Self::Variable(_) | Self::Flag(_) => format!("{self}: {what}"),
            Self::Default | Self::Program | Self::File { .. } => format!("{self}: {key}: {what}"),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Program => f.write_str("program"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// Two settings are equal when their values are, wherever these came from.
impl<T: PartialEq> PartialEq for Sourced<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Sourced<T> {}

impl ConfigError {
    /// An error with a single problem.
    pub(super) fn one(line: String) -> Self {
        Self { lines: vec![line] }
    }

    /// The problems, each on one line.
    pub fn problems(&self) -> impl ExactSizeIterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }
}

impl Problems {
    /// Adds a problem that is about no known key.
    pub(super) fn add(&mut self, line: String) {
        self.lines.push(line);
    }

    /// Adds a problem with a setting.
    pub(super) fn blame(&mut self, key: &'static str, origin: &Origin, what: impl fmt::Display) {
        self.lines.push(origin.blame(key, what));
        self.keys.push(key);
    }

    /// Whether all of these settings are sound so far, so that a check across them means something.
    pub(super) fn none_about(&self, keys: &[&str]) -> bool {
        !self.keys.iter().any(|key| keys.contains(key))
    }

    pub(super) fn into_result<T>(self, value: T) -> Result<T, ConfigError> {
        if self.lines.is_empty() { Ok(value) } else { Err(ConfigError { lines: self.lines }) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_slip_or_two_is_a_near_miss_and_another_word_is_not() {
        let known = ["listen", "pin", "shards", "idle_timeout"];
        for (word, meant) in [
            ("shard", Some("shards")),
            ("SHARDS", Some("shards")),
            ("lsiten", Some("listen")),
            ("idle-timeout", Some("idle_timeout")),
            ("pins", Some("pin")),
            ("pool", None),
            ("host", None),
            ("", None),
        ] {
            assert_eq!(near_miss(word, known), meant, "{word}");
        }
    }

    #[test]
    fn the_distance_counts_insertions_deletions_and_replacements() {
        for (from, to, expected) in
            [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("abc", "abc", 0), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(from, to), expected, "{from} {to}");
        }
    }

    #[test]
    fn a_fault_names_its_place_and_its_key() {
        let file = Origin::File { path: "pants.toml".into(), line: 3 };
        assert_eq!(file.blame("pin", "no"), "pants.toml:3: pin: no");
        assert_eq!(Origin::Variable("PANTS_PIN".into()).blame("pin", "no"), "PANTS_PIN: no");
        assert_eq!(Origin::Flag("--no-pin").blame("pin", "no"), "--no-pin: no");
        assert_eq!(Origin::Program.blame("pin", "no"), "program: pin: no");
    }

    proptest! {
        #[test]
        fn the_distance_is_symmetric_and_at_most_the_longer_length(a in "[a-c]{0,6}", b in "[a-c]{0,6}") {
            prop_assert_eq!(distance(&a, &b), distance(&b, &a));
            prop_assert!(distance(&a, &b) <= a.len().max(b.len()));
            prop_assert_eq!(distance(&a, &b) == 0, a == b);
        }
    }
}
