//! The distribution of response times in HdrHistogram's text form, which its plotter reads
//! (<http://hdrhistogram.github.io/HdrHistogram/plotFiles.html>). Values are in milliseconds, as it takes them to be.

use std::fmt::Write;

use hdrhistogram::Histogram;

use crate::count::histogram::Latencies;
use crate::report::record::Record;

/// Lines for each halving of what is left above, as the original writes by default.
const TICKS_PER_HALF: u32 = 5;

const NANOS_PER_MILLI: f64 = 1e6;

/// The response times of all runs together.
///
/// # Errors
///
/// If a run's histogram cannot be read, as the end of a sentence.
pub fn text(record: &Record) -> Result<String, String> {
    let mut all = Latencies::default();
    for report in &record.runs {
        all.merge(&report.result.response.latencies()?);
    }
    Ok(write(all.values()))
}

fn write(histogram: &Histogram<u64>) -> String {
    let mut text = format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut below = 0;
    for step in histogram.iter_quantiles(TICKS_PER_HALF) {
        below += step.count_since_last_iteration();
        let (value, share) = (step.value_iterated_to() as f64 / NANOS_PER_MILLI, step.quantile_iterated_to());
        let _ = write!(text, "{value:>12.6} {share:.12} {below:>10}");
        // Nothing is above the longest.
        if share < 1.0 {
            let _ = write!(text, " {:>14.2}", 1.0 / (1.0 - share));
        }
        text.push('\n');
    }
    let millis = |nanos: f64| nanos / NANOS_PER_MILLI;
    let (mean, deviation) = (millis(histogram.mean()), millis(histogram.stdev()));
    let (max, count) = (millis(histogram.max() as f64), histogram.len());
    let sub_buckets = (2 * 10_u64.pow(u32::from(histogram.sigfig()))).next_power_of_two();
    let _ = writeln!(text, "#[Mean    = {mean:>12.6}, StdDeviation   = {deviation:>12.6}]");
    let _ = writeln!(text, "#[Max     = {max:>12.6}, Total count    = {count:>12}]");
    let _ = writeln!(text, "#[Buckets = {:>12}, SubBuckets     = {sub_buckets:>12}]", histogram.buckets());
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::report::sample::report;

    #[test]
    fn a_plain_series_is_written_as_the_plotter_reads_it() {
        let mut latencies = Latencies::default();
        (1..=1_000).for_each(|millis| latencies.record(Duration::from_millis(millis)));
        let text = write(latencies.values());
        let lines: Vec<&str> = text.lines().collect();
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(lines[0]), ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]);
        assert_eq!(lines[1], "");
        let rows: Vec<Vec<f64>> = lines[2..]
            .iter()
            .filter(|line| !line.starts_with('#'))
            .map(|line| words(line).iter().map(|word| word.parse().unwrap()).collect())
            .collect();
        assert!(rows.windows(2).all(|pair| pair[0][1] < pair[1][1] && pair[0][2] <= pair[1][2]), "{text}");
        let half = rows.iter().find(|row| row[1] >= 0.5).unwrap();
        assert!((half[0] - 500.0).abs() < 1.0 && (half[3] - 2.0).abs() < 0.01, "{half:?}");
        let last = rows.last().unwrap();
        assert!(last.len() == 3 && (last[1] - 1.0).abs() < 1e-12 && (last[2] - 1_000.0).abs() < 1e-9, "{last:?}");
        assert!(
            text.contains("Total count    =         1000]") && text.contains("SubBuckets     =         2048]"),
            "{text}"
        );
    }

    #[test]
    fn runs_are_added_and_none_is_an_empty_table() {
        let two = text(&Record::new(vec![report(), report()])).unwrap();
        let count = 2 * report().result.response.count;
        assert!(two.contains(&format!("Total count    = {count:>12}]")), "{two}");
        assert!(text(&Record::new(Vec::new())).unwrap().contains("Total count    =            0]"));
    }
}
