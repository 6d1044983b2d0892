//! What the tests of pants-proxy share: the proxy as a child, and sockets of either kind before and behind it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, getsockname, listen, socket_with};
use rustix::process::{Pid, Signal, kill_process};

use super::{ANY_PORT, Ended, PATIENCE, Program, command};

pub(crate) const PANTS_PROXY: &str = env!("CARGO_BIN_EXE_pants-proxy");

/// A pants-proxy that listens.
pub(crate) struct Proxy {
    pub(crate) program: Program,
    /// Where, as it is written.
    pub(crate) address: String,
    /// The process to measure and to signal: pants-proxy itself, or the tool that it runs under.
    pub(crate) pid: u32,
}

/// A kind of address.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Tcp,
    Path,
    Abstract,
}

pub(crate) const KINDS: [Kind; 3] = [Kind::Tcp, Kind::Path, Kind::Abstract];

/// An upstream server that the test plays itself.
pub(crate) enum Upstream {
    Tcp(TcpListener),
    Unix(UnixListener, String),
}

/// A connection of either kind; nothing on it waits for longer than [`PATIENCE`].
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Kind {
    /// An address of this kind that is free.
    pub(crate) fn address(self) -> String {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("pants-proxy-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        match self {
            Self::Tcp => ANY_PORT.to_owned(),
            Self::Path => env::temp_dir().join(name).to_str().expect("it is plain text").to_owned(),
            Self::Abstract => format!("@{name}"),
        }
    }
}

impl Proxy {
    /// Starts a proxy with one shard at any port of this machine.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_at(ANY_PORT, arguments)
    }

    pub(crate) fn start_at(listen: &str, arguments: &[&str]) -> Self {
        let mut command = command(PANTS_PROXY);
        // Later flags win, if the test has others.
        command.args(["--listen", listen, "--no-pin"]).args(arguments);
        if !arguments.contains(&"--shards") {
            command.args(["--shards", "1"]);
        }
        Self::start_as(&mut command)
    }

    /// Starts a command that comes to be a pants-proxy.
    pub(crate) fn start_as(command: &mut Command) -> Self {
        let program = Program::start(command);
        let line = program.next_line();
        let address = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("where does it listen? {line}"));
        Self { address: address.to_owned(), pid: program.pid(), program }
    }

    pub(crate) fn connect(&self) -> Socket {
        Socket::connect(&self.address)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw).expect("it is the number of a process");
        kill_process(pid, signal).unwrap();
    }

    /// Ends it with SIGTERM.
    pub(crate) fn stop(self) -> Ended {
        self.signal(Signal::TERM);
        self.program.join()
    }

    /// The fields of the next line that tells of a connection's end.
    pub(crate) fn next_logged(&self) -> String {
        loop {
            let line = self.program.next_error();
            if let Some((_, fields)) = line.split_once(" pants-proxy: ") {
                return fields.to_owned();
            }
        }
    }
}

impl Upstream {
    pub(crate) fn bind(kind: Kind) -> Self {
        let address = kind.address();
        match kind {
            Kind::Tcp => Self::Tcp(TcpListener::bind(address).unwrap()),
            Kind::Path => Self::Unix(UnixListener::bind(&address).unwrap(), address),
            Kind::Abstract => Self::Unix(UnixListener::bind_addr(&abstract_address(&address)).unwrap(), address),
        }
    }

    pub(crate) fn tcp() -> Self {
        Self::bind(Kind::Tcp)
    }

    pub(crate) fn address(&self) -> String {
        match self {
            Self::Tcp(listener) => listener.local_addr().unwrap().to_string(),
            Self::Unix(_, address) => address.clone(),
        }
    }

    pub(crate) fn accept(&self) -> Socket {
        assert!(self.has_come(PATIENCE), "nobody comes");
        match self {
            Self::Tcp(listener) => Socket::Tcp(listener.accept().unwrap().0),
            Self::Unix(listener, _) => Socket::Unix(listener.accept().unwrap().0),
        }
        .patient()
    }

    /// Whether somebody connects within this time.
    pub(crate) fn has_come(&self, within: Duration) -> bool {
        let fd = match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener, _) => listener.as_fd(),
        };
        is_ready(fd, PollFlags::IN, within)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if let Self::Unix(_, address) = self
            && !address.starts_with('@')
        {
            let _ = fs::remove_file(address);
        }
    }
}

