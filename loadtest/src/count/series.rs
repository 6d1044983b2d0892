//! The measured time in pieces: the response times of each second, and of longer pieces where there would be too many.

use crate::count::histogram::{Latencies, Packed};
use crate::report::outcome::Interval;

/// The most pieces that are kept. Each is a packed histogram of a few KiB, so that all of them have a few MiB, however long the
/// run: with the first piece too many neighbours merge, and from then on a piece is twice as long.
pub const INTERVALS_MAX: usize = 1_000;

/// The pieces of the measured time, of all shards together.
#[derive(Clone, Debug)]
pub struct Series {
    /// How many seconds a piece has.
    seconds: u64,
    pieces: Vec<Piece>,
}

/// What came back in a piece of the measured time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Piece {
    /// Messages that came back as they should.
    pub messages: u64,
    /// Messages and connections that failed.
    pub failed: u64,
    /// The response times, given-up messages included.
    pub response: Packed,
}

impl Default for Series {
    fn default() -> Self {
        Self { seconds: 1, pieces: Vec::new() }
    }
}

impl Series {
    /// Adds what one shard has seen in a second, which is counted from the window's beginning.
    pub fn add(&mut self, second: u64, piece: &Piece) {
        while second / self.seconds >= INTERVALS_MAX as u64 {
            self.halve();
        }
        let index = (second / self.seconds) as usize;
        if index >= self.pieces.len() {
            // A second in which nothing came back is a piece too.
            self.pieces.resize(index + 1, Piece::default());
        }
        self.pieces[index].add(piece);
    }

    fn halve(&mut self) {
        self.seconds *= 2;
        for index in 0..self.pieces.len().div_ceil(2) {
            let mut merged = std::mem::take(&mut self.pieces[2 * index]);
            if let Some(second) = self.pieces.get(2 * index + 1) {
                merged.add(second);
            }
            self.pieces[index] = merged;
        }
        self.pieces.truncate(self.pieces.len().div_ceil(2));
    }

    /// The piece that this second belongs to; `None` if nothing is known of it.
    pub fn at(&self, second: u64) -> Option<Interval> {
        let index = second / self.seconds;
        self.pieces.get(usize::try_from(index).ok()?).map(|piece| self.interval(index, piece))
    }

    /// All pieces, of which the last ends with the measured time, after `elapsed_s` seconds.
    pub fn intervals(&self, elapsed_s: f64) -> Vec<Interval> {
        let mut intervals: Vec<Interval> =
            self.pieces.iter().zip(0..).map(|(piece, index)| self.interval(index, piece)).collect();
        if let Some(last) = intervals.last_mut() {
            last.seconds = (elapsed_s - last.at_s).clamp(0.0, last.seconds);
        }
        intervals
    }

    fn interval(&self, index: u64, piece: &Piece) -> Interval {
        let response = piece.response.unpack();
        Interval {
            at_s: (index * self.seconds) as f64,
            seconds: self.seconds as f64,
            messages: piece.messages,
            failed: piece.failed,
            p50_ns: response.quantile(0.5),
            p90_ns: response.quantile(0.9),
            p99_ns: response.quantile(0.99),
            p99_9_ns: response.quantile(0.999),
            max_ns: response.max(),
        }
    }
}

impl Piece {
    /// What came back with these response times while so much failed.
    pub fn new(failed: u64, response: &Latencies) -> Self {
        Self { messages: response.count() - response.censored(), failed, response: response.pack() }
    }

    fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.failed += other.failed;
        if self.response.is_empty() {
            self.response.clone_from(&other.response);
        } else if !other.response.is_empty() {
            let mut response = self.response.unpack();
            response.merge(&other.response.unpack());
            self.response = response.pack();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// One message that took this many milliseconds, and one that failed.
    fn piece(millis: u64) -> Piece {
        let mut response = Latencies::default();
        response.record(Duration::from_millis(millis));
        Piece { messages: 1, failed: 1, response: response.pack() }
    }

    #[test]
    fn shards_come_together_by_the_second_and_a_second_without_a_reply_is_there() {
        let mut series = Series::default();
        for (second, millis) in [(0, 1), (2, 5), (0, 3), (2, 7)] {
            series.add(second, &piece(millis));
        }
        let intervals = series.intervals(2.5);
        assert_eq!(intervals.iter().map(|interval| interval.messages).collect::<Vec<_>>(), [2, 0, 2]);
        assert_eq!(intervals.iter().map(|interval| interval.at_s).collect::<Vec<_>>(), [0.0, 1.0, 2.0]);
        assert_eq!(intervals.iter().map(|interval| interval.seconds).collect::<Vec<_>>(), [1.0, 1.0, 0.5]);
        assert!(intervals[2].max_ns.abs_diff(7_000_000) < 7_000 && intervals[2].failed == 2);
        assert_eq!(series.at(1), Some(intervals[1].clone()));
        assert_eq!(series.at(3), None);
    }

    #[test]
    fn a_run_of_any_length_has_a_bounded_number_of_pieces_and_loses_none_of_them() {
        let mut series = Series::default();
        let seconds = 2 * INTERVALS_MAX as u64 + 7;
        for second in 0..seconds {
            // The histograms of the first minute are enough to look at; merging thousands takes long without optimisation.
            let response = if second < 60 { piece(second).response } else { Packed::default() };
            series.add(second, &Piece { response, ..piece(second) });
            assert!(series.pieces.len() <= INTERVALS_MAX);
        }
        let intervals = series.intervals(seconds as f64);
        assert_eq!(intervals.iter().map(|interval| interval.messages).sum::<u64>(), seconds);
        assert_eq!(intervals.iter().map(|interval| interval.seconds).sum::<f64>(), seconds as f64);
        assert_eq!(intervals[1].at_s, 4.0);
        // Pieces of four messages still have their own quantiles: of those from 4 ms to 7 ms the second is 5 ms.
        assert!(intervals[1].p50_ns.abs_diff(5_000_000) < 5_000, "{:?}", intervals[1]);
    }

    #[test]
    fn ten_minutes_of_ten_thousand_different_times_a_second_take_a_few_mebibytes() {
        let mut response = Latencies::default();
        for step in 0..10_000_u64 {
            response.record(Duration::from_nanos(20_000 + step * step));
        }
        let mut series = Series::default();
        let piece = Piece { messages: 10_000, failed: 0, response: response.pack() };
        for second in 0..600 {
            series.add(second, &piece);
        }
        let bytes: usize = series.pieces.iter().map(|piece| piece.response.len()).sum();
        assert!(bytes < 10 << 20, "{bytes} bytes");
    }
}
