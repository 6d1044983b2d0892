//! Configuration that a program sets in its own code: the lowest layer above the defaults.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pants_engine::{Address, ToAddress};
use toml::Value;

use super::Config;
use super::file::{self, unreadable};
use super::key::{Key, OwnKey};
use super::keys::KEYS;
use super::raw::{self, Flags, Layer, Setting};
use super::source::{ConfigError, Origin, Problems};
use super::value::{format_duration, format_size};
use crate::affinity;
use crate::balance::Balance;
use crate::placement::{Layout, Machine, Shards};

/// Sets configuration in code; see [`Config::builder`].
///
/// What is set here replaces the defaults. [`build`](Self::build) stops there, while [`load`](Self::load) and
/// [`load_with`](Self::load_with) let the user's file, environment and flags override it. Values are checked at the
/// end, all at once, as a user's are.
#[must_use = "a builder does nothing until it builds or loads"]
#[derive(Clone, Debug, Default)]
pub struct ConfigBuilder {
    set: Layer,
    listen: Vec<Value>,
    own: Vec<Key>,
    problems: Problems,
}

impl ConfigBuilder {
    /// Adds an address to listen on; the first one replaces the default.
    pub fn listen(mut self, address: impl ToAddress) -> Self {
        match address.to_address() {
            Ok(address) => self.listen.push(Value::String(address.to_string())),
            Err(error) => self.problems.blame("listener.listen", &Origin::Program, error),
        }
        self
    }

    /// Sets how many shards to run.
    pub fn shards(self, shards: Shards) -> Self {
        self.set("runtime.shards", shards.to_string())
    }

    /// Sets the CPUs to pin shards to, in order.
    pub fn cpus(self, cpus: impl IntoIterator<Item = usize>) -> Self {
        self.set("runtime.cpus", Value::Array(cpus.into_iter().map(integer).collect()))
    }

    /// Sets whether each shard stays on one CPU.
    pub fn pin(self, pin: bool) -> Self {
        self.set("runtime.pin", pin)
    }

    /// Sets how shards are laid over cores when no CPUs are listed.
    pub fn layout(self, layout: Layout) -> Self {
        self.set("runtime.layout", layout.to_string())
    }

    /// Sets how long a stop waits for connections to finish; 0 to 1 hour.
    pub fn drain_timeout(self, timeout: Duration) -> Self {
        self.set("runtime.drain_timeout", format_duration(timeout))
    }

    /// Sets how long a shard looks for work before it sleeps, 1 µs to 1 s; `None` is not at all.
    pub fn busy_poll(self, time: Option<Duration>) -> Self {
        self.set("runtime.busy_poll", or_off(time))
    }

    /// Sets for how long a callback may hold its shard up before that is reported, 1 ms to 1 hour; `None` is for ever.
    pub fn stall_after(self, time: Option<Duration>) -> Self {
        self.set("runtime.stall_after", or_off(time))
    }

    /// Sets the most threads that do blocking work for all shards; 1 to 64.
    pub fn offload_threads(self, threads: usize) -> Self {
        self.set("runtime.offload_threads", integer(threads))
    }

    /// Sets the Unix socket at which the process takes over from the one before it, and leaves to the next; `None` is none.
    /// See [`Runtime::handover`](crate::Runtime::handover), which takes any path; this one has to be text.
    pub fn handover(mut self, path: Option<PathBuf>) -> Self {
        match path.map(|path| path.into_os_string().into_string()).transpose() {
            Ok(path) => self.set("runtime.handover", path.unwrap_or_else(|| "off".to_owned())),
            Err(path) => {
                self.problems.blame("runtime.handover", &Origin::Program, format!("{} is not UTF-8", path.display()));
                self
            }
        }
    }

    /// Sets whether a port may be shared with another program's listener.
    pub fn share_port(self, share_port: bool) -> Self {
        self.set("listener.share_port", share_port)
    }

