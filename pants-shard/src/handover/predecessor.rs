//! The new process' end: what it is given, and the word that it serves.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
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
pub(crate) struct Predecessor {
    stream: UnixStream,
    path: PathBuf,
}

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
        let given = Self::receive(&stream).map_err(|error| failed(told(error)))?;
        Ok(Some((Self { stream, path: path.to_owned() }, given)))
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
    ///
    /// # Errors
    ///
    /// If it waits no more: then it serves on.
    pub(crate) fn relieve(self, taken: &[Declared]) -> Result<()> {
        let Self { mut stream, path } = self;
        let text: String = taken.iter().map(|declared| wire::line("taken", declared)).collect();
        let said = stream.write_all((text + wire::READY).as_bytes());
        // What it has said before it closed its end is there still.
        let mut answer = Vec::new();
        let heard = stream.take(wire::LATE.len() as u64).read_to_end(&mut answer);
        if answer == wire::LATE.as_bytes() {
            let source = io::Error::new(io::ErrorKind::TimedOut, "the process there waits no more, and serves on");
            return Err(Error::Handover { path, source });
        }
        if let Err(error) = said.and(heard) {
            // It has ended on its own, and accepts no more either; or it stalls, and will read what was said to it.
            tracing::warn!("the process that served before does not answer: {}", told(error));
        }
        Ok(())
    }
}

/// What an error says to a user.
fn told(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::Error::new(io::ErrorKind::TimedOut, "the process there does not answer"),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;
    use crate::listener::Offered;
    use crate::listener::given::Kind;
    use crate::{Config, Runtime, Shards};

    #[test]
    fn whoever_comes_too_late_gives_back_what_it_was_given() {
        let path = std::env::temp_dir().join(format!("pants-late-{}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let declared = Declared { address: path.display().to_string(), nth: 0, private: true };
        let old = listener.try_clone().unwrap();
        let impatient = thread::spawn(move || {
            let mut stream = old.accept().unwrap().0;
            wire::send(stream.as_fd(), &[Offered { kind: Kind::Socket, declared, fd: old.as_fd() }]).unwrap();
            let mut said = Vec::new();
            while !said.ends_with(wire::READY.as_bytes()) {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                said.push(byte[0]);
            }
            stream.write_all(wire::LATE.as_bytes()).unwrap();
        });
        let config = Config::builder().shards("2".parse::<Shards>().unwrap()).pin(false).build().unwrap();
        let late = Runtime::new(config).unwrap().handover(&path).start(|_shard| Ok(()));
        let error = late.map(drop).unwrap_err();
        assert!(error.to_string().ends_with("waits no more, and serves on"), "{error}");
        impatient.join().unwrap();
        // The old process has lost nothing.
        let next = UnixStream::connect(&path).unwrap();
        listener.accept().unwrap();
        drop(next);
        std::fs::remove_file(&path).unwrap();
    }
}
