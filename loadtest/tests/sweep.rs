//! `sweep` against a server that scales as it is known to.

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::support::*;

/// The variables that make a process of this file the server.
const SHARDS: &str = "PANTS_LOAD_TEST_SHARDS";
const PORT: &str = "PANTS_LOAD_TEST_PORT";

/// How long each of the server's shards has of a message.
const SERVICE: Duration = Duration::from_millis(4);

/// Not a test but the server of the others, in a process of its own: as many messages as it has shards are served at a time.
#[test]
fn serve() {
    let variable = |name| std::env::var(name).ok().and_then(|value| value.parse::<u16>().ok());
    let (Some(shards), Some(port)) = (variable(SHARDS), variable(PORT)) else { return };
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let (free, freed) = (Mutex::new(shards), Condvar::new());
    thread::scope(|scope| {
        for stream in listener.incoming().map_while(Result::ok) {
            let (free, freed, mut stream) = (&free, &freed, stream);
            scope.spawn(move || {
                let mut message = [0; 64];
                while stream.read_exact(&mut message).is_ok() {
                    *freed.wait_while(free.lock().unwrap(), |free| *free == 0).unwrap() -= 1;
                    thread::sleep(SERVICE);
                    *free.lock().unwrap() += 1;
                    freed.notify_one();
                    if stream.write_all(&message).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

/// A port that was free a moment ago, and the command that starts [`serve`] on it.
fn command() -> (u16, String) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let program = std::env::current_exe().unwrap();
    (port, format!("env {SHARDS}={{n}} {PORT}={port} {} --exact serve --nocapture", program.display()))
}

#[test]
fn a_server_that_does_twice_as_much_with_twice_the_shards_is_seen_to() {
    let (port, command) = command();
    let (target, file) = (format!("tcp://127.0.0.1:{port}"), ScratchFile::new());
    let fixed = ["sweep", &target, "--server-cmd", &command, "--no-pin", "--json", file.path()];
    let flags = "--shards 1,2,3,4,5,6 --repeat 2 --duration 400ms --warmup 100ms --connections 20";
    let ended = run(&fixed.into_iter().chain(flags.split_whitespace()).collect::<Vec<_>>());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let record: Value = serde_json::from_str(&std::fs::read_to_string(file.path()).unwrap()).unwrap();
    let runs = record["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 12);
    assert!(runs.iter().all(|run| run["result"]["server"]["pid"].is_u64()), "the server was looked at: {ended:?}");
    let rows = record["sweep"]["rows"].as_array().unwrap();
    for (row, n) in rows.iter().zip(1_u32..) {
        assert_eq!(row["n"], n);
        // A sleep is late on a busy machine, which makes every row slower, but none of them by much more than another.
        let speed_up = row["speed_up"].as_f64().unwrap();
        assert!((speed_up / f64::from(n) - 1.0).abs() < 0.25, "{speed_up} with {n}: {ended:?}");
    }
    let law = &record["sweep"]["law"];
    assert!(law["sigma"].as_f64().unwrap() < 0.1 && law["kappa"].as_f64().unwrap() < 0.02, "{law}");
    assert!(ended.output.contains("Universal Scalability Law: one does"), "{ended:?}");
}

#[test]
fn a_sweep_that_measures_nothing_says_why_in_one_line_with_status_2() {
    let target = "tcp://127.0.0.1:1";
    for (flags, part) in [
        (&["--shards", "1,2"][..], "--server-cmd"),
        (&["--server-cmd", "x {n}"], "--shards"),
        (&["--server-cmd", "x {n}", "--shards", "0"], "--shards"),
        (&["--server-cmd", "x", "--shards", "1"], "write {n} where the number of shards belongs"),
        (&["--server-cmd", "/nowhere/at/all {n}", "--shards", "1"], "n = 1"),
    ] {
        let ended = run(&[&["sweep", target], flags].concat());
        assert_eq!((ended.code, ended.output.as_str()), (Some(2), ""), "{flags:?}: {ended:?}");
        assert!(ended.errors.len() == 1 && ended.errors[0].contains(part), "{flags:?}: {ended:?}");
    }
}
