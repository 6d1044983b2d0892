//! One listening socket: when it may accept, and what it does when descriptors run out. No callbacks.

use std::fs::File;
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;

use crate::clock::Tick;
use crate::limits;
use crate::net::endpoint::Endpoint;
use crate::net::socket::{Bound, Socket};
use crate::net::unix::SocketFile;
use crate::options::{ConnectionOptions, ServerOptions};

#[derive(Debug)]
pub(crate) struct Server {
    /// A Unix socket's, which goes with the server. Before `socket`, as [`SocketFile`] wants it.
    pub(crate) file: Option<SocketFile>,
    pub(crate) socket: Socket,
    pub(crate) address: Endpoint,
    pub(crate) options: ServerOptions,
    /// Shared by all its connections.
    pub(crate) connection_options: Rc<ConnectionOptions>,
    /// Its connections that are open now.
    pub(crate) connections: usize,
    /// Listening and registered.
    pub(crate) open: bool,
    /// It accepts nothing itself.
    pub(crate) passive: bool,
    /// The acceptor has been told that it listens.
    pub(crate) announced: bool,
    /// The kernel may hold connections, and no event need tell of them: one has, and `accept` has not done since what it was to.
    pub(crate) ready: bool,
    /// Registered for events. Invariant: of an open server that accepts, the opposite of `ready` between its drives, or the event
    /// of those that have to wait would come in every turn.
    watched: bool,
    /// Descriptors have run out; a timer ends the pause.
    pub(crate) paused: bool,
    /// Closes when what is queued has been accepted.
    pub(crate) retiring: bool,
    /// The turn in which the kernel last said that connections wait.
    told: u64,
    /// It has said so in two turns on end.
    insists: bool,
    shortage: Shortage,
}

/// What a server remembers of a shortage of descriptors.
#[derive(Debug, Default)]
struct Shortage {
    since: Option<Tick>,
    pause: Duration,
    /// Given up for a moment to turn a waiting connection away, when the table is full for long.
    spare: Option<File>,
    logged: Option<Tick>,
}

/// What an `accept` brought.
#[derive(Debug)]
pub(crate) enum Accepted {
    Connection(Socket, Endpoint),
    /// The queue is empty.
    Nothing,
    /// This one was lost; the next may do.
    Lost(Errno),
    /// The process, or the system, is out of descriptors or memory, or there is another reason why the next attempt would
    /// fail like this one.
    Exhausted(Errno),
}

impl Server {
    pub(crate) fn new(bound: Bound, options: ServerOptions) -> Self {
        let Bound { socket, local: address, file } = bound;
        let connection_options = Rc::new(options.connection.clone());
        let shortage = Shortage { spare: open_spare(), ..Shortage::default() };
        Self {
            file,
            socket,
            address,
            options,
            connection_options,
            connections: 0,
            open: false,
            passive: false,
            announced: false,
            ready: false,
            watched: true,
            paused: false,
            retiring: false,
            told: 0,
            insists: false,
            shortage,
        }
    }

    /// The kernel says that connections wait, though not how many.
    ///
    /// An `accept` in vain costs as much as one that succeeds. So one connection is taken; and all of them if the kernel says the
    /// same again in the next turn.
    pub(crate) fn handle_event(&mut self, turn: u64) {
        self.ready = true;
        self.insists = turn - self.told == 1;
        self.told = turn;
    }

    /// Between drives: whether events are wanted, if that has changed.
    pub(crate) fn take_watch(&mut self) -> Option<bool> {
        let changes = self.open && !self.passive && self.watched == self.ready;
        changes.then(|| {
            self.watched = !self.ready;
            self.watched
        })
    }

    /// Whether another connection could be accepted now.
    pub(crate) fn can_accept(&self) -> bool {
        self.open && self.ready && !self.passive && !self.paused
    }

    /// Whether it has as many connections as it may have.
    pub(crate) fn is_full(&self) -> bool {
        self.options.max_connections.is_some_and(|max| self.connections >= max)
    }

    /// Takes a connection off the kernel's queue. `all` are taken where no event will tell of those that are left.
    pub(crate) fn accept(&mut self, all: bool) -> Accepted {
        match self.socket.accept() {
            Ok((socket, peer)) => {
                self.ready = all || self.insists;
                if self.shortage.since.take().is_some() && self.shortage.spare.is_none() {
                    self.shortage.spare = open_spare();
                }
                Accepted::Connection(socket, peer)
            }
            Err(Errno::AGAIN) => {
                self.ready = false;
                Accepted::Nothing
            }
            Err(errno) if is_passing(errno) => Accepted::Lost(errno),
            Err(errno) => Accepted::Exhausted(errno),
        }
    }

    /// Descriptors have run out: how long to pause before the next attempt.
    ///
    /// Meanwhile nobody watches the socket, which would be ready all the time: the server does not spin on a queue that it cannot
    /// empty.
    pub(crate) fn handle_shortage(&mut self, now: Tick) -> Duration {
        self.paused = true;
        let shortage = &mut self.shortage;
        if shortage.since.is_none() {
            shortage.since = Some(now);
            shortage.pause = limits::ACCEPT_PAUSE_MIN;
        } else {
            shortage.pause = (shortage.pause * 2).min(limits::ACCEPT_PAUSE_MAX);
        }
        shortage.pause
    }

    /// When the shortage has lasted, turns one waiting connection away, so that it need not wait for its own timeout.
    /// Returns whether one was.
    pub(crate) fn turn_one_away(&mut self, now: Tick) -> bool {
        let Some(since) = self.shortage.since else { return false };
        if now < since.after(limits::ACCEPT_PAUSE_MAX) {
            return false;
        }
        let spare = self.shortage.spare.take().or_else(open_spare);
        if spare.is_none() {
            return false;
        }
        drop(spare);
        let turned_away = self.socket.accept().is_ok();
        self.shortage.spare = open_spare();
        turned_away
    }

    /// Whether to log a complaint now: at most once in [`limits::LOG_INTERVAL`].
    pub(crate) fn may_log(&mut self, now: Tick) -> bool {
        let may = self.shortage.logged.is_none_or(|last| now >= last.after(limits::LOG_INTERVAL));
        if may {
            self.shortage.logged = Some(now);
        }
        may
    }
}

/// Whether an error concerns one connection: it was aborted while it waited, or its network failed; accept(2) lists them
/// and says to try again.
fn is_passing(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::CONNABORTED
            | Errno::INTR
            | Errno::PERM
            | Errno::PROTO
            | Errno::NOPROTOOPT
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::NONET
            | Errno::OPNOTSUPP
    )
}

fn open_spare() -> Option<File> {
    File::open("/dev/null").ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Over loopback the kernel gives none of them: there a connection that was reset while it waited is accepted all the same.
    #[test]
    fn what_concerns_one_connection_is_no_shortage() {
        for errno in [Errno::CONNABORTED, Errno::INTR, Errno::PERM, Errno::PROTO, Errno::HOSTUNREACH, Errno::NETDOWN] {
            assert!(is_passing(errno), "{errno}");
        }
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
            assert!(!is_passing(errno), "{errno}");
        }
    }
}
