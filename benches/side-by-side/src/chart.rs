//! The chart of a record, in SVG: CPU and instructions per message at the usual point of the echo, a bar for every contestant.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::contestant::{self, Contestant, Kind, Poller};
use crate::figures;
use crate::point::Point;
use crate::record::Record;
use crate::report;
use crate::stats::Ratio;

/// Sizes in pixels. A README shows 830 to 900 of them beside each other.
const WIDTH: i32 = 880;
const HEAD: i32 = 76;
const ROW: i32 = 28;
const BAR: i32 = 16;
const FOOT: i32 = 64;
const MARGIN: i32 = 20;
/// Where the bars of each panel begin, and how long they may be; their figures stand behind them.
const CPU_AT: i32 = 160;
const INSTRUCTIONS_AT: i32 = 545;
const LENGTH: i32 = 270;
/// How wide a digit of a figure is at most.
const DIGIT: i32 = 7;

const FONT: &str = "sans-serif";
const INK: RGBColor = RGBColor(0x21, 0x25, 0x29);
const FAINT_INK: RGBColor = RGBColor(0x68, 0x70, 0x78);
const GRID: RGBColor = RGBColor(0xe3, 0xe6, 0xe9);

/// What a bar's colour says, in the order of the legend.
const COLOURS: [(&str, RGBColor); 4] = [
    ("pants", RGBColor(0xd9, 0x48, 0x0f)),
    ("bare loops", RGBColor(0x86, 0x8e, 0x96)),
    ("on epoll", RGBColor(0x5c, 0x7c, 0xfa)),
    ("on io_uring", RGBColor(0x2f, 0xb3, 0x80)),
];

/// One contestant's row.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    name: String,
    colour: RGBColor,
    /// CPU per message by the floor's.
    cpu: Ratio,
    instructions: Option<f64>,
}

/// What one panel shows.
struct Panel {
    title: &'static str,
    at: i32,
    ticks: Vec<f64>,
    /// Whether there is a line at 1 to be at.
    has_floor: bool,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

/// The chart; `None` if the record does not have the point.
pub(crate) fn draw(record: &Record) -> Option<String> {
    let rows = rows(record);
    if rows.is_empty() {
        return None;
    }
    let mut svg = String::new();
    let height = HEAD + ROW * rows.len() as i32 + FOOT;
    let area = SVGBackend::with_string(&mut svg, (WIDTH as u32, height as u32)).into_drawing_area();
    draw_on(&area, record, &rows, height).expect("a text can be written to");
    drop(area);
    Some(svg)
}

fn draw_on<'a>(area: &Area<'a>, record: &Record, rows: &[Row], height: i32) -> Drawn<'a> {
    area.fill(&WHITE)?;
    let title = format!("{}, one core: shorter is better", report::describe(&Point::USUAL));
    text(area, &title, (MARGIN, 24), 19, INK, FontStyle::Bold, HPos::Left)?;
    let cpu = Panel {
        title: "CPU per message, in those of a bare epoll loop",
        at: CPU_AT,
        ticks: ticks(rows.iter().map(|row| row.cpu.high).fold(1.0, f64::max)),
        has_floor: true,
    };
    draw_panel(area, &cpu, rows, |row| Some((row.cpu.median, Some(row.cpu), format!("{:.2}", row.cpu.median))))?;
    let most = rows.iter().filter_map(|row| row.instructions).fold(0.0, f64::max);
    if most > 0.0 {
        let title = "Instructions per message, in user space";
        let panel = Panel { title, at: INSTRUCTIONS_AT, ticks: ticks(most), has_floor: false };
        draw_panel(area, &panel, rows, |row| row.instructions.map(|number| (number, None, format!("{number:.0}"))))?;
    }
    for (index, row) in rows.iter().enumerate() {
        let style = if row.colour == COLOURS[0].1 { FontStyle::Bold } else { FontStyle::Normal };
        text(area, &row.name, (CPU_AT - 10, middle(index)), 14, INK, style, HPos::Right)?;
    }
    draw_legend(area, height - 20)?;
    let rounds = record.slices_of(&Point::USUAL, contestant::floor_of(&Point::USUAL)).count();
    let rounds = format!("{rounds} rounds, lines are 95 % intervals");
    let machine = format!("{}, Linux {}; {rounds}", record.machine.cpu, record.machine.kernel);
    text(area, &machine, (WIDTH - MARGIN, height - 20), 12, FAINT_INK, FontStyle::Normal, HPos::Right)
}

