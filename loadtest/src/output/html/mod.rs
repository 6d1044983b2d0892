//! A report for browsers: one page, which loads nothing and runs nothing, for wide screens and narrow ones, light and dark.
//!
//! Texts of users, servers and systems get into it by its templates alone, which escape them.

mod chart;
mod charts;
mod fields;
mod label;
mod run;
mod scale;

use askama::Template;

use self::chart::Chart;
use self::run::{Bars, Cell, Row, RunView};
use crate::report::Report;
use crate::report::record::Record;
use crate::search::findings::Findings;
use crate::search::trial::Point;
use crate::{summary, units};

/// The page of these runs, and of the search that they were made for.
pub fn page(record: &Record) -> String {
    let search = record.search.as_ref();
    let runs: Vec<RunView> = (1..).zip(&record.runs).map(|(number, report)| RunView::new(number, report)).collect();
    let first = record.runs.first();
    let page = Page {
        title: first.map_or_else(|| "No runs".to_owned(), |report| report.options.target.clone()),
        facts: first.map(|report| facts(report, record.runs.len(), search)).unwrap_or_default(),
        tiles: tiles(&record.runs, search),
        curve: search.and_then(charts::of_search),
        compared: (record.runs.len() > 1).then(|| compared(&record.runs)),
        runs,
    };
    page.render().expect("a string takes all that is written")
}

#[derive(Debug, Template)]
#[template(path = "page.html")]
struct Page {
    title: String,
    facts: Vec<String>,
    tiles: Vec<Tile>,
    curve: Option<Chart>,
    compared: Option<Bars>,
    runs: Vec<RunView>,
}

/// A number that is seen first.
#[derive(Debug, Default)]
struct Tile {
    label: &'static str,
    value: String,
    unit: String,
    note: String,
    /// `good`, `bad`, `warn` or nothing.
    tone: &'static str,
}

impl Tile {
    /// Of a text whose last word is its unit, if it has several.
    fn of(label: &'static str, text: &str) -> Self {
        let (value, unit) = text.split_once(' ').unwrap_or((text, ""));
        Self { label, value: value.to_owned(), unit: unit.to_owned(), ..Self::default() }
    }

    fn with_note(self, note: String) -> Self {
        Self { note, ..self }
    }
}

fn facts(first: &Report, runs: usize, search: Option<&Findings>) -> Vec<String> {
    let options = &first.options;
    let model = if search.is_some() { "open loop".to_owned() } else { summary::model(options) };
    let extent = format!("{:.1} s measured", first.result.elapsed_s);
    let mut facts = vec![
        model,
        format!("{} connections", units::count(options.connections as u64)),
        summary::what_is_said(options),
        if runs > 1 { format!("{runs} runs") } else { extent },
    ];
    facts.push(first.environment.time.clone());
    facts.extend(search.map(Findings::answer));
    facts
}

fn tiles(runs: &[Report], search: Option<&Findings>) -> Vec<Tile> {
    let is_best = |search: &Findings, point: &Point| point.held() && Some(point.asked) == search.lower;
    let best = search.and_then(|search| search.points.iter().find(|point| is_best(search, point)));
    let mut tiles = match (best, search, runs) {
        (Some(point), ..) => of_point(point),
        (None, Some(_), _) => {
            vec![Tile { label: "Rate that held", value: "none".to_owned(), tone: "bad", ..Tile::default() }]
        }
        (None, None, [run]) => of_run(run),
        (None, None, runs) => of_runs(runs),
    };
    match search {
        Some(search) => tiles.push(trials(search)),
        None if runs.is_empty() => {}
        None => tiles.extend([failed(runs), validity(runs)]),
    }
    tiles
}

fn of_point(point: &Point) -> Vec<Tile> {
    let rate = format!("{} /s", label::rate(point.asked));
    let latency = |label, nanos| Tile::of(label, &units::latency(nanos));
    vec![
        Tile::of("Highest rate that held", &rate),
        latency("p50", point.p50_ns),
        latency("p99", point.p99_ns),
        latency("p99.9", point.p99_9_ns),
    ]
}

