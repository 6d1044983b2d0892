//! The signals that end a run: the first has it report what was measured so far, the second ends it at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::server;

/// Has the first SIGINT, SIGTERM or SIGHUP set `interrupted`, and the second end the process with 128 plus its number, as a
/// shell would report it. What the process has started for its run ends with it.
///
/// # Errors
///
/// If the operating system refuses the handlers or the thread that waits for signals.
pub fn watch(interrupted: Arc<AtomicBool>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let wait = move || {
        for signal in signals.forever() {
            if interrupted.swap(true, Ordering::AcqRel) {
                server::end_all();
                std::process::exit(128 + signal);
            }
        }
    };
    thread::Builder::new().name("signals".into()).spawn(wait).map(drop)
}