impl Socket {
    pub(crate) fn connect(address: &str) -> Self {
        let socket = if address.starts_with('@') {
            UnixStream::connect_addr(&abstract_address(address)).map(Self::Unix)
        } else if address.starts_with('/') {
            UnixStream::connect(address).map(Self::Unix)
        } else {
            TcpStream::connect(address).map(Self::Tcp)
        };
        socket.unwrap_or_else(|error| panic!("{address}: {error}")).patient()
    }

    fn patient(self) -> Self {
        match &self {
            Self::Tcp(stream) => {
                stream.set_nodelay(true).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.set_write_timeout(Some(PATIENCE)).unwrap();
            }
            Self::Unix(stream) => {
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.set_write_timeout(Some(PATIENCE)).unwrap();
            }
        }
        self
    }

    /// Ends this side's direction.
    pub(crate) fn end(&self) {
        self.try_end().unwrap();
    }

    pub(crate) fn try_end(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    /// Ends the connection with a reset.
    pub(crate) fn reset(self) {
        set_socket_linger(&self, Some(Duration::ZERO)).unwrap();
    }

    pub(crate) fn set_nonblocking(&self) {
        match self {
            Self::Tcp(stream) => stream.set_nonblocking(true).unwrap(),
            Self::Unix(stream) => stream.set_nonblocking(true).unwrap(),
        }
    }

    pub(crate) fn send(&mut self, data: &[u8]) {
        self.write_all(data).unwrap();
    }

    /// Expects `data` next.
    #[track_caller]
    pub(crate) fn assert_receives(&mut self, data: &[u8]) {
        let mut received = vec![0; data.len()];
        self.read_exact(&mut received).unwrap();
        assert!(received == data, "what came is not what was sent");
    }

    /// Expects `data` next, and then the end.
    #[track_caller]
    pub(crate) fn assert_receives_all(&mut self, data: &[u8]) {
        self.assert_receives(data);
        assert_eq!(self.read(&mut [0; 8]).unwrap(), 0, "bytes came in place of the end");
    }

    /// Expects a reset next, whatever bytes come before it.
    #[track_caller]
    pub(crate) fn assert_reset(&mut self) {
        loop {
            match self.read(&mut [0; 4096]) {
                Ok(0) => panic!("it ends in good order"),
                Ok(_) => {}
                Err(error) => return assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
            }
        }
    }

    /// Whether anything, be it the end, has come within this time.
    pub(crate) fn has_come(&self, within: Duration) -> bool {
        is_ready(self.as_fd(), PollFlags::IN, within)
    }
}

/// Waits until a descriptor is ready; gives whether it is.
pub(crate) fn is_ready(fd: BorrowedFd<'_>, flags: PollFlags, within: Duration) -> bool {
    let limit = Instant::now() + within;
    loop {
        let left = Timespec::try_from(limit.saturating_duration_since(Instant::now())).unwrap();
        match poll(&mut [PollFd::new(&fd, flags)], Some(&left)) {
            Ok(count) => return count > 0,
            Err(error) => assert_eq!(error, rustix::io::Errno::INTR),
        }
    }
}

fn abstract_address(address: &str) -> UnixAddress {
    UnixAddress::from_abstract_name(&address[1..]).unwrap()
}

/// A directory of one test, deleted at its end with all that is in it.
pub(crate) struct ScratchDirectory(PathBuf);

impl ScratchDirectory {
    pub(crate) fn new() -> Self {
        let path = PathBuf::from(Kind::Path.address());
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ScratchDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(buffer),
            Self::Unix(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A listener whose queue is full, so that the kernel leaves whoever connects to it without an answer.
pub(crate) struct FullListener {
    pub(crate) address: String,
    _fds: Vec<OwnedFd>,
}

impl FullListener {
    pub(crate) fn new() -> Self {
        let socket = || {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap()
        };
        let listener = socket();
        bind(&listener, &ANY_PORT.parse::<SocketAddr>().unwrap()).unwrap();
        listen(&listener, 0).unwrap();
        let address = SocketAddr::try_from(getsockname(&listener).unwrap()).unwrap();
        let mut fds = vec![listener];
        loop {
            let client = socket();
            let _ = connect(&client, &address);
            let made = is_ready(client.as_fd(), PollFlags::OUT, Duration::from_millis(100));
            fds.push(client);
            if !made {
                return Self { address: address.to_string(), _fds: fds };
            }
            assert!(fds.len() < 10, "its queue does not fill");
        }
    }
}
