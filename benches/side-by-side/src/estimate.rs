//! How long a run will take, roughly: what it waits for by design, and what starting and counting took when it was measured. Pure.

use std::time::Duration;

use crate::point::{Point, Work};
use crate::rounds::Rounds;

/// A server and its client are started.
const START: Duration = Duration::from_millis(300);

/// A connection is made and has one message back.
const CONNECTION: Duration = Duration::from_micros(100);

/// What is in flight at a slice's end comes back, byte by byte.
const BYTES_PER_SECOND: u64 = 500 << 20;

/// A program that measures itself runs once.
const ALONE: Duration = Duration::from_secs(6);

/// A contestant's counts at one point: four starts, of which two are under callgrind.
const COUNTS: Duration = Duration::from_secs(12);

/// A delivery under strace or callgrind: of a broadcast, whose every connection begins with a message to all that are there.
const COUNTED_DELIVERY: Duration = Duration::from_micros(20);

/// A round of a latency: the generator's start, its load, and its report.
const LATENCY: Duration = Duration::from_millis(1_500);

/// The rounds of a point with so many contestants.
pub(crate) fn rounds(point: &Point, contestants: usize, rounds: Rounds) -> Duration {
    let count = contestants as u32;
    if point.work == Work::Timers {
        return ALONE * rounds.rounds * count;
    }
    let in_flight = u64::from(point.connections) * u64::from(point.size) * u64::from(point.depth_in_fact());
    let drain = Duration::from_millis(in_flight * 1_000 / BYTES_PER_SECOND);
    // One more, which warms up.
    (START + CONNECTION * point.connections + (rounds.slice + drain) * (rounds.rounds + 1)) * count
}

/// The counts of a point.
pub(crate) fn counts(point: &Point, contestants: usize) -> Duration {
    let deliveries = if point.work == Work::Broadcast { point.connections * point.connections / 2 } else { 0 };
    (COUNTS + (CONNECTION * point.connections + COUNTED_DELIVERY * deliveries) * 4) * contestants as u32
}

/// So many rounds of a point's latencies.
pub(crate) fn latency(point: &Point, contestants: usize, rounds: u32) -> Duration {
    let loads = if *point == Point::LONE { 2 } else { 1 };
    (START + (LATENCY + CONNECTION * point.connections) * rounds * loads) * contestants as u32
}

/// The memory of so many connections.
pub(crate) fn memory(contestants: usize, connections: u32) -> Duration {
    (START + CONNECTION * connections) * contestants as u32
}

/// A time in words: seconds up to two minutes, minutes up to two hours, then hours and minutes.
pub(crate) fn words(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUNDS: Rounds = Rounds { rounds: 15, slice: Duration::from_millis(300) };

    #[test]
    fn a_point_takes_its_slices_and_what_starts_them() {
        let lone = rounds(&Point::LONE, 10, ROUNDS);
        assert!(lone >= Duration::from_secs(48) && lone < Duration::from_secs(60), "{lone:?}");
        let large = Point { connections: 10_000, size: 16 * 1024, ..Point::USUAL };
        assert!(rounds(&large, 10, ROUNDS) > lone * 2);
        assert_eq!(rounds(&Point::USUAL, 0, ROUNDS), Duration::ZERO);
    }

    #[test]
    fn the_round_trip_of_one_connection_is_measured_besides() {
        assert!(latency(&Point::LONE, 1, 5) > latency(&Point::USUAL, 1, 5));
    }

    #[test]
    fn a_time_is_told_in_words() {
        let told = [0, 119, 120, 121, 7_199, 7_200, 8_100].map(|seconds| words(Duration::from_secs(seconds)));
        assert_eq!(told, ["0 s", "119 s", "2 min", "3 min", "120 min", "2 h 0 min", "2 h 15 min"]);
    }
}
