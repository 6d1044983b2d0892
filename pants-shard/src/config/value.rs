//! How each setting's value is read and written; pure.
//!
//! A string that spells a value is taken for that value, so that files, variables and flags share these readers. Each
//! reader's error is the end of a line that begins with the place and the key.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use pants_engine::Address;
use toml::Value;

use crate::placement::{CpuId, Shards, cpu_range};

/// How long a drain may take.
pub(super) const DRAIN: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(60 * 60);
/// What the engine takes; less than the shortest would find nothing.
pub(super) const BUSY_POLL: RangeInclusive<Duration> = Duration::from_micros(1)..=Duration::from_secs(1);
pub(super) const STALL: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(60 * 60);
/// From what the poller can tell apart to ten years, which is as good as none and cannot overflow a clock.
pub(super) const TIMEOUT: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(3650 * 24 * 60 * 60);
pub(super) const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);
pub(super) const MARK: RangeInclusive<u64> = 4 << 10..=1 << 30;
/// The cap has room for what the engine gathers before it sends.
pub(super) const CAP: RangeInclusive<u64> = 16 << 10..=1 << 30;
pub(super) const BUFFER: RangeInclusive<u64> = 1..=1 << 30;
/// More has no use: Linux cuts a backlog down to `net.core.somaxconn`, 4096 by default; see `listen(2)`.
pub(super) const BACKLOG: RangeInclusive<u32> = 1..=65_535;
pub(super) const OFFLOAD_THREADS: RangeInclusive<usize> = 1..=64;
pub(super) const MOVES: RangeInclusive<usize> = 1..=4096;
/// A little above 1, so that a difference of a connection or two moves nobody.
pub(super) const SKEW: RangeInclusive<f64> = 1.01..=10.0;
pub(super) const BALANCES: &str = "\"kernel\", \"cpu\", \"least-connections\" or \"rebalance\"";

