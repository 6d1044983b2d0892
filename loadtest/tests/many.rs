//! Many connections held by one pants-load: all of them are served, and each costs the generator little memory.

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use pants_shard::engine::Engine;
use pants_shard::{CloseReason, Connection, Handler};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::*;

/// How many connections there are, unless `PANTS_LOAD_CONNECTIONS` says how many.
const CONNECTIONS: usize = 2_000;

/// Where the memory is measured for the first time: by then what is there once is there.
const FEW: usize = 100;

/// What a connection that holds one message in flight may cost in user memory.
const BYTES_PER_CONNECTION: usize = 1_024;

/// What the server has seen.
#[derive(Default)]
struct Seen {
    /// Connections that are open.
    open: AtomicUsize,
    /// Reads, each of them a message.
    messages: AtomicUsize,
}

/// An echo that counts.
struct Echo(Arc<Seen>);

impl Handler for Echo {
    fn on_connect(&mut self, _connection: &mut Connection<'_>) {
        self.0.open.fetch_add(1, Ordering::AcqRel);
    }

    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        connection.write(data);
        self.0.messages.fetch_add(1, Ordering::AcqRel);
    }

    fn on_close(&mut self, _connection: &mut Connection<'_>, _reason: CloseReason) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

/// An echo server that lasts as long as this process, and what it has seen.
fn echo_server() -> (SocketAddr, Arc<Seen>) {
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard }).unwrap();
    let seen = Arc::new(Seen::default());
    let counts = Arc::clone(&seen);
    let (tell, told) = channel();
    thread::spawn(move || {
        let mut engine = Engine::new().unwrap();
        let key = engine.listen("127.0.0.1:0", move |_peer| Echo(Arc::clone(&counts))).unwrap();
        let address = engine.context().server_address(key).and_then(|endpoint| endpoint.socket_address()).unwrap();
        tell.send(address).unwrap();
        loop {
            engine.poll(None).unwrap();
        }
    });
    (told.recv_timeout(PATIENCE).unwrap(), seen)
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < limit, "it is not to be that {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Loads with this many connections; gives the generator's user memory in the midst of it, in bytes, and how it ended.
fn hold(address: SocketAddr, seen: &Seen, connections: usize) -> (usize, Ended) {
    let (target, number) = (format!("tcp://{address}"), connections.to_string());
    let flags = ["run", &target, "--no-pin", "--connections", &number, "--warmup", "0s", "--duration", "2s"];
    seen.messages.store(0, Ordering::Release);
    let program = Program::start(&[&flags[..], &["--timeout", "20s"]].concat());
    wait_until("all connections are open", || seen.open.load(Ordering::Acquire) == connections);
    wait_until("each has sent and received", || seen.messages.load(Ordering::Acquire) >= 2 * connections);
    let memory = user_memory(program.pid());
    let ended = program.join();
    wait_until("the connections are gone", || seen.open.load(Ordering::Acquire) == 0);
    (memory, ended)
}

/// A process's anonymous pages in RAM, in bytes.
fn user_memory(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field =
        status.lines().find_map(|line| line.strip_prefix("RssAnon:")).and_then(|rest| rest.trim().strip_suffix(" kB"));
    field.and_then(|kibibytes| kibibytes.trim().parse::<usize>().ok()).expect("it is in kB") * 1024
}

#[test]
fn thousands_of_connections_are_held_by_one_process_at_little_memory_for_each() {
    let connections =
        std::env::var("PANTS_LOAD_CONNECTIONS").map_or(CONNECTIONS, |number| number.parse().expect("a number"));
    let (address, seen) = echo_server();
    let (few, _) = hold(address, &seen, FEW);
    let (many, ended) = hold(address, &seen, connections);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let each = many.saturating_sub(few) / (connections - FEW);
    println!("{each} bytes per connection: from {few} bytes with {FEW} to {many} with {connections}\n{}", ended.output);
    assert!(each <= BYTES_PER_CONNECTION, "{each} bytes per connection, more than {BYTES_PER_CONNECTION}");
    assert!(many > few, "memory that does not grow at all was not measured");
}
