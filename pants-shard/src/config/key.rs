//! What is known about a key of the configuration, and the values that keys set.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use pants_engine::Address;
use toml::Value;

use super::value::{self, quote};
use crate::balance::Balance;
use crate::placement::{Layout, Shards};

/// A key of the file, and all that is known about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    /// The section, a dot, and the name; unique.
    pub(super) path: &'static str,
    /// The environment's name for it; unique.
    pub(super) variable: &'static str,
    /// As a variable's text would set it.
    pub(super) default: &'static str,
    /// What it sets, in which units and within which range; one line.
    pub(super) about: &'static str,
    pub(super) kind: Kind,
}

/// How a key's value is read into the values, and written as it would stand in a file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Field(fn(&mut Values, &Value) -> Result<(), String>, fn(&Values) -> String),
    Own(fn(&str) -> Result<(), String>),
}

/// A key in a section that belongs to the program; see [`ConfigBuilder::own_keys`](super::ConfigBuilder::own_keys).
#[derive(Clone, Copy, Debug)]
pub struct OwnKey {
    /// The section, a dot, and the name, such as `"proxy.to"`.
    pub path: &'static str,
    /// The environment variable that sets it, such as `"PANTS_TO"`.
    pub variable: &'static str,
    /// The text that stands for a value that nobody has set. One that `check` refuses makes the key a required one.
    pub default: &'static str,
    /// What it sets, in which units and within which range: one line, which is printed above the key.
    pub about: &'static str,
    /// Says what is wrong with a value, in words that follow the key and a colon. A number or an array arrives as the text that
    /// a variable would hold: `5`, or `80, 81`.
    pub check: fn(&str) -> Result<(), String>,
}

/// What all keys are set to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Values {
    pub(super) shards: Shards,
    pub(super) cpus: Option<Vec<usize>>,
    pub(super) pin: bool,
    pub(super) layout: Layout,
    pub(super) drain_timeout: Duration,
    pub(super) busy_poll: Option<Duration>,
    pub(super) stall_after: Option<Duration>,
    pub(super) offload_threads: usize,
    pub(super) handover: Option<PathBuf>,
    pub(super) listen: Vec<Address>,
    pub(super) share_port: bool,
    pub(super) backlog: u32,
    pub(super) nodelay: bool,
    pub(super) balance: Balance,
    pub(super) max_connections: Option<usize>,
    /// Above `write_low_water`, and at most `write_cap`.
    pub(super) write_high_water: usize,
    pub(super) write_low_water: usize,
    pub(super) write_cap: usize,
    pub(super) buffer_limit: usize,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) read_timeout: Option<Duration>,
    pub(super) write_stall_timeout: Option<Duration>,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) max_skew: f64,
    pub(super) balance_interval: Duration,
    pub(super) moves_per_interval: usize,
    pub(super) admin_listen: Option<Address>,
    /// The texts of the program's own keys, by their paths.
    pub(super) own: BTreeMap<&'static str, String>,
}

impl Key {
    pub(super) fn section(&self) -> &'static str {
        self.split().0
    }

    pub(super) fn name(&self) -> &'static str {
        self.split().1
    }

    /// Reads a value into its place.
    pub(super) fn read(&self, values: &mut Values, value: &Value) -> Result<(), String> {
        match self.kind {
            Kind::Field(read, _) => read(values, value),
            Kind::Own(check) => {
                let text = value::text(value)?;
                check(&text)?;
                values.own.insert(self.path, text);
                Ok(())
            }
        }
    }

    /// The value as it would stand in a file.
    pub(super) fn show(&self, values: &Values) -> String {
        match self.kind {
            Kind::Field(_, show) => show(values),
            Kind::Own(_) => quote(values.own.get(self.path).map_or("", String::as_str)),
        }
    }

    fn split(&self) -> (&'static str, &'static str) {
        self.path.split_once('.').expect("a path is a section, a dot and a name")
    }
}

impl From<OwnKey> for Key {
    fn from(OwnKey { path, variable, default, about, check }: OwnKey) -> Self {
        Self { path, variable, default, about, kind: Kind::Own(check) }
    }
}
