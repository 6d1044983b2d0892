//! The bare client against the floors: every message comes back, and as it was sent.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const FLOOR_EPOLL: &str = env!("CARGO_BIN_EXE_floor-epoll");
const FLOOR_URING: &str = env!("CARGO_BIN_EXE_floor-uring");

#[test]
fn the_epoll_floor_echoes_every_message() {
    let server = Server::start(FLOOR_EPOLL, "echo");
    for (connections, size, depth) in SHAPES {
        Client::start("echo", &server, connections, size, depth).count_all(2_000);
    }
}

#[test]
fn the_floor_of_io_uring_echoes_every_message() {
    // The kernel, or a container's rules, may refuse io_uring.
    if std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").is_ok_and(|value| value.trim() != "0") {
        return;
    }
    let server = Server::start(FLOOR_URING, "echo");
    for (connections, size, depth) in SHAPES {
        Client::start("echo", &server, connections, size, depth).count_all(2_000);
    }
    Client::start("churn", &server, 20, 64, 1).count_all(500);
}

#[test]
fn the_epoll_floor_echoes_every_line() {
    let server = Server::start(FLOOR_EPOLL, "lines");
    // A line longer than its buffer, 64 KiB, closes the connection.
    for (connections, size, depth) in SHAPES.into_iter().filter(|&(_, size, _)| size <= 64 * 1024) {
        Client::start("lines", &server, connections, size, depth).count_all(2_000);
    }
}

#[test]
fn churn_counts_every_connection() {
    let server = Server::start(FLOOR_EPOLL, "echo");
    Client::start("churn", &server, 20, 64, 1).count_all(500);
    Client::start("churn", &server, 3, 16 * 1024, 1).count_all(100);
}

#[test]
fn a_slice_by_time_ends_and_the_next_begins() {
    let server = Server::start(FLOOR_EPOLL, "echo");
    let mut client = Client::start("echo", &server, 4, 64, 2);
    for _ in 0..3 {
        let report = client.ask("run 20");
        assert!(report["messages"].as_u64() >= Some(8), "{report}");
        assert!(report["nanoseconds"].as_u64() >= Some(20_000_000), "{report}");
        assert_eq!(report["wrong"], 0);
    }
}

#[test]
fn a_server_that_echoes_something_else_is_found_out() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut message = [0; 64];
        for turn in 0.. {
            if socket.read_exact(&mut message).is_err() {
                return;
            }
            message[63] ^= u8::from(turn > 0);
            socket.write_all(&message).unwrap();
        }
    });
    let mut client = Client::connect("echo", &address, &[]);
    assert_eq!(client.ask("count 10")["wrong"], 10);
    drop(client);
    server.join().unwrap();
}

#[test]
fn datagrams_that_are_lost_are_sent_again_and_counted() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut datagram = [0; 2048];
        // Every tenth is lost.
        for turn in 1.. {
            let (count, from) = socket.recv_from(&mut datagram).unwrap();
            if turn % 10 != 0 {
                socket.send_to(&datagram[..count], from).unwrap();
            }
        }
    });
    for variant in [&[][..], &["--variant", "gso"]] {
        let options = ["--connections", "4", "--depth", "4"];
        let report = Client::connect("udp", &address, &[&options[..], variant].concat()).ask("count 40");
        assert_eq!(report["messages"], 40, "{report}");
        assert_eq!(report["wrong"], 0, "{report}");
        assert!(report["lost"].as_u64() >= Some(1), "{report}");
    }
}

#[test]
fn a_broadcast_counts_deliveries_to_all() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || broadcast(&listener));
    let mut client = Client::connect("broadcast", &address, &["--connections", "5", "--depth", "3"]);
    let report = client.ask("count 100");
    assert_eq!((&report["messages"], &report["wrong"]), (&100.into(), &0.into()));
}

/// Passes on what comes, with a thread for every connection.
fn broadcast(listener: &std::net::TcpListener) {
    let everyone = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    for socket in listener.incoming() {
        let mut socket = socket.unwrap();
        let everyone = everyone.clone();
        everyone.lock().unwrap().push(socket.try_clone().unwrap());
        std::thread::spawn(move || {
            let mut message = [0; 64];
            while socket.read_exact(&mut message).is_ok() {
                for one in everyone.lock().unwrap().iter_mut() {
                    // Those that have gone are none of its business.
                    let _ = one.write_all(&message);
                }
            }
        });
    }
}

/// Connections, bytes of a message, and messages in flight: from one of each to more than a socket takes at once.
const SHAPES: [(usize, usize, usize); 5] = [(1, 64, 1), (1, 1, 16), (50, 64, 16), (3, 100_000, 2), (20, 16 * 1024, 16)];

/// A contestant that serves.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(program: &str, work: &str) -> Self {
        let mut child = Command::new(program).arg(work).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").expect("an address").to_owned();
        Self { child, address }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A client that has connected.
struct Client {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Client {
    fn start(work: &str, server: &Server, connections: usize, size: usize, depth: usize) -> Self {
        let numbers = [connections, size, depth].map(|number| number.to_string());
        let [connections, size, depth] = numbers.each_ref();
        let options = ["--connections", connections, "--size", size, "--depth", depth];
        Self::connect(work, &server.address, &options)
    }

    fn connect(work: &str, address: &str, options: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_bare-client"))
            .args([work, address])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut client = Self { child, input, output };
        assert_eq!(client.read_line(), "ready\n");
        client
    }

    fn ask(&mut self, line: &str) -> serde_json::Value {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
        serde_json::from_str(&self.read_line()).unwrap()
    }

    /// Asks for so many messages, and expects all of them.
    fn count_all(mut self, messages: u64) {
        let report = self.ask(&format!("count {messages}"));
        assert_eq!(report["messages"], messages, "{report}");
        assert_eq!(report["wrong"], 0, "{report}");
    }

    fn read_line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // The end of its input ends it.
        self.input = None;
        let status = self.child.wait().unwrap();
        assert!(status.success() || std::thread::panicking());
    }
}
