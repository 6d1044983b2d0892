//! The admin endpoint, over real sockets: what it says, whom it refuses, and that it stays while the runtime drains.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use proptest::prelude::*;
use serde_json::Value;

use crate::support::*;

/// An echo server of `count` shards with its endpoint.
fn serve(count: usize) -> (Live, SocketAddr) {
    let live = Live::echo(shards(count).admin_listen(Some(ANY_PORT.parse().unwrap())));
    let address = live.running().admin_address().unwrap().socket_address().unwrap();
    (live, address)
}

/// What the endpoint has said.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    fields: String,
    body: String,
}

/// Reads one response by its length.
fn answer(stream: &mut TcpStream) -> Answer {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a response comes");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let (line, fields) = head.split_once("\r\n").unwrap();
    let length = fields.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("it says its length");
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    let status = line.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, fields: fields.to_owned(), body: String::from_utf8(body).unwrap() }
}

fn ask(stream: &mut TcpStream, path: &str) -> Answer {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    answer(stream)
}

fn get(address: SocketAddr, path: &str) -> Answer {
    ask(&mut client(address), path)
}

fn stats(address: SocketAddr) -> Value {
    serde_json::from_str(&get(address, "/stats.json").body).unwrap()
}

/// Sends `request` and reads to the end: the statuses of all answers. A reset is an end as well.
fn statuses(address: SocketAddr, request: &[u8]) -> Vec<String> {
    let mut stream = client(address);
    // It may be cut off while it writes.
    let _ = stream.write_all(request).and_then(|()| stream.shutdown(std::net::Shutdown::Write));
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "it ends: {error}"),
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 ")).map(str::to_owned).collect()
}

#[test]
fn one_connection_asks_for_everything_in_turn() {
    let (_live, address) = serve(2);
    let mut stream = client(address);
    for (path, status, kind, part) in [
        ("/", 200, "text/html; charset=utf-8", "<!doctype html>"),
        ("/healthz", 200, "text/plain; charset=utf-8", "ok\n"),
        ("/readyz?verbose", 200, "text/plain; charset=utf-8", "ready\n"),
        ("/nothing", 404, "text/plain; charset=utf-8", "404 Not Found\n"),
        ("/stats.json", 200, "application/json", "\"stage\":\"serving\""),
        ("/metrics", 200, "text/plain; version=0.0.4; charset=utf-8", "pants_shards 2\n"),
    ] {
        let answer = ask(&mut stream, path);
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.fields.contains(&format!("Content-Type: {kind}\r\n")), "{path}: {}", answer.fields);
        assert!(answer.fields.contains("Cache-Control: no-store\r\n") && answer.body.contains(part), "{path}");
    }
}

#[test]
fn the_page_loads_nothing_from_elsewhere() {
    let (_live, address) = serve(1);
    let page = get(address, "/");
    assert!(page.fields.contains("Content-Security-Policy: default-src 'none';"), "{}", page.fields);
    for elsewhere in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!page.body.contains(elsewhere), "{elsewhere}");
    }
}

#[test]
fn requests_that_come_together_are_answered_in_their_order() {
    let (_live, address) = serve(2);
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let request = [get("/stats.json"), get("/healthz"), get("/metrics"), get("/no"), get("/readyz")].concat();
    let expected = ["200 OK", "200 OK", "200 OK", "404 Not Found", "200 OK"];
    assert_eq!(statuses(address, request.as_bytes()), expected);
    let last = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned() + &get("/healthz");
    assert_eq!(statuses(address, last.as_bytes()), ["200 OK"]);
}

#[test]
fn what_is_no_get_is_refused_and_the_connection_ended() {
    let (_live, address) = serve(1);
    for (request, status) in [
        ("POST /stats.json HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", "405 Method Not Allowed"),
        ("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", "405 Method Not Allowed"),
        ("CONNECT localhost:1 HTTP/1.1\r\nHost: x\r\n\r\n", "405 Method Not Allowed"),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", "400 Bad Request"),
        ("GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400 Bad Request"),
        ("GET / HTTP/1.1\r\n\r\n", "400 Bad Request"),
        ("GET / HTTP/3.0\r\nHost: x\r\n\r\n", "505 HTTP Version Not Supported"),
        ("hello\r\n\r\n", "400 Bad Request"),
    ] {
        assert_eq!(statuses(address, request.as_bytes()), [status], "{request:?}");
    }
}

