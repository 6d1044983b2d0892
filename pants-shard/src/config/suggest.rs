//! What is said of a name that is not known: where it belongs, or what was probably meant.

use super::key::Key;

/// What every variable's name begins with, unless a program chooses otherwise for its own.
const PREFIX: &str = "PANTS_";

/// Variables that are not settings: the file's path, and the program's log filter, which this crate does not read.
const OTHER_VARIABLES: [&str; 2] = ["PANTS_CONFIG", "PANTS_LOG"];

/// What to say of a name in a section where no such key is, or at the top of the file.
pub(super) fn unknown_key(section: Option<&str>, name: &str, keys: &[Key]) -> String {
    let spelling = name.to_ascii_lowercase().replace('-', "_");
    let meant = keys.iter().filter(|key| key.name() == spelling || long_name(key) == spelling);
    let (here, homes): (Vec<&Key>, Vec<&Key>) = meant.partition(|key| Some(key.section()) == section);
    if here.is_empty() && !homes.is_empty() {
        let homes: Vec<String> = homes.into_iter().map(|key| home(key, name)).collect();
        return format!("that key belongs in {}", homes.join(" or "));
    }
    let known: Vec<&str> = keys.iter().filter(|key| Some(key.section()) == section).map(Key::name).collect();
    if let Some(meant) = here.first().map(|key| key.name()).or_else(|| near_miss(name, known.iter().copied())) {
        return format!("unknown key; did you mean \"{meant}\"?");
    }
    let elsewhere = near_miss(name, keys.iter().map(Key::name));
    if let Some(meant) = elsewhere.and_then(|meant| keys.iter().find(|key| key.name() == meant)) {
        return format!("unknown key; did you mean \"{}\" in [{}]?", meant.name(), meant.section());
    }
    match section {
        Some(section) => format!("unknown key; the keys of [{section}] are {}", known.join(", ")),
        None => format!("unknown key; the sections are {}", sections(keys).join(", ")),
    }
}

/// What to say of a section that is not known.
pub(super) fn unknown_section(name: &str, keys: &[Key]) -> String {
    let sections = sections(keys);
    match near_miss(name, sections.iter().copied()) {
        Some(meant) => format!("unknown section; did you mean [{meant}]?"),
        None => format!("unknown section; the sections are {}", sections.join(", ")),
    }
}

/// What to say of an environment variable that looks like a slip of the pen; others are other programs' business.
pub(super) fn unknown_variable(name: &str, keys: &[Key]) -> Option<String> {
    let word = name.strip_prefix(PREFIX).filter(|_| !OTHER_VARIABLES.contains(&name))?;
    let known = keys.iter().map(|key| key.variable).chain(OTHER_VARIABLES);
    let short = known.filter_map(|variable| variable.strip_prefix(PREFIX)).map(str::to_ascii_lowercase);
    let short: Vec<String> = short.collect();
    let meant = near_miss(word, short.iter().map(String::as_str))?.to_ascii_uppercase();
    Some(format!("unknown variable; did you mean {PREFIX}{meant}? Rename it or unset it"))
}

/// The sections, each once, in the order of their keys.
pub(super) fn sections(keys: &[Key]) -> Vec<&'static str> {
    let mut sections: Vec<_> = keys.iter().map(Key::section).collect();
    sections.dedup();
    sections
}

/// A key's name where there are no sections: that of its variable.
fn long_name(key: &Key) -> String {
    key.variable.strip_prefix(PREFIX).unwrap_or(key.variable).to_ascii_lowercase()
}

fn home(key: &Key, written: &str) -> String {
    if key.name() == written {
        format!("[{}]", key.section())
    } else {
        format!("[{}], as \"{}\"", key.section(), key.name())
    }
}

/// The known name that `word` was probably meant to be: one slip away, or two if the name is long.
fn near_miss<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    known
        .into_iter()
        .map(|name| (distance(&word, name), name))
        .filter(|(distance, name)| *distance <= if name.len() < 6 { 1 } else { 2 })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// The number of letters to insert, delete or replace to turn one word into the other (Levenshtein, row by row).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (above, letter) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = above + 1;
        for (column, other) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::keys::KEYS;
    use super::*;

    #[test]
    fn a_slip_or_two_is_a_near_miss_and_another_word_is_not() {
        let known = ["listen", "pin", "shards", "idle_timeout"];
        for (word, meant) in [
            ("shard", Some("shards")),
            ("SHARDS", Some("shards")),
            ("lsiten", Some("listen")),
            ("idle-timeout", Some("idle_timeout")),
            ("pins", Some("pin")),
            ("pool", None),
            ("host", None),
            ("", None),
        ] {
            assert_eq!(near_miss(word, known), meant, "{word}");
        }
    }

    #[test]
    fn a_key_in_the_wrong_place_is_told_where_it_belongs() {
        for (section, name, what) in [
            (None, "shards", "that key belongs in [runtime]"),
            (None, "listen", "that key belongs in [listener] or [admin]"),
            (None, "idle_timeout", "that key belongs in [timeouts], as \"idle\""),
            (None, "Idle-Timeout", "that key belongs in [timeouts], as \"idle\""),
            (None, "balance", "that key belongs in [listener]"),
            (Some("limits"), "nodelay", "that key belongs in [listener]"),
            (Some("listener"), "interval", "that key belongs in [balance]"),
            (Some("listener"), "balance_interval", "that key belongs in [balance], as \"interval\""),
        ] {
            assert_eq!(unknown_key(section, name, &KEYS), what, "{section:?} {name}");
        }
    }

    #[test]
    fn a_key_that_is_nowhere_is_told_what_was_meant_or_what_there_is() {
        for (section, name, what) in [
            (Some("runtime"), "shard", "unknown key; did you mean \"shards\"?"),
            (Some("timeouts"), "idle_timeout", "unknown key; did you mean \"idle\"?"),
            (Some("runtime"), "Drain-Timeout", "unknown key; did you mean \"drain_timeout\"?"),
            (Some("listener"), "shard", "unknown key; did you mean \"shards\" in [runtime]?"),
            (None, "shard", "unknown key; did you mean \"shards\" in [runtime]?"),
            (Some("admin"), "password", "unknown key; the keys of [admin] are listen"),
            (None, "host", "unknown key; the sections are runtime, listener, limits, timeouts, balance, admin"),
        ] {
            assert_eq!(unknown_key(section, name, &KEYS), what, "{section:?} {name}");
        }
    }

    #[test]
    fn a_section_that_there_is_not_is_told_what_was_meant_or_what_there_is() {
        assert_eq!(unknown_section("limit", &KEYS), "unknown section; did you mean [limits]?");
        assert_eq!(
            unknown_section("server", &KEYS),
            "unknown section; the sections are runtime, listener, limits, timeouts, balance, admin"
        );
    }

    #[test]
    fn the_distance_counts_insertions_deletions_and_replacements() {
        for (from, to, expected) in
            [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("abc", "abc", 0), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(from, to), expected, "{from} {to}");
        }
    }

    proptest! {
        #[test]
        fn the_distance_is_symmetric_and_at_most_the_longer_length(a in "[a-c]{0,6}", b in "[a-c]{0,6}") {
            prop_assert_eq!(distance(&a, &b), distance(&b, &a));
            prop_assert!(distance(&a, &b) <= a.len().max(b.len()));
            prop_assert_eq!(distance(&a, &b) == 0, a == b);
        }
    }
}
