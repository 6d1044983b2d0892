//! A table in Markdown whose columns are padded, so that it is read well in a terminal too; and how numbers are written in it.

use std::fmt;

use crate::stats::Ratio;

/// A table: its first columns are texts, the others are numbers.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    texts: usize,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with this head, whose first column is text.
    pub(crate) fn new<const COLUMNS: usize>(head: [&str; COLUMNS]) -> Self {
        Self { texts: 1, rows: vec![head.map(str::to_owned).to_vec()] }
    }

    /// The same, with so many columns of text.
    pub(crate) fn with_texts(self, texts: usize) -> Self {
        Self { texts, ..self }
    }

    /// Adds a row.
    pub(crate) fn row<const COLUMNS: usize>(&mut self, cells: [String; COLUMNS]) {
        self.rows.push(cells.to_vec());
    }

    /// Whether it has nothing but its head.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows[0].len();
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(3);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (index, row) in self.rows.iter().enumerate() {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                match column {
                    text if text < self.texts => write!(f, "| {cell:<width$} ")?,
                    _ => write!(f, "| {cell:>width$} ")?,
                }
            }
            writeln!(f, "|")?;
            if index == 0 {
                for (column, width) in widths.iter().enumerate() {
                    let rule = "-".repeat(*width);
                    if column < self.texts { write!(f, "| {rule} ")? } else { write!(f, "| {}: ", &rule[1..])? }
                }
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

/// A whole number, with a comma before every three digits.
pub(crate) fn whole(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut written = String::new();
    for (index, digit) in digits.chars().enumerate() {
        let left = digits.len() - index;
        if index > 0 && left % 3 == 0 && !written.ends_with('-') {
            written.push(',');
        }
        written.push(digit);
    }
    written
}

/// A time in nanoseconds, in the unit that suits it, to three digits.
pub(crate) fn time(nanoseconds: f64) -> String {
    let (number, unit) = match nanoseconds {
        short if short < 1e3 => (short, "ns"),
        short if short < 1e6 => (short / 1e3, "µs"),
        short if short < 1e9 => (short / 1e6, "ms"),
        long => (long / 1e9, "s"),
    };
    format!("{} {unit}", three_digits(number))
}

/// A number to three digits.
pub(crate) fn three_digits(number: f64) -> String {
    match number.abs() {
        small if small < 10.0 => format!("{number:.2}"),
        medium if medium < 100.0 => format!("{number:.1}"),
        _ => whole(number),
    }
}

/// A count per message, to a tenth where it is more than a few.
pub(crate) fn count(number: f64) -> String {
    if number >= 10.0 { format!("{number:.1}") } else { format!("{number:.2}") }
}

/// A ratio with its interval.
pub(crate) fn ratio(ratio: Option<Ratio>) -> String {
    ratio.map_or_else(String::new, |Ratio { median, low, high }| format!("{median:.3} ({low:.3}–{high:.3})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["name", "n"]);
        assert!(table.is_empty());
        table.row(["a".to_owned(), "1,000".to_owned()]);
        assert_eq!(table.to_string(), "| name |     n |\n| ---- | ----: |\n| a    | 1,000 |\n");
    }

    #[test]
    fn numbers_are_written_to_three_digits_with_their_unit() {
        assert_eq!(
            [0.0, 999.4, 1_000.0, 1_234_567.0, -1_234.0].map(whole),
            ["0", "999", "1,000", "1,234,567", "-1,234"]
        );
        assert_eq!([41.26, 5_145.1, 12_345_678.0, 2e9].map(time), ["41.3 ns", "5.15 µs", "12.3 ms", "2.00 s"]);
        assert_eq!([0.5, 54.04, 629.0, 12_000.0].map(three_digits), ["0.50", "54.0", "629", "12,000"]);
        assert_eq!([0.0, 2.016, 119.96].map(count), ["0.00", "2.02", "120.0"]);
    }

    #[test]
    fn a_ratio_is_written_with_its_interval() {
        assert_eq!(ratio(Some(Ratio { median: 1.02, low: 0.99, high: 1.0512 })), "1.020 (0.990–1.051)");
        assert_eq!(ratio(None), "");
    }
}
