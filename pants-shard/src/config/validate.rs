//! From what was written to what is valid: every value checked alone, and then against the others.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use pants_engine::Address;
use toml::Value;

use super::Config;
use super::raw::{RawConfig, Setting};
use super::source::{ConfigError, Origin, Problems, Sourced};
use super::value::{self, format_size};
use crate::placement::{Placement, PlacementError, Policy, Shards, place};

impl Config {
    /// Turns what was written into what is valid, or adds everything that is wrong with it to the problems.
    ///
    /// `allowed` is the CPUs that the process may use, and `quota` how many it may keep busy.
    pub(super) fn validate(
        raw: RawConfig,
        mut problems: Problems,
        allowed: &[usize],
        quota: usize,
    ) -> Result<Self, ConfigError> {
        let found = &mut problems;
        let listen = checked("listen", raw.listen, vec![default_address()], value::listen, found);
        let shards = checked("shards", raw.shards, Shards::Auto, value::shards, found);
        let cpus = checked("cpus", raw.cpus, None, value::cpus, found);
        let pin = checked("pin", raw.pin, true, value::boolean, found);
        let config = Self {
            placement: checked_placement(&shards, &cpus, &pin, allowed, quota, found),
            listen,
            shards,
            cpus,
            pin,
            share_port: checked("share_port", raw.share_port, false, value::boolean, found),
            drain_timeout: checked("drain_timeout", raw.drain_timeout, seconds(10), value::drain_timeout, found),
            idle_timeout: checked("idle_timeout", raw.idle_timeout, Some(seconds(600)), value::timeout, found),
            write_stall_timeout: checked(
                "write_stall_timeout",
                raw.write_stall_timeout,
                Some(seconds(60)),
                value::timeout,
                found,
            ),
            write_high_water: checked("write_high_water", raw.write_high_water, 256 << 10, value::size, found),
            write_low_water: checked("write_low_water", raw.write_low_water, 64 << 10, value::size, found),
            write_cap: checked("write_cap", raw.write_cap, 16 << 20, value::cap, found),
            max_connections: checked("max_connections", raw.max_connections, None, value::max_connections, found),
            backlog: checked("backlog", raw.backlog, 4096, value::backlog, found),
            nodelay: checked("nodelay", raw.nodelay, true, value::boolean, found),
            busy_poll: None,
        };
        config.check_marks(found);
        problems.into_result(config)
    }

    /// Checks that low water < high water ≤ cap. Of two values that disagree, one that somebody set is blamed.
    fn check_marks(&self, problems: &mut Problems) {
        const LOW: &str = "write_low_water";
        const HIGH: &str = "write_high_water";
        const CAP: &str = "write_cap";
        let (low, high, cap) = (&self.write_low_water, &self.write_high_water, &self.write_cap);
        // A value that failed alone was replaced by its default, and a comparison with that would only confuse.
        let low_is_wrong = problems.none_about(&[LOW, HIGH]) && low.value >= high.value;
        let cap_is_wrong = problems.none_about(&[HIGH, CAP]) && high.value > cap.value;
        let mut blame = |key, mark: &Sourced<usize>, relation, other_key, other: &Sourced<usize>| {
            let (size, other_size) = (format_size(mark.value as u64), format_size(other.value as u64));
            let what = format!("must be {relation} {other_key} ({other_size}, {}), not {size}", other.origin);
            problems.blame(key, &mark.origin, what);
        };
        match high.origin {
            Origin::Default if low_is_wrong => blame(LOW, low, "below", HIGH, high),
            _ if low_is_wrong => blame(HIGH, high, "above", LOW, low),
            _ => {}
        }
        match cap.origin {
            Origin::Default if cap_is_wrong => blame(HIGH, high, "at most", CAP, cap),
            _ if cap_is_wrong => blame(CAP, cap, "at least", HIGH, high),
            _ => {}
        }
    }
}

/// The value of a setting: what was written, if it is sound, or else the default.
fn checked<T>(
    key: &'static str,
    setting: Option<Setting>,
    default: T,
    read: impl FnOnce(&Value) -> Result<T, String>,
    problems: &mut Problems,
) -> Sourced<T> {
    if let Some(Setting { value, origin }) = setting {
        match read(&value) {
            Ok(value) => return Sourced { value, origin },
            Err(what) => problems.blame(key, &origin, what),
        }
    }
    Sourced { value: default, origin: Origin::Default }
}

/// The placement that three settings and the machine allow.
fn checked_placement(
    shards: &Sourced<Shards>,
    cpus: &Sourced<Option<Vec<usize>>>,
    pin: &Sourced<bool>,
    allowed: &[usize],
    quota: usize,
    problems: &mut Problems,
) -> Placement {
    if !problems.none_about(&["shards", "cpus", "pin"]) {
        return Placement::default();
    }
    let policy = Policy { shards: shards.value, cpus: cpus.value.clone(), pin: pin.value };
    place(&policy, allowed, quota).unwrap_or_else(|error| {
        use PlacementError as E;
        match &error {
            E::TooFewShards(_) | E::TooManyShards(_) | E::NotShards(_) => {
                problems.blame("shards", &shards.origin, error);
            }
            E::NoCpus | E::Duplicate(_) | E::Unavailable { .. } => problems.blame("cpus", &cpus.origin, error),
            E::NothingAllowed => problems.blame("pin", &pin.origin, error),
            E::CpusWithoutPin => {
                problems.blame("cpus", &cpus.origin, format!("{error} (pin = false comes from {})", pin.origin));
            }
        }
        Placement::default()
    })
}

