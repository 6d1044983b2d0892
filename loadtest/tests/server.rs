//! The measured process: one that is started for the run, and what is told of it.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::*;

/// Where the server of a test listens, and after how many reads it ends, in its environment.
const LISTEN: &str = "PANTS_LOAD_TEST_LISTEN";
const READS: &str = "PANTS_LOAD_TEST_READS";

/// The status with which a server ends that has read enough.
const ENOUGH: i32 = 7;

/// Not a test: the server that the tests of this file have started, an echo with a thread for each connection.
#[test]
#[ignore = "it is the server that other tests start"]
fn the_server_of_the_tests() {
    let Ok(address) = std::env::var(LISTEN) else { return };
    let reads: usize = std::env::var(READS).map_or(usize::MAX, |reads| reads.parse().unwrap());
    let listener = TcpListener::bind(address).unwrap();
    for mut stream in listener.incoming().map_while(Result::ok) {
        thread::spawn(move || {
            let mut buffer = [0; 4_096];
            for _ in 0..reads {
                match stream.read(&mut buffer) {
                    Ok(count @ 1..) if stream.write_all(&buffer[..count]).is_ok() => {}
                    _ => return,
                }
            }
            eprintln!("that is enough");
            std::process::exit(ENOUGH);
        });
    }
}

/// The command that starts the server of these tests.
fn command(address: SocketAddr, more: &str) -> String {
    let program = std::env::current_exe().unwrap();
    let program = program.to_str().unwrap();
    format!("env {LISTEN}={address} {more} {program} --exact the_server_of_the_tests --ignored --nocapture")
}

/// An address that nobody has. The host is the test's own, so that no test takes the port of another.
fn free_address(host: u8) -> SocketAddr {
    TcpListener::bind(SocketAddr::from(([127, 0, 77, host], 0))).unwrap().local_addr().unwrap()
}

/// Waits until nobody listens any more.
fn wait_for_end(address: SocketAddr) {
    let limit = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < limit, "the server is still there");
        thread::yield_now();
    }
}

/// Loads a server that is started for it.
fn load_own(address: SocketAddr, command: &str, flags: &[&str]) -> (Ended, serde_json::Value) {
    let file = ScratchFile::new();
    let target = format!("tcp://{address}");
    let fixed = ["run", &target, "--no-pin", "--json", file.path(), "--server-cmd", command];
    let ended = run(&[&fixed[..], flags].concat());
    let text = std::fs::read_to_string(file.path()).unwrap_or_default();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    (ended, json["runs"][0].clone())
}

#[test]
fn a_server_is_started_measured_and_ended() {
    let address = free_address(1);
    let flags = ["--connections", "20", "--duration", "300ms", "--warmup", "100ms"];
    let (ended, json) = load_own(address, &command(address, ""), &flags);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    wait_for_end(address);
    let server = &json["result"]["server"];
    let number = |pointer: &str| server.pointer(pointer).and_then(serde_json::Value::as_f64).unwrap_or(-1.0);
    // The listener's thread, the one that awaits it, and one for each connection.
    assert!(number("/thread_count") >= 21.0, "{server}");
    assert!(number("/cpu_seconds") > 0.0 && number("/cpu_ns_per_message") > 0.0, "{server}");
    assert!(number("/switches/voluntary") > 0.0, "{server}");
    assert!(number("/resident/before_bytes") > 0.0 && number("/resident/end_bytes") > 0.0, "{server}");
    assert!(number("/resident/peak_bytes") >= number("/resident/end_bytes"), "{server}");
    assert!(number("/resident_bytes_per_connection") > 0.0, "each has a thread, whose stack is memory: {server}");
    assert!(number("/descriptors") >= 20.0 && number("/descriptors") < number("/descriptor_limit"), "{server}");
    assert_eq!((&json["result"]["server_ended"], &json["invalid"]), (&false.into(), &serde_json::json!([])));
}

