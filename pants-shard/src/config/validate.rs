//! From what was written to what is valid: every value checked alone, and then against the others.

use toml::Value;

use super::Config;
use super::key::{Key, Values};
use super::raw::{Layer, Setting};
use super::source::{ConfigError, Origin, Problems};
use super::value::format_size;
use crate::placement::{Machine, Placement, PlacementError, Policy, place};

impl Config {
    /// Turns what was written into what is valid, or adds everything that is wrong with it to the problems.
    ///
    /// `machine` is what the process may use.
    pub(super) fn validate(
        keys: Vec<Key>,
        mut written: Layer,
        mut problems: Problems,
        machine: &Machine,
    ) -> Result<Self, ConfigError> {
        let mut values = Values::default();
        let settings = keys.into_iter().map(|key| {
            let origin = read(&key, written.remove(key.path), &mut values, &mut problems);
            (key, origin)
        });
        let settings = settings.collect();
        assert!(written.is_empty(), "{written:?}: no key has this path");
        let mut config = Self { values, settings, placement: Placement::default() };
        config.placement = config.checked_placement(machine, &mut problems);
        config.check_marks(&mut problems);
        config.check_admin(&mut problems);
        problems.into_result(config)
    }

    /// Checks that low water < high water ≤ cap. Of two values that disagree, one that somebody set is blamed.
    fn check_marks(&self, problems: &mut Problems) {
        let mark = |path, size| Mark { path, size, origin: self.origin(path) };
        let low = &mark("limits.write_low_water", self.values.write_low_water);
        let high = &mark("limits.write_high_water", self.values.write_high_water);
        let cap = &mark("limits.write_cap", self.values.write_cap);
        // A value that failed alone was replaced by its default, and a comparison with that would only confuse.
        let low_is_wrong = problems.none_about(&[low.path, high.path]) && low.size >= high.size;
        let cap_is_wrong = problems.none_about(&[high.path, cap.path]) && high.size > cap.size;
        match high.origin {
            Origin::Default if low_is_wrong => low.blame("below", high, problems),
            _ if low_is_wrong => high.blame("above", low, problems),
            _ => {}
        }
        match cap.origin {
            Origin::Default if cap_is_wrong => high.blame("at most", cap, problems),
            _ if cap_is_wrong => cap.blame("at least", high, problems),
            _ => {}
        }
    }

    /// Checks that the admin endpoint is not where the program listens. At port 0 each gets one of its own.
    fn check_admin(&self, problems: &mut Problems) {
        const ADMIN: &str = "admin.listen";
        if let Some(admin) = &self.values.admin_listen
            && problems.none_about(&[ADMIN, "listener.listen"])
            && self.values.listen.contains(admin)
            && admin.port() != Some(0)
        {
            problems.blame(ADMIN, self.origin(ADMIN), format!("{admin} is where the program itself listens"));
        }
    }

    /// The placement that four settings and the machine allow.
    fn checked_placement(&self, machine: &Machine, problems: &mut Problems) -> Placement {
        const SHARDS: &str = "runtime.shards";
        const CPUS: &str = "runtime.cpus";
        const PIN: &str = "runtime.pin";
        const LAYOUT: &str = "runtime.layout";
        if !problems.none_about(&[SHARDS, CPUS, PIN, LAYOUT]) {
            return Placement::default();
        }
        let values = &self.values;
        let policy =
            Policy { shards: values.shards, cpus: values.cpus.clone(), pin: values.pin, layout: values.layout };
        place(&policy, machine).unwrap_or_else(|error| {
            use PlacementError as E;
            let path = match &error {
                E::TooFewShards(_) | E::TooManyShards(_) | E::NotShards(_) => SHARDS,
                E::NoCpus | E::Duplicate(_) | E::Unavailable { .. } | E::CpusWithoutPin => CPUS,
                E::NothingAllowed => PIN,
                E::NotLayout(_) => LAYOUT,
            };
            let cause = match &error {
                E::CpusWithoutPin => format!(" (pin = false comes from {})", self.origin(PIN)),
                _ => String::new(),
            };
            problems.blame(path, self.origin(path), format!("{error}{cause}"));
            Placement::default()
        })
    }
}

/// A mark of the write queue, and where it was set.
struct Mark<'a> {
    path: &'static str,
    size: usize,
    origin: &'a Origin,
}