#[test]
fn a_head_of_more_than_8_kib_is_refused() {
    let (_live, address) = serve(1);
    let request =
        |padding: usize| format!("GET /healthz HTTP/1.1\r\nHost: x\r\nPadding: {}\r\n\r\n", "x".repeat(padding));
    let rest = request(0).len();
    assert_eq!(statuses(address, request(8192 - rest).as_bytes()), ["200 OK"]);
    for padding in [8193 - rest, 100_000] {
        assert_eq!(statuses(address, request(padding).as_bytes()), ["431 Request Header Fields Too Large"]);
    }
}

#[test]
fn whatever_is_sent_the_endpoint_goes_on() {
    let (live, address) = serve(1);
    let mut steady = client(address);
    assert_eq!(ask(&mut steady, "/healthz").status, 200);
    let pieces = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..50),
        Just(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        Just(b"GET /metrics HTTP/1.1\r\n".to_vec()),
        Just(b"\r\n\r\n".to_vec()),
        "[A-Z]{1,8} /[a-z%.]{0,9} HTTP/1\\.[01]\r\n".prop_map(String::into_bytes),
        "[A-Za-z-]{1,20}: ?[ -~]{0,20}\r\n".prop_map(String::into_bytes),
    ];
    proptest!(ProptestConfig::with_cases(200), |(request in proptest::collection::vec(pieces, 0..12))| {
        for status in statuses(address, &request.concat()) {
            prop_assert!(["200", "404", "400", "405", "431", "505"].contains(&&status[..3]), "{status}");
        }
        prop_assert_eq!(get(address, "/healthz").status, 200);
    });
    assert_eq!(ask(&mut steady, "/healthz").status, 200, "others are not disturbed");
    assert_eq!(live.running().metrics().shards[0].stats.panics, 0);
}

/// The values of a series over the shards, by their labels.
fn values(text: &str, name: &str) -> Vec<f64> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{'));
    lines.map(|line| line.split_once("} ").unwrap().1.parse().unwrap()).collect()
}

#[test]
fn the_numbers_are_those_of_the_service_and_not_of_the_visitors() {
    let (live, address) = serve(2);
    let _visitors = [ask(&mut client(address), "/stats.json"), ask(&mut client(address), "/metrics")];
    let mut steady = client(address);
    let mut served = clients(live.address(), 10);
    served[0].shutdown(std::net::Shutdown::Write).unwrap();
    served[0].read_to_end(&mut Vec::new()).unwrap();
    let text = loop {
        let text = ask(&mut steady, "/metrics").body;
        if values(&text, "pants_connections_open").iter().sum::<f64>() == 9.0 {
            break text;
        }
    };
    assert_eq!(values(&text, "pants_connections_accepted_total").iter().sum::<f64>(), 10.0);
    let closed = values(&text, "pants_connections_closed_total");
    assert_eq!((closed.len() % 2, closed.iter().sum::<f64>()), (0, 1.0), "every reason of both shards");
    assert!(text.contains("reason=\"finished\"} 1\n") && text.contains("pants_ready 1\n"), "{text}");

    let json = stats(address);
    let shards = json["shards"].as_array().unwrap();
    let sum = |name: &str| shards.iter().map(|shard| shard[name].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("connections_open"), sum("connections_accepted_total")), (9, 10));
    assert_eq!(json["missing"].as_array().unwrap().len(), 0);
    // Shard 0 has asked shard 1, once for each look.
    assert!(shards[1]["bus_received_from"][0].as_u64().unwrap() >= 3, "{json}");
    let skew = live.running().metrics().skew();
    assert_eq!(json["connection_skew_ratio"].as_f64(), Some(skew));
}

