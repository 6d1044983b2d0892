//! Outside programs that tests load, each on a Unix socket in a directory of its own.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::PATIENCE;

/// An outside program that serves a Unix socket; it is killed, and its directory deleted, at the end of its test.
pub(crate) struct Outside {
    child: Child,
    directory: PathBuf,
}

impl Outside {
    /// Starts a program in a directory of its own, with what `prepare` makes of that and of the socket's path; waits until it
    /// serves. `None` if it is not installed, which must not happen in CI.
    pub(crate) fn start(name: &str, prepare: impl FnOnce(&Path, &str, &mut Command)) -> Option<Self> {
        let program = find_or_skip(name)?;
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // A socket's path must be short, so that the target directory does not serve.
        let directory = std::env::temp_dir().join(format!("pants-load-{}-{number}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir(&directory);
        let socket = directory.join("socket");
        prepare(&directory, socket.to_str().expect("it is text"), &mut command);
        let mut outside = Self { child: command.spawn().unwrap(), directory };
        let limit = Instant::now() + PATIENCE;
        while UnixStream::connect(&socket).is_err() {
            assert!(outside.child.try_wait().unwrap().is_none() && Instant::now() < limit, "{name} does not serve");
            // There is nothing to wait for but the socket.
            thread::sleep(Duration::from_millis(5));
        }
        Some(outside)
    }

    /// What to load.
    pub(crate) fn target(&self) -> String {
        format!("unix:{}/socket", self.directory.display())
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Where a program is. `None` if it is not installed, which must not happen in CI.
pub(crate) fn find_or_skip(name: &str) -> Option<PathBuf> {
    let program = find(name);
    if program.is_none() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI must not skip this: {name} is missing");
        println!("skipped: {name} is not installed");
    }
    program
}

/// Where a program is: in the path, or where system programs are.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).chain(["/usr/sbin".into()]).map(|directory| directory.join(name));
    places.find(|place| place.is_file())
}
