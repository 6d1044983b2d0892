//! The shapes of a load: ramp, cool-down, churn, think time, idle connections, and the measured time in pieces.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::*;

fn number(json: &Value, pointer: &str) -> u64 {
    json.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("{pointer} is no number in {json}"))
}

/// When each connection came, and how many bytes it has carried.
type Notes = Arc<Mutex<Vec<(Instant, u64)>>>;

/// An echo that takes notes of its connections.
fn noting_echo() -> (SocketAddr, Notes) {
    let notes = Notes::default();
    let shared = Arc::clone(&notes);
    let address = server(move |stream| {
        let place = {
            let mut notes = shared.lock().unwrap();
            notes.push((Instant::now(), 0));
            notes.len() - 1
        };
        echo(stream, |data| shared.lock().unwrap()[place].1 += data.len() as u64);
    });
    (address, notes)
}

#[test]
fn a_ramp_opens_the_connections_one_after_another_and_loads_each_at_once() {
    for model in ["", "--rate 2k"] {
        let (address, notes) = noting_echo();
        let flags = "--connections 5 --ramp 500ms --warmup 0s --duration 100ms";
        let (ended, json) = load(address, &format!("{flags} {model}"));
        ended.assert_well(&json);
        let notes = notes.lock().unwrap();
        assert_eq!(notes.len(), 5);
        let spread = notes[4].0 - notes[0].0;
        // The last one is begun 400 ms after the first; a busy machine may have been late with the first.
        assert!(spread > Duration::from_millis(200), "{spread:?} with {model:?}");
        assert!(notes.iter().all(|(_, bytes)| *bytes > 0), "{notes:?}");
        let (measured, all) = (number(&json, "/result/messages"), number(&json, "/result/total/replied"));
        assert!(measured < all, "what the ramp has sent is not measured: {json}");
    }
}

#[test]
fn the_load_goes_on_in_the_cool_down_and_is_not_measured() {
    for model in ["", "--rate 2k"] {
        let (address, _) = noting_echo();
        let begun = Instant::now();
        let flags = "--connections 2 --warmup 0s --duration 200ms --cooldown 400ms";
        let (ended, json) = load(address, &format!("{flags} {model}"));
        ended.assert_well(&json);
        assert!(begun.elapsed() >= Duration::from_millis(600));
        assert_eq!(json["result"]["elapsed_s"], 0.2);
        let (measured, all) = (number(&json, "/result/messages"), number(&json, "/result/total/replied"));
        assert!(0 < measured && measured < all, "{json}");
    }
}

#[test]
fn each_connection_carries_its_number_of_messages_and_is_followed_by_another_one() {
    let (address, notes) = noting_echo();
    let (ended, json) = load(address, "--connections 2 --count 21 --reconnect-after 5 --depth 2");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let mut carried: Vec<u64> = notes.lock().unwrap().iter().map(|(_, bytes)| bytes / 64).collect();
    carried.sort_unstable();
    assert_eq!(carried, [1, 5, 5, 5, 5]);
    assert_eq!((number(&json, "/result/total/connections"), number(&json, "/result/connect/count")), (5, 5));
    assert_eq!(number(&json, "/result/messages"), 21);
}

#[test]
fn a_connection_that_has_failed_is_opened_anew_where_that_is_asked_for() {
    let flags = "--connections 1 --warmup 0s --duration 600ms";
    for (reconnect, connections) in [("", 1), ("--reconnect", 2)] {
        let accepted = AtomicU64::new(0);
        let address = server(move |stream| {
            if accepted.fetch_add(1, Ordering::Relaxed) == 0 {
                // Closing over unread input sends RST (RFC 2525, section 2.17).
                return drop(stream.peek(&mut [0]));
            }
            echo(stream, |_| ());
        });
        let (ended, json) = load(address, &format!("{flags} {reconnect}"));
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert_eq!(failures(&json, "reset"), (1, 1));
        assert_eq!(number(&json, "/result/total/connections"), connections);
        assert_eq!(number(&json, "/result/messages") > 0, connections == 2, "{json}");
    }
}

