//! Loads over UDP and Unix datagrams: what is lost, comes twice, is cut short or refused is counted as what it is.

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{self as unix, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::support::*;

/// A UDP server of one plain thread, which sends to each sender what `answer` makes of its datagrams, in their order.
fn udp_server(mut answer: impl FnMut(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            for datagram in answer(&buffer[..length]) {
                let _ = socket.send_to(&datagram, from);
            }
        }
    });
    address
}

fn load_udp(address: SocketAddr, flags: &str) -> (Ended, Value) {
    load_target(&format!("udp://{address}"), &flags.split_whitespace().collect::<Vec<_>>())
}

/// How many messages a run has counted as good, sent and answered.
fn counts(json: &Value) -> [u64; 3] {
    let number = |value: &Value| value.as_u64().expect("it is a number");
    let result = &json["result"];
    [number(&result["messages"]), number(&result["total"]["sent"]), number(&result["total"]["replied"])]
}

#[test]
fn every_datagram_is_sent_once_and_comes_back() {
    let seen = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&seen);
    let address = udp_server(move |data| {
        counter.fetch_add(1, Ordering::Relaxed);
        vec![data.to_vec()]
    });
    for flags in [
        "--connections 1 --size 8",
        "--connections 7 --depth 4 --shards 2 --size uniform:8-2000",
        "--connections 2 --size 60000",
    ] {
        seen.store(0, Ordering::Relaxed);
        let (ended, json) = load_udp(address, &format!("{flags} --count 2000"));
        assert_eq!((ended.code, counts(&json)), (Some(0), [2_000; 3]), "{ended:?}");
        assert_eq!(seen.load(Ordering::Relaxed), 2_000);
        assert_eq!(json["result"]["total"]["bytes_in"], json["result"]["total"]["bytes_out"]);
    }
}

#[test]
fn a_lost_datagram_is_a_timeout_that_counts_for_as_long_as_it_was_waited_for() {
    let mut number = 0;
    let address = udp_server(move |data| {
        number += 1;
        if number % 10 == 0 { Vec::new() } else { vec![data.to_vec()] }
    });
    let (ended, json) = load_udp(address, "--count 200 --connections 4 --depth 2 --timeout 300ms");
    assert_eq!((ended.code, failures(&json, "timeout")), (Some(1), (20, 0)), "{ended:?}");
    assert_eq!(counts(&json), [180, 200, 180]);
    let response = &json["result"]["response"];
    assert_eq!((&response["count"], &response["censored"]), (&200.into(), &20.into()));
    assert!(response["p99_ns"].as_u64().unwrap() >= 299_000_000, "{response}");
    assert_eq!(json["result"]["total"]["unfinished"], 0);
}

#[test]
fn an_answer_that_comes_twice_is_a_duplicate() {
    let mut number = 0;
    let address = udp_server(move |data| {
        number += 1;
        vec![data.to_vec(); if number % 10 == 0 { 2 } else { 1 }]
    });
    // A last answer's second may come when the run is over; so the last one, of a count that is no multiple, has none.
    let (ended, json) = load_udp(address, "--count 205 --connections 1");
    assert_eq!((ended.code, failures(&json, "duplicate")), (Some(1), (20, 0)), "{ended:?}");
    assert_eq!((counts(&json), &json["result"]["total"]["unfinished"]), ([205; 3], &0.into()));
}