#[test]
fn what_a_script_starts_is_measured_and_ended_with_it() {
    let address = free_address(2);
    let script = format!("sh -c '{}; echo over'", command(address, ""));
    let (ended, json) = load_own(address, &script, &["--connections", "2", "--count", "20000"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    wait_for_end(address);
    let server = &json["result"]["server"];
    assert!(server["processes"].as_u64().unwrap() >= 2, "{server}");
    assert!(server["cpu_seconds"].as_f64().unwrap() > 0.0, "{server}");
}

#[test]
fn a_server_that_ends_in_mid_run_makes_the_run_invalid() {
    let address = free_address(3);
    let command = command(address, &format!("{READS}=500"));
    let (ended, json) = load_own(address, &command, &["--connections", "2", "--warmup", "0s", "--duration", "20s"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let told = "--server-cmd: the server ended with exit status: 7; it said: ";
    assert!(ended.errors.iter().any(|line| line.contains(told) && line.contains("that is enough")), "{ended:?}");
    assert!(ended.output.contains("INVALID: the server's process ended"), "{ended:?}");
    assert_eq!((&json["result"]["server_ended"], json["invalid"].as_array().unwrap().len()), (&true.into(), 1));
}

#[test]
fn a_server_that_does_not_come_is_told_in_one_line_and_nothing_is_left_behind() {
    let address = free_address(4);
    let target = format!("tcp://{address}");
    for (command, part) in [
        ("/no/such/server", "--server-cmd: cannot start /no/such/server: No such file"),
        ("sh -c 'echo no port >&2; exit 3'", "the server ended with exit status: 3; it said: no port"),
        ("sleep 600", "nobody answers at tcp://127.0.77.4"),
        ("server 'open", "a quotation mark is not closed"),
    ] {
        let ended = run(&["run", &target, "--server-cmd", command, "--server-wait", "100ms"]);
        assert_eq!((ended.code, ended.output.as_str()), (Some(2), ""), "{command}: {ended:?}");
        assert!(ended.errors.len() == 1 && ended.errors[0].contains(part), "{command}: {ended:?}");
    }
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    let pid = std::process::id().to_string();
    for (flags, part) in [
        (&["--server-pid", &pid, "--server-cmd", "true"][..], "cannot be used with"),
        (&["--server-syscalls", "--count", "5"], "cannot be used with"),
        (&["--server-syscalls"], "--server-syscalls needs a server"),
        (&["--server-wait", "1s"], "--server-cmd"),
        (&["--server-cmd", "true", "--server-wait", "1d"], "expected a duration"),
    ] {
        let ended = run(&[&["run", "tcp://127.0.0.1:4040"], flags].concat());
        assert!(ended.code == Some(2) && ended.errors.len() == 1, "{flags:?}: {ended:?}");
        assert!(ended.errors[0].contains(part), "{flags:?}: {ended:?}");
    }
}

#[test]
fn ctrl_c_and_a_lost_terminal_end_the_server_once_the_report_is_made() {
    let address = free_address(5);
    let target = format!("tcp://{address}");
    let command = command(address, "");
    for signal in [Signal::INT, Signal::HUP] {
        let program = Program::start(&["run", &target, "--no-pin", "--server-cmd", &command, "--duration", "60s"]);
        program.next_error();
        program.signal(signal);
        let ended = program.join();
        assert!(ended.output.contains("interrupted") && !ended.output.contains("INVALID"), "{ended:?}");
        wait_for_end(address);
    }
}

#[test]
fn a_lost_terminal_that_is_ignored_ends_nothing() {
    let address = server(|stream| echo(stream, |_| ()));
    let (program, target) = (env!("CARGO_BIN_EXE_pants-load"), format!("tcp://{address}"));
    let flags = ["run", &target, "--no-pin", "--duration", "2s", "--warmup", "0s"];
    let mut command = std::process::Command::new("nohup");
    let mut child = command.arg(program).args(flags).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    while !line.contains("/s, 0 failed") {
        line.clear();
        assert!(errors.read_line(&mut line).unwrap() > 0, "it shows that it runs");
    }
    kill_process(Pid::from_child(&child), Signal::HUP).unwrap();
    errors.read_to_string(&mut line).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success() && !String::from_utf8_lossy(&ended.stdout).contains("interrupted"), "{ended:?}");
}

#[test]
fn a_second_ctrl_c_takes_the_server_along() {
    let address = free_address(6);
    let target = format!("tcp://{address}");
    let command = command(address, "");
    let program = Program::start(&["run", &target, "--no-pin", "--server-cmd", &command, "--duration", "60s"]);
    program.next_error();
    for signal in [Signal::STOP, Signal::INT, Signal::TERM, Signal::CONT] {
        program.signal(signal);
    }
    assert!(matches!(program.join().code, Some(130 | 143)));
    wait_for_end(address);
}

#[test]
fn system_calls_are_counted_after_the_measured_time_or_it_is_said_why_not() {
    let address = free_address(7);
    let flags = ["--connections", "2", "--duration", "500ms", "--warmup", "0s", "--server-syscalls"];
    let (ended, json) = load_own(address, &command(address, ""), &flags);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let server = &json["result"]["server"];
    if let Some(reason) = server["syscalls_missing"].as_str() {
        assert!(reason.contains("strace"), "{reason}");
        let is_missing = reason.contains("cannot be started");
        assert!(!is_missing || std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI must not skip this: {reason}");
        return;
    }
    // The server reads once and writes once for each message; what it does beside is little.
    let each = server["syscalls"]["per_message"].as_f64().unwrap();
    assert!((1.5..3.0).contains(&each), "{server}");
    let names: Vec<&str> =
        server["syscalls"]["by_name"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert!(names[..2].contains(&"recvfrom") && names[..2].contains(&"sendto"), "{names:?}");
    // It ends by itself long before what the load goes on for at the most.
    assert!(json["result"]["elapsed_s"].as_f64().unwrap() < 0.6, "{json}");
}

#[test]
fn a_process_that_was_there_before_is_left_alone() {
    let address = server(|stream| echo(stream, |_| ()));
    let pid = std::process::id().to_string();
    let (ended, json) = load(address, &format!("--connections 2 --count 500 --server-pid {pid}"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(json["result"]["server"]["pid"], std::process::id());
    assert!(TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok());
}
