//! What one connection says, and where each reply to it ends. Pure: bytes in, bytes out.

pub mod bytes;
pub mod chunked;
pub mod echo;
pub mod http;
pub mod lines;
pub mod pattern;
pub mod raw;

use crate::count::failure::Kind;
use crate::plan::sizes::Sizes;

/// One connection's side of a protocol: the bytes of its requests, and what the bytes that come back are.
///
/// Requests have numbers from 0 on, and are answered in their order.
pub trait Protocol: 'static {
    /// The bytes of the request of this number; they are asked for once, in order.
    fn request(&mut self, number: u64) -> &[u8];

    /// Takes bytes that have come back for the request of this number; `data` is not empty.
    ///
    /// # Errors
    ///
    /// If they cannot be any reply, so that nothing after them can be understood.
    fn take(&mut self, number: u64, data: &[u8]) -> Result<Taken, Fault>;

    /// Takes note that the server has sent its end while the request of this number waits for its reply. What the reply was,
    /// if it is one that ends so.
    fn take_end(&mut self, number: u64) -> Option<Verdict> {
        let _ = number;
        None
    }
}

/// What is spoken with the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Language {
    /// Every byte comes back as it was sent.
    Echo,
    /// The same GET again and again.
    Http(http::Get),
    /// A line for a line.
    Lines,
    /// The same bytes again and again.
    Raw(raw::Exchange),
}

impl Language {
    /// What a report calls it, and the command line.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Http(_) => "http",
            Self::Lines => "lines",
            Self::Raw(_) => "raw",
        }
    }

    /// What is sent, where that is always the same.
    pub fn request(&self) -> Option<&[u8]> {
        match self {
            Self::Echo | Self::Lines => None,
            Self::Http(get) => Some(get.bytes()),
            Self::Raw(exchange) => Some(&exchange.request),
        }
    }

    /// The most bytes of a request whose size, where the language has sizes, is of these.
    pub fn request_max(&self, sizes: &Sizes) -> usize {
        self.request().map_or_else(|| sizes.max(), <[u8]>::len)
    }
}

/// What became of some bytes that have come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// How many of them belong to this reply. All of them if it is not complete; none only if it is complete without them.
    pub used: usize,
    /// What the reply was, if it is complete now.
    pub reply: Option<Verdict>,
}

/// What a complete reply was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// How many of its bytes are wrong.
    pub wrong_bytes: u64,
    /// The status by which the server says that it failed, such as one of HTTP from 400 on; it counts as [`Kind::Status`].
    pub status: Option<u16>,
    /// Whether the server has said that it closes the connection behind this reply.
    pub last: bool,
}

/// Bytes that are no reply: the connection is of no more use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// How it counts.
    pub kind: Kind,
    /// What was wrong, for people.
    pub detail: String,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What a protocol made of what it heard.
    #[derive(Debug, Default, PartialEq, Eq)]
    pub(crate) struct Heard {
        pub(crate) verdicts: Vec<Verdict>,
        /// Whether the last reply was complete when there was no more.
        pub(crate) is_between: bool,
        pub(crate) fault: Option<Fault>,
    }

    /// Lets a protocol hear replies that come whole.
    pub(crate) fn hear(protocol: impl Protocol, data: &[u8]) -> Heard {
        hear_in_pieces(protocol, data, &[data.len().max(1)])
    }

    /// Lets a protocol hear replies in pieces of these lengths, again and again; and checks that it keeps to its trait.
    pub(crate) fn hear_in_pieces(mut protocol: impl Protocol, mut data: &[u8], cuts: &[usize]) -> Heard {
        let mut heard = Heard { is_between: true, ..Heard::default() };
        for cut in cuts.iter().cycle() {
            let (mut piece, rest) = data.split_at(data.len().min(*cut));
            while !piece.is_empty() {
                let taken = match protocol.take(heard.verdicts.len() as u64, piece) {
                    Ok(taken) => taken,
                    Err(fault) => return Heard { fault: Some(fault), ..heard },
                };
                assert!(taken.reply.is_some() || taken.used == piece.len(), "an incomplete reply takes all");
                piece = &piece[taken.used..];
                heard.is_between = taken.reply.is_some();
                heard.verdicts.extend(taken.reply);
            }
            data = rest;
            if data.is_empty() {
                break;
            }
        }
        heard
    }
}
