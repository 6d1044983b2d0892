//! Paths of Unix sockets: the file that a dead server left is replaced, that of a living one is not.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// The file that a bound Unix socket has made. It is removed with its server, unless another has taken its place.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Which file it is: device and inode.
    identity: (u64, u64),
}

impl SocketFile {
    /// Has `bind` make the file at `path`; if there is one that no server is at any more, removes it first.
    ///
    /// # Errors
    ///
    /// What `bind` says: among others `EADDRINUSE` where a server is, or where the file is no socket.
    pub(crate) fn create(path: &Path, bind: impl Fn() -> rustix::io::Result<()>) -> io::Result<Self> {
        if let Err(errno) = bind() {
            if errno != Errno::ADDRINUSE {
                return Err(errno.into());
            }
            replace_stale(path, bind)?;
        }
        let identity = identity(path)?;
        Ok(Self { path: path.to_owned(), identity })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            // It may have gone meanwhile, or the directory may be another's: then it stays, and the next server replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

/// Removes the file that a dead server left, and binds in its place.
///
/// Two servers that start at once might both find the file stale, and the second remove what the first has just made. So
/// whoever removes a file claims it first, by an abstract socket named after it; who comes second looks again.
fn replace_stale(path: &Path, bind: impl Fn() -> rustix::io::Result<()>) -> io::Result<()> {
    let (device, inode) = identity(path)?;
    let claim = net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    net::bind(&claim, &SocketAddrUnix::new_abstract_name(format!("pants/stale/{device}/{inode}").as_bytes())?)?;
    if !is_stale(path) {
        return Err(Errno::ADDRINUSE.into());
    }
    fs::remove_file(path)?;
    Ok(bind()?)
}

/// Whether `path` is a socket's file at which nobody is.
///
/// It is asked by a socket of a kind that no server here has, so that a living server, which the kernel finds before it
/// compares the kinds (`EPROTOTYPE`), does not see a connection come and go.
fn is_stale(path: &Path) -> bool {
    if !fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) {
        return false;
    }
    let Ok(address) = SocketAddrUnix::new(path) else { return false };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let probe = net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
    probe.is_ok_and(|probe| net::connect(&probe, &address) == Err(Errno::CONNREFUSED))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixListener};

    use super::*;

    /// A directory of this test's own, which goes with it.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("pants-unix-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn bind(path: &Path) -> io::Result<(SocketFile, rustix::fd::OwnedFd)> {
        let socket = net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
        let address = SocketAddrUnix::new(path)?;
        let file = SocketFile::create(path, || net::bind(&socket, &address))?;
        net::listen(&socket, 1)?;
        Ok((file, socket))
    }

    #[test]
    fn the_file_goes_with_its_server() {
        let directory = Directory::new("goes");
        let path = directory.0.join("socket");
        let bound = bind(&path).unwrap();
        assert!(path.exists());
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn a_dead_servers_file_is_replaced_and_a_living_ones_is_not() {
        let directory = Directory::new("stale");
        let path = directory.0.join("socket");
        let living = UnixListener::bind(&path).unwrap();
        assert_eq!(bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        living.set_nonblocking(true).unwrap();
        assert_eq!(living.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock, "it was not connected to");
        drop(living);
        assert!(path.exists(), "the standard library leaves it");
        assert!(bind(&path).is_ok());
    }

    #[test]
    fn of_many_that_replace_a_stale_file_at_once_one_does() {
        let directory = Directory::new("many");
        let path = directory.0.join("socket");
        for _ in 0..50 {
            drop(UnixListener::bind(&path).unwrap());
            let barrier = std::sync::Barrier::new(4);
            let bound: Vec<_> = std::thread::scope(|scope| {
                let racers = [(); 4].map(|()| {
                    scope.spawn(|| {
                        barrier.wait();
                        bind(&path)
                    })
                });
                racers.into_iter().map(|racer| racer.join().unwrap()).filter(Result::is_ok).collect()
            });
            assert_eq!(bound.len(), 1);
            assert!(std::os::unix::net::UnixStream::connect(&path).is_ok(), "the file is that of the one");
        }
    }

    #[test]
    fn a_file_that_is_no_stream_socket_is_left_alone() {
        let directory = Directory::new("other");
        let path = directory.0.join("file");
        fs::write(&path, "precious").unwrap();
        assert_eq!(bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        let path = directory.0.join("datagrams");
        let _living = UnixDatagram::bind(&path).unwrap();
        assert_eq!(bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_successors_file_is_left_alone() {
        let directory = Directory::new("successor");
        let path = directory.0.join("socket");
        let first = bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let _second = UnixListener::bind(&path).unwrap();
        drop(first);
        assert!(path.exists());
    }
}
