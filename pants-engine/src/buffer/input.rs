//! The read buffer: what every connection's input comes into, one for the whole engine.

use std::ops::{Deref, DerefMut};

use crate::limits::READ_BUFFER_BYTES;

/// Aligned to a page: the kernel copies to a place that is not aligned to a cache line more slowly, on some CPUs at half the
/// speed.
#[repr(align(4096))]
pub(crate) struct ReadBuffer([u8; READ_BUFFER_BYTES]);

impl ReadBuffer {
    pub(crate) fn new() -> Box<Self> {
        Box::new(Self([0; READ_BUFFER_BYTES]))
    }
}

impl Deref for ReadBuffer {
    type Target = [u8; READ_BUFFER_BYTES];

    #[inline(always)]
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for ReadBuffer {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}