fn draw_panel<'a>(
    area: &Area<'a>,
    panel: &Panel,
    rows: &[Row],
    figure: impl Fn(&Row) -> Option<(f64, Option<Ratio>, String)>,
) -> Drawn<'a> {
    let end = panel.ticks.last().copied().unwrap_or(1.0);
    let x = |value: f64| panel.at + (value / end * f64::from(LENGTH)).round() as i32;
    let (top, bottom) = (HEAD - 6, HEAD + ROW * rows.len() as i32);
    text(area, panel.title, (panel.at, HEAD - 22), 14, INK, FontStyle::Normal, HPos::Left)?;
    for tick in &panel.ticks {
        area.draw(&PathElement::new([(x(*tick), top), (x(*tick), bottom)], GRID))?;
        text(area, &tick.to_string(), (x(*tick), bottom + 10), 12, FAINT_INK, FontStyle::Normal, HPos::Center)?;
    }
    let mut labels = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let Some((value, interval, label)) = figure(row) else {
            text(area, "not counted", (panel.at + 4, middle(index)), 12, FAINT_INK, FontStyle::Normal, HPos::Left)?;
            continue;
        };
        let (above, below) = (middle(index) - BAR / 2, middle(index) + BAR / 2);
        area.draw(&Rectangle::new([(panel.at, above), (x(value), below)], row.colour.filled()))?;
        let mut label_at = x(value);
        if let Some(Ratio { low, high, .. }) = interval {
            area.draw(&PathElement::new([(x(low), middle(index)), (x(high), middle(index))], INK.stroke_width(1)))?;
            label_at = label_at.max(x(high));
        }
        labels.push((label, label_at + 6, middle(index)));
    }
    if panel.has_floor {
        area.draw(&PathElement::new([(x(1.0), top), (x(1.0), bottom)], INK.mix(0.6).stroke_width(1)))?;
    }
    for (label, at, middle) in labels {
        // No line goes through a figure.
        let end = at + DIGIT * label.len() as i32;
        area.draw(&Rectangle::new([(at - 2, middle - BAR / 2), (end, middle + BAR / 2)], WHITE.filled()))?;
        text(area, &label, (at, middle), 13, INK, FontStyle::Normal, HPos::Left)?;
    }
    Ok(())
}

fn draw_legend<'a>(area: &Area<'a>, y: i32) -> Drawn<'a> {
    let mut at = MARGIN;
    for (name, colour) in COLOURS {
        area.draw(&Rectangle::new([(at, y - 6), (at + 12, y + 6)], colour.filled()))?;
        text(area, name, (at + 18, y), 13, INK, FontStyle::Normal, HPos::Left)?;
        at += 40 + 7 * name.len() as i32;
    }
    Ok(())
}

fn text<'a>(
    area: &Area<'a>,
    text: &str,
    at: (i32, i32),
    size: i32,
    colour: RGBColor,
    style: FontStyle,
    side: HPos,
) -> Drawn<'a> {
    let font = (FONT, size).into_font().style(style).color(&colour).pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(text.to_owned(), at, font))
}

/// The height of a row's middle.
fn middle(index: usize) -> i32 {
    HEAD + ROW * index as i32 + ROW / 2
}

/// The rows, the least CPU first.
fn rows(record: &Record) -> Vec<Row> {
    let standings = figures::standings(record, &Point::USUAL);
    let row = |standing: figures::Standing| {
        let contestant = contestant::find(&standing.contestant)?;
        let counts = record.counts.iter().find(|c| c.point == Point::USUAL && c.contestant == standing.contestant);
        Some(Row {
            name: standing.contestant,
            colour: colour(contestant),
            cpu: standing.cpu_to_floor?,
            instructions: counts.and_then(|count| count.instructions),
        })
    };
    let mut rows: Vec<Row> = standings.into_iter().filter_map(row).collect();
    rows.sort_by(|one, other| one.cpu.median.total_cmp(&other.cpu.median));
    rows
}

fn colour(contestant: &Contestant) -> RGBColor {
    let index = match (contestant.kind, contestant.poller) {
        (Kind::Pants, _) => 0,
        (Kind::Floor, _) => 1,
        (_, Poller::IoUring) => 3,
        _ => 2,
    };
    COLOURS[index].1
}

/// Round numbers from 0 to the first that is at least `most`: a power of ten, or two or five of it, apart.
fn ticks(most: f64) -> Vec<f64> {
    /// At most so many, beside 0.
    const TICKS: f64 = 6.0;
    let power = 10_f64.powf((most / TICKS).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * power).find(|step| step * TICKS >= most);
    let step = step.unwrap_or(10.0 * power);
    // Multiplied, so that they do not gather the errors of additions; rounded, so that they are written in few digits.
    (0..=(most / step).ceil() as u32).map(|tick| (f64::from(tick) * step * 1e6).round() / 1e6).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Count;
    use crate::record::tests::slice;

    #[test]
    fn ticks_are_round_and_reach_the_end() {
        assert_eq!(ticks(1.9), [0.0, 0.5, 1.0, 1.5, 2.0]);
        assert_eq!(ticks(629.0), [0.0, 200.0, 400.0, 600.0, 800.0]);
        assert_eq!(ticks(1.0).last(), Some(&1.0));
    }

    #[test]
    fn every_contestant_of_the_usual_point_has_a_row_and_pants_its_colour() {
        let mut record = Record::default();
        assert_eq!(draw(&record), None);
        for round in 0..3 {
            record.slices.push(slice(Point::USUAL, "floor-epoll", round, 20_000, 4_000));
            record.slices.push(slice(Point::USUAL, "pants", round, 20_000, 4_100));
            record.slices.push(slice(Point::USUAL, "monoio", round, 20_000, 3_000));
        }
        record.counts.push(Count {
            point: Point::USUAL,
            contestant: "pants".to_owned(),
            instructions: Some(119.5),
            allocations: None,
            system_calls: None,
        });
        let rows = rows(&record);
        let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["monoio", "floor-epoll", "pants"]);
        assert_eq!((rows[2].colour, rows[2].instructions), (COLOURS[0].1, Some(119.5)));
        let svg = draw(&record).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("pants") && svg.contains("not counted"), "{svg}");
    }
}
