//! How bytes are written on the command line: in hexadecimal, or as text with escapes.

/// Reads hexadecimal digits, such as `50494e470d0a`; blanks between bytes are skipped.
///
/// # Errors
///
/// What is wrong with it, as the end of a sentence.
pub fn parse_hex(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len() / 2);
    for word in text.split_ascii_whitespace() {
        if let Some(wrong) = word.chars().find(|char| !char.is_ascii_hexdigit()) {
            return Err(format!("expected hexadecimal digits such as 50494e470d0a, found {wrong:?}"));
        }
        if !word.len().is_multiple_of(2) {
            return Err(format!("a byte has two hexadecimal digits, and there are {} in a row", word.len()));
        }
        bytes.extend(word.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])));
    }
    if bytes.is_empty() { Err("there are no bytes in it".to_owned()) } else { Ok(bytes) }
}

/// Reads text in which `\r`, `\n`, `\t`, `\0`, `\\` and `\xHH` stand for one byte each.
///
/// # Errors
///
/// What is wrong with it, as the end of a sentence.
pub fn parse_escaped(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let (byte, behind) = if *first == b'\\' { escape(behind)? } else { (*first, behind) };
        bytes.push(byte);
        rest = behind;
    }
    Ok(bytes)
}

/// Reads what is behind a backslash; the byte, and the rest.
fn escape(text: &[u8]) -> Result<(u8, &[u8]), String> {
    match text {
        [b'r', rest @ ..] => Ok((b'\r', rest)),
        [b'n', rest @ ..] => Ok((b'\n', rest)),
        [b't', rest @ ..] => Ok((b'\t', rest)),
        [b'0', rest @ ..] => Ok((0, rest)),
        [b'\\', rest @ ..] => Ok((b'\\', rest)),
        [b'x', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
            Ok((digit(*high) << 4 | digit(*low), rest))
        }
        _ => Err("a backslash must be followed by r, n, t, 0, x and two hexadecimal digits, or another one".to_owned()),
    }
}

/// The value of a hexadecimal digit.
fn digit(digit: u8) -> u8 {
    (digit as char).to_digit(16).unwrap_or_default() as u8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hexadecimal_is_read_with_blanks_and_in_either_case() {
        assert_eq!(parse_hex("50494e470d0A").unwrap(), b"PING\r\n");
        assert_eq!(parse_hex(" 00 ff\n10 ").unwrap(), [0, 255, 16]);
        for (text, part) in [("", "no bytes"), ("5", "1 in a row"), ("0 0", "1 in a row"), ("0x00", "found 'x'")] {
            let error = parse_hex(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn every_escape_is_read_and_no_other() {
        assert_eq!(parse_escaped(r"a\r\n\t\0\\\x7F\xff").unwrap(), b"a\r\n\t\0\\\x7f\xff");
        assert_eq!(parse_escaped("é").unwrap(), "é".as_bytes());
        for text in [r"\", r"\q", r"\x", r"\x1", r"\xg0"] {
            assert!(parse_escaped(text).unwrap_err().contains("backslash"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_them_panic(text in "\\PC*|[\\\\xrn0-9a-f ]{0,20}") {
            let _ = (parse_hex(&text), parse_escaped(&text));
        }

        #[test]
        fn bytes_that_are_written_are_read_back(bytes in proptest::collection::vec(any::<u8>(), 1..50)) {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            prop_assert_eq!(parse_hex(&hex), Ok(bytes.clone()));
            let escaped: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
            prop_assert_eq!(parse_escaped(&escaped), Ok(bytes));
        }
    }
}
