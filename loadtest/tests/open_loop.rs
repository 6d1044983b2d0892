//! The open loop against servers of known behaviour: the schedule is kept, and what the server makes wait is counted as waiting.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::*;

/// Tells this program that it is the server of another one's test.
const SERVE: &str = "PANTS_LOAD_TEST_SERVE";

/// An echo server in a process of its own, which can be stopped; it ends with its test.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start() -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "this_program_is_the_server_where_it_is_asked_to_be", "--nocapture"]).env(SERVE, "1");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let address = lines.map_while(Result::ok).find_map(|line| line.split(SERVE).nth(1)?.parse().ok());
        Self { child, address: address.expect("it says where it listens") }
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("it is the number of a process");
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn this_program_is_the_server_where_it_is_asked_to_be() {
    if std::env::var_os(SERVE).is_none() {
        return;
    }
    let address = server(|stream| echo(stream, |_| ()));
    println!("{SERVE}{address}");
    // Whoever has started it holds the other end.
    let _ = std::io::stdin().read(&mut [0]);
}

fn number(json: &Value, pointer: &str) -> u64 {
    json.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("{pointer} is no number in {json}"))
}

#[test]
fn a_server_that_stops_for_a_second_shows_in_the_response_time_and_not_in_the_service_time() {
    let server = Server::start();
    let (file, target) = (ScratchFile::new(), format!("tcp://{}", server.address));
    let fixed = ["run", &target, "--no-pin", "--json", file.path()];
    let flags = "--rate 2k --connections 2 --warmup 0s --duration 4s".split(' ');
    let program = Program::start(&fixed.into_iter().chain(flags).collect::<Vec<_>>());
    program.wait_for_error(" of 4.0 s");
    server.signal(Signal::STOP);
    thread::sleep(Duration::from_secs(1));
    server.signal(Signal::CONT);
    let ended = program.join();
    let record: Value = serde_json::from_str(&std::fs::read_to_string(file.path()).unwrap()).unwrap();
    let json = &record["runs"][0];
    ended.assert_well(json);
    let (response, service) = (number(json, "/result/response/p99_9_ns"), number(json, "/result/service/p99_9_ns"));
    assert!(response >= 900_000_000, "the messages that were due meanwhile have waited: {response} ns");
    assert!(service < 900_000_000, "two were in flight, of eight thousand: {service} ns");
    assert!(number(json, "/result/service/max_ns") >= 900_000_000, "{json}");
}

#[test]
fn every_message_of_the_schedule_is_sent_and_has_its_lag_counted() {
    // How late a message is on a machine that is busy with other tests is not for a test to say: `generators` in the benches does.
    let address = server(|stream| echo(stream, |_| ()));
    let (ended, json) = load(address, "--rate 1k --connections 50 --warmup 100ms --duration 250ms");
    ended.assert_well(&json);
    let (scheduled, sent) = (number(&json, "/result/schedule/scheduled"), number(&json, "/result/schedule/sent"));
    assert!(scheduled > 150 && scheduled == sent, "{json}");
    assert_eq!(number(&json, "/result/lag/count"), sent);
}

#[test]
fn every_message_of_a_count_is_sent_once_and_comes_back_once() {
    let address = server(|stream| echo(stream, |_| ()));
    for flags in ["--shards 2", "--depth 4 --arrivals constant", "--reconnect-after 7"] {
        let (ended, json) = load(address, &format!("--rate 5k --count 503 --connections 4 {flags}"));
        ended.assert_well(&json);
        for field in ["messages", "total/sent", "total/replied", "schedule/scheduled", "schedule/sent", "service/count"]
        {
            assert_eq!(number(&json, &format!("/result/{field}")), 503, "{field} with {flags}: {json}");
        }
    }
}

#[test]
fn a_server_that_never_answers_has_every_message_of_the_schedule_counted_as_given_up() {
    let address = server(|mut stream| while stream.read(&mut [0; 64]).is_ok_and(|count| count > 0) {});
    let (ended, json) = load(address, "--rate 500 --connections 2 --warmup 0s --duration 200ms --timeout 400ms");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(failures(&json, "timeout"), (2, 2));
    let scheduled = number(&json, "/result/schedule/scheduled");
    assert!(scheduled > 50, "{json}");
    assert_eq!((number(&json, "/result/schedule/sent"), number(&json, "/result/messages")), (2, 0));
    for field in ["count", "censored"] {
        assert_eq!(number(&json, &format!("/result/response/{field}")), scheduled, "{field} in {json}");
        assert_eq!(number(&json, &format!("/result/service/{field}")), 2, "{field} in {json}");
    }
    assert!(number(&json, "/result/service/max_ns") >= 399_000_000, "{json}");
}

