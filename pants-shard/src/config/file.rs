//! Reads the file: each value with its line and column, each name that is not known with a suggestion.

use std::io;
use std::path::Path;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table};

use super::key::Key;
use super::raw::{Layer, Setting};
use super::source::{ConfigError, Origin, Problems};
use super::suggest::{sections, unknown_key, unknown_section};
use super::value::describe;

/// Letters of a line that are quoted in a syntax error.
const EXCERPT_LETTERS: usize = 60;

/// Reads a file's text, and notes each section and key that is not known.
pub(super) fn read(path: &Path, text: &str, keys: &[Key], problems: &mut Problems) -> Result<Layer, ConfigError> {
    // The tables are read whole, so that one load tells every unknown key and not just the first: once for the places, and once
    // for the values, since a parsed value no longer knows its place.
    let broken = |error| syntax_error(path, text, &error);
    let places = DeTable::parse(text).map_err(broken)?.into_inner();
    let values: Table = toml::from_str(text).map_err(broken)?;
    let origin = |offset| {
        let (line, column) = place_of(text, offset);
        Origin::File { path: path.to_owned(), line, column }
    };

    let mut layer = Layer::new();
    for (start, section, content) in in_order(&places) {
        let mut blame = |offset, name: &str, what| problems.add(format!("{}: {}: {what}", origin(offset), plain(name)));
        let value = &values[section];
        let is_known = sections(keys).contains(&section);
        match content.get_ref() {
            DeValue::Table(places) if is_known => {
                for (start, name, place) in in_order(places) {
                    match keys.iter().find(|key| (key.section(), key.name()) == (section, name)) {
                        Some(key) => {
                            let origin = origin(place.span().start);
                            layer.insert(key.path, Setting { value: value[name].clone(), origin });
                        }
                        None => blame(start, &format!("{section}.{name}"), unknown_key(Some(section), name, keys)),
                    }
                }
            }
            DeValue::Table(_) => blame(start, section, unknown_section(section, keys)),
            _ if is_known && keys.iter().all(|key| key.name() != section) => {
                blame(start, section, format!("expected the section [{section}], found {}", describe(value)));
            }
            _ => blame(start, section, unknown_key(None, section, keys)),
        }
    }
    Ok(layer)
}

/// The error for a file that cannot be read.
pub(super) fn unreadable(path: &Path, error: &io::Error) -> ConfigError {
    let what = error.to_string();
    // "(os error 2)" tells a user nothing that the words before it do not.
    let what = what.split(" (os error").next().unwrap_or_default();
    ConfigError::one(format!("{}: cannot be read: {what}", path.display()))
}

fn syntax_error(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let (line, column) = place_of(text, error.span().map_or(text.len(), |span| span.start));
    let source = text.lines().nth(line - 1).unwrap_or_default().trim();
    // The line is quoted because it shows the key; the parser's own message does not name one.
    let excerpt: String = plain(source).chars().take(EXCERPT_LETTERS).collect();
    let cut = if source.chars().nth(EXCERPT_LETTERS).is_some() { "…" } else { "" };
    let what = error.message().replace('\n', " ");
    ConfigError::one(format!("{}:{line}:{column}: syntax: {what}, in `{excerpt}{cut}`", path.display()))
}

/// What a table holds, each with the place of its name, in the order of the places.
fn in_order<'a>(table: &'a DeTable<'_>) -> Vec<(usize, &'a str, &'a Spanned<DeValue<'a>>)> {
    let mut entries: Vec<_> = table.iter().map(|(name, value)| (name.span().start, &**name.get_ref(), value)).collect();
    entries.sort_by_key(|(start, ..)| *start);
    entries
}

/// The line and the column, both from 1, of the letter at this byte.
fn place_of(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    (1 + before.matches('\n').count(), 1 + line.chars().count())
}