/// Units of time in nanoseconds, longest first.
const TIME_UNITS: [(&str, u64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Units of size in bytes, largest first.
const SIZE_UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

pub(super) fn listen(value: &Value) -> Result<Vec<Address>, String> {
    let addresses: Vec<Address> = match value {
        Value::String(text) => text.split(',').map(|part| address(part.trim())).collect::<Result<_, _>>()?,
        Value::Integer(port) => vec![address(&port.to_string())?],
        Value::Array(items) => items
            .iter()
            .map(|item| match item {
                Value::String(text) => address(text),
                Value::Integer(port) => address(&port.to_string()),
                other => Err(format!("expected an address or a port in the array, found {}", describe(other))),
            })
            .collect::<Result<_, _>>()?,
        other => {
            let found = describe(other);
            return Err(format!(
                "expected an address such as \"127.0.0.1:4040\", a port or an array of them, found {found}"
            ));
        }
    };
    if addresses.is_empty() {
        return Err("must name at least one address".to_owned());
    }
    match addresses.iter().enumerate().find(|(index, address)| addresses[..*index].contains(address)) {
        // With SO_REUSEPORT the second one would bind and take half of the connections.
        Some((_, twice)) if twice.port() != Some(0) => Err(format!("{twice} is listed twice; name each address once")),
        _ => Ok(addresses),
    }
}

pub(super) fn shards(value: &Value) -> Result<Shards, String> {
    match value {
        Value::String(text) => text.trim().parse().map_err(message),
        Value::Integer(count) => count.to_string().parse().map_err(message),
        other => Err(format!("expected \"auto\" or an integer, found {}", describe(other))),
    }
}

/// Reads a list of CPUs; `None` stands for all of them. Whether they exist is for the placement to say.
pub(super) fn cpus(value: &Value) -> Result<Option<Vec<usize>>, String> {
    let wrong = |other| format!("expected CPU numbers such as [0, 1], \"0-3,8\" or \"all\", found {}", describe(other));
    let cpu = |item: &Value| item.as_integer().and_then(|id| usize::try_from(id).ok());
    match value {
        Value::String(text) if text.trim() == "all" => Ok(None),
        Value::String(text) => {
            let mut cpus = Vec::new();
            for part in text.split(',') {
                let (first, last) = cpu_range(part.trim()).ok_or_else(|| wrong(value))?;
                // Past the limit one stand-in is enough for the refusal that follows, however long the range.
                cpus.extend(first..=last.min(first.max(CpuId::LIMIT)));
            }
            Ok(Some(cpus))
        }
        Value::Array(items) => {
            items.iter().map(|item| cpu(item).ok_or_else(|| wrong(item))).collect::<Result<_, _>>().map(Some)
        }
        other => cpu(other).map(|cpu| Some(vec![cpu])).ok_or_else(|| wrong(other)),
    }
}

pub(super) fn boolean(value: &Value) -> Result<bool, String> {
    match value {
        Value::Boolean(value) => Ok(*value),
        Value::String(text) if text.trim() == "true" => Ok(true),
        Value::String(text) if text.trim() == "false" => Ok(false),
        other => Err(format!("expected true or false, found {}", describe(other))),
    }
}

/// Reads one of several names, which `expected` lists.
pub(super) fn named<T: FromStr<Err: Display>>(value: &Value, expected: &str) -> Result<T, String> {
    let text = value.as_str().ok_or_else(|| format!("expected {expected}, found {}", describe(value)))?;
    text.trim().parse().map_err(message)
}

/// Reads a path that `"off"` leaves out.
pub(super) fn path_or_off(value: &Value) -> Result<Option<PathBuf>, String> {
    match value.as_str().map(str::trim) {
        Some("off") => Ok(None),
        Some(path) if !path.is_empty() && !path.contains('\0') => Ok(Some(path.into())),
        _ => Err(format!("expected a path such as \"/run/pants.sock\" or \"off\", found {}", describe(value))),
    }
}

/// Reads an address that `"off"` leaves out.
pub(super) fn address_or_off(value: &Value) -> Result<Option<Address>, String> {
    match value {
        Value::String(text) if text.trim() == "off" => Ok(None),
        Value::String(text) => address(text.trim()).map(Some),
        Value::Integer(port) => address(&port.to_string()).map(Some),
        other => {
            Err(format!("expected an address such as \"127.0.0.1:4041\", a port or \"off\", found {}", describe(other)))
        }
    }
}

pub(super) fn duration(value: &Value, range: RangeInclusive<Duration>) -> Result<Duration, String> {
    in_time(value, &range, "\"10s\" or \"500ms\"", "")
}

/// Reads a duration for which `"off"` stands for none.
pub(super) fn duration_or_off(value: &Value, range: RangeInclusive<Duration>) -> Result<Option<Duration>, String> {
    if value.as_str().map(str::trim) == Some("off") {
        return Ok(None);
    }
    in_time(value, &range, "\"30s\" or \"off\"", " or \"off\"").map(Some)
}

fn in_time(value: &Value, range: &RangeInclusive<Duration>, such_as: &str, or: &str) -> Result<Duration, String> {
    let duration = value
        .as_str()
        .and_then(|text| parse_duration(text.trim()))
        .ok_or_else(|| format!("expected a duration such as {such_as}, found {}", describe(value)))?;
    if !range.contains(&duration) {
        let (min, max) = (format_duration(*range.start()), format_duration(*range.end()));
        return Err(format!("must be {min} to {max}{or}, not {}", show(value)));
    }
    Ok(duration)
}

pub(super) fn size(value: &Value, range: RangeInclusive<u64>) -> Result<usize, String> {
    let size = match value {
        // A negative size is a number all the same: it is out of range, not of the wrong kind.
        Value::Integer(size) => Some(u64::try_from(*size).unwrap_or(0)),
        Value::String(text) => parse_size(text.trim()),
        _ => None,
    };
    let size = size
        .ok_or_else(|| format!("expected a size in bytes such as \"256KiB\" or 262144, found {}", describe(value)))?;
    if !range.contains(&size) {
        let (min, max) = (format_size(*range.start()), format_size(*range.end()));
        return Err(format!("must be {min} to {max}, not {}", show(value)));
    }
    usize::try_from(size).map_err(message)
}

/// Reads the most connections that a shard may have; `None` stands for no limit.
pub(super) fn max_connections(value: &Value) -> Result<Option<usize>, String> {
    if value.as_str().map(str::trim) == Some("unlimited") {
        return Ok(None);
    }
    match integer(value).map(usize::try_from) {
        None => Err(format!("expected an integer or \"unlimited\", found {}", describe(value))),
        Some(Ok(count)) if count > 0 => Ok(Some(count)),
        Some(_) => Err(format!("must be at least 1 or \"unlimited\", not {}", show(value))),
    }
}

/// Reads a whole number.
pub(super) fn count<T>(value: &Value, range: RangeInclusive<T>) -> Result<T, String>
where
    T: TryFrom<i64> + PartialOrd + Display,
{
    let count = integer(value).ok_or_else(|| format!("expected an integer, found {}", describe(value)))?;
    let counted = T::try_from(count).ok().filter(|count| range.contains(count));
    counted.ok_or_else(|| format!("must be {} to {}, not {count}", range.start(), range.end()))
}

pub(super) fn ratio(value: &Value, range: RangeInclusive<f64>) -> Result<f64, String> {
    let ratio = match value {
        Value::Float(ratio) => Some(*ratio),
        _ => integer(value).map(|whole| whole as f64).or_else(|| value.as_str()?.trim().parse().ok()),
    };
    let ratio = ratio.ok_or_else(|| format!("expected a number, found {}", describe(value)))?;
    if !range.contains(&ratio) {
        return Err(format!("must be {} to {}, not {ratio}", range.start(), range.end()));
    }
    Ok(ratio)
}

/// The text that a variable would hold in a value's stead.
pub(super) fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => Ok(value.to_string()),
        Value::Array(items) => Ok(items.iter().map(text).collect::<Result<Vec<_>, _>>()?.join(", ")),
        Value::Datetime(_) | Value::Table(_) => Err(format!("expected a text, found {}", describe(value))),
    }
}

