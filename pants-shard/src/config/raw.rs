//! Configuration as it was written: each layer (program, file, environment, flags) read into a `RawConfig`, and merged.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use toml::{Spanned, Value};

use super::source::{ConfigError, Origin, Problems, near_miss};

/// What every variable's name begins with; the rest is the key in capitals.
const PREFIX: &str = "PANTS_";

/// Variables that are not settings: the file's path, and the program's log filter, which this crate does not read.
const OTHER_VARIABLES: [&str; 2] = ["config", "log"];

/// One layer, or several merged; a setting that nothing set is `None`.
#[derive(Clone, Debug, Default)]
pub(super) struct RawConfig {
    pub(super) listen: Option<Setting>,
    pub(super) shards: Option<Setting>,
    pub(super) cpus: Option<Setting>,
    pub(super) pin: Option<Setting>,
    pub(super) share_port: Option<Setting>,
    pub(super) drain_timeout: Option<Setting>,
    pub(super) idle_timeout: Option<Setting>,
    pub(super) write_stall_timeout: Option<Setting>,
    pub(super) write_high_water: Option<Setting>,
    pub(super) write_low_water: Option<Setting>,
    pub(super) write_cap: Option<Setting>,
    pub(super) max_connections: Option<Setting>,
    pub(super) backlog: Option<Setting>,
    pub(super) nodelay: Option<Setting>,
}

/// A value that nobody has checked yet.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// What a program's command line says; it beats every other layer. A field left empty sets nothing.
///
/// Plain data, so that a program can fill it from any parser of arguments.
///
/// ```
/// use pants_shard::{Config, Flags};
///
/// let flags = Flags { shards: Some("0".into()), ..Flags::default() };
/// let error = Config::load_with(&flags).unwrap_err();
/// assert_eq!(error.to_string(), r#"--shards: must be at least 1 or "auto", not 0"#);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--listen ADDRESS`, once per address.
    pub listen: Vec<String>,
    /// `--shards N` or `--shards auto`.
    pub shards: Option<String>,
    /// `--cpus 0,1`; ranges such as `0-3` and `all` are read too.
    pub cpus: Option<String>,
    /// `--no-pin`.
    pub no_pin: bool,
    /// `--share-port`.
    pub share_port: bool,
    /// `--idle-timeout 30s`, or `--idle-timeout off`.
    pub idle_timeout: Option<String>,
    /// `--config PATH`: the file to read in place of the one that `PANTS_CONFIG` names.
    pub config: Option<PathBuf>,
}

impl RawConfig {
    /// Reads a file's text, and notes each key that is not known.
    pub(super) fn from_toml(path: &Path, text: &str, problems: &mut Problems) -> Result<Self, ConfigError> {
        // The table is read whole, so that one load tells every unknown key and not just the first.
        let table: BTreeMap<Spanned<String>, Spanned<Value>> =
            toml::from_str(text).map_err(|error| syntax_error(path, text, &error))?;
        let mut entries: Vec<_> = table.into_iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);

