//! What a message costs: system calls, and instructions in user space. Counts, not timings, so that they can fail a test.
//!
//! The load is that of the project's numbers: 64 bytes on 50 connections, each of which sends its next message when its
//! reply is in; one shard; the default settings.

mod support;

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::*;

const CONNECTIONS: usize = 50;
/// A line as well, for the server that cuts its input into lines.
const MESSAGE: [u8; 64] = {
    let mut message = [b'x'; 64];
    message[63] = b'\n';
    message
};

/// Calls beside the messages': an end of input for each connection, and a few at the start and the end.
const CALLS_PER_CONNECTION: usize = 2;
const CALLS_ELSEWHERE: usize = 50;

/// The bounds, per message.
const RECV_AND_SEND_MAX: usize = 2;
const EPOLL_WAIT_MAX: usize = 1;
const INSTRUCTIONS_MAX: f64 = 200.0;
const LINE_INSTRUCTIONS_MAX: f64 = 450.0;

/// Sends `rounds` messages on each connection; gives how many there were.
fn load(address: SocketAddr, rounds: usize) -> usize {
    let mut clients: Vec<TcpStream> = (0..CONNECTIONS).map(|_| client(address)).collect();
    for client in &mut clients {
        client.write_all(&MESSAGE).unwrap();
    }
    for round in 1..=rounds {
        for client in &mut clients {
            assert_receives(client, &MESSAGE);
            if round < rounds {
                client.write_all(&MESSAGE).unwrap();
            }
        }
    }
    rounds * CONNECTIONS
}

fn with_defaults(tool: &mut Command) -> Server {
    Server::start_as(tool.args([PANTS_ECHO, "--shards", "1", "--no-pin", "--listen", ANY_PORT]))
}

/// The one child of a process: strace does not end itself when it is told to, but when its child does.
fn child_of(pid: u32) -> u32 {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let limit = Instant::now() + PATIENCE;
    loop {
        let children = fs::read_to_string(&path).unwrap_or_default();
        if let Some(child) = children.split_whitespace().next() {
            return child.parse().unwrap();
        }
        assert!(Instant::now() < limit, "there is no child in {path}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The table that `strace -c` writes: the calls by their names.
fn calls(table: &str) -> HashMap<&str, usize> {
    let row = |line: &'_ str| -> Option<(usize, usize)> {
        let calls = line.split_whitespace().nth(3)?;
        Some((calls.parse().ok()?, line.rfind(' ')? + 1))
    };
    table.lines().filter_map(|line| row(line).map(|(calls, name)| (&line[name..], calls))).collect()
}

#[test]
fn a_message_costs_one_recv_one_send_and_a_share_of_one_epoll_wait() {
    if !has_tool("strace") {
        return;
    }
    let table = ScratchFile::new("strace.txt", "");
    let mut server = with_defaults(command("strace").args(["-c", "-f", "-o", table.path()]));
    server.pid = child_of(server.pid);
    let messages = load(server.address, 100);
    assert_eq!(server.stop().code, Some(0));

    let text = table.text();
    let calls = calls(&text);
    let count = |name: &str| calls.get(name).copied().unwrap_or(0);
    let allowed = |per_message: usize| per_message * messages + CALLS_PER_CONNECTION * CONNECTIONS + CALLS_ELSEWHERE;
    let io = ["recvfrom", "recvmsg", "read", "readv", "sendto", "sendmsg", "write", "writev"].map(count);
    println!("{messages} messages: {calls:?}");
    assert!(count("recvfrom") >= messages && count("sendto") >= messages, "the calls have other names now:\n{text}");
    assert!(io.iter().sum::<usize>() <= allowed(RECV_AND_SEND_MAX), "too many calls to receive and to send:\n{text}");
    assert!(count("epoll_wait") <= allowed(EPOLL_WAIT_MAX), "too many calls to wait:\n{text}");
    // Beside these nothing is called for a message: the clock is read without the kernel, and memory is not asked for.
    let others: usize = calls.values().sum::<usize>() - io.iter().sum::<usize>() - count("epoll_wait") - count("total");
    assert!(others < messages / 4, "{others} other calls for {messages} messages:\n{text}");
}

/// The instructions that a server executes in all, for this many rounds of messages. `run` adds it to the tool's arguments.
fn instructions(name: &str, rounds: usize, run: fn(&mut Command) -> Server) -> (usize, u64) {
    let log = ScratchFile::new(&format!("callgrind-{name}-{rounds}.txt"), "");
    let log_file = format!("--log-file={}", log.path());
    let tool = ["--tool=callgrind", "--callgrind-out-file=/dev/null", &log_file];
    let server = run(command("valgrind").args(tool));
    let messages = load(server.address, rounds);
    server.stop();
    let text = log.text();
    let collected = text.lines().find_map(|line| line.split_once("Collected : ")).map(|(_, count)| count.trim());
    (messages, collected.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no count in:\n{text}")))
}

/// What a message costs more than none, in instructions; `None` if it cannot be counted here.
fn instructions_per_message(name: &str, run: fn(&mut Command) -> Server) -> Option<f64> {
    if cfg!(debug_assertions) {
        println!("skipped: only an optimised build is counted; use --release");
        return None;
    }
    if !has_tool("valgrind") {
        return None;
    }
    let (few_messages, few) = instructions(name, 200, run);
    let (many_messages, many) = instructions(name, 1200, run);
    let each = (many - few) as f64 / (many_messages - few_messages) as f64;
    println!("{each:.1} instructions per {name}");
    Some(each)
}

#[test]
fn a_message_costs_few_instructions() {
    if let Some(each) = instructions_per_message("message", with_defaults) {
        assert!(each <= INSTRUCTIONS_MAX, "{each:.1} instructions per message, more than {INSTRUCTIONS_MAX}");
    }
}

/// The example of `pants-engine`, which is built with the workspace's tests, beside pants-echo.
fn line_echo() -> PathBuf {
    Path::new(PANTS_ECHO).with_file_name("examples").join("line_echo")
}

#[test]
fn a_line_costs_few_instructions() {
    if !line_echo().is_file() {
        return skip("line_echo is not built: cargo build --release -p pants-engine --example line_echo");
    }
    if let Some(each) = instructions_per_message("line", |tool| Server::start_as(tool.arg(line_echo()).arg(ANY_PORT))) {
        assert!(each <= LINE_INSTRUCTIONS_MAX, "{each:.1} instructions per line, more than {LINE_INSTRUCTIONS_MAX}");
    }
}
