//! What a connection costs that is made for one message: system calls, and instructions in user space. Counts, not timings.
//!
//! The load is a client that connects, sends 64 bytes, has them back and closes, and then does it again. With one at a time,
//! nothing is shared between connections: each wakes the server for its beginning, its message and its end.

mod support;

use std::net::SocketAddr;
use std::process::Command;

use crate::support::counts::*;
use crate::support::*;

/// Of these, at most so many more than one for each connection are made to find out that no more of them wait.
const FRUITLESS_ACCEPTS: usize = CONNECTIONS_MADE / 8;
const CONNECTIONS_MADE: usize = 2000;

/// System calls at a server's start and its end.
const CALLS_ELSEWHERE: usize = 50;

/// The bound, in instructions per connection: two thirds of them are the turns'.
const INSTRUCTIONS_MAX: f64 = 7000.0;

fn with_defaults(tool: &mut Command) -> Server {
    Server::start_as(tool.args([PANTS_ECHO, "--shards", "1", "--no-pin", "--listen", ANY_PORT]))
}

/// Makes so many connections for a message each, one after the other.
fn churn(address: SocketAddr, connections: usize) -> usize {
    for _ in 0..connections {
        assert_echoes(&mut client(address), &MESSAGE);
    }
    connections
}

#[test]
fn a_connection_costs_the_system_calls_that_it_cannot_do_without() {
    if !has_tool("strace") {
        return;
    }
    let table = ScratchFile::new("churn-strace.txt", "");
    let mut server = with_defaults(command("strace").args(["-c", "-f", "-o", table.path()]));
    server.pid = child_of(server.pid);
    let made = churn(server.address, CONNECTIONS_MADE);
    assert_eq!(server.stop().code, Some(0));

    let table = table.text();
    let calls = calls(&table);
    println!("{made} connections: {calls:?}");
    let count = |name: &str| calls.get(name).copied().unwrap_or(0);
    assert!(count("accept4") >= made && count("close") >= made, "the calls have other names now:\n{table}");
    assert!(count("accept4") <= made + FRUITLESS_ACCEPTS, "accepting in vain:\n{table}");
    // One for the message and one for the end.
    assert!(count("recvfrom") <= 2 * made + CALLS_ELSEWHERE, "receiving in vain:\n{table}");
    assert!(
        count("epoll_wait") <= 3 * made + CALLS_ELSEWHERE,
        "waking for more than a beginning, a message, an end:\n{table}"
    );
    for once in ["sendto", "epoll_ctl", "close"] {
        assert!(count(once) <= made + 2 * CALLS_ELSEWHERE, "more than one {once} for a connection:\n{table}");
    }
    // In a build that is not optimised, the standard library looks whether what it closes is open (fcntl).
    let needed = ["accept4", "recvfrom", "epoll_wait", "sendto", "epoll_ctl", "close", "fcntl", "total"].map(count);
    assert!(cfg!(debug_assertions) || count("fcntl") <= CALLS_ELSEWHERE, "calls of fcntl:\n{table}");
    let others = calls.values().sum::<usize>() - needed.iter().sum::<usize>();
    assert!(others < made / 4, "{others} other calls for {made} connections:\n{table}");
}

#[test]
fn a_connection_costs_few_instructions() {
    if !can_count_instructions() {
        return;
    }
    let mut least = f64::INFINITY;
    for _ in 0..ATTEMPTS {
        let each =
            instructions_per_message("connection", &with_defaults, &|server, rounds| churn(server.address, rounds));
        println!("{each:.1} instructions per connection");
        least = least.min(each);
        if least <= INSTRUCTIONS_MAX {
            return;
        }
    }
    panic!("{least:.1} instructions per connection, more than {INSTRUCTIONS_MAX}");
}
