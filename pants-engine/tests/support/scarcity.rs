//! A process without descriptors.

use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Uses up every descriptor that is left below a low limit. What it returns gives them back when dropped.
pub(crate) fn use_up() -> Vec<OwnedFd> {
    let source = OwnedFd::from(File::open("/dev/null").unwrap());
    let low = Rlimit { current: Some(128), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, low).unwrap();
    let mut used = Vec::new();
    loop {
        match rustix::io::dup(&source) {
            Ok(fd) => used.push(fd),
            Err(Errno::MFILE) => break,
            Err(error) => panic!("{error}"),
        }
    }
    used.push(source);
    used
}