/// Writes a text as TOML does.
pub(super) fn quote(text: impl Display) -> String {
    Value::String(text.to_string()).to_string()
}

/// Writes a duration, exactly, in the longest unit that divides it.
pub(super) fn format_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    let (unit, length) = longest_divisor(&TIME_UNITS, |length| nanos.is_multiple_of(u128::from(length)));
    format!("{}{unit}", nanos / u128::from(length))
}

/// Writes a size, exactly, in the largest unit that divides it.
pub(super) fn format_size(size: u64) -> String {
    if size == 0 {
        return "0B".to_owned();
    }
    let (unit, length) = longest_divisor(&SIZE_UNITS, |length| size.is_multiple_of(length));
    format!("{}{unit}", size / length)
}

fn longest_divisor(units: &[(&'static str, u64)], divides: impl Fn(u64) -> bool) -> (&'static str, u64) {
    units.iter().copied().find(|(_, length)| divides(*length)).expect("the last unit is 1, which divides all")
}

/// Reads a whole number and its unit; one too long to hold becomes the longest there is, for a range check to refuse.
fn parse_duration(text: &str) -> Option<Duration> {
    let (count, unit) = split_unit(text)?;
    let (_, nanos) = TIME_UNITS.into_iter().find(|(name, _)| *name == unit)?;
    Some(Duration::from_nanos(count.saturating_mul(nanos)))
}

/// Reads a whole number with a unit or, for bytes, without.
fn parse_size(text: &str) -> Option<u64> {
    let (count, unit) = split_unit(text)?;
    let unit = if unit.is_empty() { "B" } else { unit };
    let (_, bytes) = SIZE_UNITS.into_iter().find(|(name, _)| *name == unit)?;
    Some(count.saturating_mul(bytes))
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    // Digits fail to parse only when there are none or too many.
    (!digits.is_empty()).then(|| (digits.parse().unwrap_or(u64::MAX), unit))
}

fn integer(value: &Value) -> Option<i64> {
    value.as_integer().or_else(|| value.as_str()?.trim().parse().ok())
}

fn address(text: &str) -> Result<Address, String> {
    text.parse().map_err(message)
}

/// Shows a value that is of the right kind, but out of range.
fn show(value: &Value) -> String {
    match value {
        Value::Integer(value) => value.to_string(),
        other => describe(other),
    }
}

/// Names a value that was found where another kind was expected.
pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text:?}"),
        Value::Integer(value) => format!("integer {value}"),
        Value::Float(value) => format!("float {value}"),
        Value::Boolean(value) => format!("boolean {value}"),
        Value::Datetime(value) => format!("date {value}"),
        Value::Array(_) => "an array".to_owned(),
        Value::Table(_) => "a table".to_owned(),
    }
}

