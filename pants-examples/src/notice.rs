//! What a service manager is told: that the program serves, and that it ends (sd_notify(3)).

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

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
        Some(name) => UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address(&name)?).map(drop),
        None => Ok(()),
    }
}

fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(name),
    }
}
