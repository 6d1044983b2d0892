//! Merged results for people: what each part had, and the whole.

use std::fmt::{self, Display, Formatter};

use super::{Merged, Portion};
use crate::units;

/// Parts that have a line of their own: the slowest.
const PORTIONS_SHOWN: usize = 8;

impl Display for Merged {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (report, portions) in self.record.runs.iter().zip(&self.portions) {
            write_portions(f, portions)?;
            write!(f, "{report}")?;
        }
        Ok(())
    }
}

/// Each part, the slowest first: one that measures something else than the others does not show in the whole (Zhang et al.,
/// "Treadmill: attributing the source of tail latency through precise load testing and statistical inference", ISCA 2016).
fn write_portions(f: &mut Formatter<'_>, portions: &[Portion]) -> fmt::Result {
    match portions.len() {
        1 => writeln!(f, "1 part")?,
        parts => writeln!(f, "{parts} parts, the slowest first")?,
    }
    let mut first_shard = 0;
    let mut numbered: Vec<(usize, &Portion)> = Vec::with_capacity(portions.len());
    for portion in portions {
        numbered.push((first_shard, portion));
        first_shard += portion.shards;
    }
    numbered.sort_by_key(|(_, portion)| std::cmp::Reverse(portion.p99_ns));
    for (first_shard, portion) in numbered.iter().take(PORTIONS_SHOWN) {
        let Portion { name, shards, messages_per_s, p50_ns, p99_ns, failed } = portion;
        let (rate, p50, p99) =
            (units::count(messages_per_s.round() as u64), units::latency(*p50_ns), units::latency(*p99_ns));
        write!(f, "  {name}: {rate}/s, p50 {p50}, p99 {p99}, ")?;
        match shards {
            0 | 1 => write!(f, "shard {first_shard}")?,
            shards => write!(f, "shards {first_shard} to {}", first_shard + shards - 1)?,
        }
        match failed {
            0 => writeln!(f)?,
            failed => writeln!(f, ", {} failed", units::count(*failed))?,
        }
    }
    match portions.len().saturating_sub(PORTIONS_SHOWN) {
        0 => Ok(()),
        more => writeln!(f, "  and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::{part, record};
    use super::*;

    #[test]
    fn the_slowest_part_comes_first_with_its_shards_and_many_parts_fit() {
        let mut parts: Vec<_> =
            (0..20).map(|index| (format!("{index}.json"), part(index, 20, Duration::ZERO))).collect();
        parts[3].1.result.response.p99_ns = 60_000_000_000;
        let records: Vec<_> = parts.into_iter().map(|(name, report)| record(&name, report)).collect();
        let text = Merged::new(&records).unwrap().to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "20 parts, the slowest first");
        assert!(lines[1].starts_with("  3.json: 1,000/s") && lines[1].contains("p99 60.0 s, shards 6 to 7"), "{text}");
        assert_eq!(lines[9], "  and 12 more");
        assert!(lines[10].contains("1,000 connections"), "the whole follows: {text}");
    }
}
