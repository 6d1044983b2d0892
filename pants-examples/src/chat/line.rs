//! What a line says: a command, or something to pass on. What a terminal could take for an order does not get past here. Pure.

use std::fmt;

use super::name::{Name, NoName};

/// The longest line, its end included, in bytes.
pub(super) const LINE_MAX: usize = 512;

/// The commands, as `/help` tells of them.
pub(super) const HELP: &str = "\
-- /nick NAME   be called NAME
-- /join ROOM   go to a room; it is made when the first comes and gone when the last leaves
-- /leave       go back to the lobby
-- /rooms       which rooms there are
-- /who         who is in this room
-- /me TEXT     say what you do
-- /quit        leave
-- Any other line is said to everybody in the room.
";

/// What a line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// Nothing: it is empty.
    Nothing,
    /// To be said in the room.
    Say(&'a str),
    /// To be told in the room as something the member does.
    Me(&'a str),
    Nick(Name),
    /// Rooms are in lower case.
    Join(Name),
    Leave,
    Rooms,
    Who,
    Help,
    Quit,
}

/// Why a line is not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mistake<'a> {
    NoSuchCommand(&'a str),
    NoName(NoName),
    GuestName,
    NoText,
}

impl<'a> Line<'a> {
    /// Reads a line that has been [cleaned](clean).
    pub(super) fn parse(line: &'a str) -> Result<Self, Mistake<'a>> {
        let Some(command) = line.strip_prefix('/') else {
            return Ok(if line.is_empty() { Self::Nothing } else { Self::Say(line) });
        };
        let (command, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let rest = rest.trim_start();
        match command {
            "nick" => match Name::new(rest) {
                Ok(name) if name.is_guest() => Err(Mistake::GuestName),
                name => name.map(Self::Nick).map_err(Mistake::NoName),
            },
            "join" => Name::new(rest).map(|name| Self::Join(name.folded())).map_err(Mistake::NoName),
            "me" if rest.is_empty() => Err(Mistake::NoText),
            "me" => Ok(Self::Me(rest)),
            "leave" => Ok(Self::Leave),
            "rooms" => Ok(Self::Rooms),
            "who" => Ok(Self::Who),
            "help" => Ok(Self::Help),
            "quit" => Ok(Self::Quit),
            unknown => Err(Mistake::NoSuchCommand(unknown)),
        }
    }
}

impl fmt::Display for Mistake<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchCommand(command) => write!(f, "there is no /{command}; /help lists the commands"),
            Self::NoName(error) => error.fmt(f),
            Self::GuestName => f.write_str("guests' names are given, not taken"),
            Self::NoText => f.write_str("what do you do? /me TEXT"),
        }
    }
}

/// The text of a line as everybody may see it: without space at its ends, tabs made spaces, what is no UTF-8 replaced, and no
/// character left that moves a terminal's cursor, changes its state or turns the direction of writing.
pub(super) fn clean(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let text: String =
        text.chars().map(|char| if char == '\t' { ' ' } else { char }).filter(|&char| is_text(char)).collect();
    text.trim().to_owned()
}

/// Whether a character is text: no control character, no separator of lines or paragraphs, and none of those that embed,
/// override or isolate a direction (Unicode Standard Annex 9, section 2).
fn is_text(char: char) -> bool {
    let turns = matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !char.is_control() && !turns && !matches!(char, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[test]
    fn every_command_is_understood() {
        for (line, meaning) in [
            ("", Line::Nothing),
            ("hello, all", Line::Say("hello, all")),
            ("/me waves", Line::Me("waves")),
            ("/nick Bob", Line::Nick(name("Bob"))),
            ("/nick   Bob", Line::Nick(name("Bob"))),
            ("/join Rust", Line::Join(name("rust"))),
            ("/leave", Line::Leave),
            ("/leave now", Line::Leave),
            ("/rooms", Line::Rooms),
            ("/who", Line::Who),
            ("/help", Line::Help),
            ("/quit", Line::Quit),
        ] {
            assert_eq!(Line::parse(line), Ok(meaning), "{line}");
        }
    }

    #[test]
    fn a_mistake_is_told() {
        for (line, mistake) in [
            ("/dance", Mistake::NoSuchCommand("dance")),
            ("/", Mistake::NoSuchCommand("")),
            ("/Nick bob", Mistake::NoSuchCommand("Nick")),
            ("/nick", Mistake::NoName(NoName)),
            ("/nick two words", Mistake::NoName(NoName)),
            ("/nick Guest-1", Mistake::GuestName),
            ("/join", Mistake::NoName(NoName)),
            ("/me", Mistake::NoText),
        ] {
            assert_eq!(Line::parse(line), Err(mistake), "{line}");
        }
    }

    #[test]
    fn nothing_that_moves_a_terminal_gets_through() {
        for (line, text) in [
            (&b"hello\r"[..], "hello"),
            (b"\x1b[2Jhello\x07", "[2Jhello"),
            (b"one\x08\x7ftwo", "onetwo"),
            ("a\u{9b}31mb".as_bytes(), "a31mb"),
            ("\u{202e}olleh\u{2066}\u{2028}".as_bytes(), "olleh"),
            (b"a\tb", "a b"),
            (b"\xff\xf4caf\xc3\xa9", "\u{fffd}\u{fffd}caf\u{e9}"),
            (b" \t \r", ""),
        ] {
            assert_eq!(clean(line), text, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn no_input_does_harm(line in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..LINE_MAX),
            "/?(nick|join|me|say)?[ \t]*\\PC{0,40}".prop_map(String::into_bytes),
            "[\u{0}-\u{a0}\u{2020}-\u{2070} /a-z]{0,80}".prop_map(String::into_bytes),
        ]) {
            let text = clean(&line);
            prop_assert!(text.chars().all(is_text) && !text.chars().any(char::is_control));
            prop_assert!(text.len() <= 3 * line.len());
            prop_assert_eq!(clean(text.as_bytes()), text.clone());
            let told = match Line::parse(&text) {
                Ok(Line::Say(said) | Line::Me(said)) => {
                    prop_assert!(!said.is_empty());
                    said.to_owned()
                }
                Ok(Line::Nick(name) | Line::Join(name)) => name.to_string(),
                Ok(_) => String::new(),
                Err(mistake) => mistake.to_string(),
            };
            prop_assert!(!told.chars().any(char::is_control));
        }
    }
}
