//! What a datagram costs in system calls: a count, so that it can fail a test.

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::time::Instant;

use support::{ANY_PORT, PATIENCE};

const SENDERS: usize = 32;
const ROUNDS: usize = 50;

/// Calls at the beginning and the end.
const CALLS_ELSEWHERE: usize = 100;

#[test]
fn datagrams_that_wait_together_share_their_system_calls() {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        println!("skipped: there is no strace");
        return;
    }
    let tests = std::env::current_exe().unwrap();
    let program = tests.ancestors().nth(2).unwrap().join("examples/udp_echo");
    assert!(program.exists(), "{} is missing: run `cargo build --examples` first", program.display());
    let table = std::env::temp_dir().join(format!("pants-datagram-counts-{}", std::process::id()));
    // `-D` leaves the server this process's child, and strace to end with it.
    let mut strace = Command::new("strace");
    strace.args(["-D", "-c", "-o"]).arg(&table).arg(program).arg(ANY_PORT).stdout(Stdio::piped());
    let mut server = strace.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().rsplit(' ').next().unwrap();
    let senders: Vec<UdpSocket> = (0..SENDERS).map(|_| UdpSocket::bind(ANY_PORT).unwrap()).collect();
    for sender in &senders {
        sender.connect(address).unwrap();
        sender.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    for _ in 0..ROUNDS {
        for sender in &senders {
            sender.send(&[b'x'; 64]).unwrap();
        }
        for sender in &senders {
            assert_eq!(sender.recv(&mut [0; 65]).unwrap(), 64);
        }
    }
    server.kill().unwrap();
    server.wait().unwrap();
    let begun = Instant::now();
    let counted = loop {
        let text = fs::read_to_string(&table).unwrap_or_default();
        if text.contains("total") {
            break text;
        }
        assert!(begun.elapsed() < PATIENCE, "strace says nothing");
        std::thread::yield_now();
    };
    fs::remove_file(&table).unwrap();
    let total: usize = counted.lines().last().and_then(|line| line.split_whitespace().nth(3)).unwrap().parse().unwrap();
    println!("{total} calls for {} datagrams", SENDERS * ROUNDS);
    // One by one they would be more than two each.
    assert!(total < SENDERS * ROUNDS + CALLS_ELSEWHERE, "{counted}");
}
