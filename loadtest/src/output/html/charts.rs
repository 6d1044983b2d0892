//! The charts of a run, and that of a search: rate and latency over time, the distribution, latency over throughput.

use super::chart::{Chart, Dot, Line, Percent, Stripe, Table, Tick, across, upwards};
use super::label;
use super::scale::Scale;
use crate::count::histogram::{Distribution, Latencies};
use crate::report::outcome::{Interval, Outcome};
use crate::search::findings::Findings;
use crate::search::trial::Point;
use crate::units;

/// Points of a distribution's line, per order of magnitude of what is above.
const POINTS_PER_DECADE: u32 = 40;

/// The quantiles of the table, as far as there are messages above them.
const QUANTILES: [f64; 12] = [0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.999_5, 0.999_9, 0.999_99, 0.999_999];

/// The charts of one run, as far as it has what they show. Their identities begin with `id`.
pub(super) fn of_run(id: &str, result: &Outcome) -> Vec<Chart> {
    let intervals = &result.intervals;
    let over_time = (!intervals.is_empty()).then(|| [rate(id, intervals), latency(id, intervals)]);
    over_time.into_iter().flatten().chain(distribution(id, result)).collect()
}

/// When an interval was, for a line.
fn middle(interval: &Interval) -> f64 {
    interval.at_s + interval.seconds / 2.0
}

fn per_second(interval: &Interval) -> f64 {
    if interval.seconds > 0.0 { interval.messages as f64 / interval.seconds } else { 0.0 }
}

fn time_axis(intervals: &[Interval]) -> Scale {
    Scale::time(intervals.last().map_or(1.0, |last| last.at_s + last.seconds))
}

fn stripe(interval: &Interval, x: &Scale) -> Stripe {
    let (from, to) = (x.at(interval.at_s), x.at(interval.at_s + interval.seconds));
    let show = units::latency;
    let text = format!(
        "{} s: {}/s, p50 {}, p99 {}, max {}, {} failed",
        label::plain((interval.at_s * 10.0).round() / 10.0),
        label::rate(per_second(interval)),
        show(interval.p50_ns),
        show(interval.p99_ns),
        show(interval.max_ns),
        units::count(interval.failed)
    );
    Stripe { x: Percent(from), width: Percent(to - from), text, failed: interval.failed > 0 }
}

fn rate(id: &str, intervals: &[Interval]) -> Chart {
    let highest = intervals.iter().map(per_second).fold(0.0, f64::max);
    let lowest = intervals.iter().map(per_second).fold(highest, f64::min);
    let (x, y) = (time_axis(intervals), Scale::linear(highest));
    let points: Vec<_> = intervals.iter().map(|interval| (middle(interval), per_second(interval))).collect();
    let rows = intervals.iter().map(|interval| {
        let rate = label::rate(per_second(interval));
        vec![start(interval), rate, units::count(interval.messages), units::count(interval.failed)]
    });
    Chart {
        id: format!("{id}-rate"),
        title: "Rate",
        description: format!("Messages a second over time, from {} to {}.", label::rate(lowest), label::rate(highest)),
        unit: "messages/s",
        x: across(&x, label::time),
        y: upwards(&y, label::short),
        lines: vec![Line::through("rate", "one", &points, &x, &y).shaded(&points, &x)],
        stripes: intervals.iter().map(|interval| stripe(interval, &x)).collect(),
        table: Table { head: words(&["From", "Messages/s", "Messages", "Failed"]), rows: rows.collect() },
        wide: false,
    }
}