#[test]
fn an_answer_that_is_cut_short_and_one_that_is_changed_are_told_apart() {
    let address = udp_server(|data| vec![data[..data.len() - 1].to_vec()]);
    let (ended, json) = load_udp(address, "--count 50 --connections 2 --depth 2");
    assert_eq!((ended.code, failures(&json, "short")), (Some(1), (50, 0)), "{ended:?}");
    let address = udp_server(|data| {
        let mut data = data.to_vec();
        data[20] ^= 1;
        vec![data]
    });
    let (ended, json) = load_udp(address, "--count 50 --connections 2 --depth 2");
    assert_eq!((ended.code, failures(&json, "corrupt")), (Some(1), (50, 0)), "{ended:?}");
    assert_eq!(json["result"]["failures"]["wrong_bytes"], 50);
    let (ended, _) = load_udp(address, "--count 50 --no-verify");
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn a_datagram_that_answers_nothing_is_corrupt() {
    let mut number = 0;
    let address = udp_server(move |data| {
        number += 1;
        if number % 10 == 0 { vec![b"hello, stranger".to_vec(), data.to_vec()] } else { vec![data.to_vec()] }
    });
    let (ended, json) = load_udp(address, "--count 200 --connections 1");
    assert_eq!((ended.code, failures(&json, "corrupt")), (Some(1), (20, 0)), "{ended:?}");
    assert_eq!(counts(&json), [200; 3]);
}

#[test]
fn answers_out_of_order_are_right() {
    let mut kept: Option<Vec<u8>> = None;
    let address = udp_server(move |data| match kept.take() {
        Some(earlier) => vec![data.to_vec(), earlier],
        None => {
            kept = Some(data.to_vec());
            Vec::new()
        }
    });
    let (ended, json) = load_udp(address, "--count 200 --connections 1 --depth 2");
    assert_eq!((ended.code, counts(&json)), (Some(0), [200; 3]), "{ended:?}");
}

/// An address at which nobody is.
fn deserted() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn a_port_that_nobody_has_refuses_every_message() {
    let (ended, json) = load_udp(deserted(), "--count 30 --connections 3 --timeout 1s");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!((failures(&json, "refused"), &json["result"]["total"]["unfinished"]), ((30, 0), &0.into()));
}

#[test]
fn a_server_that_comes_back_is_found_again() {
    let (address, file) = (deserted(), ScratchFile::new());
    let target = format!("udp://{address}");
    let program = Program::start(&["run", &target, "--no-pin", "--duration", "60s", "--json", file.path()]);
    program.wait_for_error("/s, ");
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 64];
    for _ in 0..200 {
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        socket.send_to(&buffer[..length], from).unwrap();
    }
    program.signal(rustix::process::Signal::INT);
    assert_eq!(program.join().code, Some(1));
    let record: Value = serde_json::from_str(&std::fs::read_to_string(file.path()).unwrap()).unwrap();
    let result = &record["runs"][0]["result"];
    assert!(result["failures"]["kinds"]["refused"]["messages"].as_u64().unwrap() > 0, "{result}");
    assert!(result["messages"].as_u64().unwrap() >= 100, "{result}");
}

#[test]
fn an_open_loop_sends_datagrams_by_the_schedule() {
    let address = udp_server(|data| vec![data.to_vec()]);
    let (ended, json) = load_udp(address, "--rate 2k --connections 4 --warmup 0s --duration 1s");
    ended.assert_well(&json);
    let schedule = &json["result"]["schedule"];
    assert_eq!(schedule["scheduled"], schedule["sent"], "{schedule}");
    let scheduled = schedule["scheduled"].as_u64().unwrap();
    // Six standard deviations of a Poisson count.
    assert!(scheduled.abs_diff(2_000) < 6 * 45, "{scheduled}");
}

#[test]
fn a_channel_thinks_between_an_answer_and_its_next_message() {
    let address = udp_server(|data| vec![data.to_vec()]);
    let (ended, json) = load_udp(address, "--count 40 --connections 4 --think 20ms");
    assert_eq!((ended.code, counts(&json)), (Some(0), [40; 3]), "{ended:?}");
    // Each of four sends ten, the first after a part of a think time.
    assert!(json["result"]["elapsed_s"].as_f64().unwrap() >= 0.18, "{json}");
}

#[test]
fn unix_datagrams_are_answered_at_names_of_their_own() {
    let name = format!("pants-load-test-{}", std::process::id());
    let address = unix::SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let server = thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while !stopped.load(Ordering::Relaxed) {
            if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                socket.send_to_addr(&buffer[..length], &from).unwrap();
            }
        }
    });
    let target = format!("unixgram:@{name}");
    for flags in ["--connections 1", "--connections 20 --depth 30 --size uniform:8-4KiB"] {
        let flags = format!("{flags} --count 3000");
        let (ended, json) = load_target(&target, &flags.split_whitespace().collect::<Vec<_>>());
        assert_eq!((ended.code, counts(&json)), (Some(0), [3_000; 3]), "{ended:?}");
    }
    stop.store(true, Ordering::Relaxed);
    server.join().unwrap();
    let (ended, json) = load_target(&target, &["--count", "30", "--connections", "3"]);
    assert_eq!((ended.code, failures(&json, "refused")), (Some(1), (0, 3)), "{ended:?}");
}

#[test]
fn what_datagrams_cannot_do_is_told_in_one_line() {
    for (flags, part) in [
        ("--protocol lines", "datagrams are echoes only"),
        ("--size 7", "must be 8 to 65507 bytes"),
        ("--size 64KiB", "must be 8 to 65507 bytes"),
        ("--idle 5", "--idle"),
        ("--reconnect-after 5", "--reconnect"),
    ] {
        let arguments = ["run", "udp://127.0.0.1:4040"].into_iter().chain(flags.split(' ')).collect::<Vec<_>>();
        let ended = run(&arguments);
        assert_eq!((ended.code, ended.output.as_str()), (Some(2), ""), "{flags}: {ended:?}");
        assert!(ended.errors.len() == 1 && ended.errors[0].contains(part), "{flags}: {ended:?}");
    }
}
