//! pants-echo at work: what it says, what it sends back, and which CPUs its shards are on.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use crate::support::*;

#[test]
fn it_says_where_it_listens_and_where_its_shards_are() {
    let server = Server::start(&["--shards", "2", "--no-pin", "--listen", ANY_PORT]);
    let second = server.program.next_line();
    let second = second.strip_prefix("listening on ").expect("it listens at two addresses").parse().unwrap();
    assert_ne!(second, server.address);
    assert_eq!(server.program.next_line(), "shard-0 not pinned");
    assert_eq!(server.program.next_line(), "shard-1 not pinned");
    assert_echoes(&mut client(server.address), b"one");
    assert_echoes(&mut client(second), b"other");
    let ended = server.stop();
    assert_eq!(
        (ended.code, ended.output),
        (Some(0), vec!["drained: 2 connections, 8 bytes in, 8 bytes out".to_owned()])
    );
}

#[test]
fn it_echoes_lines_as_somebody_at_a_terminal_types_them() {
    let server = Server::start(&[]);
    let mut client = client(server.address);
    for line in ["hello\r\n", "\r\n", "are you there?\r\n"] {
        assert_echoes(&mut client, line.as_bytes());
    }
}

#[test]
fn connections_do_not_get_each_other_s_bytes() {
    let server = Server::start(&["--shards", "2"]);
    let mut clients: Vec<TcpStream> = (0..100).map(|_| client(server.address)).collect();
    let payload = |index: usize, round: usize| format!("client {index}, round {round}").repeat(index + 1).into_bytes();
    for round in 0..3 {
        for (index, client) in clients.iter_mut().enumerate() {
            client.write_all(&payload(index, round)).unwrap();
        }
        for (index, client) in clients.iter_mut().enumerate() {
            assert_receives(client, &payload(index, round));
        }
    }
}