/// A text on one line.
fn plain(text: &str) -> String {
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::keys::KEYS;
    use super::*;

    /// Reads `pants.toml` with this text: the places of what it sets, and what is wrong with it.
    fn read(text: &str) -> (Vec<(&'static str, String)>, Vec<String>) {
        let mut problems = Problems::default();
        match super::read(Path::new("pants.toml"), text, &KEYS, &mut problems) {
            Ok(layer) => {
                let set = layer.iter().map(|(path, setting)| (*path, setting.origin.to_string()));
                (set.collect(), problems.into_result(()).map_or_else(|error| lines(&error), |()| Vec::new()))
            }
            Err(error) => (Vec::new(), lines(&error)),
        }
    }

    fn lines(error: &ConfigError) -> Vec<String> {
        error.problems().map(str::to_owned).collect()
    }

    #[test]
    fn each_value_of_a_file_remembers_its_line_and_column() {
        let text = "# A comment.\n[runtime]\n  pin = false\n\n[listener]\nlisten = [\n  4040,\n]\r\n\
                    \"balance\"   = 'cpu'\n[timeouts] # é\nidle = 1\n";
        let (set, problems) = read(text);
        assert_eq!(problems, [""; 0]);
        let places = [
            ("listener.balance", "9:15"),
            ("listener.listen", "6:10"),
            ("runtime.pin", "3:9"),
            ("timeouts.idle", "11:8"),
        ];
        assert_eq!(set, places.map(|(path, place)| (path, format!("pants.toml:{place}"))));
    }

    #[test]
    fn sections_may_be_written_as_dotted_keys_or_inline() {
        let (set, problems) = read("runtime.shards = 2\nadmin = { listen = 80 }\n");
        assert_eq!(problems, [""; 0]);
        let places = [("admin.listen", "pants.toml:2:20"), ("runtime.shards", "pants.toml:1:18")];
        assert_eq!(set, places.map(|(path, place)| (path, place.to_owned())));
    }

    #[test]
    fn a_column_counts_letters_and_not_bytes() {
        let (set, _) = read("admin = { listen = 'é', listen2 = 1 }\n");
        assert_eq!(set, [("admin.listen", "pants.toml:1:20".to_owned())]);
        let (_, problems) = read("admin = { listen = 'é', port = 1 }\n");
        assert!(problems[0].starts_with("pants.toml:1:25: admin.port: "), "{problems:?}");
    }

    #[test]
    fn everything_unknown_in_a_file_is_told_in_the_order_of_its_places() {
        let (_, problems) = read(
            "shards = 2\nlisten = 1\n[runtime]\nshard = 2\nIdle-Timeout = \"1s\"\n[server]\nlisten = 1\n[limit]\n\
             [admin]\n'a\\b' = 1\n\"a\\nb\" = 1\n",
        );
        assert_eq!(
            problems,
            [
                "pants.toml:1:1: shards: that key belongs in [runtime]",
                "pants.toml:2:1: listen: that key belongs in [listener] or [admin]",
                "pants.toml:4:1: runtime.shard: unknown key; did you mean \"shards\"?",
                "pants.toml:5:1: runtime.Idle-Timeout: that key belongs in [timeouts], as \"idle\"",
                "pants.toml:6:2: server: unknown section; the sections are runtime, listener, limits, timeouts, balance, \
                 admin",
                "pants.toml:8:2: limit: unknown section; did you mean [limits]?",
                "pants.toml:10:1: admin.a\\b: unknown key; the keys of [admin] are listen",
                "pants.toml:11:1: admin.a b: unknown key; the keys of [admin] are listen",
            ]
        );
    }

    #[test]
    fn a_section_that_is_none_is_told() {
        let (_, problems) = read("runtime = 2\nbalance = 'cpu'\n[[limits]]\n[shards]\n");
        assert_eq!(
            problems,
            [
                "pants.toml:1:1: runtime: expected the section [runtime], found integer 2",
                "pants.toml:2:1: balance: that key belongs in [listener]",
                "pants.toml:3:3: limits: expected the section [limits], found an array",
                "pants.toml:4:2: shards: unknown section; the sections are runtime, listener, limits, timeouts, balance, \
                 admin",
            ]
        );
    }

    #[test]
    fn a_syntax_error_names_its_place_and_quotes_its_line() {
        for (text, error) in [
            ("shards = \n", "1:10: syntax: string values must be quoted, expected literal string, in `shards =`"),
            ("pin = true\nshards 4\n", "2:8: syntax: key with no value, expected `=`, in `shards 4`"),
            ("shards = 1\nshards = 2\n", "2:1: syntax: duplicate key, in `shards = 2`"),
            ("[admin]\n[admin]\n", "2:2: syntax: duplicate key, in `[admin]`"),
            (
                "pin = true\nlisten = \"4040\n",
                "2:15: syntax: invalid basic string, expected `\"`, in `listen = \"4040`",
            ),
            ("listen = [\n  4040,\n", "2:8: syntax: unclosed array, expected `]`, in `4040,`"),
            ("shards = 99999999999999999999\n", "1:10: syntax: "),
        ] {
            let (_, problems) = read(text);
            assert!(problems[0].starts_with(&format!("pants.toml:{error}")), "{problems:?}");
            assert_eq!(problems.len(), 1);
        }
    }

    #[test]
    fn a_long_line_is_cut_in_a_syntax_error() {
        let (_, problems) = read(&format!("pin = \"{}\n", "é".repeat(100)));
        assert!(problems[0].ends_with(&format!(", in `pin = \"{}…`", "é".repeat(53))), "{problems:?}");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_told_without_the_number_of_the_error() {
        let error = unreadable(Path::new("pants.toml"), &io::Error::from_raw_os_error(2));
        assert_eq!(error.to_string(), "pants.toml: cannot be read: No such file or directory");
        let error = unreadable(Path::new("pants.toml"), &io::Error::from(io::ErrorKind::InvalidData));
        assert_eq!(error.to_string(), "pants.toml: cannot be read: invalid data");
    }

    proptest! {
        #[test]
        fn no_file_makes_reading_panic_or_an_error_span_lines(
            text in r#"\PC*|([a-z]{1,6}|\[runtime\]|\[\[?limits\]|[=\[\]{}"',.\n\t 0-9é-]){0,30}"#,
        ) {
            for problem in read(&text).1 {
                prop_assert!(!problem.contains('\n'), "{}", problem);
            }
        }
    }
}
