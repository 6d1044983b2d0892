//! The old process' end: a server on shard 0 that gives a successor the sockets and waits until that serves.

use std::cell::Cell;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use pants_engine::{Acceptor, Address, CloseReason, Connection, Endpoint, Handler, ServerOptions};

use super::wire;
use crate::error::{Error, Result};
use crate::listener::{Declared, servers};
use crate::shard::{Local, Shard};
use crate::shutdown::Stage;

/// How long connections go on as before when a successor accepts: those that were accepted last have yet to say what they
/// want, and a drain would end them as idle.
const GRACE: Duration = Duration::from_secs(1);

/// Addresses that a successor may name; it can take no more than it was given.
const TAKEN_MAX: usize = 1 << 16;

/// Declares the server at which a successor asks for the sockets.
///
/// # Errors
///
/// If it cannot be bound at `path`.
pub(crate) fn offer(shard: &mut Shard<'_>, path: &Path) -> Result<()> {
    let failed = |source| Error::Handover { path: path.to_owned(), source };
    let local = Rc::clone(shard.local());
    let acceptor = Offer { local: Rc::clone(&local), is_taken: Rc::default() };
    servers::declare_private(shard, Address::Path(path.to_owned()), ServerOptions::default(), acceptor)?;
    // It does not listen yet, so nobody has come in before.
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(())
}

/// Lets one successor in at a time: two would both serve.
struct Offer {
    local: Rc<Local>,
    is_taken: Rc<Cell<bool>>,
}

/// A process that has been given the sockets, and does not serve yet.
struct Successor {
    local: Rc<Local>,
    is_taken: Rc<Cell<bool>>,
    taken: Vec<Declared>,
}

impl Acceptor for Offer {
    type Handler = Successor;

    fn on_accept(&mut self, _peer: Endpoint) -> Option<Successor> {
        let is_free = !self.is_taken.replace(true);
        let (local, is_taken) = (Rc::clone(&self.local), Rc::clone(&self.is_taken));
        is_free.then_some(Successor { local, is_taken, taken: Vec::new() })
    }
}

impl Successor {
    fn hand_over(&self, connection: &Connection<'_>) -> io::Result<()> {
        let own = rustix::process::geteuid().as_raw();
        if connection.peer_credentials().is_none_or(|peer| peer.uid != own && peer.uid != 0) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is another user's"));
        }
        let socket = connection.socket().ok_or(io::ErrorKind::NotConnected)?;
        self.local.groups.offer(|offered| wire::send(socket, offered))
    }

    /// The successor accepts: every shard stops, and after a while the runtime drains.
    fn yield_to(&mut self, connection: &mut Connection<'_>) {
        tracing::info!("another process has taken over the listening sockets; this one drains");
        self.local.groups.yield_to_successor(&self.taken);
        self.local.shutdown.advance(Stage::Yielding);
        let shutdown = Arc::clone(&self.local.shutdown);
        connection.context().defer(GRACE, move |_context| shutdown.advance(Stage::Draining));
        connection.close();
    }
}

impl Handler for Successor {
    fn on_connect(&mut self, connection: &mut Connection<'_>) {
        connection.set_delimiter("\n");
        if let Err(error) = self.hand_over(connection) {
            tracing::warn!("the listening sockets could not be handed over: {error}");
            connection.abort();
        }
    }

    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        let line = String::from_utf8_lossy(data);
        if let Some(declared) = wire::parse_line("taken", line.trim_end_matches('\n')) {
            self.taken.push(declared);
        } else if wire::READY.trim_end() == line.trim_end() {
            return self.yield_to(connection);
        }
        if self.taken.len() > TAKEN_MAX {
            connection.abort();
        }
    }

    fn on_close(&mut self, _connection: &mut Connection<'_>, _reason: CloseReason) {
        // Without its word, whatever became of it: this process serves on.
        self.is_taken.set(false);
    }
}
