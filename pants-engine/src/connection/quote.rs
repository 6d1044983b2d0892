//! An answer that is a piece of the message: it is noted, and sent from where it was read, without a copy.

use crate::limits;

/// Which piece of the input at hand is all that its handler has written; an empty one if it has written nothing.
///
/// Small numbers, so that the compiler sees that they do not overflow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quote {
    from: u16,
    len: u16,
}

const _: () = assert!(limits::OUTBOX_BYTES <= u16::MAX as usize);

impl Quote {
    pub(crate) const NONE: Self = Self { from: 0, len: 0 };

    /// `data`, if it is a piece of `input`. The input is no longer than what the outbox holds.
    ///
    /// What begins within `input` is of the same piece of memory, and so ends within it.
    #[inline(always)]
    pub(crate) fn find(input: &[u8], data: &[u8]) -> Option<Self> {
        let from = data.as_ptr().addr().wrapping_sub(input.as_ptr().addr());
        (from < input.len()).then_some(Self { from: from as u16, len: data.len() as u16 })
    }

    /// Its bytes, out of the input; or out of the read buffer, at whose beginning the input is.
    #[inline(always)]
    pub(crate) fn of(self, input: &[u8]) -> &[u8] {
        &input[usize::from(self.from)..usize::from(self.from) + usize::from(self.len)]
    }

    #[inline(always)]
    pub(crate) fn is_empty(self) -> bool {
        self.len == 0
    }

    pub(crate) fn len(self) -> usize {
        self.len.into()
    }
}

/// What has become of a message that took the usual way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Its handler has asked for nothing.
    Nothing,
    /// This is all that was written, and nothing else was asked for.
    Quote(Quote),
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_of_the_input_is_found_and_nothing_else() {
        let buffer = *b"0123456789";
        let input = &buffer[2..8];
        for from in 0..=buffer.len() {
            for end in from..=buffer.len() {
                let data = &buffer[from..end];
                let within = (2..8).contains(&from) && from < end && end <= 8;
                if within {
                    assert_eq!(Quote::find(input, data).map(|quote| quote.of(input)), Some(data));
                } else if !(2..8).contains(&from) || data.is_empty() {
                    assert_eq!(Quote::find(input, data), None);
                }
            }
        }
        assert_eq!(Quote::find(input, &input.to_vec()), None, "the same bytes elsewhere");
        assert_eq!(Quote::find(&[], &[]), None);
    }
}
