//! What the tests of costs share: the load, and how to read what strace and callgrind have counted.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use super::{PATIENCE, ScratchFile, Server, assert_receives, client, command, has_tool};

pub(crate) const CONNECTIONS: usize = 50;
/// System calls at a server's start and its end.
const CALLS_ELSEWHERE: usize = 50;
/// How often instructions are counted at most. Work of others on the machine keeps clients waiting, and turns short, which can
/// only add to them.
pub(crate) const ATTEMPTS: usize = 5;
/// A line as well, for servers that cut their input into lines.
pub(crate) const MESSAGE: [u8; 64] = {
    let mut message = [b'x'; 64];
    message[63] = b'\n';
    message
};

/// Sends `rounds` messages on each connection; gives how many there were.
pub(crate) fn load(address: SocketAddr, rounds: usize) -> usize {
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

/// Bounds the system calls in strace's table: a message costs one call to receive, one to send, a share of one to wait, and no
/// other.
pub(crate) fn assert_calls(table: &str, messages: usize, per_connection: usize) {
    let calls = calls(table);
    let count = |name: &str| calls.get(name).copied().unwrap_or(0);
    let allowed = |per_message: usize| per_message * messages + per_connection * CONNECTIONS + CALLS_ELSEWHERE;
    let io = ["recvfrom", "recvmsg", "read", "readv", "sendto", "sendmsg", "write", "writev"].map(count);
    println!("{messages} messages: {calls:?}");
    assert!(count("recvfrom") >= messages && count("sendto") >= messages, "the calls have other names now:\n{table}");
    assert!(io.iter().sum::<usize>() <= allowed(2), "too many calls to receive and to send:\n{table}");
    assert!(count("epoll_wait") <= allowed(1), "too many calls to wait:\n{table}");
    // The clock is read without the kernel, and memory is not asked for.
    let others: usize = calls.values().sum::<usize>() - io.iter().sum::<usize>() - count("epoll_wait") - count("total");
    assert!(others < messages / 4, "{others} other calls for {messages} messages:\n{table}");
}

/// Whether instructions can be counted here. Without callgrind, or in a build that is not optimised, they are not.
pub(crate) fn can_count_instructions() -> bool {
    if cfg!(debug_assertions) {
        println!("skipped: only an optimised build is counted; use --release");
        return false;
    }
    has_tool("valgrind")
}

/// What a message costs a server more than none, in instructions. `run` adds the server to the tool's arguments; `load` sends
/// it so many rounds of messages, and gives how many that were.
pub(crate) fn instructions_per_message(
    name: &str,
    run: &dyn Fn(&mut Command) -> Server,
    load: &dyn Fn(&Server, usize) -> usize,
) -> f64 {
    let count = |rounds| {
        let log = ScratchFile::new(&format!("callgrind-{name}-{rounds}.txt"), "");
        let log_file = format!("--log-file={}", log.path());
        let tool = ["--tool=callgrind", "--callgrind-out-file=/dev/null", &log_file];
        let server = run(command("valgrind").args(tool));
        let messages = load(&server, rounds);
        server.stop();
        (messages, collected(&log.text()))
    };
    let (few_messages, few) = count(200);
    let (many_messages, many) = count(1200);
    (many - few) as f64 / (many_messages - few_messages) as f64
}

/// The one child of a process: strace does not end itself when it is told to, but when its child does.
pub(crate) fn child_of(pid: u32) -> u32 {
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

/// The table that `strace -c` writes: the calls by their names. A wait on a futex that ended by its time, as the watchdog's do, is
/// left out: how many there are depends on how long the test took.
pub(crate) fn calls(table: &str) -> HashMap<&str, usize> {
    let row = |line: &'_ str| -> Option<(usize, usize)> {
        let name = line.rfind(' ')? + 1;
        let mut fields = line.split_whitespace().skip(3);
        let calls: usize = fields.next()?.parse().ok()?;
        let timed_out = fields.next().filter(|_| &line[name..] == "futex").and_then(|errors| errors.parse().ok());
        Some((calls - timed_out.unwrap_or(0), name))
    };
    table.lines().filter_map(|line| row(line).map(|(calls, name)| (&line[name..], calls))).collect()
}

/// The instructions that callgrind says it has seen.
pub(crate) fn collected(log: &str) -> u64 {
    let count = log.lines().find_map(|line| line.split_once("Collected : ")).map(|(_, count)| count.trim());
    count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no count in:\n{log}"))
}
