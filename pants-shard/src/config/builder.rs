//! Configuration that a program sets in its own code: the lowest layer above the defaults.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use pants_engine::ToAddress;
use toml::Value;

use super::Config;
use super::raw::{Flags, RawConfig, Setting, unreadable};
use super::source::{ConfigError, Origin, Problems};
use super::value::{format_duration, format_size};
use crate::affinity;
use crate::placement::Shards;

/// Sets configuration in code; see [`Config::builder`].
///
/// What is set here replaces the defaults. [`build`](Self::build) stops there, while [`load`](Self::load) and
/// [`load_with`](Self::load_with) let the user's file, environment and flags override it. Values are checked at the
/// end, all at once, as a user's are.
#[must_use = "a builder does nothing until it builds or loads"]
#[derive(Clone, Debug, Default)]
pub struct ConfigBuilder {
    raw: RawConfig,
    listen: Vec<Value>,
    busy_poll: Option<Duration>,
    problems: Problems,
}

impl ConfigBuilder {
    /// Adds an address to listen on; the first one replaces the default.
    pub fn listen(mut self, address: impl ToAddress) -> Self {
        match address.to_address() {
            Ok(address) => self.listen.push(Value::String(address.to_string())),
            Err(error) => self.problems.blame("listen", &Origin::Program, error),
        }
        self
    }

    /// Sets how many shards to run.
    pub fn shards(mut self, shards: Shards) -> Self {
        self.raw.shards = program(shards.to_string());
        self
    }

    /// Sets the CPUs to pin shards to, in order.
    pub fn cpus(mut self, cpus: impl IntoIterator<Item = usize>) -> Self {
        // An id past the integers of TOML is as unknown to this machine as the largest of them.
        let cpus = cpus.into_iter().map(|cpu| Value::Integer(i64::try_from(cpu).unwrap_or(i64::MAX)));
        self.raw.cpus = program(Value::Array(cpus.collect()));
        self
    }

    /// Sets whether each shard stays on one CPU.
    pub fn pin(mut self, pin: bool) -> Self {
        self.raw.pin = program(pin);
        self
    }

    /// Sets whether a port may be shared with another program's listener.
    pub fn share_port(mut self, share_port: bool) -> Self {
        self.raw.share_port = program(share_port);
        self
    }