#[test]
fn sixty_four_mebibytes_come_back_bit_for_bit_to_a_client_that_reads_while_it_writes() {
    const CHUNK: usize = 1 << 20;
    const CHUNKS: usize = 64;
    let server = Server::start(&["--shards", "1"]);
    let mut reader = client(server.address);
    let mut writer = reader.try_clone().unwrap();
    let write = thread::spawn(move || {
        let (mut noise, mut chunk) = (Noise(0x5eed), vec![0; CHUNK]);
        for _ in 0..CHUNKS {
            noise.fill(&mut chunk);
            writer.write_all(&chunk).unwrap();
        }
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let (mut noise, mut expected) = (Noise(0x5eed), vec![0; CHUNK]);
    for _ in 0..CHUNKS {
        noise.fill(&mut expected);
        assert_receives(&mut reader, &expected);
    }
    assert_ends(&mut reader);
    write.join().unwrap();
    let total = CHUNK * CHUNKS;
    assert_eq!(server.stop().output[1], format!("drained: 1 connection, {total} bytes in, {total} bytes out"));
}

#[test]
fn sixty_four_mebibytes_written_before_a_byte_is_read_come_back_where_the_marks_allow_it() {
    let marks = [("PANTS_WRITE_HIGH_WATER", "128MiB"), ("PANTS_WRITE_CAP", "256MiB")];
    let server = Server::start_as(command(PANTS_ECHO).args(["--listen", ANY_PORT, "--shards", "1"]).envs(marks));
    let mut client = client(server.address);
    let mut data = vec![0; 64 << 20];
    Noise(0xa4ead).fill(&mut data);
    client.write_all(&data).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_receives(&mut client, &data);
    assert_ends(&mut client);
}

#[test]
fn a_client_that_half_closes_reads_all_of_it_back() {
    let server = Server::start(&["--shards", "1"]);
    let mut client = client(server.address);
    let mut sent = vec![0; 200_000];
    Noise(7).fill(&mut sent);
    client.write_all(&sent).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut received = Vec::new();
    client.read_to_end(&mut received).unwrap();
    assert!(received == sent, "{} bytes of {} came back", received.len(), sent.len());
}

/// The CPUs that this process may use, in order: from how the kernel writes them, such as `0-3,8`.
fn own_cpus() -> Vec<usize> {
    let list = status_field("/proc/self", "Cpus_allowed_list");
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        first.parse().unwrap()..=last.parse().unwrap()
    };
    list.split(',').flat_map(range).collect()
}

/// How often a thread has gone to sleep, or had to make way.
fn switches(task: &str) -> u64 {
    ["voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"]
        .map(|name| status_field(task, name).parse::<u64>().unwrap())
        .iter()
        .sum()
}

/// The CPUs that the first of the server's shards are on, as it says when it starts.
fn chosen_cpus(server: &Server, shards: usize) -> Vec<usize> {
    let cpu = |index| {
        let line = server.program.next_line();
        line.strip_prefix(&format!("shard-{index} on CPU ")).expect(&line).parse().unwrap()
    };
    (0..shards).map(cpu).collect()
}

fn sorted(mut cpus: Vec<usize>) -> Vec<usize> {
    cpus.sort_unstable();
    cpus
}

#[test]
fn two_shards_are_pinned_and_both_accept() {
    let own = own_cpus();
    let server = Server::start(&["--shards", "2"]);
    let cpus = chosen_cpus(&server, 2);
    assert!(cpus.iter().all(|cpu| own.contains(cpu)), "{cpus:?} of {own:?}");
    assert!(cpus[0] != cpus[1] || own.len() == 1, "{cpus:?} of {own:?}");
    let tasks = shard_tasks(server.pid);
    assert_eq!(tasks.len(), 2);
    for (index, (name, task)) in tasks.iter().enumerate() {
        assert_eq!(*name, format!("shard-{index}"));
        assert_eq!(status_field(task, "Cpus_allowed_list"), cpus[index].to_string());
    }
    // A shard that accepts nothing sleeps through this.
    let before: Vec<u64> = tasks.iter().map(|(_, task)| switches(task)).collect();
    for _ in 0..200 {
        assert_echoes(&mut client(server.address), b"hello");
    }
    for ((name, task), before) in tasks.iter().zip(before) {
        assert!(switches(task) >= before + 20, "{name} has hardly stirred");
    }
    assert!(server.stop().output[0].starts_with("drained: 200 connections, "));
}

#[test]
fn every_cpu_of_the_process_gets_a_shard_by_default_in_either_layout() {
    let own = own_cpus();
    for layout in ["spread", "pack"] {
        let server = Server::start_as(command(PANTS_ECHO).args(["--listen", ANY_PORT]).env("PANTS_LAYOUT", layout));
        let tasks = shard_tasks(server.pid);
        let cpus = chosen_cpus(&server, tasks.len());
        for ((name, task), cpu) in tasks.iter().zip(&cpus) {
            assert_eq!(status_field(task, "Cpus_allowed_list"), cpu.to_string(), "{name}");
        }
        // Under a quota there are fewer of them.
        let cpus = sorted(cpus);
        assert!(!cpus.is_empty() && cpus.windows(2).all(|pair| pair[0] < pair[1]), "{cpus:?}");
        assert!(cpus.iter().all(|cpu| own.contains(cpu)), "{cpus:?} of {own:?}");
    }
}

#[test]
fn a_limit_from_outside_is_respected() {
    if !has_tool("taskset") {
        return;
    }
    let last = own_cpus().pop().unwrap().to_string();
    let server = Server::start_as(command("taskset").args(["-c", &last, PANTS_ECHO, "--listen", ANY_PORT]));
    assert_eq!(server.program.next_line(), format!("shard-0 on CPU {last}"));
    let tasks = shard_tasks(server.pid);
    assert_eq!(tasks.len(), 1, "one CPU, one shard");
    assert_eq!(status_field(&tasks[0].1, "Cpus_allowed_list"), last);
    assert_echoes(&mut client(server.address), b"hello");
}

#[test]
fn more_shards_than_the_process_may_use_cpus_share_them() {
    let cpus = own_cpus();
    let count = 2 * cpus.len() + 1;
    let server = Server::start(&["--shards", &count.to_string()]);
    let chosen = chosen_cpus(&server, count);
    for round in chosen.chunks_exact(cpus.len()) {
        assert_eq!(sorted(round.to_vec()), cpus);
    }
    assert_eq!(chosen.last(), chosen.first());
    for _ in 0..10 * count {
        assert_echoes(&mut client(server.address), b"hello");
    }
}

#[test]
fn its_admin_endpoint_is_where_it_says_and_stays_while_it_drains() {
    let server = Server::start(&["--shards", "1", "--no-pin", "--admin", ANY_PORT]);
    let line = server.program.next_line();
    let admin = line.strip_prefix("admin endpoint on ").expect("it says where").parse().unwrap();
    let readiness = || {
        let mut visitor = client(admin);
        visitor.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        visitor.read_to_string(&mut answer).unwrap();
        answer.lines().next().unwrap_or_default().to_owned()
    };
    let mut held = client(server.address);
    assert_echoes(&mut held, b"hello");
    assert_eq!(readiness(), "HTTP/1.1 200 OK");
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(held.read(&mut [0]).unwrap(), 0, "the drain has begun");
    assert_eq!(readiness(), "HTTP/1.1 503 Service Unavailable");
    drop(held);
    let ended = server.program.join();
    assert_eq!(ended.code, Some(0));
    assert!(ended.output.last().unwrap().starts_with("drained: 1 connection, "), "visitors are not counted: {ended:?}");
}
