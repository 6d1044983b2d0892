//! An answer that is a piece of the message: it is noted, and sent from where it was read, without a copy.

use std::num::NonZeroUsize;

/// Which piece of the input at hand is all that its handler has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quote {
    from: usize,
    len: NonZeroUsize,
}

impl Quote {
    /// `data`, if it is a piece of `input` and not empty.
    ///
    /// What begins within `input` is of the same piece of memory, and so is no longer than that.
    #[inline(always)]
    pub(crate) fn find(input: &[u8], data: &[u8]) -> Option<Self> {
        let from = data.as_ptr().addr().wrapping_sub(input.as_ptr().addr());
        if from >= input.len() {
            return None;
        }
        NonZeroUsize::new(data.len()).map(|len| Self { from, len })
    }

    pub(crate) fn len(self) -> usize {
        self.len.get()
    }

    /// Its bytes, out of the input that it was found in.
    #[inline(always)]
    pub(crate) fn of(self, input: &[u8]) -> &[u8] {
        &input[self.from..][..self.len.get()]
    }
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
