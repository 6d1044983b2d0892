//! The signals that end a server: the first drains it, the second ends it at once.

use std::io;
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Signals that are caught from now on, and acted on once there is something to stop.
#[derive(Debug)]
pub struct Stopper(Signals);

impl Stopper {
    /// Catches SIGINT and SIGTERM.
    ///
    /// # Errors
    ///
    /// If the operating system refuses the handlers.
    pub fn install() -> io::Result<Self> {
        Ok(Self(Signals::new([SIGINT, SIGTERM])?))
    }

    /// Has the first signal call `drain`, and the second end the process with 128 plus its number, as a shell would report it.
    ///
    /// # Errors
    ///
    /// If the thread that waits for signals cannot be started.
    pub fn drain_on_signal(mut self, drain: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let wait = move || {
            let mut drain = Some(drain);
            for signal in self.0.forever() {
                match drain.take() {
                    Some(drain) => drain(),
                    None => std::process::exit(128 + signal),
                }
            }
        };
        thread::Builder::new().name("signals".into()).spawn(wait).map(drop)
    }
}