    /// Sets how many connections the kernel may hold until a shard accepts them; 1 to 65535.
    pub fn backlog(self, backlog: u32) -> Self {
        self.set("listener.backlog", i64::from(backlog))
    }

    /// Sets whether small writes leave at once (`TCP_NODELAY`).
    pub fn nodelay(self, nodelay: bool) -> Self {
        self.set("listener.nodelay", nodelay)
    }

    /// Sets which shard serves a connection.
    pub fn balance(self, balance: Balance) -> Self {
        self.set("listener.balance", balance.to_string())
    }

    /// Sets the most connections that one shard may have, 1 or more; `None` is no limit.
    pub fn max_connections(self, limit: Option<usize>) -> Self {
        self.set("limits.max_connections", limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string()))
    }

    /// Sets the queued bytes above which a connection is no longer read.
    pub fn write_high_water(self, bytes: usize) -> Self {
        self.set("limits.write_high_water", format_size(bytes as u64))
    }

    /// Sets the queued bytes below which a connection is read again.
    pub fn write_low_water(self, bytes: usize) -> Self {
        self.set("limits.write_low_water", format_size(bytes as u64))
    }

    /// Sets the queued bytes that a connection may never pass.
    pub fn write_cap(self, bytes: usize) -> Self {
        self.set("limits.write_cap", format_size(bytes as u64))
    }

    /// Sets how long a frame may be, its delimiter or header included; 1 byte to 1 GiB.
    pub fn buffer_limit(self, bytes: usize) -> Self {
        self.set("limits.buffer_limit", format_size(bytes as u64))
    }

    /// Sets after how long a silent connection is closed, 1 ms to 10 years; `None` is never.
    pub fn idle_timeout(self, timeout: Option<Duration>) -> Self {
        self.set("timeouts.idle", or_off(timeout))
    }

    /// Sets after how long a connection is closed whose peer sends nothing, 1 ms to 10 years; `None` is never.
    pub fn read_timeout(self, timeout: Option<Duration>) -> Self {
        self.set("timeouts.read", or_off(timeout))
    }

    /// Sets after how long a connection is closed whose peer takes no data, 1 ms to 10 years; `None` is never.
    pub fn write_stall_timeout(self, timeout: Option<Duration>) -> Self {
        self.set("timeouts.write_stall", or_off(timeout))
    }

    /// Sets how long connecting to another server may take, 1 ms to 10 years; `None` is as long as the system takes.
    pub fn connect_timeout(self, timeout: Option<Duration>) -> Self {
        self.set("timeouts.connect", or_off(timeout))
    }

    /// Sets how many times as full as the mean a shard may be before connections leave it; 1.01 to 10.
    pub fn max_skew(self, ratio: f64) -> Self {
        self.set("balance.max_skew", ratio)
    }

    /// Sets how often shards tell each other how full they are; 10 ms to 1 minute.
    pub fn balance_interval(self, interval: Duration) -> Self {
        self.set("balance.interval", format_duration(interval))
    }

    /// Sets the most connections that a shard moves in an interval; 1 to 4096.
    pub fn moves_per_interval(self, moves: usize) -> Self {
        self.set("balance.moves_per_interval", integer(moves))
    }

    /// Sets where to serve metrics and health; `None` is nowhere.
    pub fn admin_listen(self, address: Option<Address>) -> Self {
        self.set("admin.listen", address.map_or_else(|| "off".to_owned(), |address| address.to_string()))
    }

    /// Declares keys of the program's own, in sections of its own: they are read, checked, told in errors and printed with the
    /// others, and [`Config::own`] gives their texts.
    ///
    /// # Panics
    ///
    /// If a path is not a section, a dot and a name, if the section is one of [`Config`]'s, or if a path or a variable is
    /// declared twice.
    ///
    /// ```
    /// use pants_shard::{Config, Flags, OwnKey};
    ///
    /// const GREETING: OwnKey = OwnKey {
    ///     path: "chat.greeting",
    ///     variable: "PANTS_GREETING",
    ///     default: "hello",
    ///     about: "What a client reads first.",
    ///     check: |text| if text.is_empty() { Err("must not be empty".into()) } else { Ok(()) },
    /// };
    ///
    /// let flags = Flags { own: vec![("--greeting", "chat.greeting", "good day".into())], ..Flags::default() };
    /// let config = Config::builder().own_keys(&[GREETING]).load_with(&flags)?;
    /// assert_eq!(config.own("chat.greeting"), "good day");
    /// # Ok::<(), pants_shard::ConfigError>(())
    /// ```
    pub fn own_keys(mut self, keys: &[OwnKey]) -> Self {
        for &own in keys {
            let key = Key::from(own);
            assert!(KEYS.iter().all(|known| known.section() != key.section()), "[{}] is not its own", key.section());
            let is_new = |known: &Key| known.path != key.path && known.variable != key.variable;
            assert!(KEYS.iter().chain(&self.own).all(is_new), "{} or {} is taken", key.path, key.variable);
            self.own.push(key);
        }
        // Each section is printed once.
        self.own.sort_by_key(Key::section);
        self
    }

    /// Finishes with what the program set and the defaults; reads no file and no variable.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] with a line for each value that is out of range or does not fit the others.
    pub fn build(self) -> Result<Config, ConfigError> {
        let (keys, set, problems) = self.into_layer();
        Config::validate(keys, set, problems, &affinity::machine())
    }

    /// Like [`Config::load`], with what the program set as the defaults.
    ///
    /// # Errors
    ///
    /// As [`Config::load`].
    pub fn load(self) -> Result<Config, ConfigError> {
        self.load_with(&Flags::default())
    }

    /// Like [`Config::load_with`], with what the program set as the defaults.
    ///
    /// # Errors
    ///
    /// As [`Config::load`].
    pub fn load_with(self, flags: &Flags) -> Result<Config, ConfigError> {
        let read_file = |path: &Path| fs::read_to_string(path);
        self.resolve(flags, env::vars_os(), read_file, &affinity::machine())
    }

    /// Merges all layers and validates the result; the environment, the file and the machine are passed in.
    ///
    /// # Errors
    ///
    /// As [`Config::load`].
    pub fn resolve(
        self,
        flags: &Flags,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        read_file: impl FnOnce(&Path) -> io::Result<String>,
        machine: &Machine,
    ) -> Result<Config, ConfigError> {
        let (keys, mut merged, mut problems) = self.into_layer();
        let (environment, named) = raw::from_environment(environment, &keys, &mut problems);
        if let Some(path) = flags.config.as_ref().or(named.as_ref()) {
            let text = read_file(path).map_err(|error| unreadable(path, &error))?;
            merged.extend(file::read(path, &text, &keys, &mut problems)?);
        }
        merged.extend(environment);
        merged.extend(raw::from_flags(flags));
        Config::validate(keys, merged, problems, machine)
    }

    fn set(mut self, path: &'static str, value: impl Into<Value>) -> Self {
        self.set.insert(path, Setting { value: value.into(), origin: Origin::Program });
        self
    }

    fn into_layer(mut self) -> (Vec<Key>, Layer, Problems) {
        if !self.listen.is_empty() {
            let listen = Value::Array(std::mem::take(&mut self.listen));
            self = self.set("listener.listen", listen);
        }
        let keys = KEYS.iter().copied().chain(self.own).collect();
        (keys, self.set, self.problems)
    }
}