    /// Sets how long a stop waits for connections to finish; 0 to 1 hour.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.raw.drain_timeout = program(format_duration(timeout));
        self
    }

    /// Sets after how long a silent connection is closed, 1 ms to 10 years; `None` is never.
    pub fn idle_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.raw.idle_timeout = program(timeout.map_or_else(|| "off".to_owned(), format_duration));
        self
    }

    /// Sets after how long a connection is closed whose peer takes no data, 1 ms to 10 years; `None` is never.
    pub fn write_stall_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.raw.write_stall_timeout = program(timeout.map_or_else(|| "off".to_owned(), format_duration));
        self
    }

    /// Sets the queued bytes above which a connection is no longer read.
    pub fn write_high_water(mut self, bytes: usize) -> Self {
        self.raw.write_high_water = program(format_size(bytes as u64));
        self
    }

    /// Sets the queued bytes below which a connection is read again.
    pub fn write_low_water(mut self, bytes: usize) -> Self {
        self.raw.write_low_water = program(format_size(bytes as u64));
        self
    }

    /// Sets the queued bytes that a connection may never pass.
    pub fn write_cap(mut self, bytes: usize) -> Self {
        self.raw.write_cap = program(format_size(bytes as u64));
        self
    }

    /// Sets the most connections that one shard may have, 1 or more; `None` is no limit.
    pub fn max_connections(mut self, limit: Option<usize>) -> Self {
        self.raw.max_connections = program(limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string()));
        self
    }

    /// Sets how many connections the kernel may hold until a shard accepts them; 1 to 65535.
    pub fn backlog(mut self, backlog: u32) -> Self {
        self.raw.backlog = program(i64::from(backlog));
        self
    }

    /// Sets whether small writes leave at once (`TCP_NODELAY`).
    pub fn nodelay(mut self, nodelay: bool) -> Self {
        self.raw.nodelay = program(nodelay);
        self
    }

    /// Sets for how long a shard polls busily before it sleeps, at most 1 s; `None` is not at all.
    pub fn busy_poll(mut self, time: Option<Duration>) -> Self {
        self.busy_poll = time;
        self
    }

    /// Finishes with what the program set and the defaults; reads no file and no variable.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] with a line for each value that is out of range or does not fit the others.
    pub fn build(self) -> Result<Config, ConfigError> {
        let busy_poll = self.busy_poll;
        let (raw, problems) = self.into_layer();
        let config = Config::validate(raw, problems, &affinity::allowed(), affinity::quota())?;
        Ok(Config { busy_poll, ..config })
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
        self.resolve(flags, env::vars_os(), read_file, &affinity::allowed(), affinity::quota())
    }

    /// Merges all layers and validates the result; the environment, the file and the machine are passed in.
    ///
    /// `allowed` is the CPUs that the process may use, and `quota` how many it may keep busy.
    ///
    /// # Errors
    ///
    /// As [`Config::load`].
    pub fn resolve(
        self,
        flags: &Flags,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        read_file: impl FnOnce(&Path) -> io::Result<String>,
        allowed: &[usize],
        quota: usize,
    ) -> Result<Config, ConfigError> {
        let busy_poll = self.busy_poll;
        let (program, mut problems) = self.into_layer();
        let (environment, named) = RawConfig::from_environment(environment, &mut problems);
        let file = match flags.config.as_ref().or(named.as_ref()) {
            Some(path) => {
                let text = read_file(path).map_err(|error| unreadable(path, &error))?;
                RawConfig::from_toml(path, &text, &mut problems)?
            }
            None => RawConfig::default(),
        };
        let raw = program.overlaid_with(file).overlaid_with(environment).overlaid_with(RawConfig::from_flags(flags));
        let config = Config::validate(raw, problems, allowed, quota)?;
        Ok(Config { busy_poll, ..config })
    }

    fn into_layer(mut self) -> (RawConfig, Problems) {
        if !self.listen.is_empty() {
            self.raw.listen = program(self.listen);
        }
        (self.raw, self.problems)
    }
}

fn program(value: impl Into<Value>) -> Option<Setting> {
    Some(Setting { value: value.into(), origin: Origin::Program })
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
            .build()
            .unwrap();
        assert_eq!(config.listen(), ["4040".parse().unwrap(), "[::1]:4041".parse().unwrap()]);
        assert_eq!((config.placement().len(), config.pin(), config.share_port()), (3, false, true));
        assert_eq!((config.drain_timeout(), config.idle_timeout()), (Duration::from_nanos(1), None));
        assert_eq!(config.write_stall_timeout(), Some(Duration::from_millis(1500)));
        let marks = (config.write_low_water(), config.write_high_water(), config.write_cap());
        assert_eq!(marks, (20_000, 20_001, 20_002));
        assert_eq!((config.max_connections(), config.backlog(), config.nodelay()), (Some(7), 8, false));
    }

    #[test]
    fn the_cpus_that_a_program_lists_are_placed_in_order() {
        let allowed = affinity::allowed();
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
            .build()
            .unwrap_err();
        assert_eq!(
            error.problems().collect::<Vec<_>>(),
            [
                "program: listen: address \"localhost\": the port is missing; write \"localhost:4040\"",
                "program: drain_timeout: must be at most 1h, not \"18446744073709551615999999999ns\"",
                "program: idle_timeout: must be 1ms to 3650d or \"off\", not \"0s\"",
                "program: write_cap: must be 4KiB to 1GiB, not \"18446744073709551615B\"",
                "program: max_connections: must be at least 1 or \"unlimited\", not \"0\"",
            ]
        );
        let error = Config::builder().cpus([usize::MAX]).build().unwrap_err().to_string();
        assert!(error.starts_with("program: cpus: CPU 9223372036854775807 is not available"), "{error}");
    }

    #[test]
    fn a_program_may_set_any_limit_that_a_file_may() {
        let most = usize::MAX / 2;
        assert_eq!(Config::builder().max_connections(Some(most)).build().unwrap().max_connections(), Some(most));
        assert_eq!(Config::builder().max_connections(None).build().unwrap().max_connections(), None);
    }
}
