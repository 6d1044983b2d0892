//! A server that is started for a run and ended after it.

use std::io::{self, PipeReader, Read};
use std::process::Command;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::server::Process;
use crate::server::group::Group;
use crate::server::probe;
use crate::target::Target;
use crate::units;

/// How often a server that was started is asked whether it is there.
const ASK: Duration = Duration::from_millis(10);

/// How much is kept of what a server says, in bytes: its end.
const KEPT: usize = 4_096;

/// How many of its last lines are shown if it fails.
const LINES_SHOWN: usize = 3;

/// How long the last words of a server that has ended are waited for.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// What is to be started: a program and its arguments. Read from one line, whose words are split and quoted as in a shell
/// (POSIX.1-2017, Shell Command Language, section 2.2); there is no shell, and nothing else of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerCommand {
    words: Vec<String>,
}

/// A server that was started. It is ended when it is dropped: by SIGTERM, and five seconds later by SIGKILL, with all of its
/// process group.
#[derive(Debug)]
pub struct Server {
    group: Group,
    process: Process,
    said: Said,
}

impl FromStr for ServerCommand {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words = shlex::split(text).ok_or_else(|| format!("a quotation mark is not closed in {text:?}"))?;
        if words.first().is_none_or(String::is_empty) {
            return Err("expected a program and its arguments, found nothing".to_owned());
        }
        Ok(Self { words })
    }
}

impl ServerCommand {
    /// Starts it, and waits until the target answers: for at most `wait`, or until `interrupted`.
    ///
    /// # Errors
    ///
    /// If somebody answers there already, if it cannot be started, if it ends, or if nobody answers in time; in one line.
    pub fn start(&self, target: &Target, wait: Duration, interrupted: &AtomicBool) -> Result<Server, String> {
        // Whoever that is would be loaded in its place.
        if is_there(target) {
            return Err(format!("something answers at {target} already; end it, or name it with --server-pid"));
        }
        let limit = Instant::now() + wait;
        let mut server = self.spawn()?;
        while !is_there(target) {
            server.check()?;
            if interrupted.load(Ordering::Acquire) {
                return Err("interrupted before the server was there".to_owned());
            }
            if Instant::now() >= limit {
                let wait = units::exact_duration(wait);
                return Err(format!("nobody answers at {target} after {wait}{}", server.said.last_words()));
            }
            thread::sleep(ASK);
        }
        server.check().map(|()| server)
    }

    fn spawn(&self) -> Result<Server, String> {
        let (program, arguments) = self.words.split_first().ok_or("there is no program to start")?;
        let failed = |error: io::Error| format!("cannot start {program}: {error}");
        // Both go where they cannot disturb the report.
        let (reader, writer) = io::pipe().map_err(failed)?;
        let mut command = Command::new(program);
        command.args(arguments).stdout(writer.try_clone().map_err(failed)?).stderr(writer);
        let mut group = Group::start(&mut command).map_err(failed)?;
        // The command holds the writing end too, and without it the reading end sees the end.
        drop(command);
        let said = Said::listen(reader).map_err(failed)?;
        let process = Process::new(group.child().id());
        Ok(Server { group, process, said })
    }
}

impl Server {
    /// Its process.
    pub fn process(&self) -> Process {
        self.process
    }

    /// Checks that it is still there.
    ///
    /// # Errors
    ///
    /// How it ended, and what it said last, in one line.
    pub fn check(&mut self) -> Result<(), String> {
        match self.group.ended() {
            None => Ok(()),
            Some(status) => Err(format!("the server ended with {status}{}", self.said.last_words())),
        }
    }
}

fn is_there(target: &Target) -> bool {
    probe::answers(target.address(), target.is_datagram())
}

/// What a server says, read so that it never waits for that.
#[derive(Debug)]
struct Said {
    tail: Arc<Mutex<Tail>>,
    /// Disconnected when all has been read.
    end: Receiver<()>,
}

