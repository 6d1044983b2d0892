//! How sizes, durations and counts are read from the command line and written in a report.

use std::time::Duration;

/// Units of time in nanoseconds, longest first.
const TIME_UNITS: [(&str, u64); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Units of size in bytes, largest first.
const SIZE_UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads a duration such as `10s`, `500ms` or `2m`: a whole number and a unit.
///
/// # Errors
///
/// What is wrong with it, as the end of a sentence.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("expected a duration such as 10s or 500ms, found {text:?}");
    let (number, unit) = split(text);
    let (_, nanos) = TIME_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(*nanos).map(Duration::from_nanos).ok_or_else(|| format!("{text} is too long"))
}

/// Reads a size such as `64`, `16KiB` or `1MiB`.
///
/// # Errors
///
/// What is wrong with it, as the end of a sentence.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("expected a size such as 64, 16KiB or 1MiB, found {text:?}");
    let (number, unit) = split(text);
    let unit = if unit.is_empty() { "B" } else { unit };
    let (_, bytes) = SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(*bytes).ok_or_else(|| format!("{text} is too much"))
}

/// Units of rates, largest first.
const RATE_UNITS: [(&str, f64); 3] = [("M", 1e6), ("k", 1e3), ("", 1.0)];

/// Reads a rate such as `200`, `50k` or `1.5M`, in events a second.
///
/// # Errors
///
/// What is wrong with it, as the end of a sentence.
pub fn parse_rate(text: &str) -> Result<f64, String> {
    let wrong = || format!("expected a rate such as 200, 50k or 1.5M, found {text:?}");
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len()));
    let (_, factor) = RATE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    let number: f64 = number.parse().map_err(|_| wrong())?;
    Ok(number * factor)
}

/// Parts a number from its unit.
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// Writes a duration with the longest unit that it is a whole number of, such as `1500ms`.
pub fn exact_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let unit = TIME_UNITS.iter().find(|(_, unit)| nanos > 0 && nanos.is_multiple_of(u128::from(*unit)));
    unit.map_or_else(|| "0s".to_owned(), |(name, unit)| format!("{}{name}", nanos / u128::from(*unit)))
}

/// Writes a size with the largest unit that it is a whole number of, such as `16KiB`; bytes have none.
pub fn exact_size(bytes: u64) -> String {
    let unit = SIZE_UNITS.iter().find(|(name, unit)| *name != "B" && bytes > 0 && bytes.is_multiple_of(*unit));
    unit.map_or_else(|| bytes.to_string(), |(name, unit)| format!("{}{name}", bytes / unit))
}

/// Writes nanoseconds with three or four digits, for people.
pub fn latency(nanos: u64) -> String {
    match nanos {
        0..1_000 => format!("{nanos} ns"),
        1_000..1_000_000 => digits(nanos as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => digits(nanos as f64 / 1e6, "ms"),
        _ => digits(nanos as f64 / 1e9, "s"),
    }
}

fn digits(value: f64, unit: &str) -> String {
    let decimals = if value < 10.0 {
        2
    } else if value < 100.0 {
        1
    } else {
        0
    };
    format!("{value:.decimals$} {unit}")
}

/// Writes a count with its thousands apart.
pub fn count(count: u64) -> String {
    let text = count.to_string();
    let mut grouped = String::with_capacity(text.len() + text.len() / 3);
    for (index, digit) in text.char_indices() {
        if index > 0 && (text.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Writes bytes with the largest unit that leaves at least one of it.
pub fn bytes(bytes: u64) -> String {
    let unit = SIZE_UNITS.iter().find(|(name, unit)| *name != "B" && bytes >= *unit);
    unit.map_or_else(|| format!("{bytes} B"), |(name, unit)| format!("{:.1} {name}", bytes as f64 / *unit as f64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_and_durations_take_their_units() {
        assert_eq!(parse_size("64"), Ok(64));
        assert_eq!(parse_size("16KiB"), Ok(16 << 10));
        assert_eq!(parse_size(" 1MiB "), Ok(1 << 20));
        assert_eq!(parse_duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(["200", "50k", "1.5M", "0.5"].map(parse_rate), [200.0, 50e3, 1.5e6, 0.5].map(Ok));
        for wrong in ["", "k", "-1", "1K", "1e3", "1.2.3", "5 k", "inf"] {
            assert!(parse_rate(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "KiB", "-1", "1kb", "1.5MiB", "18446744073709551615GiB"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "10", "s", "-1s", "1 day", "18446744073709551615h"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn people_get_few_digits() {
        assert_eq!(latency(999), "999 ns");
        assert_eq!(latency(20_480), "20.5 µs");
        assert_eq!(latency(10_000_000), "10.0 ms");
        assert_eq!(latency(1_234_000_000), "1.23 s");
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(12_345_678), "12,345,678");
        assert_eq!(bytes(1_023), "1023 B");
        assert_eq!(bytes(1_536), "1.5 KiB");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_readers_panic(text in "\\PC*|[0-9]{0,25}[a-zA-Z]{0,3}") {
            let _ = (parse_size(&text), parse_duration(&text), parse_rate(&text));
        }

        #[test]
        fn a_duration_that_is_written_is_read_back(nanos: u64) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse_duration(&exact_duration(duration)), Ok(duration));
        }

        #[test]
        fn a_size_that_is_written_is_read_back(bytes: u64, shift in 0..64) {
            let bytes = bytes >> shift << (shift / 2);
            prop_assert_eq!(parse_size(&exact_size(bytes)), Ok(bytes));
        }
    }
}
