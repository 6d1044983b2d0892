//! That the proxy's memory is bounded by its water marks while nobody reads, and that nothing is lost by that.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use crate::support::proxy::*;
use crate::support::*;

const PAIRS: usize = 200;

/// What one direction of a pair may hold: the high-water mark, and what is read in a turn before reading pauses, with the
/// read that the turn begins with.
const HELD_MAX_KIB: usize = 256 + 5 * 64;

/// What else a pair takes, and the allocator keeps.
const PAIR_KIB: usize = 16;

fn resident_kib(pid: u32) -> usize {
    let field = status_field(&format!("/proc/{pid}"), "VmRSS");
    field.trim_end_matches(" kB").parse().unwrap()
}

/// Writes on every connection until none takes more for a while. Gives how much each has taken.
fn fill(writers: &mut [Socket]) -> Vec<usize> {
    let chunk = [7; 64 << 10];
    let mut sent = vec![0; writers.len()];
    let (mut since, limit) = (Instant::now(), Instant::now() + 2 * PATIENCE);
    while since.elapsed() < Duration::from_millis(300) {
        assert!(Instant::now() < limit, "there is no end to it");
        for (writer, sent) in writers.iter_mut().zip(&mut sent) {
            match writer.write(&chunk) {
                Ok(count) => {
                    *sent += count;
                    since = Instant::now();
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        std::thread::yield_now();
    }
    sent
}

fn assert_bounded(clients_write: bool) {
    // The kernel holds little for a Unix socket, whereas the buffers of TCP grow to megabytes for each of these.
    let upstream = Upstream::bind(Kind::Abstract);
    let proxy = Proxy::start_at(&Kind::Abstract.address(), &["--quiet", "--to", &upstream.address()]);
    let (clients, servers): (Vec<Socket>, Vec<Socket>) =
        (0..PAIRS).map(|_| (proxy.connect(), upstream.accept())).unzip();
    let (mut writers, readers) = if clients_write { (clients, servers) } else { (servers, clients) };
    let before = resident_kib(proxy.pid);
    for writer in &writers {
        writer.set_nonblocking();
    }
    let sent = fill(&mut writers);
    let held = resident_kib(proxy.pid) - before;
    println!("{held} KiB for {PAIRS} pairs, {} KiB written", sent.iter().sum::<usize>() >> 10);
    assert!(sent.iter().all(|sent| *sent > 256 << 10), "a pair that holds nothing shows nothing");
    assert!(held <= PAIRS * (HELD_MAX_KIB + PAIR_KIB), "{held} KiB for {PAIRS} pairs");

    // Once they read, everything comes, and the end behind it.
    for writer in &writers {
        writer.end();
    }
    for (mut reader, sent) in readers.into_iter().zip(sent) {
        let mut received = 0;
        let mut buffer = vec![0; 256 << 10];
        loop {
            match reader.read(&mut buffer).unwrap() {
                0 => break,
                count => received += count,
            }
        }
        assert_eq!(received, sent);
    }
    drop(writers);
    assert_eq!(proxy.stop().code, Some(0));
}

#[test]
fn clients_that_do_not_read_take_bounded_memory_and_get_everything_in_the_end() {
    assert_bounded(false);
}

#[test]
fn upstreams_that_do_not_read_take_bounded_memory_and_get_everything_in_the_end() {
    assert_bounded(true);
}

#[test]
fn two_sides_that_both_write_first_are_not_stuck_as_long_as_one_reads() {
    // A queue that is full in one direction must not keep the proxy from reading the other.
    let upstream = Upstream::tcp();
    let proxy = Proxy::start(&["--quiet", "--to", &upstream.address()]);
    let (client, server) = (proxy.connect(), upstream.accept());
    let mut both = [client, server];
    for socket in &both {
        socket.set_nonblocking();
    }
    let [from_client, from_server] = fill(&mut both)[..] else { unreachable!("there are two") };
    let [mut client, mut server] = both;
    let read_all = |socket: &mut Socket, mut left: usize| {
        let limit = Instant::now() + PATIENCE;
        let mut buffer = vec![0; 64 << 10];
        while left > 0 {
            assert!(Instant::now() < limit, "{left} bytes do not come");
            match socket.read(&mut buffer) {
                Ok(count) => left -= count,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
    };
    read_all(&mut client, from_server);
    read_all(&mut server, from_client);
}

#[test]
fn a_client_that_speaks_before_its_upstream_is_connected_is_held_back_by_the_kernel() {
    let full = FullListener::new();
    let proxy = Proxy::start(&["--quiet", "--to", &full.address]);
    let before = resident_kib(proxy.pid);
    let mut client = [proxy.connect()];
    client[0].set_nonblocking();
    let sent = fill(&mut client)[0];
    let held = resident_kib(proxy.pid).saturating_sub(before);
    assert!(held <= 512, "{held} KiB are held of {sent} bytes of a client that nobody listens to");
}
