//! How descriptors pass from one process to the next: a line of text for each, which says what it is (`SCM_RIGHTS`, unix(7)).
//!
//! The old process sends `pants-handover 1`, then lines such as `socket 0 127.0.0.1:4040` with a descriptor each, then `end`.
//! What is one shard's alone has the word `private` before its number. The new one answers, when it serves, with lines such as
//! `taken 0 127.0.0.1:4040` and then `ready`. Then the old one closes the connection, or, if it has waited too long, says `late`.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::retry_on_intr;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use crate::listener::given::{Given, Kind, Name};
use crate::listener::{Declared, Offered};

pub(super) const HELLO: &str = "pants-handover 1\n";
pub(super) const END: &str = "end\n";
pub(super) const READY: &str = "ready\n";
pub(super) const LATE: &str = "late\n";

const PRIVATE: &str = "private ";

/// Descriptors in one message; the kernel takes 253 (`SCM_MAX_FD`).
const BATCH_MAX: usize = 64;

/// What a predecessor may say, in bytes: more than the descriptors of a process have need of.
const TEXT_MAX: usize = 1 << 20;

/// Sends all of it at once. What does not fit into the socket's buffer, some thousand descriptors, is an error.
pub(super) fn send(socket: BorrowedFd<'_>, offered: &[Offered<'_>]) -> io::Result<()> {
    send_message(socket, HELLO, &[])?;
    for batch in offered.chunks(BATCH_MAX) {
        let text: String = batch.iter().map(|one| line(one.kind.word(), &one.declared)).collect();
        let descriptors: Vec<_> = batch.iter().map(|one| one.fd).collect();
        send_message(socket, &text, &descriptors)?;
    }
    send_message(socket, END, &[])
}

fn send_message(socket: BorrowedFd<'_>, text: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    let sent = sendmsg(socket, &[IoSlice::new(text.as_bytes())], &mut control, SendFlags::NOSIGNAL)?;
    if sent < text.len() { Err(io::ErrorKind::WriteZero.into()) } else { Ok(()) }
}

/// Receives all that [`send`] sends.
///
/// # Errors
///
/// If it is something else, comes to an end before its end, or there are no descriptors left.
pub(super) fn receive(socket: BorrowedFd<'_>) -> io::Result<Vec<Given>> {
    let (mut text, mut descriptors) = (Vec::new(), Vec::new());
    while !text.ends_with(END.as_bytes()) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut buffer = [0; 4096];
        // A socket with a timeout does not go on of itself after a signal (signal(7)).
        let received = retry_on_intr(|| {
            recvmsg(socket, &mut [IoSliceMut::new(&mut buffer)], &mut control, RecvFlags::CMSG_CLOEXEC)
        })?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                descriptors.extend(fds);
            }
        }
        if received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(io::Error::other("this process has no descriptors left"));
        }
        if received.bytes == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it has refused, or another takes over just now"));
        }
        text.extend_from_slice(&buffer[..received.bytes]);
        if text.len() > TEXT_MAX {
            return Err(unknown());
        }
    }
    let text = String::from_utf8(text).map_err(|_| unknown())?;
    parse(&text, descriptors).ok_or_else(unknown)
}

fn unknown() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "what is there is no predecessor of this program")
}

/// What a line says of a declaration.
pub(super) fn line(word: &str, Declared { address, nth, private }: &Declared) -> String {
    format!("{word} {}{nth} {address}\n", if *private { PRIVATE } else { "" })
}

/// The declaration of a line that begins with `word`.
pub(super) fn parse_line(word: &str, line: &str) -> Option<Declared> {
    let name = line.strip_prefix(word)?.strip_prefix(' ')?;
    let private = name.strip_prefix(PRIVATE);
    let (nth, address) = private.unwrap_or(name).split_once(' ')?;
    Some(Declared { address: address.to_owned(), nth: nth.parse().ok()?, private: private.is_some() })
}

fn parse(text: &str, descriptors: Vec<OwnedFd>) -> Option<Vec<Given>> {
    let lines: Vec<&str> = text.strip_prefix(HELLO)?.strip_suffix(END)?.lines().collect();
    if lines.len() != descriptors.len() {
        return None;
    }
    let mut all = Vec::new();
    for (line, descriptor) in lines.into_iter().zip(descriptors) {
        let said = |kind: Kind| Some((kind, parse_line(kind.word(), line)?));
        let (kind, declared) = [Kind::Socket, Kind::Borrowed, Kind::Claim].into_iter().find_map(said)?;
        let given = Given::entry(&mut all, Name::Declared(declared));
        match kind {
            Kind::Claim => given.claim = Some(descriptor),
            Kind::Socket | Kind::Borrowed => given.sockets.push(descriptor),
        }
        given.borrowed |= kind == Kind::Borrowed;
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn declared(address: &str, nth: usize) -> Declared {
        Declared { address: address.to_owned(), nth, private: nth % 2 == 1 }
    }

    #[test]
    fn what_is_sent_is_received_however_many_there_are() {
        for count in [0, 1, BATCH_MAX, 3 * BATCH_MAX + 1] {
            let (one, other) = UnixStream::pair().unwrap();
            let offered: Vec<_> = (0..count)
                .map(|nth| Offered { kind: Kind::Socket, declared: declared("/run/a b", nth / 2), fd: one.as_fd() })
                .collect();
            send(one.as_fd(), &offered).unwrap();
            let given = receive(other.as_fd()).unwrap();
            assert_eq!(given.iter().map(|given| given.sockets.len()).sum::<usize>(), count);
            for (index, given) in given.iter().enumerate() {
                assert_eq!(given.name, Name::Declared(declared("/run/a b", index)));
            }
        }
    }

    #[test]
    fn a_claim_and_a_socket_of_somebody_else_are_told_apart() {
        let (one, other) = UnixStream::pair().unwrap();
        let offer = |kind| Offered { kind, declared: declared("4040", 0), fd: one.as_fd() };
        send(one.as_fd(), &[offer(Kind::Claim), offer(Kind::Borrowed)]).unwrap();
        let given = receive(other.as_fd()).unwrap();
        assert!(given.len() == 1 && given[0].sockets.len() == 1 && given[0].claim.is_some() && given[0].borrowed);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in ["", "pants-handover 2\nend\n", "pants-handover 1\nsocket 0 4040\nend\n", "HTTP/1.1 400\r\n"] {
            let (one, other) = UnixStream::pair().unwrap();
            if !text.is_empty() {
                send_message(one.as_fd(), text, &[]).unwrap();
            }
            drop(one);
            assert!(receive(other.as_fd()).is_err(), "{text}");
        }
    }
}