fn trials(search: &Findings) -> Tile {
    let held = search.points.iter().filter(|point| point.held()).count();
    let note = format!("{held} held {}", search.target());
    Tile::of("Trials", &units::count(search.points.len() as u64)).with_note(note)
}

fn of_run(report: &Report) -> Vec<Tile> {
    let (result, response) = (&report.result, &report.result.response);
    let asked = report.options.rate_per_s.map(|asked| format!("{}/s asked", label::rate(asked)));
    let rate = Tile::of("Rate", &format!("{} /s", label::rate(result.messages_per_s)));
    let latency = |label, quantile: f64, nanos| {
        let value = if response.count == 0 { "–".to_owned() } else { units::latency(nanos) };
        let note = if response.is_at_least(quantile) { "at least: some were given up" } else { "" };
        Tile::of(label, &value).with_note(note.to_owned())
    };
    vec![
        rate.with_note(asked.unwrap_or_else(|| "messages, closed loop".to_owned())),
        latency("p50", 0.5, response.p50_ns),
        latency("p99", 0.99, response.p99_ns),
        latency("p99.9", 0.999, response.p99_9_ns),
    ]
}

/// Medians, with their ranges below.
fn of_runs(runs: &[Report]) -> Vec<Tile> {
    let tile = |label, value: fn(&Report) -> f64, text: fn(f64) -> String| {
        let mut values: Vec<f64> = runs.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        let [lowest, .., highest] = values.as_slice() else { return Tile::of(label, "–") };
        let median = (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0;
        Tile::of(label, &text(median)).with_note(format!("{} – {}", text(*lowest), text(*highest)))
    };
    let latency = |nanos: f64| units::latency(nanos as u64);
    vec![
        tile("Rate, median", |run| run.result.messages_per_s, |rate| format!("{} /s", label::rate(rate))),
        tile("p50, median", |run| run.result.response.p50_ns as f64, latency),
        tile("p99, median", |run| run.result.response.p99_ns as f64, latency),
        tile("p99.9, median", |run| run.result.response.p99_9_ns as f64, latency),
    ]
}

fn failed(runs: &[Report]) -> Tile {
    let messages = runs.iter().map(|run| run.result.failures.messages()).sum();
    let connections = runs.iter().map(|run| run.result.failures.connections()).sum();
    let sent = runs.iter().map(|run| run.result.total.sent).sum();
    let (value, note) = match (messages, connections) {
        (0, 0) => ("none".to_owned(), format!("of {} messages", units::count(sent))),
        (messages, 0) => (units::count(messages), format!("of {} messages", units::count(sent))),
        (0, connections) => (units::count(connections), "connections".to_owned()),
        (messages, connections) => {
            (units::count(messages), format!("messages, {} connections", units::count(connections)))
        }
    };
    let tone = if messages + connections > 0 { "bad" } else { "" };
    Tile { label: "Failures", value, note, tone, ..Tile::default() }
}

fn validity(runs: &[Report]) -> Tile {
    let invalid = runs.iter().filter(|run| !run.is_valid()).count();
    let warnings: usize = runs.iter().map(|run| run.warnings.len()).sum();
    let note = match (invalid, warnings) {
        (0, 0) => String::new(),
        (0, 1) => "1 warning".to_owned(),
        (0, warnings) => format!("{warnings} warnings"),
        (invalid, _) if runs.len() > 1 => format!("{invalid} of {} runs", runs.len()),
        _ => "see above".to_owned(),
    };
    let silent = runs.iter().all(|run| run.result.messages == 0);
    let (value, tone) = match (invalid, silent) {
        (0, true) => ("No reply", "bad"),
        (0, false) => ("Valid", if warnings == 0 { "good" } else { "warn" }),
        _ => ("INVALID", "bad"),
    };
    Tile { label: "Verdict", value: value.to_owned(), note, tone, ..Tile::default() }
}

/// All runs, side by side.
fn compared(runs: &[Report]) -> Bars {
    let most = |value: fn(&Report) -> f64| runs.iter().map(value).fold(0.0, f64::max);
    let rate = most(|run| run.result.messages_per_s);
    let p99 = most(|run| run.result.response.p99_ns as f64);
    let row = |(number, run): (u32, &Report)| {
        let (result, response) = (&run.result, &run.result.response);
        Row {
            name: format!("{number}"),
            note: if run.is_valid() { String::new() } else { "invalid".to_owned() },
            cells: vec![
                Cell::bar(label::rate(result.messages_per_s), result.messages_per_s, rate, "one"),
                Cell::plain(units::latency(response.p50_ns)),
                Cell::bar(units::latency(response.p99_ns), response.p99_ns as f64, p99, "two"),
                Cell::plain(units::latency(response.p99_9_ns)),
                Cell::plain(units::count(result.failures.messages().max(result.failures.connections()))),
            ],
        }
    };
    Bars {
        title: "Runs",
        head: vec![("Run", false), ("Rate", true), ("p50", false), ("p99", true), ("p99.9", false), ("Failed", false)],
        rows: (1..).zip(runs).map(row).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::count::failure::Kind;
    use crate::report::sample::{open_report, report};
    use crate::search::bounds::{End, Judgement};

    /// What a page must never have of somebody else's making.
    const HOSTILE: &str = "</title><script>alert('1')</script><img src=\"x\" onerror=\"y\">&amp;";

    fn findings() -> Findings {
        let point = |(asked, p99_ns): (f64, u64)| Point {
            asked,
            achieved: asked,
            p50_ns: p99_ns / 3,
            p99_ns,
            p99_9_ns: p99_ns * 2,
            failures: 0.0,
            judgement: if p99_ns < 2_000_000 { Judgement::Held } else { Judgement::Failed },
            why: Vec::new(),
        };
        let trials = [(40e3, 1_500_000), (10e3, 200_000), (20e3, 400_000), (80e3, 9_000_000), (60e3, 4_100_000)];
        Findings {
            objectives: vec!["p99<2ms".to_owned()],
            end: End::Found,
            lower: Some(40e3),
            upper: Some(60e3),
            points: trials.map(point).to_vec(),
        }
    }

    /// The page of a search that has found this.
    fn page_of(findings: Findings, runs: Vec<Report>) -> String {
        page(&Record { search: Some(findings), ..Record::new(runs) })
    }

    /// Every element that is opened is closed, in order.
    fn assert_balanced(page: &str) {
        let mut open = Vec::new();
        for tag in page.split('<').skip(1).filter(|tag| !tag.starts_with("!doctype")) {
            let (tag, _) = tag.split_once('>').expect("a tag ends");
            let name = tag.trim_start_matches('/').split_whitespace().next().unwrap_or_default();
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(name), "in the midst of {open:?}");
            } else if !tag.ends_with('/') && name != "meta" {
                open.push(name);
            }
        }
        assert!(open.is_empty(), "{open:?} are never closed");
    }

    #[test]
    fn texts_from_elsewhere_are_escaped_wherever_they_come() {
        let mut report = open_report();
        for text in [&mut report.options.target, &mut report.options.size, &mut report.environment.program] {
            HOSTILE.clone_into(text);
        }
        report.result.failures.add(Kind::Other, 1, 1, || Some(HOSTILE.to_owned()));
        report.result.server.as_mut().unwrap().threads[0].name = HOSTILE.to_owned();
        report.warnings.push(HOSTILE.to_owned());
        report.invalid.push(HOSTILE.to_owned());
        let findings = Findings { objectives: vec![HOSTILE.to_owned()], ..findings() };
        let page = page_of(findings, vec![report.clone(), report]);
        assert!(page.matches("&#60;script&#62;").count() >= 9, "{page}");
        assert!(!page.contains("<script") && !page.contains("<img") && !page.contains("alert('1')"), "{page}");
        assert_balanced(&page);
    }

    #[test]
    fn the_page_loads_nothing() {
        let page = page_of(findings(), vec![report()]);
        for part in ["http:", "https:", "src=", "href=", "url(", "@import", "<script", "<link", "<iframe"] {
            assert!(!page.contains(part), "{part} is in it");
        }
        assert!(page.contains("default-src 'none'"));
    }

    #[test]
    fn every_chart_has_its_lines_a_description_and_a_table() {
        let page = page_of(findings(), vec![report()]);
        assert_balanced(&page);
        for title in ["Latency over throughput", "Rate", "Latency", "Distribution"] {
            assert!(page.contains(&format!("<h2>{title}</h2>")), "{title}");
        }
        for bars in ["Generator, by shard", "Server, by thread"] {
            assert!(page.contains(bars), "{bars}");
        }
        assert_eq!(page.matches("role=\"img\"").count(), 4);
        assert_eq!(page.matches("<desc").count(), 4);
        assert_eq!(page.matches("<summary>Table</summary>").count(), 4);
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    }

    #[test]
    fn service_times_are_drawn_where_they_are_not_the_response_times() {
        assert!(page(&Record::new(vec![open_report()])).contains("service time</li>"));
        let mut closed = report();
        closed.result.service = closed.result.response.clone();
        let page = page(&Record::new(vec![closed]));
        assert!(page.contains("<h2>Distribution</h2>") && !page.contains("service time</li>"), "{page}");
        assert!(!page.contains("<th scope=\"col\">Service</th>"), "{page}");
    }

    #[test]
    fn what_makes_a_run_invalid_comes_before_its_numbers() {
        let mut report = open_report();
        report.invalid.push("the schedule was not kept".to_owned());
        let page = page(&Record::new(vec![report]));
        let (reason, number) = (page.find("the schedule was not kept").unwrap(), page.find("class=\"tiles\"").unwrap());
        assert!(reason < number && page.contains(">INVALID</span>"), "{page}");
        assert!(page.contains("open loop, 1,000/s, Poisson arrivals"), "{page}");
    }

    #[test]
    fn several_runs_are_compared_and_each_has_its_part() {
        let mut slower = report();
        slower.result.messages_per_s = 500.0;
        let page = page(&Record::new(vec![report(), slower, report()]));
        assert_balanced(&page);
        assert_eq!(page.matches("<details class=\"run\">").count(), 3);
        assert!(page.contains("500 /s – 1,000 /s"), "{page}");
        let mut identities: Vec<&str> =
            page.split(" id=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        let all = identities.len();
        identities.sort_unstable();
        identities.dedup();
        assert_eq!(identities.len(), all, "no identity comes twice");
    }

    #[test]
    fn a_search_shows_the_highest_rate_that_held() {
        let found = page_of(findings(), vec![report(), report()]);
        assert!(found.contains("Highest rate that held</dt><dd><span class=\"value\">40,000"), "{found}");
        assert_eq!(found.matches("hollow\"").count(), 2 * 3);
        let mut none = findings();
        none.points.retain(|point| !point.held());
        assert!(page_of(none, Vec::new()).contains(">none</span>"));
    }

    #[test]
    fn a_run_in_which_nothing_came_back_is_a_page_too() {
        let mut report = report();
        report.result.messages = 0;
        report.result.messages_per_s = 0.0;
        report.result.response = crate::count::histogram::Latencies::default().distribution();
        report.result.service = report.result.response.clone();
        report.result.intervals.clear();
        report.result.failures.add(Kind::Refused, 0, 50, || None);
        let page = page(&Record::new(vec![report]));
        assert_balanced(&page);
        assert!(page.contains("No reply") && !page.contains("<figure"), "{page}");
        assert!(super::page(&Record::new(Vec::new())).contains("No runs"));
    }
}
