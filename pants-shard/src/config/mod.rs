//! Configuration: what the user wrote (a `Layer` of each place), and what of it is valid ([`Config`]).
//!
//! The table in `keys.rs` says what keys there are. A key that is added there, with its field, its setter and its getter, is read
//! from every layer, told in errors, printed and documented.

mod builder;
mod file;
mod get;
mod key;
mod keys;
mod raw;
mod source;
mod suggest;
mod validate;
mod value;

use std::fmt::{Display, Write};
use std::time::Duration;

use toml::Value;

use self::key::{Key, Values};
use self::source::Origin;
use crate::placement::Placement;

pub use self::builder::ConfigBuilder;
pub use self::key::OwnKey;
pub use self::raw::Flags;
pub use self::source::ConfigError;

/// Reads a timeout as the configuration does, for a program's own keys: a number with its unit (`ms`, `s`, `m`, `h`, `d`), from
/// `1ms` to `3650d`, or `off`, which is `None`.
///
/// # Errors
///
/// What is wrong, in words that follow a setting's name and a colon.
///
/// ```
/// use pants_shard::parse_timeout;
/// use std::time::Duration;
///
/// assert_eq!(parse_timeout("1500ms"), Ok(Some(Duration::from_millis(1500))));
/// assert_eq!(parse_timeout("off"), Ok(None));
/// assert_eq!(
///     parse_timeout("5").unwrap_err(),
///     r#"expected a duration such as "30s" or "off", found "5""#
/// );
/// ```
pub fn parse_timeout(text: &str) -> Result<Option<Duration>, String> {
    value::duration_or_off(&Value::String(text.to_owned()), value::TIMEOUT)
}

/// A valid configuration.
///
/// Every value is within its range and fits the others, and each remembers where it was set. Two configurations are
/// equal when their values are.
///
/// ```
/// use pants_shard::{Config, Shards};
///
/// let config = Config::builder().listen(4040).shards(Shards::Auto).pin(false).build()?;
/// assert!(config.to_toml().contains("pin = false  # program\n"));
/// # Ok::<(), pants_shard::ConfigError>(())
/// ```
///
/// # Where values come from
///
/// Flags beat the environment, which beats the file (TOML), which beats what the program set in code, which beats the defaults. A
/// string that spells a value is taken for that value: `shards = "2"` is `shards = 2`. A variable that is set to nothing counts as
/// not set.
///
#[doc = include_str!("keys.md")]
#[derive(Clone, Debug)]
pub struct Config {
    values: Values,
    /// Every key in the order of the table, and where its value was set.
    settings: Vec<(Key, Origin)>,
    /// Follows from the values and the machine.
    placement: Placement,
}

impl Config {
    /// Reads the environment and, where `PANTS_CONFIG` names one, a file.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] with a line for each key that is unknown and each value that is wrong. A file that cannot be
    /// read, or is not TOML, is told alone.
    pub fn load() -> Result<Self, ConfigError> {
        Self::builder().load()
    }

    /// Like [`load`](Self::load), with flags above the environment.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_with(flags: &Flags) -> Result<Self, ConfigError> {
        Self::builder().load_with(flags)
    }

    /// Starts a configuration that is set in code.
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder::default()
    }

    /// A fault that the program finds in a value, as a line of a [`ConfigError`]: it names the place and the key.
    ///
    /// ```
    /// use pants_shard::Config;
    ///
    /// let config = Config::builder().write_cap(1 << 20).build()?;
    /// let line = config.blame("limits.write_cap", "must have room for two frames");
    /// assert_eq!(line, "program: limits.write_cap: must have room for two frames");
    /// # Ok::<(), pants_shard::ConfigError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If there is no such key.
    #[must_use]
    pub fn blame(&self, path: &str, what: impl Display) -> String {
        self.origin(path).blame(path, what)
    }

    /// Writes the effective configuration as TOML. A comment above each key says what it sets, and one behind it where it was set.
    ///
    /// The text, read as a file on the same machine, gives an equal configuration.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut toml = String::new();
        let mut section = "";
        for (key, origin) in &self.settings {
            if key.section() != section {
                let gap = if section.is_empty() { "" } else { "\n" };
                section = key.section();
                writeln!(toml, "{gap}[{section}]").expect("a string takes all that is written to it");
            }
            // A path may hold a line break, which would end the comment.
            let origin = origin.to_string().replace(char::is_control, "?");
            let (about, name, value) = (key.about, key.name(), key.show(&self.values));
            writeln!(toml, "# {about}\n{name} = {value}  # {origin}")
                .expect("a string takes all that is written to it");
        }
        toml
    }

    fn origin(&self, path: &str) -> &Origin {
        let setting = self.settings.iter().find(|(key, _)| key.path == path);
        &setting.unwrap_or_else(|| panic!("there is no key {path}")).1
    }
}

