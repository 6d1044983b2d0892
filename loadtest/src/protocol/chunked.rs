//! The chunked transfer coding (RFC 9112, section 7.1): where it ends. Pure, and a byte at a time but for the data.

/// The most bytes of the extensions of one chunk, and of all trailer fields.
const EXTRA_MAX: u16 = 16 * 1024;

/// A body in chunks, of which a part has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chunks {
    place: Place,
    /// The size of the present chunk; of its data, what is left of it.
    left: u64,
    /// Bytes of the present extensions, or of the trailer fields.
    extra: u16,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// The first digit of a size.
    #[default]
    Size,
    /// Another digit, or what ends the size.
    Digits,
    Extension,
    SizeLineFeed,
    Data,
    DataReturn,
    DataLineFeed,
    /// The beginning of a trailer field, or the last line.
    Line,
    Trailer,
    TrailerLineFeed,
    LastLineFeed,
    Complete,
}

impl Chunks {
    /// Whether the last chunk and what belongs to it have come.
    pub fn is_complete(&self) -> bool {
        self.place == Place::Complete
    }

    /// Takes bytes; how many belong to the body. All do, unless it is complete.
    ///
    /// # Errors
    ///
    /// What is wrong with them.
    pub fn take(&mut self, data: &[u8]) -> Result<usize, &'static str> {
        let mut used = 0;
        while let Some(byte) = data.get(used)
            && !self.is_complete()
        {
            if self.place == Place::Data {
                let rest = data.len() - used;
                let piece = usize::try_from(self.left).map_or(rest, |left| left.min(rest));
                used += piece;
                self.left -= piece as u64;
                if self.left == 0 {
                    self.place = Place::DataReturn;
                }
            } else {
                self.place = self.step(*byte)?;
                used += 1;
            }
        }
        Ok(used)
    }

    /// Takes a byte that is not data; what comes behind it.
    fn step(&mut self, byte: u8) -> Result<Place, &'static str> {
        Ok(match (self.place, byte) {
            (Place::Size | Place::Digits, digit) if digit.is_ascii_hexdigit() => {
                self.add_digit(digit)?;
                Place::Digits
            }
            (Place::Digits | Place::Extension, b'\r') => Place::SizeLineFeed,
            // White space before the semicolon is bad, and to be borne (RFC 9112, section 7.1.1).
            (Place::Digits, b';' | b' ' | b'\t') => Place::Extension,
            (Place::Size | Place::Digits, _) => return Err("the size of a chunk is no number"),
            (Place::SizeLineFeed, b'\n') => {
                self.extra = 0;
                if self.left == 0 { Place::Line } else { Place::Data }
            }
            (Place::DataReturn, b'\r') => Place::DataLineFeed,
            (Place::DataLineFeed, b'\n') => Place::Size,
            (Place::Line, b'\r') => Place::LastLineFeed,
            (Place::Trailer, b'\r') => Place::TrailerLineFeed,
            (Place::TrailerLineFeed, b'\n') => Place::Line,
            (Place::LastLineFeed, b'\n') => Place::Complete,
            (Place::Extension, _) if byte != b'\n' => self.add_extra(Place::Extension)?,
            (Place::Line | Place::Trailer, _) if byte != b'\n' => self.add_extra(Place::Trailer)?,
            _ => return Err("a line of the chunks does not end with CR and LF"),
        })
    }

    fn add_digit(&mut self, digit: u8) -> Result<(), &'static str> {
        let value = (digit as char).to_digit(16).unwrap_or_default();
        self.left = self.left.checked_mul(16).ok_or("the size of a chunk is too large")? + u64::from(value);
        Ok(())
    }

    fn add_extra(&mut self, place: Place) -> Result<Place, &'static str> {
        self.extra += 1;
        if self.extra > EXTRA_MAX { Err("the chunks have too long extensions or trailers") } else { Ok(place) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How much of it belongs to a body, and whether that is complete.
    fn take(data: &[u8]) -> Result<(usize, bool), &'static str> {
        let mut chunks = Chunks::default();
        chunks.take(data).map(|used| (used, chunks.is_complete()))
    }

    #[test]
    fn a_body_ends_where_it_ends_in_any_pieces() {
        for body in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "00000000000000000A;x=\"y\" ;z\r\n0123456789\r\n1 \r\n\r\r\n0;last\r\nA: b\r\nC:\r\n\r\n",
        ] {
            let data = format!("{body}HTTP/1.1").into_bytes();
            assert_eq!(take(&data), Ok((body.len(), true)), "{body}");
            for cut in 0..body.len() {
                assert_eq!(take(&data[..cut]), Ok((cut, false)), "{body} cut at {cut}");
                let mut chunks = Chunks::default();
                chunks.take(&data[..cut]).unwrap();
                assert_eq!(chunks.take(&data[cut..]), Ok(body.len() - cut));
            }
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        let long = "x".repeat(usize::from(EXTRA_MAX) + 1);
        for (data, part) in [
            ("x", "no number"),
            ("\r\n", "no number"),
            ("-1\r\n", "no number"),
            ("5\n", "no number"),
            ("5\rx", "CR and LF"),
            ("1\r\nabc", "CR and LF"),
            ("1\r\na\rb", "CR and LF"),
            ("1;x\ny", "CR and LF"),
            ("0\r\nA: b\n", "CR and LF"),
            ("10000000000000000", "too large"),
            (&format!("5;{long}"), "too long"),
            (&format!("0\r\n{long}"), "too long"),
        ] {
            let error = take(data.as_bytes()).unwrap_err();
            assert!(error.contains(part), "{data}: {error}");
        }
    }

    #[test]
    fn the_largest_size_is_taken() {
        assert_eq!(take(b"ffffffffffffffff\r\nabc"), Ok((21, false)));
    }
}
