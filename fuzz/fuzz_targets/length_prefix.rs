//! Frames that begin with their length: every width and order, the header counted or not, and a maximum.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use pants_engine::{Delimiter, FrameError, LengthPrefix};
use pants_fuzz::{Course, Expected, Found, stretch};

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Width {
    One,
    Two,
    Four,
    Eight,
}

#[derive(Arbitrary, Debug)]
enum Max {
    Default,
    Small(u16),
    Any(usize),
}

#[derive(Arbitrary, Debug)]
struct Case<'a> {
    width: Width,
    big: bool,
    header_included: bool,
    max: Max,
    limit: u16,
    course: Course,
    input: &'a [u8],
}

fuzz_target!(|case: Case<'_>| {
    // With a limit below the header's width no frame can come, and what is told of it depends on the pieces.
    let limit = usize::from(case.limit).max(8);
    let input = stretch(case.input);
    let expected = Expected::new(&input, limit, |input| case.first(input));
    expected.check(&input, limit, &case.course, || Delimiter::from(case.prefix()));
});

impl Case<'_> {
    fn prefix(&self) -> LengthPrefix {
        let prefix = match (self.width, self.big) {
            (Width::One, _) => LengthPrefix::u8(),
            (Width::Two, true) => LengthPrefix::u16_be(),
            (Width::Two, false) => LengthPrefix::u16_le(),
            (Width::Four, true) => LengthPrefix::u32_be(),
            (Width::Four, false) => LengthPrefix::u32_le(),
            (Width::Eight, true) => LengthPrefix::u64_be(),
            (Width::Eight, false) => LengthPrefix::u64_le(),
        };
        let prefix = match self.max {
            Max::Default => prefix,
            _ => prefix.max(self.max()),
        };
        if self.header_included { prefix.header_included() } else { prefix }
    }

    fn width(&self) -> usize {
        match self.width {
            Width::One => 1,
            Width::Two => 2,
            Width::Four => 4,
            Width::Eight => 8,
        }
    }

    fn max(&self) -> usize {
        match self.max {
            Max::Default => 16 << 20,
            Max::Small(max) => usize::from(max),
            Max::Any(max) => max,
        }
    }

    /// The same in numbers that cannot overflow.
    fn first<'i>(&self, input: &'i [u8]) -> Found<'i> {
        let width = self.width();
        let Some(header) = input.get(..width) else { return Ok(None) };
        let add = |sum: u128, byte: &u8| sum * 256 + u128::from(*byte);
        let announced = if self.big { header.iter().fold(0, add) } else { header.iter().rev().fold(0, add) };
        let counted = if self.header_included { width as u128 } else { 0 };
        let Some(length) = announced.checked_sub(counted) else {
            return Err(FrameError::invalid(format!("a length of {announced} is less than its header's {width}")));
        };
        let end = width as u128 + length;
        if length > self.max() as u128 || end > usize::MAX as u128 {
            return Err(FrameError::TooLong { limit: self.max() });
        }
        Ok(input.get(width..end as usize).map(|data| (data, end as usize)))
    }
}
