//! Charts of lines: what their template draws.
//!
//! They are drawn by hand, as SVG without a view box, whose text keeps its size at every width and whose colours are the
//! page's own. A library's charts have their size and colours fixed, as those of `plotters` have: at the width of a phone they
//! would shrink beyond reading, and in the dark they would stay white.

use std::fmt::{self, Display, Formatter};

use super::scale::Scale;

/// The side of the square in which paths are drawn before they are stretched over the chart.
const SIDE: f64 = 1_000.0;

/// A label beyond this share of the axis is at its end.
const LAST: f64 = 0.97;

/// Lines of no more points than this show each of them.
const DOTS_MAX: usize = 40;

/// A chart of lines.
#[derive(Debug)]
pub(super) struct Chart {
    /// Begins the identities of its parts; unlike those of all other charts of the page.
    pub(super) id: String,
    pub(super) title: &'static str,
    /// What it shows, for those who cannot see it.
    pub(super) description: String,
    /// What the vertical axis counts.
    pub(super) unit: &'static str,
    pub(super) x: Vec<Tick>,
    pub(super) y: Vec<Tick>,
    pub(super) lines: Vec<Line>,
    /// The stripes that say what is above and below them.
    pub(super) stripes: Vec<Stripe>,
    /// The same in numbers.
    pub(super) table: Table,
    pub(super) wide: bool,
}

/// A labelled place on an axis.
#[derive(Debug)]
pub(super) struct Tick {
    pub(super) at: Percent,
    pub(super) label: String,
    /// Left out where there is little room.
    pub(super) optional: bool,
    /// At the end of the axis, beyond which there is little room.
    pub(super) last: bool,
}

impl Tick {
    pub(super) fn new(at: f64, label: String, optional: bool) -> Self {
        Self { at: Percent(at), label, optional, last: at > LAST }
    }
}

/// One line.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: &'static str,
    /// Which of the page's styles it has.
    pub(super) style: &'static str,
    pub(super) path: String,
    /// What is below it, to be shaded; empty if it is not.
    pub(super) area: String,
    pub(super) dots: Vec<Dot>,
}

/// A point of a line.
#[derive(Debug)]
pub(super) struct Dot {
    pub(super) x: Percent,
    pub(super) y: Percent,
    pub(super) hollow: bool,
}

/// A part of the chart from top to bottom, with a text that a pointer brings out.
#[derive(Debug)]
pub(super) struct Stripe {
    pub(super) x: Percent,
    pub(super) width: Percent,
    pub(super) text: String,
    /// Whether something failed there.
    pub(super) failed: bool,
}

/// A table of numbers, its first column what they belong to.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) head: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

/// A share of the chart's width or height, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Percent(pub(super) f64);

impl Display for Percent {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2}%", self.0 * 100.0)
    }
}

/// What is labelled on the horizontal axis. Every other label is left out where there is little room.
pub(super) fn across(scale: &Scale, label: impl Fn(f64) -> String) -> Vec<Tick> {
    let many = scale.ticks().len() > 4;
    let tick = |(index, tick): (usize, &f64)| Tick::new(scale.at(*tick), label(*tick), many && index % 2 == 1);
    scale.ticks().iter().enumerate().map(tick).collect()
}

/// What is labelled on the vertical axis, whose beginning is at the bottom.
pub(super) fn upwards(scale: &Scale, label: impl Fn(f64) -> String) -> Vec<Tick> {
    scale.ticks().iter().map(|tick| Tick::new(1.0 - scale.at(*tick), label(*tick), false)).collect()
}

impl Line {
    /// Through these points, in order; one without a height, which is no number, is a gap.
    pub(super) fn through(
        name: &'static str,
        style: &'static str,
        points: &[(f64, f64)],
        x: &Scale,
        y: &Scale,
    ) -> Self {
        let places: Vec<(f64, f64)> = points.iter().map(|&(h, v)| (x.at(h), 1.0 - y.at(v))).collect();
        let dot = |&(x, y): &(f64, f64)| Dot { x: Percent(x), y: Percent(y), hollow: false };
        let known = places.iter().filter(|(_, y)| y.is_finite());
        let dots = if places.len() <= DOTS_MAX { known.map(dot).collect() } else { Vec::new() };
        Self { name, style, path: path(&places), area: String::new(), dots }
    }

    /// Without points, however few there are.
    pub(super) fn without_dots(self) -> Self {
        Self { dots: Vec::new(), ..self }
    }

    /// With what is below it shaded. It goes on as far as the last point.
    pub(super) fn shaded(self, points: &[(f64, f64)], x: &Scale) -> Self {
        let ends = points.first().zip(points.last());
        let area = ends.map(|((first, _), (last, _))| {
            format!("{}L{:.1} {SIDE}L{:.1} {SIDE}Z", self.path, x.at(*last) * SIDE, x.at(*first) * SIDE)
        });
        Self { area: area.unwrap_or_default(), ..self }
    }
}

fn path(places: &[(f64, f64)]) -> String {
    let mut path = String::new();
    let mut drawn = false;
    for (x, y) in places {
        if y.is_finite() {
            let (x, y) = (x * SIDE, y * SIDE);
            // A line of no length, so that a point between two gaps is seen.
            path += &if drawn { format!("L{x:.1} {y:.1}") } else { format!("M{x:.1} {y:.1}h0") };
        }
        drawn = y.is_finite();
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_from_the_bottom_left_to_the_top_right() {
        let (x, y) = (Scale::time(10.0), Scale::linear(100.0));
        let points = [(0.0, 0.0), (10.0, 100.0)];
        let line = Line::through("rate", "one", &points, &x, &y).shaded(&points, &x);
        assert_eq!(line.path, "M0.0 1000.0h0L1000.0 0.0");
        assert_eq!(line.area, "M0.0 1000.0h0L1000.0 0.0L1000.0 1000L0.0 1000Z");
        assert_eq!(
            (line.dots.len(), line.dots[1].x.to_string(), line.dots[1].y.to_string()),
            (2, "100.00%".into(), "0.00%".into())
        );
        let gap = Line::through("rate", "one", &[(0.0, 0.0), (5.0, f64::NAN), (10.0, 100.0)], &x, &y);
        assert_eq!((gap.path.as_str(), gap.dots.len()), ("M0.0 1000.0h0M1000.0 0.0h0", 2));
        let nothing = Line::through("rate", "one", &[], &x, &y).shaded(&[], &x);
        assert!(nothing.path.is_empty() && nothing.area.is_empty());
    }
}
