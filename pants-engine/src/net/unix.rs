//! Paths of Unix sockets: the file that a dead server left is replaced, that of a living one is not.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::limits;

/// The file that a bound Unix socket has made. It is removed with its server, unless another has taken its place.
///
/// Whoever holds one with its socket drops it before the socket (fields drop in the order in which they stand): as long as
/// the socket is open its inode is in use, and a successor's file cannot have the same.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: Identity,
}

/// Which file it is: device and inode.
type Identity = (u64, u64);

impl SocketFile {
    /// Has `bind` make the file at `path`; if there is one that no server is at any more, removes it first.
    ///
    /// # Errors
    ///
    /// What `bind` says: among others `EADDRINUSE` where a server is, or where the file is no socket; also where another is
    /// removing the file just now, which then is about to be there.
    pub(crate) fn create(path: &Path, bind: impl Fn() -> rustix::io::Result<()>) -> io::Result<Self> {
        for _ in 0..limits::SOCKET_FILE_ATTEMPTS {
            match bind() {
                Ok(()) => return Ok(Self { path: path.to_owned(), identity: identity(path)? }),
                Err(Errno::ADDRINUSE) => make_room(path)?,
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(Errno::ADDRINUSE.into())
    }
}

impl SocketFile {
    /// The file at `path`, which another process has made and leaves to this one.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub(crate) fn found(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }

    /// Leaves the file where it is.
    pub(crate) fn leave(mut self) {
        // Nothing is at the empty path.
        self.path = PathBuf::new();
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

fn identity(path: &Path) -> io::Result<Identity> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

/// Removes the file at `path` if a dead server left it. There may be another, or none, when this returns.
///
/// # Errors
///
/// `EADDRINUSE` if it is not to be removed, or another is at it; what the system says if it cannot be.
fn make_room(path: &Path) -> io::Result<()> {
    match identity(path) {
        Ok(found) => remove_if_stale(path, found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes the file at `path` if it is still the one that was `found` there, and nobody is at it.
///
/// Two servers that start at once might both find the file stale, and the second remove what the first has put in its place.
/// So whoever removes a file claims it first, by an abstract socket that is named after it, and then sees whether it is there
/// still: nobody else removes it as long as the claim is held. The kernel gives the claim back if its holder dies.
///
/// Anybody in the network namespace can hold that name, and so keep a stale file where it is; then it must be removed by hand.
/// A lock on the directory (flock(2)) could be held just so by anybody who may read it, would ask for that permission, and
/// would make servers of other files there wait for each other.
fn remove_if_stale(path: &Path, found: Identity) -> io::Result<()> {
    let (device, inode) = found;
    let claim = net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    net::bind(&claim, &SocketAddrUnix::new_abstract_name(format!("pants/stale/{device}/{inode}").as_bytes())?)?;
    if identity(path).ok() != Some(found) {
        return Ok(());
    }
    if !is_stale(path) {
        return Err(Errno::ADDRINUSE.into());
    }
    fs::remove_file(path)
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
    use std::cell::Cell;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
    use std::sync::Barrier;

    use super::*;
    use crate::channel::server::Server;
    use crate::datagram::options::DatagramOptions;
    use crate::net::address::Address;
    use crate::net::datagram::DatagramSocket;
    use crate::net::socket::{Binding, Socket};
    use crate::options::ServerOptions;

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
            let barrier = Barrier::new(4);
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
    fn a_file_that_has_taken_the_place_of_the_one_that_was_found_is_left_alone() {
        let directory = Directory::new("replaced");
        let (path, other) = (directory.0.join("socket"), directory.0.join("other"));
        drop(UnixListener::bind(&path).unwrap());
        let found = identity(&path).unwrap();
        // Made while the first is there, so that it cannot be the same.
        drop(UnixListener::bind(&other).unwrap());
        fs::rename(&other, &path).unwrap();
        remove_if_stale(&path, found).unwrap();
        assert!(path.exists());
        remove_if_stale(&path, identity(&path).unwrap()).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_goes_while_it_is_looked_at_is_no_obstacle() {
        let directory = Directory::new("going");
        let path = directory.0.join("socket");
        let tries = Cell::new(0);
        let file = SocketFile::create(&path, || {
            tries.set(tries.get() + 1);
            if tries.get() == 1 {
                return Err(Errno::ADDRINUSE);
            }
            fs::write(&path, "").map_err(|_| Errno::IO)
        });
        assert!(file.is_ok() && path.exists());
    }

    #[test]
    fn a_path_that_others_take_again_and_again_is_given_up() {
        let directory = Directory::new("contended");
        let tries = Cell::new(0);
        let bind = || {
            tries.set(tries.get() + 1);
            Err(Errno::ADDRINUSE)
        };
        let error = SocketFile::create(&directory.0.join("socket"), bind).unwrap_err();
        assert_eq!((error.kind(), tries.get()), (io::ErrorKind::AddrInUse, limits::SOCKET_FILE_ATTEMPTS));
    }

    #[test]
    fn a_stale_file_that_another_has_claimed_is_in_use() {
        let directory = Directory::new("claimed");
        let path = directory.0.join("socket");
        drop(UnixListener::bind(&path).unwrap());
        let (device, inode) = identity(&path).unwrap();
        let claim = SocketAddr::from_abstract_name(format!("pants/stale/{device}/{inode}")).unwrap();
        let claim = UnixDatagram::bind_addr(&claim).unwrap();
        assert_eq!(bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(path.exists());
        drop(claim);
        assert!(bind(&path).is_ok());
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

    /// Drops what `make` binds to a path, over and over, while a client sends to it: when the client is refused, the file
    /// must have gone.
    #[track_caller]
    fn assert_the_file_goes_first<T>(name: &str, make: impl Fn(&Address) -> T) {
        let directory = Directory::new(name);
        let path = directory.0.join("socket");
        for _ in 0..300 {
            let made = make(&Address::Path(path.clone()));
            let client = UnixDatagram::unbound().unwrap();
            client.connect(&path).unwrap();
            client.set_nonblocking(true).unwrap();
            let is_refused = || client.send(b"").is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
            let sending = Barrier::new(2);
            std::thread::scope(|scope| {
                let client = scope.spawn(|| {
                    sending.wait();
                    while !is_refused() {}
                    path.exists()
                });
                sending.wait();
                drop(made);
                assert!(!client.join().unwrap(), "the socket was closed, and its file was still there");
            });
        }
    }

    #[test]
    fn the_file_goes_before_its_socket_whoever_holds_them() {
        let binding = Binding { kind: SocketType::DGRAM, reuse_port: false, only_v6: true };
        let bind = |address: &Address| Socket::bind_as(binding, address).unwrap();
        assert_the_file_goes_first("bound", bind);
        assert_the_file_goes_first("server", |address| Server::new(bind(address), ServerOptions::default()));
        let datagrams = |address: &Address| DatagramSocket::bind(address, &DatagramOptions::default()).unwrap();
        assert_the_file_goes_first("datagrams", datagrams);
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