#[test]
fn a_connection_thinks_before_it_goes_on() {
    const THINK: Duration = Duration::from_millis(20);
    let pauses = Arc::new(Mutex::new(Vec::new()));
    let shared = Arc::clone(&pauses);
    let address = server(move |mut stream| {
        let (mut message, mut answered) = ([0; 64], None::<Instant>);
        while stream.read_exact(&mut message).is_ok() {
            shared.lock().unwrap().extend(answered.map(|answered| answered.elapsed()));
            answered = Some(Instant::now());
            if stream.write_all(&message).is_err() {
                return;
            }
        }
    });
    let (ended, json) = load(address, "--connections 2 --count 12 --think 20ms");
    assert_eq!((ended.code, number(&json, "/result/messages")), (Some(0), 12), "{ended:?}");
    let pauses = pauses.lock().unwrap();
    assert!(pauses.len() == 10 && pauses.iter().all(|pause| *pause >= THINK), "{pauses:?}");
}

#[test]
fn idle_connections_are_held_and_say_nothing() {
    let (address, notes) = noting_echo();
    let (ended, json) = load(address, "--idle 5 --connections 2 --count 10");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(number(&json, "/result/total/connections"), 7);
    let carried: Vec<u64> = notes.lock().unwrap().iter().map(|(_, bytes)| *bytes).filter(|bytes| *bytes > 0).collect();
    assert_eq!(carried, [320, 320]);
}

#[test]
fn an_idle_connection_that_the_server_closes_has_failed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        // They are accepted in the order in which they were made: the idle ones come first.
        let mut streams: Vec<_> = listener.incoming().map_while(Result::ok).take(4).collect();
        let loaded = streams.pop().expect("there are four");
        drop(streams);
        echo(loaded, |_| ());
    });
    let (ended, json) = load(address, "--idle 3 --connections 1 --warmup 0s --duration 500ms");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(failures(&json, "closed_early"), (0, 3));
}

#[test]
fn a_reply_that_is_cut_short_is_a_class_of_its_own() {
    let address = server(|mut stream| {
        let mut message = [0; 64];
        let _ = stream.read_exact(&mut message).and_then(|()| stream.write_all(&message[..20]));
        // Until it has been read: a close over unread input would be a reset.
        let _ = stream.shutdown(std::net::Shutdown::Write);
        while stream.read(&mut message).is_ok_and(|count| count > 0) {}
    });
    let (ended, json) = load(address, "--connections 3 --count 6");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(failures(&json, "short"), (3, 3));
}

#[test]
fn the_intervals_add_up_to_the_whole() {
    let (address, _) = noting_echo();
    for flags in ["--shards 2", "--rate 2k"] {
        let (ended, json) = load(address, &format!("--connections 4 --warmup 100ms --duration 2500ms {flags}"));
        ended.assert_well(&json);
        let intervals = json["result"]["intervals"].as_array().unwrap();
        assert_eq!(intervals.len(), 3, "{json}");
        let sum: u64 = intervals.iter().map(|interval| number(interval, "/messages")).sum();
        assert_eq!(sum, number(&json, "/result/messages"), "{json}");
        let seconds: f64 = intervals.iter().filter_map(|interval| interval["seconds"].as_f64()).sum();
        assert!((seconds - 2.5).abs() < 1e-9, "{json}");
        let longest = intervals.iter().map(|interval| number(interval, "/max_ns")).max();
        assert_eq!(longest, Some(number(&json, "/result/response/max_ns")), "{json}");
    }
}

#[test]
fn contradictions_are_told_in_one_line() {
    for (flags, part) in [
        ("--rate 1k --think 5ms", "cannot be used with"),
        ("--arrivals constant", "--rate"),
        ("--rate 0", "more than 0"),
        ("--rate 5x", "expected a rate such as"),
        ("--rate 1k --connections 1 --shards 2", "2 shards have 1 --connections"),
        ("--think 0s", "more than nothing"),
    ] {
        let fixed = ["run", "tcp://127.0.0.1:4040"];
        let ended = run(&fixed.into_iter().chain(flags.split(' ')).collect::<Vec<_>>());
        assert_eq!((ended.code, ended.output.as_str()), (Some(2), ""), "{flags}: {ended:?}");
        assert!(ended.errors.len() == 1 && ended.errors[0].contains(part), "{flags}: {ended:?}");
    }
}
