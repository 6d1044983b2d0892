//! `echo`: what comes goes back.

use crate::stream::{BUFFER, Stream};

/// Echoes what is there.
#[inline]
pub(crate) fn handle(stream: &mut Stream, buffer: &mut [u8; BUFFER]) -> Option<()> {
    if !stream.send_unsent()? {
        return Some(());
    }
    loop {
        let count = stream.receive(buffer)?;
        // After a short read the socket is empty, and after a short write full; it says when it no longer is.
        if count == 0 || !stream.send(&buffer[..count])? || count < BUFFER {
            return Some(());
        }
    }
}
