//! How long messages are.

use std::fmt;
use std::str::FromStr;

use crate::plan::SIZE_MAX;
use crate::units;

/// How many bytes each message has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizes(usize);

impl Sizes {
    /// All messages of this many bytes: 1 to [`SIZE_MAX`].
    pub fn fixed(size: usize) -> Self {
        Self(size)
    }

    /// The bytes of the message of this number on a connection.
    #[inline]
    pub fn of(&self, _connection: u64, _number: u64) -> usize {
        self.0
    }

    /// The most bytes that a message has.
    pub fn max(&self) -> usize {
        self.0
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", units::bytes(self.0 as u64))
    }
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = units::parse_size(text)?;
        let size = usize::try_from(bytes).ok().filter(|size| (1..=SIZE_MAX).contains(size));
        size.map(Self).ok_or_else(|| format!("must be 1 to {SIZE_MAX} bytes"))
    }
}
