//! The old process' end: a server on shard 0 that gives a successor the sockets and waits until that serves.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use pants_engine::{Acceptor, Address, Connection, Endpoint, Handler, ServerOptions};

use super::wire;
use crate::error::{Error, Result};
use crate::listener::{Declared, servers};
use crate::shard::{Local, Shard};
use crate::shutdown::Stage;

/// How long connections go on as before when a successor accepts: those that were accepted last have yet to say what they
/// want, and a drain would end them as idle.
const GRACE: Duration = Duration::from_secs(1);

/// How long a successor may take from being given the sockets until it serves. One that hangs does not keep others from
/// coming.
const PATIENCE: Duration = Duration::from_secs(60);

/// Addresses that a successor may name; it can take no more than it was given.
const TAKEN_MAX: usize = 1 << 16;

/// Declares the server at which a successor asks for the sockets.
///
/// # Errors
///
/// If it cannot be bound at `path`.
pub(crate) fn offer(shard: &mut Shard<'_>, path: &Path) -> Result<()> {
    offer_for(shard, path, PATIENCE)
}

fn offer_for(shard: &mut Shard<'_>, path: &Path, patience: Duration) -> Result<()> {
    let failed = |source| Error::Handover { path: path.to_owned(), source };
    let local = Rc::clone(shard.local());
    let acceptor = Offer { local: Rc::clone(&local), patience };
    servers::declare_private(shard, Address::Path(path.to_owned()), ServerOptions::default(), acceptor)?;
    // It does not listen yet, so nobody has come in before.
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(())
}

/// Lets one successor in at a time: two would both serve.
struct Offer {
    local: Rc<Local>,
    patience: Duration,
}

/// A process that has been given the sockets, and does not serve yet.
struct Successor {
    local: Rc<Local>,
    patience: Duration,
    taken: Vec<Declared>,
    /// It may still come to serve.
    is_awaited: bool,
}

impl Acceptor for Offer {
    type Handler = Successor;

    fn on_accept(&mut self, _peer: Endpoint) -> Option<Successor> {
        let Self { local, patience } = self;
        let successor =
            || Successor { local: Rc::clone(local), patience: *patience, taken: Vec::new(), is_awaited: true };
        local.groups.begin_offer().then(successor)
    }
}

impl Successor {
    fn hand_over(&self, connection: &mut Connection<'_>) -> io::Result<()> {
        let own = rustix::process::geteuid().as_raw();
        if connection.peer_credentials().is_none_or(|peer| peer.uid != own && peer.uid != 0) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is another user's"));
        }
        let socket = connection.socket().ok_or(io::ErrorKind::NotConnected)?;
        self.local.groups.offer(|offered| wire::send(socket, offered))
    }

    /// This process serves on, and another may take over. One that ends already lets nobody else in, and leaves what it has lent.
    fn give_up(&mut self) {
        if std::mem::take(&mut self.is_awaited) && self.local.shutdown.stage() == Stage::Serving {
            self.local.groups.end_offer();
        }
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
            return connection.abort();
        }
        connection.defer(self.patience, |successor: &mut Self, connection| {
            tracing::warn!("a process that was given the listening sockets does not come to serve; this one serves on");
            connection.write(wire::LATE.as_bytes());
            connection.close();
            // One that hangs does not close its end either.
            successor.give_up();
        });
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
}

impl Drop for Successor {
    fn drop(&mut self) {
        // Without its word, whatever became of it.
        self.give_up();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::{Config, Runtime, Shards};

    #[test]
    fn a_successor_that_hangs_is_told_that_it_is_late_and_another_may_come() {
        let path = std::env::temp_dir().join(format!("pants-offer-{}", std::process::id()));
        let config = Config::builder().shards("1".parse::<Shards>().unwrap()).pin(false).build().unwrap();
        let place = path.clone();
        let set_up = move |shard: &mut Shard<'_>| offer_for(shard, &place, Duration::from_millis(100));
        let running = Runtime::new(config).unwrap().start(set_up).unwrap();
        let mut hung = Vec::new();
        for _ in 0..3 {
            let mut hanging = UnixStream::connect(&path).unwrap();
            hanging.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            assert_eq!(wire::receive(hanging.as_fd()).unwrap().len(), 1);
            let mut said = String::new();
            hanging.read_to_string(&mut said).unwrap();
            assert_eq!(said, wire::LATE);
            // Nobody listens to it any more, and it keeps nobody out.
            let _ = hanging.write_all(wire::READY.as_bytes());
            hung.push(hanging);
        }
        assert_eq!(running.addresses().len(), 0);
        assert!(UnixStream::connect(&path).is_ok());
        running.stop();
        running.join().unwrap();
    }
}
