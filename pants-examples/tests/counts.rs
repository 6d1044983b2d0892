//! What a message costs: system calls, and instructions in user space. Counts, not timings, so that they can fail a test.
//!
//! The load is that of the project's numbers: 64 bytes on 50 connections, each of which sends its next message when its
//! reply is in; one shard; the default settings.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::counts::*;
use crate::support::*;

/// Calls beside the messages': an end of input for each connection.
const CALLS_PER_CONNECTION: usize = 2;

/// The bounds, in instructions per message.
const INSTRUCTIONS_MAX: f64 = 120.0;
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

    assert_calls(&table.text(), messages, CALLS_PER_CONNECTION);
}

#[test]
fn a_sleep_has_no_timeout_of_its_own_though_timers_wait() {
    const MESSAGES: usize = 500;
    if !has_tool("strace") {
        return;
    }
    let log = ScratchFile::new("sleeps.txt", "");
    let mut server =
        with_defaults(command("strace").args(["-f", "-e", "trace=epoll_wait,timerfd_settime", "-o", log.path()]));
    server.pid = child_of(server.pid);
    let mut client = client(server.address);
    for _ in 0..MESSAGES {
        assert_echoes(&mut client, &MESSAGE);
    }
    drop(client);
    assert_eq!(server.stop().code, Some(0));

    let log = log.text();
    let lines_with = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    // The connection's idle timeout waits all the time. The kernel need not start and stop a timer for each message.
    let (waits, endless) = (lines_with("epoll_wait"), lines_with(", -1) = "));
    assert!(endless >= MESSAGES, "{endless} of {waits} lines:\n{log}");
    let set = lines_with("timerfd_settime");
    assert!((1..=20).contains(&set), "the alarm was set {set} times:\n{log}");
}

/// Counts, prints and bounds what a message costs.
fn assert_costs_at_most(bound: f64, name: &str, run: &dyn Fn(&mut Command) -> Server) {
    if !can_count_instructions() {
        return;
    }
    let mut least = f64::INFINITY;
    for _ in 0..ATTEMPTS {
        let each = instructions_per_message(name, run, &|server, rounds| load(server.address, rounds));
        println!("{each:.1} instructions per {name}");
        least = least.min(each);
        if least <= bound {
            return;
        }
    }
    panic!("{least:.1} instructions per {name}, more than {bound}");
}

#[test]
fn a_message_costs_few_instructions() {
    assert_costs_at_most(INSTRUCTIONS_MAX, "message", &with_defaults);
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
    assert_costs_at_most(LINE_INSTRUCTIONS_MAX, "line", &|tool| Server::start_as(tool.arg(line_echo()).arg(ANY_PORT)));
}