fn default_address() -> Address {
    // Only this machine until the user says otherwise: a server on every interface should be somebody's decision.
    SocketAddr::from((Ipv4Addr::LOCALHOST, 4040)).into()
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// What is wrong with `pants.toml` when it holds this text, on a machine with the CPUs 0 and 1.
    fn problems(text: &str) -> Vec<String> {
        let mut problems = Problems::default();
        let raw = RawConfig::from_toml(Path::new("pants.toml"), text, &mut problems).unwrap();
        let error = Config::validate(raw, problems, &[0, 1], 2).err();
        error.map_or_else(Vec::new, |error| error.problems().map(str::to_owned).collect())
    }

    #[test]
    fn every_wrong_value_is_told_with_its_line() {
        assert_eq!(
            problems(
                "listen = []\nshards = 0\ncpus = -1\npin = 1\nshare_port = 1\ndrain_timeout = '2h'\nidle_timeout = 5\n\
                 write_stall_timeout = '0s'\nwrite_high_water = 1\nwrite_low_water = 'x'\nwrite_cap = true\n\
                 max_connections = 0\nbacklog = 0\nnodelay = 'no'\nshard = 1\n"
            ),
            [
                "pants.toml:15: unknown key \"shard\"; did you mean \"shards\"?",
                "pants.toml:1: listen: must name at least one address",
                "pants.toml:2: shards: must be at least 1 or \"auto\", not 0",
                "pants.toml:3: cpus: expected CPU numbers such as [0, 1], \"0-3,8\" or \"all\", found integer -1",
                "pants.toml:4: pin: expected true or false, found integer 1",
                "pants.toml:5: share_port: expected true or false, found integer 1",
                "pants.toml:6: drain_timeout: must be at most 1h, not \"2h\"",
                "pants.toml:7: idle_timeout: expected a duration such as \"30s\" or \"off\", found integer 5",
                "pants.toml:8: write_stall_timeout: must be 1ms to 3650d or \"off\", not \"0s\"",
                "pants.toml:9: write_high_water: must be 4KiB to 1GiB, not 1",
                "pants.toml:10: write_low_water: expected a size in bytes such as \"256KiB\" or 262144, found \"x\"",
                "pants.toml:11: write_cap: expected a size in bytes such as \"256KiB\" or 262144, found boolean true",
                "pants.toml:12: max_connections: must be at least 1 or \"unlimited\", not 0",
                "pants.toml:13: backlog: must be 1 to 65535, not 0",
                "pants.toml:14: nodelay: expected true or false, found \"no\"",
            ]
        );
    }

    #[test]
    fn a_placement_that_cannot_be_is_blamed_on_its_setting() {
        for (text, line) in [
            (
                "pin = true\ncpus = [0, 99]",
                "pants.toml:2: cpus: CPU 99 is not available to this process, which may use 0-1",
            ),
            (
                "cpus = '5000-9999999'",
                "pants.toml:1: cpus: CPU 5000 is not available to this process, which may use 0-1",
            ),
            ("cpus = []", "pants.toml:1: cpus: must name at least one CPU"),
            ("cpus = [1, 0, 1]", "pants.toml:1: cpus: CPU 1 is listed twice; name each CPU once"),
            (
                "pin = false\ncpus = [0]",
                "pants.toml:2: cpus: a list of CPUs has no effect while pinning is off; drop the list or turn pinning \
                 on (pin = false comes from pants.toml:1)",
            ),
        ] {
            assert_eq!(problems(text), [line]);
        }
    }

    #[test]
    fn a_process_without_a_cpu_to_pin_to_is_told_to_turn_pinning_off() {
        let error = Config::validate(RawConfig::default(), Problems::default(), &[], 1).unwrap_err();
        assert_eq!(error.to_string(), "default: pin: this process has no CPU to pin to; turn pinning off");
    }

    #[test]
    fn marks_that_disagree_are_blamed_on_one_that_was_set() {
        for (text, line) in [
            ("write_low_water = '256KiB'", "low_water: must be below write_high_water (256KiB, default), not 256KiB"),
            ("write_high_water = 65536", "high_water: must be above write_low_water (64KiB, default), not 64KiB"),
            ("write_high_water = '17MiB'", "high_water: must be at most write_cap (16MiB, default), not 17MiB"),
            ("write_cap = '128KiB'", "cap: must be at least write_high_water (256KiB, default), not 128KiB"),
            (
                "write_high_water = '8KiB'\nwrite_low_water = '9KiB'",
                "high_water: must be above write_low_water (9KiB, pants.toml:2), not 8KiB",
            ),
        ] {
            assert_eq!(problems(text), [format!("pants.toml:1: write_{line}")]);
        }
    }

    #[test]
    fn marks_may_touch_only_where_they_are_allowed_to() {
        let kib = |size: usize| format!("'{size}KiB'");
        for low in 16..20 {
            for high in 16..20 {
                for cap in 16..20 {
                    let (l, h, c) = (kib(low), kib(high), kib(cap));
                    let text = format!("write_low_water = {l}\nwrite_high_water = {h}\nwrite_cap = {c}");
                    let expected = usize::from(low >= high) + usize::from(high > cap);
                    assert_eq!(problems(&text).len(), expected, "{text}");
                }
            }
        }
    }

    #[test]
    fn a_mark_that_is_wrong_alone_is_not_compared() {
        // The default high water is below this low water, but it is not what the user wrote.
        let text = "write_high_water = 'x'\nwrite_low_water = '512KiB'\n";
        assert_eq!(problems(text).len(), 1);
    }
}
