//! The new process' end: what it is given, and the word that it serves.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::sockopt::socket_peercred;

use super::wire;
use crate::error::{Error, Result};
use crate::listener::Declared;
use crate::listener::given::Given;

/// How long a predecessor may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The process that serves until this one does.
#[derive(Debug)]
pub(crate) struct Predecessor(UnixStream);

impl Predecessor {
    /// Looks for one at `path`, and for what it leaves.
    ///
    /// # Errors
    ///
    /// If there is one and it does not hand over, or it is another user's.
    pub(crate) fn find(path: &Path) -> Result<Option<(Self, Vec<Given>)>> {
        let failed = |source| Error::Handover { path: path.to_owned(), source };
        let stream = match UnixStream::connect(path) {
            Ok(stream) => stream,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(error) => return Err(failed(error)),
        };
        let given = Self::receive(&stream).map_err(failed)?;
        Ok(Some((Self(stream), given)))
    }

    fn receive(stream: &UnixStream) -> io::Result<Vec<Given>> {
        let peer = socket_peercred(stream)?.uid;
        if !peer.is_root() && peer != rustix::process::geteuid() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "what is there is another user's"));
        }
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        wire::receive(stream.as_fd())
    }

    /// Has it stop accepting, and drain: this process serves at these addresses.
    pub(crate) fn relieve(mut self, taken: &[Declared]) {
        let text: String = taken.iter().map(|declared| wire::line("taken", declared)).collect();
        if let Err(error) = self.0.write_all((text + wire::READY).as_bytes()) {
            // It has ended on its own: then it accepts no more either.
            tracing::warn!("the process that served before has gone already: {error}");
        }
    }
}
