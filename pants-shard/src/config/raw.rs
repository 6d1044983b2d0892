//! Configuration as it was written: each layer (program, file, environment, flags) holds what it sets, and beats the one below.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use toml::Value;

use super::key::Key;
use super::source::{Origin, Problems};
use super::suggest::unknown_variable;

/// The variable that names the file.
const FILE_VARIABLE: &str = "PANTS_CONFIG";

/// What one layer sets, or several merged, by the keys' paths.
pub(super) type Layer = BTreeMap<&'static str, Setting>;

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
    /// `--balance POLICY`: `kernel`, `cpu`, `least-connections` or `rebalance`.
    pub balance: Option<String>,
    /// `--idle-timeout 30s`, or `--idle-timeout off`.
    pub idle_timeout: Option<String>,
    /// `--handover PATH`, or `--handover off`.
    pub handover: Option<String>,
    /// `--admin ADDRESS`, or `--admin off`.
    pub admin: Option<String>,
    /// Flags of the program's own that set a key: the flag, such as `--to`, the path of the key, such as `proxy.to`, and the text.
    /// A path that no key has is a mistake of the program's: loading panics.
    pub own: Vec<(&'static str, &'static str, String)>,
    /// `--config PATH`: the file to read in place of the one that `PANTS_CONFIG` names.
    pub config: Option<PathBuf>,
}

/// Reads the variables that are settings, and finds the one that names the file.
///
/// A variable that is set to nothing counts as not set, as a compose file's `${PANTS_SHARDS:-}` expects. Unknown
/// ones are other programs' business, unless they look like a slip of the pen.
pub(super) fn from_environment(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    keys: &[Key],
    problems: &mut Problems,
) -> (Layer, Option<PathBuf>) {
    // Sorted, because the environment's order is an accident and the order of the messages should not be one.
    let variables: BTreeMap<OsString, OsString> = variables.into_iter().collect();
    let mut layer = Layer::new();
    let mut file = None;
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|_| !value.is_empty()) else { continue };
        if name == FILE_VARIABLE {
            file = Some(PathBuf::from(value));
        } else if let Some(key) = keys.iter().find(|key| key.variable == name) {
            match value.into_string() {
                Ok(text) => {
                    layer.insert(key.path, Setting { value: text.into(), origin: Origin::Variable(key.variable) });
                }
                Err(_) => problems.add(format!("{name}: its value is not UTF-8; set it to plain text")),
            }
        } else if let Some(what) = unknown_variable(name, keys) {
            problems.add(format!("{name}: {what}"));
        }
    }
    (layer, file)
}

/// What the flags set; a field left empty sets nothing.
pub(super) fn from_flags(flags: &Flags) -> Layer {
    let text = |path, flag, text: &Option<String>| Some((path, flag, Value::String(text.clone()?)));
    let listen = (!flags.listen.is_empty()).then(|| flags.listen.join(","));
    let common = [
        text("listener.listen", "--listen", &listen),
        text("runtime.shards", "--shards", &flags.shards),
        text("runtime.cpus", "--cpus", &flags.cpus),
        flags.no_pin.then_some(("runtime.pin", "--no-pin", Value::Boolean(false))),
        text("runtime.handover", "--handover", &flags.handover),
        flags.share_port.then_some(("listener.share_port", "--share-port", Value::Boolean(true))),
        text("listener.balance", "--balance", &flags.balance),
        text("timeouts.idle", "--idle-timeout", &flags.idle_timeout),
        text("admin.listen", "--admin", &flags.admin),
    ];
    let own = flags.own.iter().map(|(flag, path, text)| (*path, *flag, Value::String(text.clone())));
    let set = common.into_iter().flatten().chain(own);
    set.map(|(path, flag, value)| (path, Setting { value, origin: Origin::Flag(flag) })).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::super::keys::KEYS;
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> (Layer, Option<PathBuf>, Vec<String>) {
        let mut problems = Problems::default();
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
        let (layer, config) = from_environment(variables, &KEYS, &mut problems);
        (layer, config, lines(problems))
    }

    fn lines(problems: Problems) -> Vec<String> {
        let error = problems.into_result(()).err();
        error.map_or_else(Vec::new, |error| error.problems().map(str::to_owned).collect())
    }

    fn set(layer: &Layer) -> Vec<(&'static str, String)> {
        layer.iter().map(|(path, setting)| (*path, setting.origin.to_string())).collect()
    }

    #[test]
    fn every_key_has_a_variable() {
        for key in KEYS {
            let (layer, _, problems) = environment(&[(key.variable, "x")]);
            assert_eq!(set(&layer), [(key.path, key.variable.to_owned())]);
            assert_eq!(problems, [""; 0]);
        }
    }

    #[test]
    fn variables_that_are_not_settings_are_left_alone() {
        let (layer, config, problems) = environment(&[
            ("HOME", "/root"),
            ("PANTS_CONFIG", "pants.toml"),
            ("PANTS_GREETING", "hello"),
            ("PANTS_LOG", "debug"),
            ("PANTS_SHARDS", ""),
        ]);
        assert_eq!(set(&layer), []);
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
        let (_, config) = from_environment(variables, &KEYS, &mut problems);
        assert_eq!(config, Some(PathBuf::from(bytes)));
        assert_eq!(lines(problems), ["PANTS_PIN: its value is not UTF-8; set it to plain text"]);
    }

    #[test]
    fn only_flags_that_were_given_set_something() {
        assert_eq!(set(&from_flags(&Flags::default())), []);
        let flags = Flags {
            listen: vec!["1".into(), "2".into()],
            shards: Some("1".into()),
            cpus: Some("0".into()),
            no_pin: true,
            share_port: true,
            balance: Some("cpu".into()),
            idle_timeout: Some("1s".into()),
            handover: Some("off".into()),
            admin: Some("off".into()),
            own: vec![("--to", "proxy.to", "80".into())],
            config: Some("pants.toml".into()),
        };
        let layer = from_flags(&flags);
        let flags = [
            ("admin.listen", "--admin"),
            ("listener.balance", "--balance"),
            ("listener.listen", "--listen"),
            ("listener.share_port", "--share-port"),
            ("proxy.to", "--to"),
            ("runtime.cpus", "--cpus"),
            ("runtime.handover", "--handover"),
            ("runtime.pin", "--no-pin"),
            ("runtime.shards", "--shards"),
            ("timeouts.idle", "--idle-timeout"),
        ];
        assert_eq!(set(&layer), flags.map(|(path, flag)| (path, flag.to_owned())));
        assert_eq!(layer["listener.listen"].value, Value::String("1,2".into()));
    }
}
