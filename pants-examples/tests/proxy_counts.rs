//! What a message through pants-proxy costs: system calls, and instructions in user space. Counts, not timings.
//!
//! The load is that of `counts.rs`: 64 bytes on 50 connections, echoed, so that every message passes twice.

mod support;

use std::process::Command;

use crate::support::counts::*;
use crate::support::proxy::*;
use crate::support::*;

/// Calls beside the messages': those that make and end a connection.
const CALLS_PER_CONNECTION: usize = 10;

/// The bound, per message and direction.
const INSTRUCTIONS_MAX: f64 = 360.0;

/// A proxy that a tool runs, before a pants-echo that it does not see.
fn before_echo(tool: &mut Command) -> (Proxy, Server) {
    let echo = Server::start(&["--shards", "1", "--no-pin"]);
    let to = echo.address.to_string();
    let flags = ["--quiet", "--shards", "1", "--no-pin", "--listen", ANY_PORT, "--to", &to];
    (Proxy::start_as(tool.arg(PANTS_PROXY).args(flags)), echo)
}

#[test]
fn a_message_costs_one_recv_one_send_and_a_share_of_one_epoll_wait_in_each_direction() {
    if !has_tool("strace") {
        return;
    }
    let table = ScratchFile::new("proxy-strace.txt", "");
    let (mut proxy, echo) = before_echo(command("strace").args(["-c", "-f", "-o", table.path()]));
    proxy.pid = child_of(proxy.pid);
    let messages = 2 * load(proxy.address.parse().unwrap(), 100);
    assert_eq!(proxy.stop().code, Some(0));
    assert_eq!(echo.stop().code, Some(0));

    assert_calls(&table.text(), messages, CALLS_PER_CONNECTION);
}

/// The instructions that pants-proxy executes in all, for this many rounds of messages.
fn instructions(rounds: usize) -> (usize, u64) {
    let log = ScratchFile::new(&format!("proxy-callgrind-{rounds}.txt"), "");
    let log_file = format!("--log-file={}", log.path());
    let tool = ["--tool=callgrind", "--callgrind-out-file=/dev/null", &log_file];
    let (proxy, echo) = before_echo(command("valgrind").args(tool));
    let messages = 2 * load(proxy.address.parse().unwrap(), rounds);
    assert_eq!(proxy.stop().code, Some(0));
    assert_eq!(echo.stop().code, Some(0));
    (messages, collected(&log.text()))
}

#[test]
fn a_message_costs_few_instructions() {
    if cfg!(debug_assertions) {
        return println!("skipped: only an optimised build is counted; use --release");
    }
    if !has_tool("valgrind") {
        return;
    }
    let (few_messages, few) = instructions(200);
    let (many_messages, many) = instructions(1200);
    let each = (many - few) as f64 / (many_messages - few_messages) as f64;
    println!("{each:.1} instructions per message and direction");
    assert!(each <= INSTRUCTIONS_MAX, "{each:.1} instructions, more than {INSTRUCTIONS_MAX}");
}
