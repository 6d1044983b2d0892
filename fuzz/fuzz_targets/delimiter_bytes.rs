//! Byte strings as delimiters, and none.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use pants_engine::Delimiter;
use pants_engine::internals::{self, End};
use pants_fuzz::{Course, Expected, stretch};

#[derive(Arbitrary, Debug)]
struct Case<'a> {
    delimiter: Vec<u8>,
    limit: u16,
    course: Course,
    input: &'a [u8],
}

fuzz_target!(|case: Case<'_>| {
    let input = fill(case.input, &case.delimiter);
    if case.delimiter.is_empty() {
        return check_none(&input, &case);
    }
    let limit = usize::from(case.limit);
    let expected = Expected::new(&input, limit, |input| {
        let at = input.windows(case.delimiter.len()).position(|window| window == case.delimiter);
        Ok(at.map(|at| (&input[..at], at + case.delimiter.len())))
    });
    expected.check(&input, limit, &case.course, || Delimiter::from(&*case.delimiter));
});

/// Puts the delimiter where the fuzzer has written 0xFF, and all of it but its last byte for 0xFE: delimiters that end in one
/// piece and begin in another, or nearly are some, would be rare otherwise.
fn fill(compact: &[u8], delimiter: &[u8]) -> Vec<u8> {
    let mut input = Vec::new();
    for byte in stretch(compact) {
        match byte {
            0xFF => input.extend_from_slice(delimiter),
            0xFE => input.extend(delimiter.iter().take(delimiter.len().saturating_sub(1))),
            byte => input.push(byte),
        }
        if input.len() > 200_000 {
            break;
        }
    }
    input
}

/// Without a delimiter a frame is whatever has come, however much that is.
fn check_none(input: &[u8], case: &Case<'_>) {
    let pieces = case.course.split(input);
    let mut expected = pieces.iter().filter(|piece| !piece.is_empty());
    let mut pauses = case.course.pauses();
    let cut = internals::cut(Delimiter::from(""), usize::from(case.limit), pieces.iter().copied(), |frame| {
        assert_eq!(Some(&frame.data()), expected.next());
        pauses()
    });
    assert_eq!((expected.next(), cut.end, cut.most_kept), (None, End::UsedUp, 0));
}