fn start(interval: &Interval) -> String {
    format!("{:.1} s", interval.at_s)
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn latency(id: &str, intervals: &[Interval]) -> Chart {
    // In an interval without a reply there is no latency.
    let answered = || intervals.iter().filter(|interval| interval.messages > 0);
    let lowest = answered().map(|interval| interval.p50_ns).min().unwrap_or(1);
    let highest = answered().map(|interval| interval.max_ns).max().unwrap_or(1);
    let (x, y) = (time_axis(intervals), Scale::logarithmic(lowest as f64, highest as f64));
    let line = |name, style, value: fn(&Interval) -> u64| {
        let height = |interval: &Interval| if interval.messages > 0 { value(interval) as f64 } else { f64::NAN };
        let points: Vec<_> = intervals.iter().map(|interval| (middle(interval), height(interval))).collect();
        Line::through(name, style, &points, &x, &y)
    };
    let rows = intervals.iter().map(|interval| {
        let values = [interval.p50_ns, interval.p90_ns, interval.p99_ns, interval.p99_9_ns, interval.max_ns];
        std::iter::once(start(interval)).chain(values.map(units::latency)).collect()
    });
    Chart {
        id: format!("{id}-latency"),
        title: "Latency",
        description: format!(
            "Response times over time on a logarithmic axis: p50, p99 and the longest, from {} to {}.",
            units::latency(lowest),
            units::latency(highest)
        ),
        unit: "response time, log scale",
        x: across(&x, label::time),
        y: upwards(&y, label::round_latency),
        lines: vec![
            line("max", "three", |interval| interval.max_ns),
            line("p99", "two", |interval| interval.p99_ns),
            line("p50", "one", |interval| interval.p50_ns),
        ],
        stripes: intervals.iter().map(|interval| stripe(interval, &x)).collect(),
        table: Table { head: words(&["From", "p50", "p90", "p99", "p99.9", "Max"]), rows: rows.collect() },
        wide: false,
    }
}

/// How far to the right a quantile is: by orders of magnitude of the share that is above.
fn depth(quantile: f64) -> f64 {
    -(1.0 - quantile).log10()
}

/// The whole distributions; nothing if there are no messages or their histogram cannot be read.
fn distribution(id: &str, result: &Outcome) -> Option<Chart> {
    let read = |distribution: &Distribution| distribution.latencies().ok().filter(|latencies| latencies.count() > 0);
    let response = read(&result.response)?;
    // In a closed loop the two are the same.
    let service = read(&result.service).filter(|service| *service != response);
    let end = (response.count() as f64).log10().max(1.0);
    let all = [Some(&response), service.as_ref()];
    let lowest = all.iter().flatten().map(|latencies| latencies.quantile(0.0)).min()?;
    let highest = all.iter().flatten().map(|latencies| latencies.max()).max()?;
    let (x, y) = (quantile_axis(end), Scale::logarithmic(lowest as f64, highest as f64));
    let line = |name, style, latencies: &Latencies| {
        Line::through(name, style, &quantile_points(latencies, end), &x, &y).without_dots()
    };
    let mut lines = vec![line("response time", "one", &response)];
    lines.extend(service.as_ref().map(|service| line("service time", "two", service)));
    let known = QUANTILES.into_iter().filter(|quantile| depth(*quantile) <= end).chain([1.0]);
    let row = |quantile: f64| {
        let value = |latencies: &&Latencies| units::latency(latencies.quantile(quantile));
        let name = label::quantile(quantile);
        std::iter::once(name).chain(all.iter().flatten().map(value)).collect::<Vec<_>>()
    };
    let rows: Vec<Vec<String>> = known.clone().map(row).collect();
    Some(Chart {
        id: format!("{id}-distribution"),
        title: "Distribution",
        description: format!(
            "Latencies by percentile, both axes logarithmic; response times: p50 {}, p99 {}, the longest {}.",
            units::latency(result.response.p50_ns),
            units::latency(result.response.p99_ns),
            units::latency(result.response.max_ns)
        ),
        unit: "latency by percentile, log scales",
        x: quantile_ticks(&x),
        y: upwards(&y, label::round_latency),
        lines,
        stripes: quantile_stripes(&known.map(|quantile| depth(quantile).min(end)).collect::<Vec<_>>(), &rows, &x),
        table: Table { head: words(&["Percentile", "Response", "Service"][..=all.iter().flatten().count()]), rows },
        wide: true,
    })
}

fn quantile_axis(end: f64) -> Scale {
    let half = depth(0.5);
    let whole = (1..=end as u32).map(f64::from);
    Scale::with_ticks(end, [0.0, half].into_iter().chain(whole).collect())
}

fn quantile_ticks(x: &Scale) -> Vec<Tick> {
    let decimals = |tick: f64| (tick as usize).saturating_sub(2);
    let name = |tick: f64| format!("{:.*} %", decimals(tick), 100.0 - 100.0 / 10_f64.powf(tick));
    let many = x.ticks().len() > 6;
    let optional = |tick: f64| tick.fract() != 0.0 || many && tick % 2.0 == 1.0;
    x.ticks().iter().map(|tick| Tick::new(x.at(*tick), name(*tick), optional(*tick))).collect()
}

fn quantile_points(latencies: &Latencies, end: f64) -> Vec<(f64, f64)> {
    let steps = (end * f64::from(POINTS_PER_DECADE)).ceil();
    let at = |step: u32| end * f64::from(step) / steps;
    let share = |depth: f64| if depth >= end { 1.0 } else { 1.0 - 10_f64.powf(-depth) };
    (0..=steps as u32).map(|step| (at(step), latencies.quantile(share(at(step))) as f64)).collect()
}

/// A stripe around each quantile, as far as half-way to its neighbours.
fn quantile_stripes(depths: &[f64], rows: &[Vec<String>], x: &Scale) -> Vec<Stripe> {
    let between = |one: usize, other: usize| x.at((depths[one] + depths[other]) / 2.0);
    let stripe = |(index, row): (usize, &Vec<String>)| {
        let from = if index == 0 { 0.0 } else { between(index - 1, index) };
        let to = if index + 1 == depths.len() { 1.0 } else { between(index, index + 1) };
        let [name, values @ ..] = row.as_slice() else { return None };
        let text = format!("{name}: {}", values.join(" response, ") + if values.len() > 1 { " service" } else { "" });
        Some(Stripe { x: Percent(from), width: Percent(to - from), text, failed: false })
    };
    rows.iter().enumerate().filter_map(stripe).collect()
}

/// The curve of a search.
pub(super) fn of_search(search: &Findings) -> Option<Chart> {
    let mut points: Vec<&Point> = search.points.iter().collect();
    // Where more is asked for than the server can do, the line turns back.
    points.sort_by(|one, other| one.asked.total_cmp(&other.asked));
    let highest = points.iter().map(|point| point.achieved).fold(0.0, f64::max);
    let (x, y) = {
        let latencies = || points.iter().flat_map(|point| [point.p50_ns, point.p99_ns, point.p99_9_ns]);
        let (low, high) = (latencies().min()?, latencies().max()?);
        (Scale::linear(highest), Scale::logarithmic(low as f64, high as f64))
    };
    let line = |name, style, value: fn(&Point) -> u64| {
        let places: Vec<_> = points.iter().map(|point| (point.achieved, value(point) as f64)).collect();
        let dots = points.iter().zip(&places);
        let dots =
            dots.map(|(point, (h, v))| Dot { x: Percent(x.at(*h)), y: Percent(1.0 - y.at(*v)), hollow: !point.held() });
        Line { dots: dots.collect(), ..Line::through(name, style, &places, &x, &y) }
    };
    let rows = points.iter().map(|point| {
        let rates = [point.asked, point.achieved].map(label::rate);
        let latencies = [point.p50_ns, point.p99_ns, point.p99_9_ns].map(units::latency);
        let held = if point.held() { "yes" } else { "no" }.to_owned();
        rates.into_iter().chain(latencies).chain([held]).collect()
    });
    Some(Chart {
        id: "curve".to_owned(),
        title: "Latency over throughput",
        description: format!(
            "Response times on a logarithmic axis over the rate that was achieved, up to {} messages a second; filled \
             points held the target.",
            label::rate(highest)
        ),
        unit: "response time, log scale, over messages/s; hollow points are not known to hold it",
        x: across(&x, label::short),
        y: upwards(&y, label::round_latency),
        lines: vec![
            line("p99.9", "three", |point| point.p99_9_ns),
            line("p99", "two", |point| point.p99_ns),
            line("p50", "one", |point| point.p50_ns),
        ],
        stripes: Vec::new(),
        table: Table {
            head: words(&["Asked/s", "Achieved/s", "p50", "p99", "p99.9", "Known to hold"]),
            rows: rows.collect(),
        },
        wide: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_of_percentiles_is_labelled_in_nines_however_many_there_are() {
        let labels = |end| quantile_ticks(&quantile_axis(end)).into_iter().map(|tick| tick.label).collect::<Vec<_>>();
        assert_eq!(labels(3.2), ["0 %", "50 %", "90 %", "99 %", "99.9 %"]);
        assert_eq!(labels(8.0)[6..], ["99.999 %", "99.9999 %", "99.99999 %", "99.999999 %"]);
    }

    #[test]
    fn every_quantile_has_its_stripe_and_they_cover_the_axis() {
        let x = quantile_axis(3.0);
        let rows = [["p50", "1 ms"], ["p99", "2 ms"], ["max", "3 ms"]].map(|row| row.map(str::to_owned).to_vec());
        let stripes = quantile_stripes(&[0.301, 2.0, 3.0], &rows, &x);
        let (first, last) = (&stripes[0], &stripes[2]);
        assert_eq!((first.x, last.x.0 + last.width.0, first.text.as_str()), (Percent(0.0), 1.0, "p50: 1 ms"));
        assert!((stripes.iter().map(|stripe| stripe.width.0).sum::<f64>() - 1.0).abs() < 1e-9);
    }
}
