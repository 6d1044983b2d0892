//! Frames of so many bytes.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use pants_engine::Delimiter;
use pants_fuzz::{Course, Expected, stretch};

#[derive(Arbitrary, Debug)]
struct Case<'a> {
    count: u16,
    limit: u16,
    course: Course,
    input: &'a [u8],
}

fuzz_target!(|case: Case<'_>| {
    let (count, limit) = (usize::from(case.count), usize::from(case.limit));
    // The number 0 is no delimiter, which `delimiter_bytes` sees to.
    if count == 0 {
        return;
    }
    let input = stretch(case.input);
    let expected = Expected::new(&input, limit, |input| Ok(input.get(..count).map(|data| (data, count))));
    expected.check(&input, limit, &case.course, || Delimiter::from(count));
});