        let mut raw = Self::default();
        for (key, value) in entries {
            let line = line_at(text, key.span().start);
            let origin = Origin::File { path: path.to_owned(), line };
            match raw.slot(key.get_ref()) {
                Some(slot) => *slot = Some(Setting { value: value.into_inner(), origin }),
                None => problems.add(format!("{origin}: {}", unknown_key(key.get_ref()))),
            }
        }
        Ok(raw)
    }

    /// Reads the variables that are settings, and finds the one that names the file.
    ///
    /// A variable that is set to nothing counts as not set, as a compose file's `${PANTS_SHARDS:-}` expects. Unknown
    /// ones are other programs' business, unless they look like a slip of the pen.
    pub(super) fn from_environment(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        problems: &mut Problems,
    ) -> (Self, Option<PathBuf>) {
        // Sorted, because the environment's order is an accident and the order of the messages should not be one.
        let variables: BTreeMap<OsString, OsString> = variables.into_iter().collect();
        let mut raw = Self::default();
        let mut config = None;
        for (name, value) in variables {
            let Some((name, key)) = name.to_str().and_then(|name| Some((name, name.strip_prefix(PREFIX)?))) else {
                continue;
            };
            if value.is_empty() || key == "LOG" {
                continue;
            }
            if key == "CONFIG" {
                config = Some(PathBuf::from(value));
            } else if let Some(slot) = raw.slot_for_variable(key) {
                match value.into_string() {
                    Ok(text) => {
                        let origin = Origin::Variable(name.to_owned());
                        *slot = Some(Setting { value: Value::String(text), origin });
                    }
                    Err(_) => problems.add(format!("{name}: its value is not UTF-8; set it to plain text")),
                }
            } else if let Some(meant) = near_miss(key, Self::keys().into_iter().chain(OTHER_VARIABLES)) {
                let meant = meant.to_ascii_uppercase();
                problems.add(format!("{name}: unknown variable; did you mean {PREFIX}{meant}? Rename it or unset it"));
            }
        }
        (raw, config)
    }

    pub(super) fn from_flags(flags: &Flags) -> Self {
        let set = |value, flag| Some(Setting { value, origin: Origin::Flag(flag) });
        let text =
            |value: &Option<String>, flag| value.as_ref().and_then(|text| set(Value::String(text.clone()), flag));
        let listen = (!flags.listen.is_empty()).then(|| flags.listen.join(","));
        Self {
            listen: text(&listen, "--listen"),
            shards: text(&flags.shards, "--shards"),
            cpus: text(&flags.cpus, "--cpus"),
            pin: flags.no_pin.then(|| set(Value::Boolean(false), "--no-pin")).flatten(),
            share_port: flags.share_port.then(|| set(Value::Boolean(true), "--share-port")).flatten(),
            idle_timeout: text(&flags.idle_timeout, "--idle-timeout"),
            ..Self::default()
        }
    }

    /// Takes what `upper` sets, and keeps the rest.
    pub(super) fn overlaid_with(mut self, mut upper: Self) -> Self {
        for ((_, lower), (_, upper)) in self.slots().into_iter().zip(upper.slots()) {
            if upper.is_some() {
                *lower = upper.take();
            }
        }
        self
    }

    /// Every setting with its key, in the order in which they are documented and printed.
    fn slots(&mut self) -> [(&'static str, &mut Option<Setting>); 14] {
        [
            ("listen", &mut self.listen),
            ("shards", &mut self.shards),
            ("cpus", &mut self.cpus),
            ("pin", &mut self.pin),
            ("share_port", &mut self.share_port),
            ("drain_timeout", &mut self.drain_timeout),
            ("idle_timeout", &mut self.idle_timeout),
            ("write_stall_timeout", &mut self.write_stall_timeout),
            ("write_high_water", &mut self.write_high_water),
            ("write_low_water", &mut self.write_low_water),
            ("write_cap", &mut self.write_cap),
            ("max_connections", &mut self.max_connections),
            ("backlog", &mut self.backlog),
            ("nodelay", &mut self.nodelay),
        ]
    }

    fn slot(&mut self, key: &str) -> Option<&mut Option<Setting>> {
        self.slots().into_iter().find(|(name, _)| *name == key).map(|(_, slot)| slot)
    }

    fn slot_for_variable(&mut self, key: &str) -> Option<&mut Option<Setting>> {
        self.slots().into_iter().find(|(name, _)| name.to_ascii_uppercase() == key).map(|(_, slot)| slot)
    }

    fn keys() -> [&'static str; 14] {
        Self::default().slots().map(|(key, _)| key)
    }
}

/// The error for a file that cannot be read.
pub(super) fn unreadable(path: &Path, error: &io::Error) -> ConfigError {
    let what = error.to_string();
    // "(os error 2)" tells a user nothing that the words before it do not.
    let what = what.split(" (os error").next().unwrap_or_default();
    ConfigError::one(format!("{}: cannot be read: {what}", path.display()))
}

fn syntax_error(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let start = error.span().map_or(text.len(), |span| span.start);
    let line = line_at(text, start);
    let source = text.lines().nth(line - 1).unwrap_or_default().trim();
    // The line is quoted because it shows the key; the parser's own message does not name one.
    let excerpt: String =
        source.chars().take(60).map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    let cut = if source.chars().nth(60).is_some() { "…" } else { "" };
    let what = error.message().replace('\n', " ");
    ConfigError::one(format!("{}:{line}: syntax: {what}, in `{excerpt}{cut}`", path.display()))
}

