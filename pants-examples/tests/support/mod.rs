//! What the tests share: the real program as a child that never outlives its test, and clients that never wait for ever.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

pub(crate) mod chat;
pub(crate) mod counts;
pub(crate) mod proxy;

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a test waits for what must come before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Any free port of this machine alone.
pub(crate) const ANY_PORT: &str = "127.0.0.1:0";

/// The program that is tested.
pub(crate) const PANTS_ECHO: &str = env!("CARGO_BIN_EXE_pants-echo");

/// A program that runs; it is killed at the end of its test, if it still runs then.
pub(crate) struct Program {
    child: Child,
    output: Receiver<String>,
    errors: Receiver<String>,
}

/// What is left of a program that has ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Its exit status; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    /// The lines of its standard output that nobody has taken before.
    pub(crate) output: Vec<String>,
    /// The same of its standard error.
    pub(crate) errors: Vec<String>,
}

/// A pants-echo that listens.
pub(crate) struct Server {
    pub(crate) program: Program,
    pub(crate) address: SocketAddr,
    /// The process to measure and to signal: pants-echo itself, or the tool that it runs under.
    pub(crate) pid: u32,
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::start_with(command, Stdio::null())
    }

    /// The same with something on its standard input.
    pub(crate) fn start_with(command: &mut Command, input: Stdio) -> Self {
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let output = lines(child.stdout.take().expect("it is piped"));
        let errors = lines(child.stderr.take().expect("it is piped"));
        Self { child, output, errors }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line of its standard output.
    pub(crate) fn next_line(&self) -> String {
        match self.output.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(_) => panic!("no line came; on standard error: {:?}", self.errors.try_iter().collect::<Vec<_>>()),
        }
    }

    /// The next line of its standard error.
    pub(crate) fn next_error(&self) -> String {
        self.errors.recv_timeout(PATIENCE).expect("a line comes on standard error")
    }

    /// Waits until it has ended.
    pub(crate) fn join(mut self) -> Ended {
        let limit = Instant::now() + PATIENCE;
        let output = rest(&self.output, limit);
        let errors = rest(&self.errors, limit);
        // Its output has ended, so it has ended too, or is about to.
        let code = self.child.wait().unwrap().code();
        Ended { code, output, errors }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both do nothing to a child that was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts pants-echo at any port.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_as(command(PANTS_ECHO).args(["--listen", ANY_PORT]).args(arguments))
    }

    /// Starts a command that comes to be a pants-echo.
    pub(crate) fn start_as(command: &mut Command) -> Self {
        Self::of(Program::start(command))
    }

    /// A program that comes to be a pants-echo.
    pub(crate) fn of(program: Program) -> Self {
        let line = program.next_line();
        let address = line.strip_prefix("listening on ").and_then(|address| address.parse().ok());
        let address = address.unwrap_or_else(|| panic!("it does not say where it listens: {line}"));
        let pid = program.pid();
        Self { program, address, pid }
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
}

/// A command whose environment has no settings of pants.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PANTS_")) {
        command.env_remove(name);
    }
    command
}

/// Runs pants-echo to its end.
pub(crate) fn run(arguments: &[&str]) -> Ended {
    run_with(arguments, &[])
}

/// The same with variables in its environment.
pub(crate) fn run_with(arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
    Program::start(command(PANTS_ECHO).args(arguments).envs(variables.iter().copied())).join()
}

/// A path for a file of one test.
pub(crate) fn scratch(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()))
}

/// A file of one test, deleted at its end.
pub(crate) struct ScratchFile(PathBuf);

impl ScratchFile {
    pub(crate) fn new(name: &str, text: &str) -> Self {
        let path = scratch(name);
        fs::write(&path, text).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().expect("the target directory has a plain name")
    }

    pub(crate) fn text(&self) -> String {
        fs::read_to_string(&self.0).unwrap()
    }
}

impl Drop for ScratchFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Whether a tool is installed. Without it a test is skipped, but not in CI.
pub(crate) fn has_tool(tool: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).any(|directory| directory.join(tool).is_file());
    if !found {
        skip(&format!("{tool} is not installed"));
    }
    found
}

/// Says that a test cannot be made here, which must not happen in CI.
pub(crate) fn skip(why: &str) {
    assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "CI must not skip this: {why}");
    println!("skipped: {why}");
}

/// A field of a process's or thread's status, in a directory of /proc.
pub(crate) fn status_field(directory: &str, name: &str) -> String {
    let status = fs::read_to_string(format!("{directory}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {status}")).trim().to_owned()
}

/// The directories in /proc of a process's shards, by their names.
pub(crate) fn shard_tasks(pid: u32) -> Vec<(String, String)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let tasks = tasks.map(|task| task.path().to_str().expect("it is a number").to_owned());
    let named = tasks.map(|task| (status_field(&task, "Name"), task));
    let mut shards: Vec<(String, String)> = named.filter(|(name, _)| name.starts_with("shard-")).collect();
    shards.sort();
    shards
}

/// A client that gives up after [`PATIENCE`].
pub(crate) fn client(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Sends `data` and expects it back.
pub(crate) fn assert_echoes(stream: &mut TcpStream, data: &[u8]) {
    stream.write_all(data).unwrap();
    assert_receives(stream, data);
}

/// Expects `data` next.
pub(crate) fn assert_receives(stream: &mut TcpStream, data: &[u8]) {
    let mut reply = vec![0; data.len()];
    stream.read_exact(&mut reply).unwrap();
    assert!(reply == data, "what came back is not what was sent");
}

/// Expects FIN next.
pub(crate) fn assert_ends(stream: &mut TcpStream) {
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0, "bytes came in place of the end");
}

/// Bytes without a pattern that a lost or a repeated piece could hide in: Marsaglia's xorshift64 (Journal of Statistical
/// Software 8, 14).
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            chunk.copy_from_slice(&self.0.to_le_bytes()[..chunk.len()]);
        }
    }
}

fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (tell, told) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    told
}

/// What is left of a stream whose end must come before `limit`.
fn rest(lines: &Receiver<String>, limit: Instant) -> Vec<String> {
    let mut rest = Vec::new();
    loop {
        match lines.recv_timeout(limit.saturating_duration_since(Instant::now())) {
            Ok(line) => rest.push(line),
            Err(error) => {
                assert!(error == std::sync::mpsc::RecvTimeoutError::Disconnected, "it does not end; it said {rest:?}");
                return rest;
            }
        }
    }
}
