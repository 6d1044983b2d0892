//! What a service manager is told: that the program serves, and that it ends (sd_notify(3)).

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// How long a service manager may take to make room for what it is told: the program must not hang for it.
const PATIENCE: Duration = Duration::from_secs(1);

/// The program serves from now on, in this process: where another one has handed over to it, it is the new main process.
///
/// # Errors
///
/// If there is somebody to tell who cannot be told.
pub fn ready() -> io::Result<()> {
    tell(&format!("READY=1\nMAINPID={}", std::process::id()))
}

/// The program is on its way out.
///
/// # Errors
///
/// As [`ready`].
pub fn stopping() -> io::Result<()> {
    tell("STOPPING=1")
}

/// Sends `state` to the socket that `NOTIFY_SOCKET` names: a path, or an abstract name after an `@`. Without it nobody asks.
fn tell(state: &str) -> io::Result<()> {
    match env::var_os("NOTIFY_SOCKET") {
        Some(name) => send(&address(&name)?, state),
        None => Ok(()),
    }
}

fn send(manager: &SocketAddr, state: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.send_to_addr(state.as_bytes(), manager).map(drop)
}

fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_manager_that_does_not_listen_keeps_nobody() {
        let name = SocketAddr::from_abstract_name(format!("pants-deaf-{}", std::process::id())).unwrap();
        let _deaf = UnixDatagram::bind_addr(&name).unwrap();
        let filler = UnixDatagram::unbound().unwrap();
        filler.set_nonblocking(true).unwrap();
        while filler.send_to_addr(b"READY=1", &name).is_ok() {}
        assert_eq!(send(&name, "STOPPING=1").unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
