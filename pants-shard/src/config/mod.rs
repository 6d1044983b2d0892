//! Configuration: what the user wrote (`RawConfig`), and what of it is valid ([`Config`]).
//!
//! | key | default | meaning |
//! | --- | --- | --- |
//! | `listen` | `"127.0.0.1:4040"` | an address or port, or an array of them |
//! | `shards` | `"auto"` | how many shards: `"auto"`, or 1 to 1024 |
//! | `cpus` | `"all"` | the CPUs to pin shards to, in order, such as `[0, 1]` or `"0-3,8"` |
//! | `pin` | `true` | whether each shard stays on one CPU |
//! | `share_port` | `false` | whether a port may be shared with another program's listener |
//! | `drain_timeout` | `"10s"` | how long a stop waits for connections; `"0s"` to `"1h"` |
//! | `idle_timeout` | `"10m"` | closes a silent connection; `"1ms"` to `"3650d"`, or `"off"` |
//! | `write_stall_timeout` | `"1m"` | closes a connection whose peer takes no data; as above |
//! | `write_high_water` | `"256KiB"` | queued bytes above which a connection is not read |
//! | `write_low_water` | `"64KiB"` | queued bytes below which it is read again; 4 KiB or more |
//! | `write_cap` | `"16MiB"` | queued bytes that a connection may never pass; 16 KiB to 1 GiB |
//! | `max_connections` | `"unlimited"` | the most connections of one shard; 1 or more |
//! | `backlog` | `4096` | connections that the kernel holds until they are accepted; 1 to 65535 |
//! | `nodelay` | `true` | whether small writes leave at once (`TCP_NODELAY`) |
//!
//! Flags beat the environment (`PANTS_SHARDS` and so on), which beats the file (TOML), which beats what the program set
//! in code, which beats the defaults. A string that spells a value is taken for that value.

mod builder;
mod raw;
mod source;
mod validate;
mod value;

use std::fmt::{Display, Write};
use std::time::Duration;

use pants_engine::{Address, ConnectionOptions, EngineOptions, ServerOptions};
use toml::Value;

use self::source::{Origin, Sourced};
use self::value::{format_duration, format_size};
use crate::placement::{Placement, Shards};

pub use self::builder::ConfigBuilder;
pub use self::raw::Flags;
pub use self::source::ConfigError;

