//! Frames that begin with their length.

use crate::framing::framer::{Frame, FrameError};
use crate::limits;

/// A header that says how long a frame is: a whole number without sign, of 1, 2, 4 or 8 bytes.
///
/// The handler gets the data behind the header; it is empty when the header says so. A header that announces more than
/// [`max`](Self::max) is a [`FrameError::TooLong`] at once, before any of the data is waited for.
///
/// The connection's own limit, [`buffer_limit`](crate::ConnectionOptions::buffer_limit), holds for every delimiter and is 64 KiB
/// by default: for longer frames it must be raised, too, or they are refused when that much has come.
///
/// # Examples
///
/// ```
/// use pants_engine::{Delimiter, LengthPrefix};
///
/// let delimiter = Delimiter::from(LengthPrefix::u32_be().max(1 << 20).header_included());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct LengthPrefix {
    /// Invariant: 1, 2, 4 or 8.
    width: u8,
    order: Order,
    header_included: bool,
    max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    BigEndian,
    LittleEndian,
}

impl LengthPrefix {
    /// A header of one byte.
    pub const fn u8() -> Self {
        Self::new(1, Order::BigEndian)
    }

    /// A header of two bytes, the most significant first.
    pub const fn u16_be() -> Self {
        Self::new(2, Order::BigEndian)
    }

    /// A header of two bytes, the least significant first.
    pub const fn u16_le() -> Self {
        Self::new(2, Order::LittleEndian)
    }

    /// A header of four bytes, the most significant first.
    pub const fn u32_be() -> Self {
        Self::new(4, Order::BigEndian)
    }

    /// A header of four bytes, the least significant first.
    pub const fn u32_le() -> Self {
        Self::new(4, Order::LittleEndian)
    }

    /// A header of eight bytes, the most significant first.
    pub const fn u64_be() -> Self {
        Self::new(8, Order::BigEndian)
    }

    /// A header of eight bytes, the least significant first.
    pub const fn u64_le() -> Self {
        Self::new(8, Order::LittleEndian)
    }

    const fn new(width: u8, order: Order) -> Self {
        Self { width, order, header_included: false, max: limits::LENGTH_PREFIX_MAX_BYTES }
    }

    /// The longest data that a frame may have, in bytes, without its header; 16 MiB by default.
    pub const fn max(self, max: usize) -> Self {
        Self { max, ..self }
    }

    /// The length counts the header, too. One that is less than the header's own is a [`FrameError::Invalid`].
    pub const fn header_included(self) -> Self {
        Self { header_included: true, ..self }
    }

    pub(crate) fn next_frame(&self, input: &[u8]) -> Result<Option<Frame>, FrameError> {
        let width = usize::from(self.width);
        let Some(header) = input.get(..width) else { return Ok(None) };
        let announced = self.read(header);
        let length = if self.header_included {
            let short = || FrameError::invalid(format!("a length of {announced} is less than its header's {width}"));
            announced.checked_sub(u64::from(self.width)).ok_or_else(short)?
        } else {
            announced
        };
        let length = usize::try_from(length).ok().filter(|&length| length <= self.max);
        let end = length.and_then(|length| length.checked_add(width));
        let end = end.ok_or(FrameError::TooLong { limit: self.max })?;
        Ok((end <= input.len()).then(|| Frame::new(width..end, end)))
    }

    fn read(&self, header: &[u8]) -> u64 {
        let mut wide = [0; 8];
        match self.order {
            Order::BigEndian => {
                wide[8 - header.len()..].copy_from_slice(header);
                u64::from_be_bytes(wide)
            }
            Order::LittleEndian => {
                wide[..header.len()].copy_from_slice(header);
                u64::from_le_bytes(wide)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [LengthPrefix; 7] = [
        LengthPrefix::u8(),
        LengthPrefix::u16_be(),
        LengthPrefix::u16_le(),
        LengthPrefix::u32_be(),
        LengthPrefix::u32_le(),
        LengthPrefix::u64_be(),
        LengthPrefix::u64_le(),
    ];

    fn header(prefix: LengthPrefix, announced: u64) -> Vec<u8> {
        let width = usize::from(prefix.width);
        match prefix.order {
            Order::BigEndian => announced.to_be_bytes()[8 - width..].to_vec(),
            Order::LittleEndian => announced.to_le_bytes()[..width].to_vec(),
        }
    }

    #[test]
    fn every_width_and_order_announces_the_data_behind_it() {
        // Less under Miri, which takes a thousand times as long.
        let longest = if cfg!(miri) { 10 } else { 200 };
        for prefix in ALL {
            let width = usize::from(prefix.width);
            for (prefix, extra) in [(prefix, 0), (prefix.header_included(), width)] {
                for length in 0..=longest {
                    let mut input = header(prefix, (length + extra) as u64);
                    input.resize(width + length, 7);
                    for come in 0..input.len() {
                        assert_eq!(prefix.next_frame(&input[..come]), Ok(None));
                    }
                    input.push(9);
                    let end = width + length;
                    assert_eq!(prefix.next_frame(&input), Ok(Some(Frame::new(width..end, end))));
                }
            }
        }
    }

    #[test]
    fn a_frame_past_the_maximum_is_refused_by_its_header_alone() {
        for prefix in ALL {
            for (prefix, extra) in [(prefix, 0), (prefix.header_included(), u64::from(prefix.width))] {
                let prefix = prefix.max(100);
                assert_eq!(prefix.next_frame(&header(prefix, 100 + extra)), Ok(None));
                let refused = prefix.next_frame(&header(prefix, 101 + extra));
                assert_eq!(refused, Err(FrameError::TooLong { limit: 100 }));
            }
        }
    }

    #[test]
    fn a_length_less_than_the_header_it_counts_is_invalid() {
        for prefix in ALL.map(LengthPrefix::header_included) {
            for announced in 0..u64::from(prefix.width) {
                let error = prefix.next_frame(&header(prefix, announced)).unwrap_err();
                let text = format!("a length of {announced} is less than its header's {}", prefix.width);
                assert_eq!(error, FrameError::invalid(text));
            }
        }
    }

    #[test]
    fn a_length_past_the_address_space_is_too_long_whatever_the_maximum() {
        for prefix in [LengthPrefix::u64_be(), LengthPrefix::u64_le()] {
            let prefix = prefix.max(usize::MAX);
            for announced in [u64::MAX, u64::MAX - 7] {
                let refused = prefix.next_frame(&header(prefix, announced));
                assert_eq!(refused, Err(FrameError::TooLong { limit: usize::MAX }));
            }
            assert_eq!(prefix.header_included().next_frame(&header(prefix, u64::MAX)), Ok(None));
        }
    }
}
