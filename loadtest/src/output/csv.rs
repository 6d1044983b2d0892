//! The measured time piece by piece, as comma-separated values (RFC 4180, with the line breaks of Unix).

use std::fmt::Write;

use crate::report::record::Record;

/// The names of the columns, with their units. A run's number counts from 1; `at_s` is from the beginning of its window.
const HEAD: &str = "run,at_s,seconds,messages,messages_per_s,failed,p50_ns,p90_ns,p99_ns,p99_9_ns,max_ns\n";

/// A line for each interval of each run, below the names of the columns. Latencies are response times.
pub fn text(record: &Record) -> String {
    let mut text = HEAD.to_owned();
    for (run, report) in (1..).zip(&record.runs) {
        for interval in &report.result.intervals {
            let rate = if interval.seconds > 0.0 { interval.messages as f64 / interval.seconds } else { 0.0 };
            let (at, seconds, messages, failed) = (interval.at_s, interval.seconds, interval.messages, interval.failed);
            let latencies = [interval.p50_ns, interval.p90_ns, interval.p99_ns, interval.p99_9_ns, interval.max_ns];
            let _ = write!(text, "{run},{at:.3},{seconds:.3},{messages},{rate:.1},{failed}");
            for nanos in latencies {
                let _ = write!(text, ",{nanos}");
            }
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::report;

    #[test]
    fn each_interval_of_each_run_has_a_line_with_all_columns() {
        let text = text(&Record::new(vec![report(), report()]));
        let lines: Vec<&str> = text.lines().collect();
        let columns = |line: &str| line.split(',').count();
        assert!(lines.iter().all(|line| columns(line) == columns(HEAD)), "{text}");
        assert_eq!(lines.len(), 1 + 2 * report().result.intervals.len());
        assert!(lines[1].starts_with("1,0.000,1.000,1000,1000.0,0,"), "{text}");
        assert!(lines.last().unwrap().starts_with("2,"), "{text}");
    }

    #[test]
    fn no_run_is_no_line() {
        assert_eq!(text(&Record::new(Vec::new())), HEAD);
    }
}
