//! What a message costs: system calls, and instructions in user space. Counts, not timings, so that they can fail a test.
//!
//! The load is that of the project's numbers: 64 bytes on 50 connections, each of which sends its next message when its
//! reply is in; one shard; the default settings.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::counts::*;
use crate::support::*;

/// Calls beside the messages': an end of input for each connection, and a few at the start and the end.
const CALLS_PER_CONNECTION: usize = 2;
const CALLS_ELSEWHERE: usize = 50;

/// The bounds, per message.
const RECV_AND_SEND_MAX: usize = 2;
const EPOLL_WAIT_MAX: usize = 1;
const INSTRUCTIONS_MAX: f64 = 200.0;
const LINE_INSTRUCTIONS_MAX: f64 = 350.0;

fn with_defaults(tool: &mut Command) -> Server {
    Server::start_as(tool.args([PANTS_ECHO, "--shards", "1", "--no-pin", "--listen", ANY_PORT]))
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
    (messages, collected(&log.text()))
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