impl Said {
    fn listen(mut reader: PipeReader) -> io::Result<Self> {
        let tail = Arc::<Mutex<Tail>>::default();
        let shared = Arc::clone(&tail);
        let (all_read, end) = sync_channel(0);
        let listen = move || {
            let mut buffer = [0; KEPT];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                shared.lock().unwrap_or_else(PoisonError::into_inner).push(&buffer[..count]);
            }
            drop(all_read);
        };
        thread::Builder::new().name("server-said".into()).spawn(listen)?;
        Ok(Self { tail, end })
    }

    /// The end of a sentence with what it said last, if it said anything.
    fn last_words(&self) -> String {
        // What a child of it has inherited may stay open; then what has come by now is all.
        let _ = self.end.recv_timeout(LAST_WORDS);
        let words = self.tail.lock().unwrap_or_else(PoisonError::into_inner).last_lines();
        if words.is_empty() { "; it said nothing".to_owned() } else { format!("; it said: {words}") }
    }
}

/// The end of a text.
#[derive(Debug, Default)]
struct Tail(Vec<u8>);

impl Tail {
    fn push(&mut self, data: &[u8]) {
        self.0.extend_from_slice(data);
        self.0.drain(..self.0.len().saturating_sub(KEPT));
    }

    /// Its last lines, as one.
    fn last_lines(&self) -> String {
        let text = String::from_utf8_lossy(&self.0);
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        lines[lines.len().saturating_sub(LINES_SHOWN)..].join(" | ")
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A port that nobody listens on: it was just given back.
    fn free_target() -> Target {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        format!("tcp://{address}").parse().unwrap()
    }

    fn start(command: &str, target: &Target, wait: Duration) -> Result<Server, String> {
        command.parse::<ServerCommand>()?.start(target, wait, &AtomicBool::new(false))
    }

    #[test]
    fn words_are_split_as_in_a_shell_and_nothing_else_is() {
        let command: ServerCommand = r#"server --name "a b" 'c $HOME' d\ e | f"#.parse().unwrap();
        assert_eq!(command.words, ["server", "--name", "a b", "c $HOME", "d e", "|", "f"]);
        for wrong in ["", "  ", "server 'open", "''"] {
            assert!(wrong.parse::<ServerCommand>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_server_that_ends_at_once_is_told_with_its_last_words() {
        let error = start("sh -c 'echo one; echo two >&2; exit 3'", &free_target(), PATIENCE).unwrap_err();
        assert_eq!(error, "the server ended with exit status: 3; it said: one | two");
        let error = start("true", &free_target(), PATIENCE).unwrap_err();
        assert_eq!(error, "the server ended with exit status: 0; it said nothing");
    }

    #[test]
    fn a_server_that_never_listens_is_waited_for_and_no_longer() {
        let target = free_target();
        let error = start("sleep 600", &target, Duration::from_millis(50)).unwrap_err();
        assert_eq!(error, format!("nobody answers at {target} after 50ms; it said nothing"));
    }

    #[test]
    fn a_server_is_not_started_where_somebody_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = format!("tcp://{}", listener.local_addr().unwrap()).parse().unwrap();
        let error = start("/no/such/program", &target, PATIENCE).unwrap_err();
        assert!(error.contains("answers at tcp://127.0.0.1:") && error.contains("--server-pid"), "{error}");
    }

    #[test]
    fn a_program_that_cannot_be_started_is_named() {
        let error = start("/no/such/program --flag", &free_target(), PATIENCE).unwrap_err();
        assert!(error.starts_with("cannot start /no/such/program: No such file"), "{error}");
    }

    #[test]
    fn who_interrupts_does_not_wait() {
        let command: ServerCommand = "sleep 600".parse().unwrap();
        let error = command.start(&free_target(), PATIENCE, &AtomicBool::new(true)).unwrap_err();
        assert!(error.contains("interrupted"), "{error}");
    }

    #[test]
    fn only_the_end_of_what_is_said_is_kept() {
        let mut tail = Tail::default();
        for line in 0..10_000 {
            tail.push(format!("line {line}\n\n").as_bytes());
        }
        assert!(tail.0.len() <= KEPT);
        assert_eq!(tail.last_lines(), "line 9997 | line 9998 | line 9999");
    }
}