/// Reads a timeout as the configuration does, for a program's own settings: a number with its unit (`ms`, `s`, `m`, `h`, `d`), from
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
    value::timeout(&Value::String(text.to_owned()))
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    listen: Sourced<Vec<Address>>,
    shards: Sourced<Shards>,
    cpus: Sourced<Option<Vec<usize>>>,
    pin: Sourced<bool>,
    /// Follows from the three above and the machine.
    placement: Placement,
    share_port: Sourced<bool>,
    drain_timeout: Sourced<Duration>,
    idle_timeout: Sourced<Option<Duration>>,
    write_stall_timeout: Sourced<Option<Duration>>,
    /// Above `write_low_water`, and at most `write_cap`.
    write_high_water: Sourced<usize>,
    write_low_water: Sourced<usize>,
    write_cap: Sourced<usize>,
    max_connections: Sourced<Option<usize>>,
    backlog: Sourced<u32>,
    nodelay: Sourced<bool>,
    busy_poll: Option<Duration>,
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

    /// The addresses to listen on; at least one.
    #[must_use]
    pub fn listen(&self) -> &[Address] {
        &self.listen.value
    }

    /// How many shards there are, and the CPU of each.
    #[must_use]
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// What an engine's options are by this configuration.
    pub fn engine_options(&self) -> EngineOptions {
        EngineOptions { busy_poll: self.busy_poll.unwrap_or_default(), ..EngineOptions::default() }
    }

    /// Whether each shard stays on one CPU.
    #[must_use]
    pub fn pin(&self) -> bool {
        self.pin.value
    }

    /// Whether a port may be shared with another program's listener.
    #[must_use]
    pub fn share_port(&self) -> bool {
        self.share_port.value
    }

    /// How long a stop waits for connections to finish; 0 to 1 hour.
    #[must_use]
    pub fn drain_timeout(&self) -> Duration {
        self.drain_timeout.value
    }

    /// After how long a silent connection is closed, 1 ms to 10 years; `None` is never.
    #[must_use]
    pub fn idle_timeout(&self) -> Option<Duration> {
        self.idle_timeout.value
    }

    /// After how long a connection is closed whose peer takes no data, 1 ms to 10 years; `None` is never.
    #[must_use]
    pub fn write_stall_timeout(&self) -> Option<Duration> {
        self.write_stall_timeout.value
    }

    /// The queued bytes above which a connection is not read; more than the low water, and at most the cap.
    #[must_use]
    pub fn write_high_water(&self) -> usize {
        self.write_high_water.value
    }

    /// The queued bytes below which a connection is read again; 4 KiB or more.
    #[must_use]
    pub fn write_low_water(&self) -> usize {
        self.write_low_water.value
    }

    /// The queued bytes that a connection may never pass; 1 GiB or less.
    #[must_use]
    pub fn write_cap(&self) -> usize {
        self.write_cap.value
    }

    /// The most connections that one shard may have, 1 or more; `None` is no limit.
    #[must_use]
    pub fn max_connections(&self) -> Option<usize> {
        self.max_connections.value
    }

    /// How many connections the kernel may hold until a shard accepts them; 1 to 65535.
    #[must_use]
    pub fn backlog(&self) -> u32 {
        self.backlog.value
    }

    /// Whether small writes leave at once (`TCP_NODELAY`).
    #[must_use]
    pub fn nodelay(&self) -> bool {
        self.nodelay.value
    }

    /// What a server's options are by this configuration.
    pub fn server_options(&self) -> ServerOptions {
        ServerOptions {
            connection: ConnectionOptions {
                idle_timeout: self.idle_timeout(),
                write_stall_timeout: self.write_stall_timeout(),
                write_high_water: self.write_high_water(),
                write_low_water: self.write_low_water(),
                write_cap: self.write_cap(),
                nodelay: self.nodelay(),
                ..ConnectionOptions::default()
            },
            max_connections: self.max_connections(),
            backlog: self.backlog(),
            ..ServerOptions::default()
        }
    }

    /// Writes the effective configuration as TOML; a comment on each line says where the value was set.
    ///
    /// The text, read as a file on the same machine, gives an equal configuration.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let off = |timeout: Option<Duration>| quote(timeout.map_or_else(|| "off".to_owned(), format_duration));
        let size = |bytes: usize| quote(format_size(bytes as u64));
        let mut toml = String::new();
        let mut line = |key: &str, value: &dyn Display, origin: &Origin| {
            // A path may hold a line break, which would end the comment.
            let origin = origin.to_string().replace(char::is_control, "?");
            writeln!(toml, "{key} = {value}  # {origin}").expect("a string takes all that is written to it");
        };
        line("listen", &array(self.listen.value.iter().map(quote)), &self.listen.origin);
        line("shards", &shards_to_toml(self.shards.value), &self.shards.origin);
        let cpus =
            self.cpus.value.as_ref().map_or_else(|| quote("all"), |cpus| array(cpus.iter().map(usize::to_string)));
        line("cpus", &cpus, &self.cpus.origin);
        line("pin", &self.pin.value, &self.pin.origin);
        line("share_port", &self.share_port.value, &self.share_port.origin);
        line("drain_timeout", &quote(format_duration(self.drain_timeout.value)), &self.drain_timeout.origin);
        line("idle_timeout", &off(self.idle_timeout.value), &self.idle_timeout.origin);
        line("write_stall_timeout", &off(self.write_stall_timeout.value), &self.write_stall_timeout.origin);
        line("write_high_water", &size(self.write_high_water.value), &self.write_high_water.origin);
        line("write_low_water", &size(self.write_low_water.value), &self.write_low_water.origin);
        line("write_cap", &size(self.write_cap.value), &self.write_cap.origin);
        let limit = self.max_connections.value.map_or_else(|| quote("unlimited"), |limit| limit.to_string());
        line("max_connections", &limit, &self.max_connections.origin);
        line("backlog", &self.backlog.value, &self.backlog.origin);
        line("nodelay", &self.nodelay.value, &self.nodelay.origin);
        toml
    }
}

