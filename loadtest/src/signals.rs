//! The signals that end a run: the first has it report what was measured so far, the second ends it at once.

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::{proc, server};

/// Has the first SIGINT, SIGTERM or SIGHUP set `interrupted`, and the second, or the first SIGQUIT, end the process with 128
/// plus its number, as a shell would report it. What the process has started for its run ends with it. A SIGHUP that is ignored, as by nohup(1),
/// stays so.
///
/// # Errors
///
/// If the operating system refuses the handlers or the thread that waits for signals.
pub fn watch(interrupted: Arc<AtomicBool>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGQUIT])?;
    if !is_ignored(SIGHUP) {
        signals.handle().add_signal(SIGHUP)?;
    }
    let wait = move || {
        for signal in signals.forever() {
            if signal == SIGQUIT || interrupted.swap(true, Ordering::AcqRel) {
                server::end_all();
                std::process::exit(128 + signal);
            }
        }
    };
    thread::Builder::new().name("signals".into()).spawn(wait).map(drop)
}

fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").ok().and_then(|text| proc::parse_status(&text));
    status.is_some_and(|status| status.ignored >> (signal - 1) & 1 == 1)
}