/// An integer past those of TOML is as far out of every range as the largest of them.
fn integer(number: usize) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

fn or_off(duration: Option<Duration>) -> String {
    duration.map_or_else(|| "off".to_owned(), format_duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_sets_is_what_it_gets() {
        let config = Config::builder()
            .listen(4040)
            .listen("[::1]:4041")
            .shards("3".parse().unwrap())
            .pin(false)
            .share_port(true)
            .drain_timeout(Duration::from_nanos(1))
            .idle_timeout(None)
            .write_stall_timeout(Some(Duration::from_millis(1500)))
            .write_high_water(20_001)
            .write_low_water(20_000)
            .write_cap(20_002)
            .max_connections(Some(7))
            .backlog(8)
            .nodelay(false)
            .layout(Layout::Pack)
            .busy_poll(Some(Duration::from_micros(50)))
            .stall_after(None)
            .offload_threads(5)
            .handover(Some("/run/x".into()))
            .balance(Balance::Rebalance)
            .buffer_limit(1)
            .read_timeout(Some(Duration::from_secs(1)))
            .connect_timeout(None)
            .max_skew(1.5)
            .balance_interval(Duration::from_millis(10))
            .moves_per_interval(6)
            .admin_listen(Some("4041".parse().unwrap()))
            .build()
            .unwrap();
        assert_eq!(config.listen(), ["4040".parse().unwrap(), "[::1]:4041".parse().unwrap()]);
        assert_eq!((config.placement().len(), config.pin(), config.share_port()), (3, false, true));
        assert_eq!((config.drain_timeout(), config.idle_timeout()), (Duration::from_nanos(1), None));
        assert_eq!(config.write_stall_timeout(), Some(Duration::from_millis(1500)));
        let marks = (config.write_low_water(), config.write_high_water(), config.write_cap());
        assert_eq!(marks, (20_000, 20_001, 20_002));
        assert_eq!((config.max_connections(), config.backlog(), config.nodelay()), (Some(7), 8, false));
        assert_eq!((config.layout(), config.balance()), (Layout::Pack, Balance::Rebalance));
        assert_eq!((config.busy_poll(), config.stall_after()), (Some(Duration::from_micros(50)), None));
        assert_eq!((config.offload_threads(), config.buffer_limit()), (5, 1));
        assert_eq!((config.read_timeout(), config.connect_timeout()), (Some(Duration::from_secs(1)), None));
        let balance = (config.max_skew(), config.balance_interval(), config.moves_per_interval());
        assert_eq!(balance, (1.5, Duration::from_millis(10), 6));
        assert_eq!(config.handover(), Some(Path::new("/run/x")));
        assert_eq!(config.admin_listen(), Some(&"4041".parse().unwrap()));
        assert_eq!(config.engine_options().busy_poll, Duration::from_micros(50));
    }

    #[test]
    fn the_cpus_that_a_program_lists_are_placed_in_order() {
        let allowed = affinity::machine().allowed;
        let config = Config::builder().cpus(allowed.iter().rev().copied()).build().unwrap();
        let placed: Vec<_> = config.placement().iter().map(|cpu| cpu.unwrap().get()).collect();
        assert!(placed.into_iter().eq(allowed.into_iter().rev()));
    }

    #[test]
    fn a_programs_faults_are_told_together_when_it_builds() {
        let error = Config::builder()
            .listen("localhost")
            .pin(false)
            .drain_timeout(Duration::MAX)
            .idle_timeout(Some(Duration::ZERO))
            .write_cap(usize::MAX)
            .max_connections(Some(0))
            .offload_threads(usize::MAX)
            .max_skew(f64::NAN)
            .build()
            .unwrap_err();
        assert_eq!(
            error.problems().collect::<Vec<_>>(),
            [
                "program: listener.listen: address \"localhost\": the port is missing; write \"localhost:4040\"",
                "program: runtime.drain_timeout: must be 0s to 1h, not \"18446744073709551615999999999ns\"",
                "program: runtime.offload_threads: must be 1 to 64, not 9223372036854775807",
                "program: limits.max_connections: must be at least 1 or \"unlimited\", not \"0\"",
                "program: limits.write_cap: must be 16KiB to 1GiB, not \"18446744073709551615B\"",
                "program: timeouts.idle: must be 1ms to 3650d or \"off\", not \"0s\"",
                "program: balance.max_skew: must be 1.01 to 10, not NaN",
            ]
        );
        let error = Config::builder().cpus([usize::MAX]).build().unwrap_err().to_string();
        assert!(error.starts_with("program: runtime.cpus: CPU 9223372036854775807 is not available"), "{error}");
    }

    #[test]
    fn a_program_may_set_any_limit_that_a_file_may() {
        let most = usize::MAX / 2;
        assert_eq!(Config::builder().max_connections(Some(most)).build().unwrap().max_connections(), Some(most));
        assert_eq!(Config::builder().max_connections(None).build().unwrap().max_connections(), None);
    }
    const GREETING: OwnKey = OwnKey {
        path: "chat.greeting",
        variable: "CHAT_GREETING",
        default: "",
        about: "What a client reads first.",
        check: |text| if text.is_empty() { Err("say something".to_owned()) } else { Ok(()) },
    };

    fn resolve_own(file: &str, environment: &[(&str, &str)], flags: &Flags) -> Result<Config, ConfigError> {
        let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
        let flags = Flags { config: Some("pants.toml".into()), ..flags.clone() };
        let machine = Machine { allowed: vec![0], quota: 1, ..Machine::default() };
        Config::builder().own_keys(&[GREETING]).resolve(&flags, environment, |_| Ok(file.to_owned()), &machine)
    }

    #[test]
    fn a_programs_own_key_is_read_from_every_layer_and_printed() {
        let file = "[chat]\ngreeting = [1, 'two']\n";
        let flags = Flags { own: vec![("--greeting", "chat.greeting", "five".into())], ..Flags::default() };
        let config = resolve_own(file, &[], &Flags::default()).unwrap();
        assert_eq!(config.own("chat.greeting"), "1, two");
        assert!(
            config
                .to_toml()
                .ends_with("\n[chat]\n# What a client reads first.\ngreeting = \"1, two\"  # pants.toml:2:12\n")
        );
        assert_eq!(resolve_own(&config.to_toml(), &[], &Flags::default()), Ok(config));
        let config = resolve_own(file, &[("CHAT_GREETING", "four")], &Flags::default()).unwrap();
        assert_eq!((config.own("chat.greeting"), &*config.blame("chat.greeting", "no")), ("four", "CHAT_GREETING: no"));
        let config = resolve_own(file, &[("CHAT_GREETING", "four")], &flags).unwrap();
        assert_eq!((config.own("chat.greeting"), &*config.blame("chat.greeting", "no")), ("five", "--greeting: no"));
        let other = resolve_own(file, &[], &Flags::default()).unwrap();
        assert_ne!(config, other);
    }

    #[test]
    fn a_fault_in_a_programs_own_key_is_told_with_the_others() {
        let error = |file| resolve_own(file, &[], &Flags::default()).unwrap_err().to_string();
        assert_eq!(error(""), "default: chat.greeting: say something");
        assert_eq!(
            error("greeting = 1\n[chat]\ngreetings = 1\ngreeting = ''\n[runtime]\nshards = 0\n"),
            "pants.toml:1:1: greeting: that key belongs in [chat]\n\
             pants.toml:3:1: chat.greetings: unknown key; did you mean \"greeting\"?\n\
             pants.toml:6:10: runtime.shards: must be at least 1 or \"auto\", not 0\n\
             pants.toml:4:12: chat.greeting: say something"
        );
    }

    #[test]
    #[should_panic(expected = "[runtime] is not its own")]
    fn a_program_may_not_declare_a_key_in_a_section_that_is_not_its_own() {
        let _ = Config::builder().own_keys(&[OwnKey { path: "runtime.greeting", ..GREETING }]);
    }

    #[test]
    #[should_panic(expected = "no key has this path")]
    fn a_flag_for_a_key_that_there_is_not_is_a_mistake_of_the_program() {
        let _ = Config::load_with(&Flags { own: vec![("--to", "proxy.to", "80".into())], ..Flags::default() });
    }
}
