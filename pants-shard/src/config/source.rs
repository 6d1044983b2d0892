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
        /// From 1, as is the column, which counts letters.
        line: usize,
        column: usize,
    },
    /// An environment variable.
    Variable(&'static str),
    /// A command-line flag.
    Flag(&'static str),
}

/// Configuration that cannot be used.
///
/// Its text has one line per problem, and each line names the file, line, column and key (or the variable, or the flag),
/// and says what to do:
///
/// ```text
/// pants.toml:3:10: runtime.shards: must be at least 1 or "auto", not 0
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
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

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
    use super::*;

    #[test]
    fn a_fault_names_its_place_and_its_key() {
        let file = Origin::File { path: "pants.toml".into(), line: 3, column: 7 };
        assert_eq!(file.blame("runtime.pin", "no"), "pants.toml:3:7: runtime.pin: no");
        assert_eq!(Origin::Variable("PANTS_PIN").blame("pin", "no"), "PANTS_PIN: no");
        assert_eq!(Origin::Flag("--no-pin").blame("pin", "no"), "--no-pin: no");
        assert_eq!(Origin::Program.blame("pin", "no"), "program: pin: no");
    }
}