impl Default for Config {
    /// The defaults, on this machine: they read the CPUs that the calling thread may use.
    fn default() -> Self {
        Self::builder().build().expect("the defaults are valid, and a process has at least one CPU")
    }
}

fn quote(text: impl Display) -> String {
    Value::String(text.to_string()).to_string()
}

fn array(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

fn shards_to_toml(shards: Shards) -> String {
    match shards {
        Shards::Auto => quote(shards),
        Shards::Count(count) => count.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;

    use super::*;

    /// The settings' keys, and a value for each that is not its default.
    const OTHER_VALUES: [(&str, &str); 14] = [
        ("listen", "[\"[::1]:1\", \"2\"]"),
        ("shards", "3"),
        ("cpus", "[1, 0]"),
        ("pin", "true"),
        ("share_port", "true"),
        ("drain_timeout", "\"0s\""),
        ("idle_timeout", "\"off\""),
        ("write_stall_timeout", "\"1500ms\""),
        ("write_high_water", "\"128KiB\""),
        ("write_low_water", "\"5000B\""),
        ("write_cap", "\"1GiB\""),
        ("max_connections", "7"),
        ("backlog", "1"),
        ("nodelay", "false"),
    ];

    /// Resolves all layers on a machine with the CPUs 0 and 1; the only file is `pants.toml`.
    fn resolve(file: &str, environment: &[(&str, &str)], flags: &Flags) -> Result<Config, ConfigError> {
        let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
        let read_file = |path: &Path| match path.to_str() {
            Some("pants.toml") => Ok(file.to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        Config::builder().nodelay(false).backlog(1).resolve(flags, environment, read_file, &[0, 1], 2)
    }

    fn with_file() -> Flags {
        Flags { config: Some("pants.toml".into()), ..Flags::default() }
    }

    #[test]
    fn the_defaults_are_those_in_the_table() {
        let config =
            Config::builder().resolve(&Flags::default(), [], |_| unreachable!("no file is named"), &[0, 1], 2).unwrap();
        assert_eq!(
            config.to_toml(),
            "listen = [\"127.0.0.1:4040\"]  # default\n\
             shards = \"auto\"  # default\n\
             cpus = \"all\"  # default\n\
             pin = true  # default\n\
             share_port = false  # default\n\
             drain_timeout = \"10s\"  # default\n\
             idle_timeout = \"10m\"  # default\n\
             write_stall_timeout = \"1m\"  # default\n\
             write_high_water = \"256KiB\"  # default\n\
             write_low_water = \"64KiB\"  # default\n\
             write_cap = \"16MiB\"  # default\n\
             max_connections = \"unlimited\"  # default\n\
             backlog = 4096  # default\n\
             nodelay = true  # default\n"
        );
        assert_eq!(config.placement().len(), 2);
        assert_eq!(Config::default().listen(), config.listen());
    }

    #[test]
    fn each_layer_beats_the_one_below_it() {
        let file = "shards = 2\nlisten = 2\ndrain_timeout = '2s'\nbacklog = 2\n";
        let environment = [("PANTS_CONFIG", "pants.toml"), ("PANTS_SHARDS", "3"), ("PANTS_LISTEN", "3,4")];
        let flags = Flags { shards: Some("4".into()), ..Flags::default() };
        let config = resolve(file, &environment, &flags).unwrap();
        let toml = config.to_toml();
        for line in [
            "shards = 4  # --shards\n",
            "listen = [\"3\", \"4\"]  # PANTS_LISTEN\n",
            "drain_timeout = \"2s\"  # pants.toml:3\n",
            "backlog = 2  # pants.toml:4\n",
            "nodelay = false  # program\n",
            "pin = true  # default\n",
        ] {
            assert!(toml.contains(line), "{line} in {toml}");
        }
        assert_eq!(config.placement().len(), 4);
    }

    #[test]
    fn a_layer_can_undo_what_a_lower_one_sets() {
        let file = "cpus = [0]\nmax_connections = 1\nidle_timeout = '1s'\n";
        let environment =
            [("PANTS_CPUS", "all"), ("PANTS_MAX_CONNECTIONS", "unlimited"), ("PANTS_IDLE_TIMEOUT", "off")];
        let config = resolve(file, &environment, &with_file()).unwrap();
        assert_eq!((config.max_connections(), config.idle_timeout()), (None, None));
        assert_eq!(config.placement().len(), 2);
    }

    #[test]
    fn a_value_that_is_overridden_is_not_judged() {
        let flags = Flags { shards: Some("1".into()), ..with_file() };
        assert_eq!(resolve("shards = 0", &[("PANTS_SHARDS", "x")], &flags).unwrap().placement().len(), 1);
    }

    #[test]
    fn the_file_that_a_flag_names_beats_the_one_that_the_variable_names() {
        let environment = [("PANTS_CONFIG", "other.toml")];
        assert!(resolve("pin = false", &environment, &with_file()).is_ok_and(|config| !config.pin()));
        let error = resolve("", &environment, &Flags::default()).unwrap_err();
        assert_eq!(error.to_string(), "other.toml: cannot be read: entity not found");
    }

    #[test]
    fn faults_from_every_layer_are_told_together_and_each_on_one_line() {
        let flags = Flags { cpus: Some("7".into()), ..with_file() };
        let environment = [("PANTS_IDLE_TIMEOUT", "5"), ("PANTS_SHARD", "1"), ("PANTS_LISTEN", "here")];
        let error = resolve("pins = true\nbacklog = 0\n", &environment, &flags).unwrap_err();
        assert_eq!(
            error.to_string(),
            "PANTS_SHARD: unknown variable; did you mean PANTS_SHARDS? Rename it or unset it\n\
             pants.toml:1: unknown key \"pins\"; did you mean \"pin\"?\n\
             PANTS_LISTEN: address \"here\": the port is missing; write \"here:4040\"\n\
             --cpus: CPU 7 is not available to this process, which may use 0-1\n\
             PANTS_IDLE_TIMEOUT: expected a duration such as \"30s\" or \"off\", found \"5\"\n\
             pants.toml:2: backlog: must be 1 to 65535, not 0"
        );
    }

    #[test]
    fn a_syntax_error_is_told_alone() {
        let error = resolve("shards = 1\nshards = 2", &[("PANTS_PIN", "x")], &with_file()).unwrap_err();
        assert_eq!(error.to_string(), "pants.toml:2: syntax: duplicate key, in `shards = 2`");
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
        let mut file = String::new();
        for (key, value) in OTHER_VALUES {
            writeln!(file, "{key} = {value}").unwrap();
        }
        let unpinned = Flags { no_pin: true, share_port: true, ..Flags::default() };
        for config in [
            Config::builder().resolve(&Flags::default(), [], |_| Ok(String::new()), &[0, 1], 2),
            resolve(&file, &[], &with_file()),
            resolve("", &[], &unpinned),
        ] {
            let config = config.unwrap();
            assert_eq!(resolve(&config.to_toml(), &[], &with_file()), Ok(config));
        }
        let printed = resolve(&file, &[], &with_file()).unwrap().to_toml();
        let values: String = printed.lines().map(|line| format!("{}\n", line.split("  #").next().unwrap())).collect();
        assert_eq!(values, file);
    }

    #[test]
    fn a_line_break_in_the_files_name_does_not_end_a_comment() {
        let flags = Flags { config: Some("a\nb".into()), ..Flags::default() };
        let config = Config::builder().resolve(&flags, [], |_| Ok("pin = true".to_owned()), &[0, 1], 2).unwrap();
        assert!(config.to_toml().contains("pin = true  # a?b:1\n"));
    }

    #[test]
    fn any_value_may_come_from_a_variable() {
        let file: String = OTHER_VALUES.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        // The text of a variable has no quotes and no array's brackets.
        let environment = OTHER_VALUES.map(|(key, value)| {
            let text = if key == "listen" { "[::1]:1, 2".to_owned() } else { value.replace(['[', ']', '"'], "") };
            (format!("PANTS_{}", key.to_ascii_uppercase()), text)
        });
        let environment = environment.each_ref().map(|(name, text)| (name.as_str(), text.as_str()));
        assert_eq!(resolve("", &environment, &Flags::default()), resolve(&file, &[], &with_file()));
    }
}
