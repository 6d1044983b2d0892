//! Any pattern, separating or matching. What it finds may depend on the pieces, so the reference sees them, too.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use pants_engine::internals::{self, End};
use pants_engine::{Delimiter, Pattern};
use pants_fuzz::{Course, longest};
use regex::bytes::{Captures, Regex, RegexBuilder};

/// Patterns and inputs are kept small, as every byte of an input may be searched for once for every piece.
const PATTERN_MAX: usize = 40;
const INPUT_MAX: usize = 512;
const COMPILED_MAX: usize = 32 << 10;

#[derive(Arbitrary, Debug)]
struct Case<'a> {
    pattern: &'a str,
    matching: bool,
    limit: u8,
    course: Course,
    input: &'a [u8],
}

fuzz_target!(|case: Case<'_>| {
    if case.pattern.len() > PATTERN_MAX {
        return;
    }
    let compile = if case.matching { Pattern::matching } else { Pattern::separating };
    let pattern = compile(case.pattern);
    let Ok(reference) = RegexBuilder::new(case.pattern).unicode(false).size_limit(COMPILED_MAX).build() else {
        // The engine takes larger ones; what is wrong is told without a panic.
        let _ = pattern.map_err(|error| error.to_string());
        return;
    };
    let pattern = pattern.expect("a pattern that the regex crate takes");
    let input = &case.input[..case.input.len().min(INPUT_MAX)];
    for pieces in [vec![input], case.course.split(input), input.chunks(1).collect()] {
        check(&case, &pattern, &reference, &pieces);
    }
});

fn check(case: &Case<'_>, pattern: &Pattern, reference: &Regex, pieces: &[&[u8]]) {
    let limit = usize::from(case.limit);
    let input = pieces.concat();
    let (frames, end, consumed) = expect(reference, case.matching, limit, pieces, &input);
    let mut frames = frames.into_iter();
    let mut pauses = case.course.pauses();
    let cut = internals::cut(Delimiter::from(pattern), limit, pieces.iter().copied(), |frame| {
        let (data, groups) = frames.next().expect("a frame that the reference finds");
        assert_eq!(frame.data(), data);
        assert_eq!(frame.len(), groups.len());
        for index in 0..=groups.len() {
            assert_eq!(frame.get(index), groups.get(index).map(|group| group.as_bytes()));
        }
        for name in reference.capture_names().flatten() {
            assert_eq!(frame.name(name), groups.name(name).map(|group| group.as_bytes()));
        }
        pauses()
    });
    assert!(frames.next().is_none(), "a frame is missing");
    assert_eq!(cut.end, end);
    let left = &input[consumed..];
    assert!(left.starts_with(&cut.rest) && (end != End::UsedUp || cut.rest == left));
    assert!(cut.most_kept <= limit + longest(pieces), "{} bytes were kept", cut.most_kept);
}

/// The frames with their groups, what comes of the rest, and what the frames have consumed: by searching all that has come after
/// every piece.
fn expect<'i>(
    reference: &Regex,
    matching: bool,
    limit: usize,
    pieces: &[&[u8]],
    input: &'i [u8],
) -> (Vec<(&'i [u8], Captures<'i>)>, End, usize) {
    let mut frames = Vec::new();
    let (mut come, mut consumed) = (0, 0);
    for piece in pieces {
        come += piece.len();
        loop {
            let rest = &input[consumed..come];
            let found = reference.captures(rest).filter(|groups| {
                let whole = groups.get_match();
                !whole.is_empty() && (!matching || whole.start() == 0)
            });
            let Some(groups) = found else {
                if rest.len() > limit {
                    return (frames, End::Overflow, consumed);
                }
                break;
            };
            let whole = groups.get_match().range();
            if whole.end > limit {
                return (frames, End::Overflow, consumed);
            }
            consumed += whole.end;
            frames.push((if matching { &rest[whole] } else { &rest[..whole.start] }, groups));
        }
    }
    (frames, End::UsedUp, consumed)
}