impl Mark<'_> {
    fn blame(&self, relation: &str, other: &Self, problems: &mut Problems) {
        let (size, other_size) = (format_size(self.size as u64), format_size(other.size as u64));
        let other_name = other.path.trim_start_matches("limits.");
        let what = format!("must be {relation} {other_name} ({other_size}, {}), not {size}", other.origin);
        problems.blame(self.path, self.origin, what);
    }
}

/// Reads what was written, if it is sound, or else the default, and says where the value is from.
fn read(key: &Key, setting: Option<Setting>, values: &mut Values, problems: &mut Problems) -> Origin {
    let is_set = setting.is_some();
    if let Some(Setting { value, origin }) = setting {
        match key.read(values, &value) {
            Ok(()) => return origin,
            Err(what) => problems.blame(key.path, &origin, what),
        }
    }
    // The default of a program's own key may be none, which is a fault only if nobody has set another value.
    match key.read(values, &Value::String(key.default.to_owned())) {
        Err(what) if !is_set => problems.blame(key.path, &Origin::Default, what),
        _ => {}
    }
    Origin::Default
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::file;
    use super::super::keys::KEYS;
    use super::*;

    /// What is wrong with `pants.toml` when it holds this text, on a machine with the CPUs 0 and 1.
    fn problems(text: &str) -> Vec<String> {
        let mut problems = Problems::default();
        let layer = file::read(Path::new("pants.toml"), text, &KEYS, &mut problems).unwrap();
        let machine = Machine { allowed: vec![0, 1], quota: 2, ..Machine::default() };
        let error = Config::validate(KEYS.to_vec(), layer, problems, &machine).err();
        error.map_or_else(Vec::new, |error| error.problems().map(str::to_owned).collect())
    }

    #[test]
    fn every_wrong_value_is_told_with_its_place() {
        let mut text = "oops = 1\n".to_owned();
        let wrong = [
            ("runtime.shards", "0", "must be at least 1 or \"auto\", not 0"),
            ("runtime.cpus", "-1", "expected CPU numbers such as [0, 1], \"0-3,8\" or \"all\", found integer -1"),
            ("runtime.pin", "1", "expected true or false, found integer 1"),
            ("runtime.layout", "'wide'", "must be \"spread\" or \"pack\", not \"wide\""),
            ("runtime.drain_timeout", "'2h'", "must be 0s to 1h, not \"2h\""),
            ("runtime.busy_poll", "'2s'", "must be 1us to 1s or \"off\", not \"2s\""),
            ("runtime.stall_after", "'0s'", "must be 1ms to 1h or \"off\", not \"0s\""),
            ("runtime.offload_threads", "65", "must be 1 to 64, not 65"),
            ("runtime.handover", "1", "expected a path such as \"/run/pants.sock\" or \"off\", found integer 1"),
            ("listener.listen", "[]", "must name at least one address"),
            ("listener.share_port", "1", "expected true or false, found integer 1"),
            ("listener.backlog", "0", "must be 1 to 65535, not 0"),
            ("listener.nodelay", "'no'", "expected true or false, found \"no\""),
            (
                "listener.balance",
                "2",
                "expected \"kernel\", \"cpu\", \"least-connections\" or \"rebalance\", found integer 2",
            ),
            ("limits.max_connections", "0", "must be at least 1 or \"unlimited\", not 0"),
            ("limits.write_high_water", "1", "must be 4KiB to 1GiB, not 1"),
            ("limits.write_low_water", "'x'", "expected a size in bytes such as \"256KiB\" or 262144, found \"x\""),
            ("limits.write_cap", "'8KiB'", "must be 16KiB to 1GiB, not \"8KiB\""),
            ("limits.buffer_limit", "0", "must be 1B to 1GiB, not 0"),
            ("timeouts.idle", "5", "expected a duration such as \"30s\" or \"off\", found integer 5"),
            ("timeouts.read", "'1us'", "must be 1ms to 3650d or \"off\", not \"1us\""),
            ("timeouts.write_stall", "'0s'", "must be 1ms to 3650d or \"off\", not \"0s\""),
            ("timeouts.connect", "true", "expected a duration such as \"30s\" or \"off\", found boolean true"),
            ("balance.max_skew", "1", "must be 1.01 to 10, not 1"),
            ("balance.interval", "'off'", "expected a duration such as \"10s\" or \"500ms\", found \"off\""),
            ("balance.moves_per_interval", "0", "must be 1 to 4096, not 0"),
            (
                "admin.listen",
                "true",
                "expected an address such as \"127.0.0.1:4041\", a port or \"off\", found boolean true",
            ),
        ];
        assert!(wrong.iter().map(|(path, ..)| *path).eq(KEYS.iter().map(|key| key.path)), "one of every key");
        let mut expected = vec![
            "pants.toml:1:1: oops: unknown key; the sections are runtime, listener, limits, timeouts, \
                                 balance, admin"
                .to_owned(),
        ];
        for (line, (path, value, what)) in wrong.into_iter().enumerate() {
            text += &format!("{path} = {value}\n");
            expected.push(format!("pants.toml:{}:{}: {path}: {what}", line + 2, path.len() + 4));
        }
        assert_eq!(problems(&text), expected);
    }

    #[test]
    fn a_placement_that_cannot_be_is_blamed_on_its_setting() {
        for (text, line) in [
            (
                "pin = true\ncpus = [0, 99]",
                "3:8: runtime.cpus: CPU 99 is not available to this process, which may use 0-1",
            ),
            (
                "cpus = '5000-9999999'",
                "2:8: runtime.cpus: CPU 5000 is not available to this process, which may use 0-1",
            ),
            ("cpus = []", "2:8: runtime.cpus: must name at least one CPU"),
            ("cpus = [1, 0, 1]", "2:8: runtime.cpus: CPU 1 is listed twice; name each CPU once"),
            (
                "pin = false\ncpus = [0]",
                "3:8: runtime.cpus: a list of CPUs has no effect while pinning is off; drop the list or turn pinning on \
                 (pin = false comes from pants.toml:2:7)",
            ),
        ] {
            assert_eq!(problems(&format!("[runtime]\n{text}")), [format!("pants.toml:{line}")]);
        }
    }

    #[test]
    fn a_process_without_a_cpu_to_pin_to_is_told_to_turn_pinning_off() {
        let error =
            Config::validate(KEYS.to_vec(), Layer::new(), Problems::default(), &Machine::default()).unwrap_err();
        assert_eq!(error.to_string(), "default: runtime.pin: this process has no CPU to pin to; turn pinning off");
    }

    #[test]
    fn marks_that_disagree_are_blamed_on_one_that_was_set() {
        for (text, line) in [
            ("low_water = '256KiB'", "low_water: must be below write_high_water (256KiB, default), not 256KiB"),
            ("high_water = 65536", "high_water: must be above write_low_water (64KiB, default), not 64KiB"),
            ("high_water = '17MiB'", "high_water: must be at most write_cap (16MiB, default), not 17MiB"),
            ("cap = '128KiB'", "cap: must be at least write_high_water (256KiB, default), not 128KiB"),
            (
                "high_water = '8KiB'\nwrite_low_water = '9KiB'",
                "high_water: must be above write_low_water (9KiB, pants.toml:3:19), not 8KiB",
            ),
        ] {
            let column = text.find("= ").unwrap() + "write_= ".len() + 1;
            assert_eq!(
                problems(&format!("[limits]\nwrite_{text}")),
                [format!("pants.toml:2:{column}: limits.write_{line}")]
            );
        }
    }

    #[test]
    fn marks_may_touch_only_where_they_are_allowed_to() {
        let kib = |size: usize| format!("'{size}KiB'");
        for low in 16..20 {
            for high in 16..20 {
                for cap in 16..20 {
                    let (l, h, c) = (kib(low), kib(high), kib(cap));
                    let text = format!("[limits]\nwrite_low_water = {l}\nwrite_high_water = {h}\nwrite_cap = {c}");
                    let expected = usize::from(low >= high) + usize::from(high > cap);
                    assert_eq!(problems(&text).len(), expected, "{text}");
                }
            }
        }
    }

    #[test]
    fn a_mark_that_is_wrong_alone_is_not_compared() {
        // The default high water is below this low water, but it is not what the user wrote.
        let text = "[limits]\nwrite_high_water = 'x'\nwrite_low_water = '512KiB'\n";
        assert_eq!(problems(text).len(), 1);
    }

    #[test]
    fn the_admin_endpoint_is_not_where_the_program_listens() {
        let text = |port| format!("listener.listen = [80, 'localhost:{port}']\nadmin.listen = 'localhost:{port}'\n");
        let line = "pants.toml:2:16: admin.listen: localhost:81 is where the program itself listens";
        assert_eq!(problems(&text(81)), [line]);
        assert_eq!(problems(&text(0)), [""; 0]);
    }
}
