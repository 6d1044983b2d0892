//! Names, of members and of rooms: what may be one, and how one is compared with another. Pure.

use std::fmt;
use std::sync::Arc;

/// The longest name, in characters.
const NAME_MAX: usize = 24;

/// What the names of guests begin with.
const GUEST: &str = "guest-";

/// A name: 1 to 24 visible ASCII characters other than `<` and `>`. Other alphabets have letters that look like these, and a
/// nickname is to tell who speaks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Name(Arc<str>);

/// Why a text is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoName;

impl Name {
    pub(super) fn new(text: &str) -> Result<Self, NoName> {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>'));
        if is_plain && (1..=NAME_MAX).contains(&text.len()) { Ok(Self(text.into())) } else { Err(NoName) }
    }

    /// The name of the `count`th guest of a shard, counted from 0. No two shards give the same.
    pub(super) fn guest(shard: usize, shards: usize, count: usize) -> Self {
        Self(format!("{GUEST}{}", count * shards + shard + 1).into())
    }

    /// Whether it is one that only a guest has, and that was not asked for.
    pub(super) fn is_guest(&self) -> bool {
        self.folded().0.starts_with(GUEST)
    }

    /// The same in lower case: what is compared.
    pub(super) fn folded(&self) -> Self {
        Self(self.0.to_ascii_lowercase().into())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for NoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a name has 1 to {NAME_MAX} letters, digits or signs of ASCII, no spaces, no < and no >")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_name_is_short_visible_and_plain() {
        for text in ["x", "~", "Bob", "[away]", "#rust", &"n".repeat(24)] {
            assert_eq!(Name::new(text).unwrap().to_string(), text);
        }
        for text in ["", " ", "a b", "a\tb", "\x1b[1m", "<b>", "Ren\u{e9}", "\u{202e}bob", &"n".repeat(25)] {
            assert_eq!(Name::new(text), Err(NoName), "{text:?}");
        }
    }

    #[test]
    fn no_two_guests_have_one_name() {
        let names = (0..3).flat_map(|shard| (0..100).map(move |count| Name::guest(shard, 3, count)));
        assert_eq!(names.clone().collect::<HashSet<_>>().len(), 300);
        assert!(names.into_iter().all(|name| name.is_guest() && Name::new(&name.to_string()).is_ok()));
        assert_eq!(Name::guest(1, 3, 5).to_string(), "guest-17");
    }

    #[test]
    fn the_longest_name_of_a_guest_is_a_name() {
        assert!(Name::new(&Name::guest(1023, 1024, 1 << 40).to_string()).is_ok());
    }

    #[test]
    fn case_makes_no_other_name() {
        let [one, two] = ["Bob", "bOB"].map(|text| Name::new(text).unwrap());
        assert!(one != two && one.folded() == two.folded());
        assert!(Name::new("Guest-1").unwrap().is_guest());
    }
}
