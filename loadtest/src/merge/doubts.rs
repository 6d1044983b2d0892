//! What to doubt in merged results: parts that were not made at the same time, not of the same plan, or are missing; pure.

use std::collections::BTreeMap;

use super::{Part, SECOND_NS};
use crate::plan;
use crate::report::Report;
use crate::report::agreement::{self, FREE};
use crate::report::outcome::Outcome;

/// How much of the longest part's measured time all parts must have in common.
const OVERLAP_MIN: f64 = 0.9;

/// The options in which parts of one test may differ, beside those in which any runs may.
const OWN: [&str; 6] = ["connections", "idle", "rate_per_s", "count", "shards", "pinned"];

/// What is between the names of parts that were merged.
const PARTS_BETWEEN: &str = ", ";

/// What to doubt in the whole, each one sentence.
pub(super) fn doubts(parts: &[Part<'_>]) -> Vec<String> {
    let mut doubts: Vec<String> = overlap(parts).into_iter().chain(incomplete(parts)).collect();
    let (first_name, first) = parts[0];
    let free = [&FREE[..], &OWN].concat();
    for (name, part) in &parts[1..] {
        let options = agreement::options(&first.options, &part.options, &free);
        let machines = agreement::environments(&first.environment, &part.environment);
        let differences = options.into_iter().chain(machines);
        doubts.extend(differences.map(|difference| format!("{first_name} and {name} differ in {difference}")));
    }
    doubts
}

/// What the parts themselves say, each sentence once, with who says it.
pub(super) fn gather(parts: &[Part<'_>], of: fn(&Report) -> Vec<String>) -> Vec<String> {
    let mut sayings: Vec<(&str, String, usize)> = Vec::new();
    for (name, report) in parts {
        for text in of(report) {
            match sayings.iter_mut().find(|(_, said, _)| *said == text) {
                Some((_, _, more)) => *more += 1,
                None => sayings.push((name, text, 0)),
            }
        }
    }
    let say = |(name, text, more): (&str, String, usize)| match more {
        0 => format!("{name}: {text}"),
        more => format!("{name} and {more} more: {text}"),
    };
    sayings.into_iter().map(say).collect()
}

/// Whether the parts were not measured at the same time.
fn overlap(parts: &[Part<'_>]) -> Option<String> {
    let began = |result: &Outcome| result.started_unix_ns as f64 / SECOND_NS;
    let all = || parts.iter().map(|(_, report)| &report.result);
    let last_began = parts.iter().max_by_key(|(_, report)| report.result.started_unix_ns)?;
    let first_began = all().map(began).fold(f64::INFINITY, f64::min);
    let first_ended = all().map(|result| began(result) + result.elapsed_s).fold(f64::INFINITY, f64::min);
    let longest = all().map(|result| result.elapsed_s).fold(0.0, f64::max);
    let common = (first_ended - began(&last_began.1.result)).max(0.0);
    (common < OVERLAP_MIN * longest).then(|| {
        let (name, behind) = (last_began.0, began(&last_began.1.result) - first_began);
        format!(
            "only {common:.1} s of {longest:.1} s were measured by all parts at once; {name} began last, {behind:.1} s after the \
             first; begin them together with --start-at, on machines whose clocks agree"
        )
    })
}

/// Which parts are missing or there twice, or whether none is marked as one and all sent the same.
fn incomplete(parts: &[Part<'_>]) -> Vec<String> {
    let mut seeds: BTreeMap<(u64, Option<&str>), Vec<&str>> = BTreeMap::new();
    for (name, report) in parts {
        seeds.entry((report.options.seed, report.options.part.as_deref())).or_default().push(name);
    }
    let same = seeds.iter().filter(|(_, names)| names.len() > 1).map(|((seed, part), names)| match part {
        Some(part) => {
            format!("{} are both part {part}: their connections sent the same bytes at the same times", pair(names))
        }
        None => format!(
            "{} have the same seed, {seed}, and no --part: they sent the same bytes at the same times",
            pair(names)
        ),
    });
    same.chain(missing(parts)).collect()
}

/// Which parts are missing.
pub(super) fn missing(parts: &[Part<'_>]) -> Option<String> {
    let known = known(parts);
    let of = known.first()?.of();
    let mut missing = (0..of).filter(|index| known.iter().all(|part| part.index() != *index));
    let first = missing.next()?;
    Some(format!("{} of {of} parts are missing, the first of them {first}/{of}", 1 + missing.count()))
}

/// Which parts these are; one that was merged already is several.
fn known(parts: &[Part<'_>]) -> Vec<plan::part::Part> {
    let named = parts.iter().filter_map(|(_, report)| report.options.part.as_deref());
    named.flat_map(|names| names.split(PARTS_BETWEEN)).filter_map(|name| name.parse().ok()).collect()
}

/// Which parts the whole is made of, unless it has all of them.
pub(super) fn parts_of(parts: &[Part<'_>]) -> Option<String> {
    let known = known(parts);
    let names: Vec<String> = known.iter().map(ToString::to_string).collect();
    missing(parts).map(|_| names.join(PARTS_BETWEEN))
}

/// The first two names.
fn pair(names: &[&str]) -> String {
    names[..2].join(" and ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::part;
    use super::*;

    fn of(parts: &[&Report]) -> Vec<String> {
        let names = ["A", "B", "C", "D"];
        doubts(&names.into_iter().zip(parts.iter().copied()).collect::<Vec<_>>())
    }

    #[test]
    fn parts_of_one_test_that_began_together_are_not_doubted() {
        let (mut one, other) = (part(0, 2, Duration::ZERO), part(1, 2, Duration::from_millis(900)));
        one.options.connections += 1;
        assert_eq!(of(&[&one, &other]), Vec::<String>::new());
    }

    #[test]
    fn parts_that_began_apart_are_told_with_who_was_late() {
        let (one, other) = (part(0, 2, Duration::ZERO), part(1, 2, Duration::from_millis(1_500)));
        let found = of(&[&one, &other]);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("only 8.5 s of 10.0 s") && found[0].contains("B began last, 1.5 s"), "{found:?}");
        let never = part(1, 2, Duration::from_secs(60));
        assert!(of(&[&one, &never])[0].starts_with("only 0.0 s"));
    }

    #[test]
    fn parts_that_are_missing_or_there_twice_are_told() {
        let parts = [part(0, 4, Duration::ZERO), part(0, 4, Duration::ZERO), part(2, 4, Duration::ZERO)];
        let found = of(&parts.each_ref());
        assert!(found.iter().any(|doubt| doubt.starts_with("A and B are both part 0/4")), "{found:?}");
        assert!(found.iter().any(|doubt| doubt == "2 of 4 parts are missing, the first of them 1/4"), "{found:?}");
    }

    #[test]
    fn processes_that_are_no_parts_must_have_seeds_of_their_own() {
        let mut one = part(0, 1, Duration::ZERO);
        one.options.part = None;
        let mut other = one.clone();
        assert!(of(&[&one, &other])[0].contains("same seed, 1, and no --part"));
        other.options.seed = 2;
        assert_eq!(of(&[&one, &other]), Vec::<String>::new());
    }

    #[test]
    fn parts_of_different_plans_or_machines_are_told() {
        let (one, mut other) = (part(0, 2, Duration::ZERO), part(1, 2, Duration::ZERO));
        other.options.depth = 9;
        other.environment.kernel = None;
        let found = of(&[&one, &other]);
        assert!(found.len() == 2 && found[0] == "A and B differ in depth: 1 and 9", "{found:?}");
    }

    #[test]
    fn what_many_say_is_said_once() {
        let mut parts = [part(0, 3, Duration::ZERO), part(1, 3, Duration::ZERO), part(2, 3, Duration::ZERO)];
        parts[0].warnings = vec!["a".to_owned(), "b".to_owned()];
        parts[2].warnings = vec!["a".to_owned()];
        let named: Vec<Part<'_>> = ["A", "B", "C"].into_iter().zip(&parts).collect();
        assert_eq!(gather(&named, |report| report.warnings.clone()), ["A and 1 more: a", "A: b"]);
    }
}
