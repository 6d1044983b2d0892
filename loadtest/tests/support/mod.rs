//! What the tests share: the real program as a child that never outlives its test, and servers of known behaviour, each a
//! few plain threads.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

pub(crate) mod outside;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long a test waits for what must come before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A pants-load that runs; it is killed at the end of its test, if it still runs then.
pub(crate) struct Program {
    child: Child,
    output: Receiver<String>,
    errors: Receiver<String>,
}

/// What is left of a pants-load that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit status; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    /// Its standard output.
    pub(crate) output: String,
    /// The lines of its standard error that nobody has taken before.
    pub(crate) errors: Vec<String>,
}

impl Program {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        // What has started the tests may ignore SIGHUP, as nohup does: the program would go on to.
        let mut command = Command::new("env");
        command.args(["--default-signal=HUP", env!("CARGO_BIN_EXE_pants-load")]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = lines(child.stdout.take().expect("it is piped"));
        let errors = lines(child.stderr.take().expect("it is piped"));
        Self { child, output, errors }
    }

    /// The next line of its standard error.
    pub(crate) fn next_error(&self) -> String {
        self.errors.recv_timeout(PATIENCE).expect("a line comes on standard error")
    }

    /// Waits for a line of its standard error that has this in it.
    pub(crate) fn wait_for_error(&self, part: &str) {
        let limit = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            match self.errors.recv_timeout(limit.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(part) => return,
                Ok(line) => seen.push(line),
                Err(error) => panic!("{error}: {part:?} is not in {seen:?}"),
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("it is the number of a process");
        kill_process(pid, signal).unwrap();
    }

    /// Waits until it has ended.
    pub(crate) fn join(self) -> Ended {
        self.join_within(PATIENCE)
    }

    /// Waits until it has ended, for a program that takes its time.
    pub(crate) fn join_within(mut self, patience: Duration) -> Ended {
        let limit = Instant::now() + patience;
        let output = rest(&self.output, limit).iter().map(|line| line.clone() + "\n").collect();
        let errors = rest(&self.errors, limit);
        // Its output has ended, so it has ended too, or is about to.
        let code = self.child.wait().unwrap().code();
        Ended { code, output, errors }
    }
}

impl Ended {
    /// Expects that nothing has failed, and an exit status that says so. An open loop is late on a machine that is busy with other
    /// tests, and calls itself invalid then, as it should; what it has counted is right all the same.
    #[track_caller]
    pub(crate) fn assert_well(&self, json: &Value) {
        assert_eq!(failures(json, "none"), (0, 0), "{self:?}");
        let is_valid = json["invalid"].as_array().expect("it is a list").is_empty();
        assert_eq!(self.code, Some(i32::from(!is_valid)), "{self:?}");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both do nothing to a child that was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs pants-load to its end.
pub(crate) fn run(arguments: &[&str]) -> Ended {
    Program::start(arguments).join()
}

/// Loads a server over TCP, not pinned, with these flags; gives how it ended, and its report.
pub(crate) fn load(address: SocketAddr, flags: &str) -> (Ended, Value) {
    load_target(&format!("tcp://{address}"), &flags.split_whitespace().collect::<Vec<_>>())
}

/// Loads a target, not pinned, with these flags; gives how it ended, and its report.
pub(crate) fn load_target(target: &str, flags: &[&str]) -> (Ended, Value) {
    let file = ScratchFile::new();
    let fixed = ["run", target, "--no-pin", "--json", file.path()];
    let ended = run(&fixed.iter().chain(flags).copied().collect::<Vec<_>>());
    let text = std::fs::read_to_string(&file.0).unwrap_or_default();
    let record: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?}, {ended:?}"));
    assert_eq!((&record["version"], record["runs"].as_array().map(Vec::len)), (&2.into(), Some(1)), "{record}");
    (ended, record["runs"][0].clone())
}

/// How many messages and connections failed in this way; every other way must have none.
pub(crate) fn failures(json: &Value, kind: &str) -> (u64, u64) {
    let kinds = json["result"]["failures"]["kinds"].as_object().expect("it is a table of kinds");
    assert!(kinds.keys().all(|other| other == kind), "more than {kind} in {json}");
    let number = |what: &str| kinds.get(kind).map_or(0, |count| count[what].as_u64().expect("it is a number"));
    (number("messages"), number("connections"))
}

/// A file of one test, deleted at its end.
pub(crate) struct ScratchFile(PathBuf);

impl ScratchFile {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{number}.json", std::process::id())))
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().expect("the target directory has a plain name")
    }
}

impl Drop for ScratchFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A server that gives each connection a thread, in which `serve` runs. It lasts as long as the test's process.
pub(crate) fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = Arc::clone(&serve);
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// A server that takes this long for each message of 64 bytes, one after the other on each connection.
pub(crate) fn slow_server(time: Duration) -> SocketAddr {
    server(move |mut stream| {
        let mut message = [0; 64];
        while stream.read_exact(&mut message).is_ok() {
            thread::sleep(time);
            if stream.write_all(&message).is_err() {
                return;
            }
        }
    })
}

/// Sends back what comes, after `change` has seen it, until the peer's end.
pub(crate) fn echo(mut stream: TcpStream, mut change: impl FnMut(&mut [u8])) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => {
                change(&mut buffer[..count]);
                if stream.write_all(&buffer[..count]).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
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
                assert!(error == RecvTimeoutError::Disconnected, "it does not end; it said {rest:?}");
                return rest;
            }
        }
    }
}
