//! The tables of a record, in Markdown that is read well in a terminal too.
use crate::record::Record;
use crate::figures;
pub(crate) fn all(record: &Record) -> String {
    let mut s = String::new();
    for p in record.points(crate::point::Work::Echo) { for st in figures::standings(record, &p) { s += &format!("{p} {st:?}\n"); } }
    s
}