#[test]
fn a_server_that_is_too_slow_has_the_rest_of_the_schedule_counted_as_unsent() {
    // One connection that takes 10 ms for a message cannot take one each millisecond.
    let address = slow_server(Duration::from_millis(10));
    let (_, json) = load(address, "--rate 1k --connections 1 --warmup 0s --duration 500ms");
    let (scheduled, sent) = (number(&json, "/result/schedule/scheduled"), number(&json, "/result/schedule/sent"));
    assert!(scheduled > 400 && sent <= 51, "{json}");
    assert_eq!(number(&json, "/result/response/count"), scheduled);
    assert_eq!(number(&json, "/result/response/censored"), scheduled - sent);
    assert!(number(&json, "/result/response/p50_ns") > 100_000_000, "the wait for the connection counts: {json}");
}

#[test]
fn a_seed_has_its_payload_and_another_seed_another() {
    let heard = |seed: u64| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, told) = channel();
        thread::spawn(move || {
            let (stream, _): (TcpStream, _) = listener.accept().unwrap();
            let mut all = Vec::new();
            echo(stream, |data| all.extend_from_slice(data));
            tell.send(all).unwrap();
        });
        let (ended, json) = load(address, &format!("--rate 2k --count 100 --connections 1 --size 32 --seed {seed}"));
        ended.assert_well(&json);
        told.recv_timeout(PATIENCE).unwrap()
    };
    let first = heard(5);
    assert_eq!(first.len(), 3_200);
    assert_eq!(first, heard(5));
    assert_ne!(first, heard(6));
}

#[test]
fn what_a_slow_server_answers_after_the_window_is_not_of_its_rate() {
    // It answers 100 a second at most, and what the window has left over is sent in the cool-down or is in flight at its end.
    let address = slow_server(Duration::from_millis(10));
    for flags in ["--rate 200 --cooldown 700ms", "--rate 200 --depth 200", "--depth 50"] {
        let (_, json) = load(address, &format!("{flags} --connections 1 --warmup 0s --duration 500ms"));
        let rate = json["result"]["messages_per_s"].as_f64().unwrap();
        assert!(rate <= 102.0, "{rate} with {flags}: {json}");
    }
}

#[test]
fn a_generator_that_was_away_while_every_connection_was_busy_shows_it_in_its_lag() {
    let (file, address) = (ScratchFile::new(), slow_server(Duration::from_millis(2)));
    let target = format!("tcp://{address}");
    let fixed = ["run", &target, "--no-pin", "--json", file.path()];
    // The one connection is busy nearly all the time.
    let flags = "--rate 480 --arrivals constant --connections 1 --warmup 0s --duration 3s".split(' ');
    let program = Program::start(&fixed.into_iter().chain(flags).collect::<Vec<_>>());
    program.next_error();
    program.signal(Signal::STOP);
    thread::sleep(Duration::from_millis(500));
    program.signal(Signal::CONT);
    let ended = program.join();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let record: Value = serde_json::from_str(&std::fs::read_to_string(file.path()).unwrap()).unwrap();
    let json = &record["runs"][0];
    assert!(number(json, "/result/lag/p99_ns") >= 300_000_000, "{json}");
    assert!(json["invalid"].to_string().contains("the generator was late"), "{json}");
}

#[test]
fn a_server_that_goes_away_ends_the_load_and_makes_it_invalid() {
    // Each connection has two answers, and then the server closes it.
    let address = server(|mut stream| {
        for _ in 0..2 {
            let mut message = [0; 64];
            if stream.read_exact(&mut message).is_err() || stream.write_all(&message).is_err() {
                return;
            }
        }
    });
    for model in ["--rate 100", ""] {
        let (ended, json) = load(address, &format!("{model} --connections 2 --warmup 0s --duration 15s"));
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(json["result"]["elapsed_s"].as_f64().unwrap() < 10.0, "{json}");
        assert!(json["invalid"].to_string().contains("every connection of a shard had failed"), "{json}");
    }
}
