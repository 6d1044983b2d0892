//! The seam between a stream and its socket: what turns the handler's bytes into the socket's.
//!
//! There is one transport now, plain bytes. TLS will be the second; a stream calls nothing of its socket but this.

use std::io::IoSlice;

use rustix::io::Errno;

use crate::buffer::write::FilePiece;
use crate::net::socket::Socket;

#[derive(Debug)]
pub(crate) enum Transport {
    /// The handler's bytes are the socket's.
    Plain(Socket),
}

impl Transport {
    #[inline(always)]
    pub(crate) fn recv(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Plain(socket) => socket.recv(buffer),
        }
    }

    #[inline(always)]
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        match self {
            Self::Plain(socket) => socket.send(bytes),
        }
    }

    pub(crate) fn send_vectored(&mut self, slices: &[IoSlice<'_>]) -> Result<usize, Errno> {
        match self {
            Self::Plain(socket) => socket.send_vectored(slices),
        }
    }

    /// Sends at most `most` bytes of a piece of a file.
    pub(crate) fn send_file(&mut self, piece: &FilePiece, most: usize) -> Result<usize, Errno> {
        match self {
            Self::Plain(socket) => socket.send_file(piece, most),
        }
    }

    /// Tells the peer that no more bytes will come.
    pub(crate) fn shutdown_write(&mut self) -> Result<(), Errno> {
        match self {
            Self::Plain(socket) => socket.shutdown_write(),
        }
    }

    pub(crate) fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
        }
    }
}