/// Two configurations are equal when their values are, wherever these came from.
impl PartialEq for Config {
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values && self.placement == other.placement
    }
}

/// The only float is within its range, and so equal to itself.
impl Eq for Config {}

impl Default for Config {
    /// The defaults, on this machine: they read the CPUs that the calling thread may use.
    fn default() -> Self {
        Self::builder().build().expect("the defaults are valid, and a process has at least one CPU")
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;

    use super::keys::KEYS;
    use super::*;
    use crate::placement::{CpuId, Machine, Topology};

    /// A value for every key that is not its default, in the order of the table.
    const OTHER_VALUES: [(&str, &str); 27] = [
        ("runtime.shards", "3"),
        ("runtime.cpus", "[1, 0]"),
        ("runtime.pin", "true"),
        ("runtime.layout", "\"pack\""),
        ("runtime.drain_timeout", "\"0s\""),
        ("runtime.busy_poll", "\"50us\""),
        ("runtime.stall_after", "\"off\""),
        ("runtime.offload_threads", "64"),
        ("runtime.handover", "\"/run/x\""),
        ("listener.listen", "[\"[::1]:1\", \"2\"]"),
        ("listener.share_port", "true"),
        ("listener.backlog", "1"),
        ("listener.nodelay", "false"),
        ("listener.balance", "\"least-connections\""),
        ("limits.max_connections", "7"),
        ("limits.write_high_water", "\"128KiB\""),
        ("limits.write_low_water", "\"5000B\""),
        ("limits.write_cap", "\"1GiB\""),
        ("limits.buffer_limit", "\"1B\""),
        ("timeouts.idle", "\"off\""),
        ("timeouts.read", "\"1m\""),
        ("timeouts.write_stall", "\"1500ms\""),
        ("timeouts.connect", "\"3650d\""),
        ("balance.max_skew", "2.5"),
        ("balance.interval", "\"1m\""),
        ("balance.moves_per_interval", "4096"),
        ("admin.listen", "\"/run/admin.sock\""),
    ];

    fn two_cpus() -> Machine {
        Machine { allowed: vec![0, 1], quota: 2, ..Machine::default() }
    }

    /// Resolves all layers on a machine with the CPUs 0 and 1; the only file is `pants.toml`.
    fn resolve(file: &str, environment: &[(&str, &str)], flags: &Flags) -> Result<Config, ConfigError> {
        let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
        let read_file = |path: &Path| match path.to_str() {
            Some("pants.toml") => Ok(file.to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        Config::builder().nodelay(false).backlog(1).resolve(flags, environment, read_file, &two_cpus())
    }

    fn defaults() -> Config {
        Config::builder().resolve(&Flags::default(), [], |_| unreachable!("no file is named"), &two_cpus()).unwrap()
    }

    fn with_file() -> Flags {
        Flags { config: Some("pants.toml".into()), ..Flags::default() }
    }

    /// A file of all the other values.
    fn other_file() -> String {
        OTHER_VALUES.iter().map(|(path, value)| format!("{path} = {value}\n")).collect()
    }

    #[test]
    fn every_section_and_key_is_printed_with_what_it_sets_and_where_it_was_set() {
        let toml = defaults().to_toml();
        assert!(toml.starts_with(
            "[runtime]\n\
             # How many shards, each a thread of its own: \"auto\", one per CPU, or 1 to 1024.\n\
             shards = \"auto\"  # default\n\
             # The CPUs to pin"
        ));
        assert!(toml.contains("\n\n[limits]\n# The most connections of one shard"), "{toml}");
        assert_eq!(toml.lines().filter(|line| line.starts_with('#')).count(), KEYS.len());
        assert_eq!(toml.lines().filter(|line| line.ends_with("  # default")).count(), KEYS.len());
        assert!(toml.lines().all(|line| line.len() <= 120), "{toml}");
        assert_eq!(defaults().placement().len(), 2);
        assert_eq!(Config::default().listen(), defaults().listen());
    }

    /// The documentation of the keys, as the table has them; what is in `keys.md`.
    fn documentation() -> String {
        let (mut text, mut section, values) = (String::new(), "", defaults().values);
        for key in KEYS {
            if key.section() != section {
                section = key.section();
                write!(
                    text,
                    "\n# `[{section}]`\n\n| key | default | variable | meaning |\n| --- | --- | --- | --- |\n"
                )
                .unwrap();
            }
            // A bracket would be read as a link.
            let about = key.about.replace('[', "\\[");
            writeln!(text, "| `{}` | `{}` | `{}` | {about} |", key.name(), key.show(&values), key.variable).unwrap();
        }
        text
    }

    #[test]
    fn the_documented_keys_are_those_of_the_table() {
        let text = documentation();
        assert!(text == include_str!("keys.md"), "keys.md must be:\n{text}");
    }

    #[test]
    fn the_defaults_are_the_engines() {
        let (ours, theirs) = (defaults().server_options(), pants_engine::ServerOptions::default());
        let idle_timeout = ours.connection.idle_timeout;
        let connection = pants_engine::ConnectionOptions { idle_timeout, ..theirs.connection.clone() };
        assert_eq!(ours, pants_engine::ServerOptions { connection, ..theirs });
        assert_eq!(defaults().engine_options(), pants_engine::EngineOptions::default());
    }

    #[test]
    fn each_layer_beats_the_one_below_it() {
        let file = "[runtime]\nshards = 2\ndrain_timeout = '2s'\n[listener]\nlisten = 2\nbacklog = 2\n";
        let environment = [("PANTS_CONFIG", "pants.toml"), ("PANTS_SHARDS", "3"), ("PANTS_LISTEN", "3,4")];
        let flags = Flags { shards: Some("4".into()), ..Flags::default() };
        let config = resolve(file, &environment, &flags).unwrap();
        let toml = config.to_toml();
        for line in [
            "shards = 4  # --shards\n",
            "listen = [\"3\", \"4\"]  # PANTS_LISTEN\n",
            "drain_timeout = \"2s\"  # pants.toml:3:17\n",
            "backlog = 2  # pants.toml:6:11\n",
            "nodelay = false  # program\n",
            "pin = true  # default\n",
        ] {
            assert!(toml.contains(line), "{line} in {toml}");
        }
        assert_eq!(config.placement().len(), 4);
    }

    #[test]
    fn a_layer_can_undo_what_a_lower_one_sets() {
        let file = "runtime.cpus = [0]\nlimits.max_connections = 1\ntimeouts.idle = '1s'\n";
        let environment =
            [("PANTS_CPUS", "all"), ("PANTS_MAX_CONNECTIONS", "unlimited"), ("PANTS_IDLE_TIMEOUT", "off")];
        let config = resolve(file, &environment, &with_file()).unwrap();
        assert_eq!((config.max_connections(), config.idle_timeout()), (None, None));
        assert_eq!(config.placement().len(), 2);
    }

    #[test]
    fn the_layout_says_which_cpus_come_first() {
        // Of four CPUs, 0 and 1 are threads of a core, and so are 2 and 3.
        let sysfs = |path: &str| match path.strip_prefix("/sys/devices/system/cpu/")? {
            "online" => Some("0-3\n".to_owned()),
            "cpu0/topology/thread_siblings_list" | "cpu1/topology/thread_siblings_list" => Some("0-1\n".to_owned()),
            "cpu2/topology/thread_siblings_list" | "cpu3/topology/thread_siblings_list" => Some("2-3\n".to_owned()),
            _ => None,
        };
        let machine = Machine { allowed: vec![0, 1, 2, 3], quota: 4, topology: Topology::from_sysfs(sysfs) };
        for (layout, expected) in [("spread", [0, 2]), ("pack", [0, 1])] {
            let environment =
                [("PANTS_SHARDS", "2"), ("PANTS_LAYOUT", layout)].map(|(name, value)| (name.into(), value.into()));
            let read_file = |_: &Path| unreachable!("no file is named");
            let config = Config::builder().resolve(&Flags::default(), environment, read_file, &machine).unwrap();
            assert!(config.placement().iter().eq(expected.map(CpuId::new)), "{layout}");
        }
    }

    #[test]
    fn a_value_that_is_overridden_is_not_judged() {
        let flags = Flags { shards: Some("1".into()), ..with_file() };
        let config = resolve("runtime.shards = 0", &[("PANTS_SHARDS", "x")], &flags).unwrap();
        assert_eq!(config.placement().len(), 1);
    }

    #[test]
    fn the_file_that_a_flag_names_beats_the_one_that_the_variable_names() {
        let environment = [("PANTS_CONFIG", "other.toml")];
        let config = resolve("runtime.pin = false", &environment, &with_file());
        assert!(config.is_ok_and(|config| !config.pin()));
        let error = resolve("", &environment, &Flags::default()).unwrap_err();
        assert_eq!(error.to_string(), "other.toml: cannot be read: entity not found");
    }

    #[test]
    fn faults_from_every_layer_are_told_together_and_each_on_one_line() {
        let flags = Flags { cpus: Some("7".into()), balance: Some("fair".into()), ..with_file() };
        let environment = [("PANTS_IDLE_TIMEOUT", "5"), ("PANTS_SHARD", "1"), ("PANTS_LISTEN", "here")];
        let error = resolve("[runtime]\npins = true\n[listener]\nbacklog = 0\n", &environment, &flags).unwrap_err();
        assert_eq!(
            error.to_string(),
            "PANTS_SHARD: unknown variable; did you mean PANTS_SHARDS? Rename it or unset it\n\
             pants.toml:2:1: runtime.pins: unknown key; did you mean \"pin\"?\n\
             PANTS_LISTEN: address \"here\": the port is missing; write \"here:4040\"\n\
             pants.toml:4:11: listener.backlog: must be 1 to 65535, not 0\n\
             --balance: must be \"kernel\", \"cpu\", \"least-connections\" or \"rebalance\", not \"fair\"\n\
             PANTS_IDLE_TIMEOUT: expected a duration such as \"30s\" or \"off\", found \"5\"\n\
             --cpus: CPU 7 is not available to this process, which may use 0-1"
        );
    }

    #[test]
    fn a_syntax_error_is_told_alone() {
        let error = resolve("shards = 1\nshards = 2", &[("PANTS_PIN", "x")], &with_file()).unwrap_err();
        assert_eq!(error.to_string(), "pants.toml:2:1: syntax: duplicate key, in `shards = 2`");
    }

    #[test]
    fn flags_are_blamed_by_their_names() {
        for (flags, error) in [
            (Flags { shards: Some("0".into()), ..Flags::default() }, "--shards: must be at least 1 or \"auto\", not 0"),
            (
                Flags { cpus: Some(String::new()), ..Flags::default() },
                "--cpus: expected CPU numbers such as [0, 1], \"0-3,8\" or \"all\", found \"\"",
            ),
            (
                Flags { listen: vec!["1".into(), "1".into()], ..Flags::default() },
                "--listen: 1 is listed twice; name each address once",
            ),
            (
                Flags { admin: Some("here".into()), ..Flags::default() },
                "--admin: address \"here\": the port is missing; write \"here:4040\"",
            ),
            (
                Flags { cpus: Some("0".into()), no_pin: true, ..Flags::default() },
                "--cpus: a list of CPUs has no effect while pinning is off; drop the list or turn pinning on (pin = \
                 false comes from --no-pin)",
            ),
        ] {
            assert_eq!(resolve("", &[], &flags).unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn what_is_printed_reads_back_as_the_same_configuration() {
        let unpinned = Flags { no_pin: true, share_port: true, ..Flags::default() };
        for config in [Ok(defaults()), resolve(&other_file(), &[], &with_file()), resolve("", &[], &unpinned)] {
            let config = config.unwrap();
            assert_eq!(resolve(&config.to_toml(), &[], &with_file()), Ok(config));
        }
    }

    #[test]
    fn every_value_is_printed_as_it_was_written() {
        assert!(OTHER_VALUES.iter().map(|(path, _)| *path).eq(KEYS.iter().map(|key| key.path)), "one of every key");
        let config = resolve(&other_file(), &[], &with_file()).unwrap();
        let printed = KEYS.map(|key| key.show(&config.values));
        assert_eq!(printed, OTHER_VALUES.map(|(_, value)| value.to_owned()));
    }

    #[test]
    fn a_line_break_in_the_files_name_does_not_end_a_comment() {
        let flags = Flags { config: Some("a\nb".into()), ..Flags::default() };
        let read_file = |_: &Path| Ok("runtime.pin = true".to_owned());
        let config = Config::builder().resolve(&flags, [], read_file, &two_cpus()).unwrap();
        assert!(config.to_toml().contains("pin = true  # a?b:1:15\n"));
    }

    #[test]
    fn any_value_may_come_from_a_variable() {
        // The text of a variable has no quotes and no array's brackets.
        let texts = OTHER_VALUES.map(|(path, value)| match path {
            "listener.listen" => "[::1]:1, 2".to_owned(),
            _ => value.replace(['[', ']', '"'], ""),
        });
        let environment: Vec<_> = KEYS.iter().zip(&texts).map(|(key, text)| (key.variable, text.as_str())).collect();
        assert_eq!(resolve("", &environment, &Flags::default()), resolve(&other_file(), &[], &with_file()));
    }
}