#[test]
fn it_says_that_the_runtime_drains_for_as_long_as_it_does() {
    let (live, address) = serve(2);
    let (mut held, mut watcher) = (clients(live.address(), 1), client(address));
    assert_eq!(ask(&mut watcher, "/readyz").status, 200);
    live.running().drain();
    // The drain has begun when the service says its end; it waits for the client to say its own.
    assert_eq!(held[0].read(&mut [0]).unwrap(), 0);
    assert_eq!(ask(&mut watcher, "/readyz"), get(address, "/readyz"), "old visitors are told as new ones");
    let ready = ask(&mut watcher, "/readyz");
    assert_eq!((ready.status, ready.body.as_str()), (503, "draining\n"));
    assert_eq!(ask(&mut watcher, "/healthz").status, 200);
    assert!(ask(&mut watcher, "/stats.json").body.contains("\"stage\":\"draining\""));
    assert!(ask(&mut watcher, "/metrics").body.contains("pants_ready 0\n"));
    drop(held);
    assert_eq!(watcher.read(&mut [0]).unwrap(), 0, "it ends with the runtime");
    let report = live.join();
    assert_eq!(report.shards.iter().map(|shard| shard.connections_accepted).sum::<u64>(), 1);
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn the_page_shows_numbers_that_there_are() {
    let (_live, address) = serve(2);
    let (page, stats) = (get(address, "/").body, get(address, "/stats.json").body);
    let names = page.split(|c: char| !c.is_ascii_alphabetic() && c != '_');
    let names: Vec<&str> =
        names.filter(|name| name.contains('_') && name.chars().any(|c| c.is_ascii_lowercase())).collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        assert!(stats.contains(&format!("\"{name}\":")), "{name} is not in {stats}");
    }
}

#[test]
fn more_visitors_than_64_wait_their_turn() {
    let (_live, address) = serve(1);
    let mut visitors: Vec<TcpStream> = (0..64).map(|_| client(address)).collect();
    for visitor in &mut visitors {
        assert_eq!(ask(visitor, "/healthz").status, 200);
    }
    let mut late = client(address);
    late.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    // Whoever is in goes on; who is not gets in when one leaves.
    assert_eq!(ask(&mut visitors[63], "/healthz").status, 200);
    late.set_nonblocking(true).unwrap();
    assert_eq!(late.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    late.set_nonblocking(false).unwrap();
    drop(visitors.pop());
    assert_eq!(answer(&mut late).status, 200);
}

#[test]
fn two_endpoints_at_one_address_are_refused() {
    let (_live, address) = serve(1);
    let error = refusal(shards(1), move |shard| shard.serve_admin(address).map(drop));
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[test]
fn there_is_no_endpoint_unless_one_is_asked_for() {
    let live = Live::echo(shards(1));
    assert_eq!(live.running().admin_address(), None);
    assert_eq!(live.running().addresses().len(), 1);
}

/// Runs a tool, if it is there, on what it is given; gives what it printed.
fn run(tool: &mut Command, input: &str) -> Option<String> {
    let child = tool.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = match child {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI must not skip this: {tool:?}");
            println!("skipped: {tool:?} is not installed");
            return None;
        }
        child => child.unwrap(),
    };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let printed = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{tool:?}: {printed}");
    Some(printed)
}

#[test]
fn promtool_finds_nothing_to_say() {
    let (live, address) = serve(2);
    let _served = clients(live.address(), 3);
    let text = get(address, "/metrics").body;
    if let Some(printed) = run(Command::new("promtool").args(["check", "metrics"]), &text) {
        assert_eq!(printed, "");
    }
}

#[test]
fn curl_gets_the_page_and_the_status() {
    let (_live, address) = serve(1);
    let with = ["-sS", "--max-time", "20", "-w", " %{http_code} %{num_connects}"];
    let urls = ["readyz", "no", "readyz"].map(|path| format!("http://{address}/{path}"));
    if let Some(printed) = run(Command::new("curl").args(with).args(urls), "") {
        assert_eq!(printed, "ready\n 200 1404 Not Found\n 404 0ready\n 200 0", "one connection does");
    }
}

#[test]
fn an_endpoint_at_any_port_is_not_mixed_up_with_a_server_at_any_port() {
    let (live, address) = serve(2);
    assert_eq!(live.running().addresses().len(), 1, "all shards share the server's port");
    // With `SO_REUSEPORT` a part of the visitors would come to another shard.
    for _ in 0..20 {
        assert_eq!(get(address, "/healthz").status, 200);
        assert_echoes(&mut client(live.address()), b"hello");
    }
}
