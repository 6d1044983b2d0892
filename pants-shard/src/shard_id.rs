//! Which shard: a number from 0 on.

use std::fmt;

/// Names one shard of a runtime. Its display is the name of its thread: `shard-0`, `shard-1`, and so on.
///
/// # Examples
///
/// ```
/// assert_eq!(pants_shard::ShardId::new(1).to_string(), "shard-1");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(usize);

impl ShardId {
    /// The shard with this index. Whether a runtime has it shows when it is used.
    pub const fn new(index: usize) -> Self {
        Self(index)
    }

    /// Its index, from 0 on.
    pub const fn index(self) -> usize {
        self.0
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard-{}", self.0)
    }
}