fn unknown_key(key: &str) -> String {
    match near_miss(key, RawConfig::keys()) {
        Some(meant) => format!("unknown key {key:?}; did you mean {meant:?}?"),
        None => format!("unknown key {key:?}; the known keys are {}", RawConfig::keys().join(", ")),
    }
}

/// The number of the line, from 1, that holds this byte.
fn line_at(text: &str, offset: usize) -> usize {
    let before = &text.as_bytes()[..offset.min(text.len())];
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use proptest::prelude::*;

    use super::*;

    /// Reads `pants.toml` with this text: the layer, and what is wrong with it.
    fn read(text: &str) -> (RawConfig, Vec<String>) {
        let mut problems = Problems::default();
        match RawConfig::from_toml(Path::new("pants.toml"), text, &mut problems) {
            Ok(raw) => (raw, lines(problems.into_result(()))),
            Err(error) => (RawConfig::default(), lines(Err(error))),
        }
    }

    fn environment(variables: &[(&str, &str)]) -> (RawConfig, Option<PathBuf>, Vec<String>) {
        let mut problems = Problems::default();
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
        let (raw, config) = RawConfig::from_environment(variables, &mut problems);
        (raw, config, lines(problems.into_result(())))
    }

    fn lines(result: Result<(), ConfigError>) -> Vec<String> {
        result.err().map_or_else(Vec::new, |error| error.problems().map(str::to_owned).collect())
    }

    fn set(raw: &mut RawConfig) -> Vec<(&'static str, String)> {
        raw.slots().into_iter().filter_map(|(key, slot)| Some((key, slot.as_ref()?.origin.to_string()))).collect()
    }

    #[test]
    fn each_key_of_a_file_remembers_its_line() {
        let (mut raw, problems) = read("# A comment.\npin = false\n\nlisten = [\n  4040,\n  4041,\n]\r\nbacklog = 1\n");
        assert_eq!(problems, [""; 0]);
        let lines = [("listen", "4"), ("pin", "2"), ("backlog", "8")];
        assert_eq!(set(&mut raw), lines.map(|(key, line)| (key, format!("pants.toml:{line}"))));
    }

    #[test]
    fn every_unknown_key_of_a_file_is_told_in_the_order_of_its_lines() {
        let (_, problems) = read("pin = true\nshard = 2\nIdle-Timeout = \"1s\"\n[server]\nlisten = 1\n");
        assert_eq!(
            problems,
            [
                "pants.toml:2: unknown key \"shard\"; did you mean \"shards\"?",
                "pants.toml:3: unknown key \"Idle-Timeout\"; did you mean \"idle_timeout\"?",
                "pants.toml:4: unknown key \"server\"; the known keys are listen, shards, cpus, pin, share_port, \
                 drain_timeout, idle_timeout, write_stall_timeout, write_high_water, write_low_water, write_cap, \
                 max_connections, backlog, nodelay",
            ]
        );
    }

    #[test]
    fn a_syntax_error_names_its_line_and_quotes_it() {
        for (text, error) in [
            ("shards = \n", "1: syntax: string values must be quoted, expected literal string, in `shards =`"),
            ("pin = true\nshards 4\n", "2: syntax: key with no value, expected `=`, in `shards 4`"),
            ("shards = 1\nshards = 2\n", "2: syntax: duplicate key, in `shards = 2`"),
            ("pin = true\nlisten = \"4040\n", "2: syntax: invalid basic string, expected `\"`, in `listen = \"4040`"),
            ("listen = [\n  4040,\n", "2: syntax: unclosed array, expected `]`, in `4040,`"),
        ] {
            assert_eq!(read(text).1, [format!("pants.toml:{error}")]);
        }
    }

    #[test]
    fn a_long_line_is_cut_in_a_syntax_error() {
        let (_, problems) = read(&format!("pin = \"{}\n", "é".repeat(100)));
        let excerpt = "é".repeat(53);
        assert_eq!(
            problems,
            [format!("pants.toml:1: syntax: invalid basic string, expected `\"`, in `pin = \"{excerpt}…`")]
        );
    }

    #[test]
    fn a_file_that_cannot_be_read_is_told_without_the_number_of_the_error() {
        let error = unreadable(Path::new("pants.toml"), &io::Error::from_raw_os_error(2));
        assert_eq!(error.to_string(), "pants.toml: cannot be read: No such file or directory");
        let error = unreadable(Path::new("pants.toml"), &io::Error::from(io::ErrorKind::InvalidData));
        assert_eq!(error.to_string(), "pants.toml: cannot be read: invalid data");
    }

    #[test]
    fn every_setting_has_a_variable() {
        for key in RawConfig::keys() {
            let name = format!("PANTS_{}", key.to_ascii_uppercase());
            let (mut raw, _, problems) = environment(&[(&name, "x")]);
            assert_eq!(set(&mut raw), [(key, name)]);
            assert_eq!(problems, [""; 0]);
        }
    }

    #[test]
    fn every_setting_has_a_key_in_the_file() {
        for key in RawConfig::keys() {
            assert_eq!(set(&mut read(&format!("{key} = 0")).0), [(key, "pants.toml:1".to_owned())]);
        }
    }

    #[test]
    fn variables_that_are_not_settings_are_left_alone() {
        let (mut raw, config, problems) = environment(&[
            ("HOME", "/root"),
            ("PANTS_CONFIG", "pants.toml"),
            ("PANTS_GREETING", "hello"),
            ("PANTS_LOG", "debug"),
            ("PANTS_SHARDS", ""),
        ]);
        assert_eq!(set(&mut raw), []);
        assert_eq!(config, Some(PathBuf::from("pants.toml")));
        assert_eq!(problems, [""; 0]);
    }

    #[test]
    fn a_near_miss_of_a_variable_is_told() {
        let (_, _, problems) = environment(&[("PANTS_SHARD", "2"), ("PANTS_CONFG", "x"), ("PANTS_pin", "true")]);
        assert_eq!(
            problems,
            [
                "PANTS_CONFG: unknown variable; did you mean PANTS_CONFIG? Rename it or unset it",
                "PANTS_SHARD: unknown variable; did you mean PANTS_SHARDS? Rename it or unset it",
                "PANTS_pin: unknown variable; did you mean PANTS_PIN? Rename it or unset it",
            ]
        );
    }

    #[test]
    fn a_variable_that_is_not_text_is_told_and_a_path_that_is_not_is_kept() {
        let bytes = OsString::from_vec(vec![0xff]);
        let mut problems = Problems::default();
        let variables = [
            ("PANTS_PIN".into(), bytes.clone()),
            ("PANTS_CONFIG".into(), bytes.clone()),
            (bytes.clone(), bytes.clone()),
        ];
        let (_, config) = RawConfig::from_environment(variables, &mut problems);
        assert_eq!(config, Some(PathBuf::from(bytes)));
        assert_eq!(lines(problems.into_result(())), ["PANTS_PIN: its value is not UTF-8; set it to plain text"]);
    }

    #[test]
    fn only_flags_that_were_given_set_something() {
        assert_eq!(set(&mut RawConfig::from_flags(&Flags::default())), []);
        let flags = Flags {
            listen: vec!["1".into(), "2".into()],
            shards: Some("1".into()),
            cpus: Some("0".into()),
            no_pin: true,
            share_port: true,
            idle_timeout: Some("1s".into()),
            config: Some("pants.toml".into()),
        };
        let mut raw = RawConfig::from_flags(&flags);
        let flags = [
            ("listen", "--listen"),
            ("shards", "--shards"),
            ("cpus", "--cpus"),
            ("pin", "--no-pin"),
            ("share_port", "--share-port"),
            ("idle_timeout", "--idle-timeout"),
        ];
        assert_eq!(set(&mut raw), flags.map(|(key, flag)| (key, flag.to_owned())));
        assert_eq!(raw.listen.unwrap().value, Value::String("1,2".into()));
    }

    proptest! {
        #[test]
        fn no_file_makes_reading_panic_or_an_error_span_lines(
            text in r#"\PC*|([a-z]{1,6}|[=\[\]{}"',.\n\t 0-9é-]){0,30}"#,
        ) {
            for problem in read(&text).1 {
                prop_assert!(!problem.contains('\n'), "{}", problem);
            }
        }
    }
}
