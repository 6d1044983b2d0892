//! Ten thousand connections at once: all are served, and each costs the server little memory.

mod support;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::*;

const ALL: usize = 10_000;

/// Where the memory is measured for the first time: by then what is there once is there.
const FEW: usize = 1_000;

/// What an idle connection that has echoed once, with its timeouts armed, may cost in user memory.
const BYTES_PER_CONNECTION: usize = 256;

/// Descriptors that each of the two processes needs beside its connections.
const SPARE: usize = 100;

/// How many connections the limits on descriptors allow, up to all; the limit on this process is raised for it.
fn affordable() -> usize {
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard }).unwrap();
    let limit = hard.map_or(usize::MAX, |hard| usize::try_from(hard).unwrap_or(usize::MAX));
    ALL.min(limit.saturating_sub(SPARE))
}

fn payload(index: usize, round: usize) -> Vec<u8> {
    format!("connection {index} in round {round};").into_bytes()
}

/// Opens connections until there are `count`; each echoes once.
fn open_up_to(clients: &mut Vec<TcpStream>, count: usize, address: SocketAddr) {
    while clients.len() < count {
        let mut client = client(address);
        assert_echoes(&mut client, &payload(clients.len(), 0));
        clients.push(client);
    }
}

/// The user memory of a process: its anonymous pages in RAM.
fn memory_bytes(pid: u32) -> usize {
    let field = status_field(&format!("/proc/{pid}"), "RssAnon");
    field.strip_suffix(" kB").and_then(|kibibytes| kibibytes.parse::<usize>().ok()).expect("it is in kB") * 1024
}

#[test]
fn ten_thousand_connections_are_served_and_cost_little_memory() {
    let all = affordable();
    if all < 2 * FEW {
        return skip(&format!("only {all} connections are possible; raise the limit on descriptors"));
    }
    // The last tenth is for the number alone; it is not measured.
    let many = all - all / 10;
    let server = Server::start(&["--shards", "1", "--no-pin"]);
    let mut clients = Vec::with_capacity(all);
    open_up_to(&mut clients, FEW, server.address);
    let before = memory_bytes(server.pid);
    open_up_to(&mut clients, many, server.address);
    let after = memory_bytes(server.pid);
    let each = after.saturating_sub(before) / (many - FEW);
    println!("{each} bytes per connection: from {before} bytes with {FEW} to {after} with {many}");
    assert!(each <= BYTES_PER_CONNECTION, "{each} bytes per connection, more than {BYTES_PER_CONNECTION}");
    assert!(after > before, "memory that does not grow at all was not measured");

    open_up_to(&mut clients, all, server.address);
    for (index, client) in clients.iter_mut().enumerate() {
        client.write_all(&payload(index, 1)).unwrap();
    }
    for (index, client) in clients.iter_mut().enumerate() {
        assert_receives(client, &payload(index, 1));
    }
    drop(clients);
    let ended = server.stop();
    assert_eq!(ended.code, Some(0));
    assert!(ended.output.last().unwrap().starts_with(&format!("drained: {all} connections, ")), "{ended:?}");
}