fn message(error: impl ToString) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> Value {
        Value::String(text.to_owned())
    }

    /// The value on the right of an equals sign in a file.
    fn toml(source: &str) -> Value {
        toml::from_str::<toml::Table>(&format!("key = {source}")).unwrap()["key"].clone()
    }

    #[test]
    fn every_unit_of_time_is_read() {
        for (source, nanos) in [
            ("7ns", 7),
            ("7us", 7_000),
            ("7ms", 7_000_000),
            ("7s", 7_000_000_000),
            ("7m", 420_000_000_000),
            ("7h", 25_200_000_000_000),
            ("7d", 604_800_000_000_000),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(source), Some(Duration::from_nanos(nanos)), "{source}");
        }
        for source in ["", "7", "s", "7 s", "-7s", "1.5s", "7S", "7sec", "\u{663}s"] {
            assert_eq!(parse_duration(source), None, "{source}");
        }
    }

    #[test]
    fn every_unit_of_size_is_read() {
        for (source, bytes) in [("7", 7), ("7B", 7), ("7KiB", 7168), ("7MiB", 7_340_032), ("7GiB", 7_516_192_768)] {
            assert_eq!(parse_size(source), Some(bytes), "{source}");
        }
        for source in ["", "KiB", "7KB", "7kib", "7 KiB", "-7", "1.5MiB"] {
            assert_eq!(parse_size(source), None, "{source}");
        }
    }

    #[test]
    fn durations_and_sizes_are_written_in_the_longest_unit_that_divides_them() {
        for text in ["0s", "1ns", "1001us", "1500ms", "90s", "61m", "25h", "3650d"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
        assert_eq!(format_duration(Duration::from_secs(600)), "10m");
        for text in ["0B", "1023B", "1KiB", "1025KiB", "16MiB", "1GiB"] {
            assert_eq!(format_size(parse_size(text).unwrap()), text);
        }
    }

    #[test]
    fn a_number_too_long_to_hold_is_out_of_range_and_does_not_wrap() {
        let long = "99999999999999999999999";
        assert_eq!(
            duration_or_off(&text(&format!("{long}s")), TIMEOUT),
            Err(format!("must be 1ms to 3650d or \"off\", not \"{long}s\""))
        );
        assert_eq!(size(&text(long), MARK), Err(format!("must be 4KiB to 1GiB, not \"{long}\"")));
        assert_eq!(count(&text(long), BACKLOG), Err(format!("expected an integer, found \"{long}\"")));
    }

    #[test]
    fn addresses_are_read_from_text_ports_and_arrays() {
        let addresses = |list: &[&str]| Ok(list.iter().map(|text| text.parse().unwrap()).collect());
        assert_eq!(listen(&text("4040, [::1]:1")), addresses(&["4040", "[::1]:1"]));
        assert_eq!(listen(&toml("4040")), addresses(&["4040"]));
        assert_eq!(listen(&toml("['127.0.0.1:1', 2]")), addresses(&["127.0.0.1:1", "2"]));
        assert_eq!(listen(&toml("[0, 0, '[::1]:0', '[::1]:0']")), addresses(&["0", "0", "[::1]:0", "[::1]:0"]));
    }

    #[test]
    fn wrong_addresses_are_told_apart() {
        for (value, error) in [
            ("[]", "must name at least one address"),
            ("[1, 2, 1]", "1 is listed twice; name each address once"),
            ("true", "expected an address such as \"127.0.0.1:4040\", a port or an array of them, found boolean true"),
            ("[[1]]", "expected an address or a port in the array, found an array"),
            ("70000", "address \"70000\": the port 70000 is out of range; it must be 0 to 65535"),
            (
                "'4040,'",
                "address \"\": it is empty; write a port such as \"4040\" or an address such as \"127.0.0.1:4040\"",
            ),
        ] {
            assert_eq!(listen(&toml(value)), Err(error.to_owned()));
        }
    }

    #[test]
    fn shards_are_auto_or_a_number() {
        let four = Ok(Shards::Count(NonZeroUsize::new(4).unwrap()));
        assert_eq!(shards(&toml("4")), four);
        assert_eq!(shards(&text(" 4 ")), four);
        assert_eq!(shards(&text("auto")), Ok(Shards::Auto));
        for (value, error) in [
            ("0", "must be at least 1 or \"auto\", not 0"),
            ("2000", "must be at most 1024 or \"auto\", not 2000"),
            ("'all'", "must be \"auto\" or a number from 1 to 1024, not \"all\""),
            ("1.5", "expected \"auto\" or an integer, found float 1.5"),
        ] {
            assert_eq!(shards(&toml(value)), Err(error.to_owned()));
        }
    }

    #[test]
    fn cpus_are_numbers_ranges_or_all() {
        for (value, list) in [
            ("[]", vec![]),
            ("[1, 0]", vec![1, 0]),
            ("3", vec![3]),
            ("'0,1'", vec![0, 1]),
            ("'0-2, 8'", vec![0, 1, 2, 8]),
            ("'5000-99999999999'", vec![5000]),
        ] {
            assert_eq!(cpus(&toml(value)), Ok(Some(list)), "{value}");
        }
        assert_eq!(cpus(&text("all")), Ok(None));
        assert_eq!(cpus(&text("0-999999999999")).unwrap().unwrap().last(), Some(&1024));
        for (value, found) in [
            ("'2-1'", "\"2-1\""),
            ("'1,'", "\"1,\""),
            ("'+1'", "\"+1\""),
            ("'-1'", "\"-1\""),
            ("-1", "integer -1"),
            ("[0, '1']", "\"1\""),
            ("[0, -1]", "integer -1"),
            ("1979-05-27", "date 1979-05-27"),
        ] {
            let error = format!("expected CPU numbers such as [0, 1], \"0-3,8\" or \"all\", found {found}");
            assert_eq!(cpus(&toml(value)), Err(error));
        }
    }

    #[test]
    fn booleans_are_true_or_false() {
        for value in [true, false] {
            assert_eq!(boolean(&Value::Boolean(value)), Ok(value));
            assert_eq!(boolean(&text(&value.to_string())), Ok(value));
        }
        assert_eq!(boolean(&toml("1")), Err("expected true or false, found integer 1".to_owned()));
        assert_eq!(boolean(&text("yes")), Err("expected true or false, found \"yes\"".to_owned()));
    }

    #[test]
    fn a_duration_is_within_its_range_and_never_off() {
        assert_eq!(duration(&text("0s"), DRAIN), Ok(Duration::ZERO));
        assert_eq!(duration(&text("60m"), DRAIN), Ok(*DRAIN.end()));
        assert_eq!(duration(&text("61m"), DRAIN), Err("must be 0s to 1h, not \"61m\"".to_owned()));
        assert_eq!(duration(&text("9ms"), INTERVAL), Err("must be 10ms to 1m, not \"9ms\"".to_owned()));
        assert_eq!(
            duration(&text("off"), DRAIN),
            Err("expected a duration such as \"10s\" or \"500ms\", found \"off\"".to_owned())
        );
    }

    #[test]
    fn a_timeout_is_a_millisecond_to_ten_years_or_off() {
        assert_eq!(duration_or_off(&text("off"), TIMEOUT), Ok(None));
        assert_eq!(duration_or_off(&text("1ms"), TIMEOUT), Ok(Some(*TIMEOUT.start())));
        assert_eq!(duration_or_off(&text("3650d"), TIMEOUT), Ok(Some(*TIMEOUT.end())));
        for out in ["0s", "999us", "3651d"] {
            let error = format!("must be 1ms to 3650d or \"off\", not {out:?}");
            assert_eq!(duration_or_off(&text(out), TIMEOUT), Err(error));
        }
        assert_eq!(
            duration_or_off(&toml("5"), TIMEOUT),
            Err("expected a duration such as \"30s\" or \"off\", found integer 5".to_owned())
        );
    }

    #[test]
    fn a_size_is_a_number_or_text_within_its_range() {
        assert_eq!(size(&toml("4096"), MARK), Ok(4096));
        assert_eq!(size(&text("1GiB"), MARK), Ok(1 << 30));
        assert_eq!(size(&toml("4095"), MARK), Err("must be 4KiB to 1GiB, not 4095".to_owned()));
        assert_eq!(size(&toml("-1"), BUFFER), Err("must be 1B to 1GiB, not -1".to_owned()));
        assert_eq!(size(&text("2GiB"), CAP), Err("must be 16KiB to 1GiB, not \"2GiB\"".to_owned()));
        let error = "expected a size in bytes such as \"256KiB\" or 262144, found \"256KB\"";
        assert_eq!(size(&text("256KB"), MARK), Err(error.to_owned()));
    }

    #[test]
    fn counts_are_whole_and_within_their_range() {
        assert_eq!(max_connections(&text("unlimited")), Ok(None));
        assert_eq!(max_connections(&toml("1")), Ok(Some(1)));
        assert_eq!(max_connections(&text("10")), Ok(Some(10)));
        assert_eq!(max_connections(&toml("0")), Err("must be at least 1 or \"unlimited\", not 0".to_owned()));
        assert_eq!(
            max_connections(&toml("true")),
            Err("expected an integer or \"unlimited\", found boolean true".to_owned())
        );
        assert_eq!((count(&toml("1"), BACKLOG), count(&text("65535"), BACKLOG)), (Ok(1), Ok(65_535)));
        assert_eq!(count(&toml("0"), BACKLOG), Err("must be 1 to 65535, not 0".to_owned()));
        assert_eq!(count(&toml("-1"), MOVES), Err("must be 1 to 4096, not -1".to_owned()));
        assert_eq!(count(&text("65536"), BACKLOG), Err("must be 1 to 65535, not 65536".to_owned()));
        assert_eq!(count(&toml("{}"), BACKLOG), Err("expected an integer, found a table".to_owned()));
    }

    #[test]
    fn a_ratio_is_a_number_with_or_without_a_fraction() {
        for (value, number) in [("1.01", 1.01), ("10", 10.0), ("'1.5'", 1.5), ("' 2 '", 2.0)] {
            assert_eq!(ratio(&toml(value), SKEW), Ok(number));
        }
        for (value, error) in [
            ("1.0", "must be 1.01 to 10, not 1"),
            ("'10.5'", "must be 1.01 to 10, not 10.5"),
            ("nan", "must be 1.01 to 10, not NaN"),
            ("'much'", "expected a number, found \"much\""),
            ("true", "expected a number, found boolean true"),
        ] {
            assert_eq!(ratio(&toml(value), SKEW), Err(error.to_owned()));
        }
    }

    #[test]
    fn an_address_may_be_left_out() {
        assert_eq!(address_or_off(&text("off")), Ok(None));
        assert_eq!(address_or_off(&toml("80")), Ok(Some("80".parse().unwrap())));
        assert_eq!(address_or_off(&text(" /run/x ")), Ok(Some("/run/x".parse().unwrap())));
        assert!(address_or_off(&text("here")).unwrap_err().starts_with("address \"here\": "));
    }

    #[test]
    fn a_path_may_be_left_out_and_is_not_empty() {
        assert_eq!(path_or_off(&text("off")), Ok(None));
        assert_eq!(path_or_off(&text(" ./off ")), Ok(Some("./off".into())));
        for value in [text(" "), text("a\0b"), toml("80")] {
            assert!(path_or_off(&value).unwrap_err().starts_with("expected a path such as "), "{value}");
        }
    }

    #[test]
    fn a_programs_own_value_becomes_the_text_of_a_variable() {
        for (value, text) in [("'a'", "a"), ("5", "5"), ("true", "true"), ("1.5", "1.5"), ("['a', 80]", "a, 80")] {
            assert_eq!(super::text(&toml(value)), Ok(text.to_owned()));
        }
        assert_eq!(super::text(&toml("{}")), Err("expected a text, found a table".to_owned()));
    }

    proptest! {
        #[test]
        fn no_text_makes_a_reader_panic_or_its_error_span_lines(input in r"\PC*|[0-9\-,.:\ndhmsKiB]*") {
            let value = text(&input);
            let errors = [
                listen(&value).err(),
                shards(&value).err(),
                cpus(&value).err(),
                boolean(&value).err(),
                named::<Shards>(&value, "a number").err(),
                duration(&value, DRAIN).err(),
                duration_or_off(&value, TIMEOUT).err(),
                size(&value, MARK).err(),
                max_connections(&value).err(),
                count(&value, BACKLOG).err(),
                ratio(&value, SKEW).err(),
                address_or_off(&value).err(),
                path_or_off(&value).err(),
            ];
            for error in errors.into_iter().flatten() {
                prop_assert!(!error.contains('\n'));
            }
        }

        #[test]
        fn every_duration_and_size_is_written_back(number: u64, scale in 0..7_usize) {
            let nanos = number / TIME_UNITS[scale].1 * TIME_UNITS[scale].1;
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
            prop_assert_eq!(parse_size(&format_size(number)), Some(number));
        }
    }
}
