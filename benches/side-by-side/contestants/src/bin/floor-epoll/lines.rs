//! `lines`: a line goes back when it is whole.

use std::hint::black_box;

use memchr::memchr_iter;

use crate::stream::{BUFFER, Stream};

/// Echoes the lines that what is there makes whole. A line longer than the buffer closes the connection.
#[inline]
pub(crate) fn handle(stream: &mut Stream, buffer: &mut [u8; BUFFER]) -> Option<()> {
    if !stream.send_unsent()? {
        return Some(());
    }
    loop {
        // The line that has begun is put before what comes.
        let begun = stream.line.len();
        if begun > 0 {
            buffer[..begun].copy_from_slice(&stream.line);
            stream.line.clear();
        }
        let count = stream.receive(&mut buffer[begun..])?;
        let end = begun + count;
        let whole = frame(&buffer[..end]);
        if whole < end {
            stream.line.extend_from_slice(&buffer[whole..end]);
        }
        if whole == 0 && end == BUFFER {
            return None;
        }
        if whole > 0 && !stream.send(&buffer[..whole])? || end < BUFFER {
            return Some(());
        }
    }
}

/// Gives every whole line, without its end, to the program's own code, and returns how many bytes all of them take.
#[inline]
fn frame(bytes: &[u8]) -> usize {
    let mut start = 0;
    for end in memchr_iter(b'\n', bytes) {
        black_box(&bytes[start..end]);
        start = end + 1;
    }
    start
}
