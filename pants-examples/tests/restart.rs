//! How pants-echo is restarted: its sockets go to the next process, or come from systemd, and a service manager is told.

mod support;

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use rustix::process::Signal;

use crate::support::*;

/// How often a loaded server is restarted.
const RESTARTS: usize = 20;

/// Clients that connect, have a message echoed and leave, over and over, until they are stopped.
struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    fn on(address: SocketAddr) -> Self {
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let begin = |_| {
            let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    // Each of these panics at a refusal, a reset, or an early end.
                    assert_echoes(&mut client(address), b"a short visit");
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let clients = (0..4).map(begin).collect();
        Self { stop, served, clients }
    }

    /// Waits until this many more have been served.
    fn wait_for_more(&self, count: usize) {
        let aim = self.served.load(Ordering::Relaxed) + count;
        let limit = Instant::now() + PATIENCE;
        while self.served.load(Ordering::Relaxed) < aim {
            assert!(!self.clients.iter().any(JoinHandle::is_finished), "a client has failed");
            assert!(Instant::now() < limit, "nobody is served");
            thread::yield_now();
        }
    }

    fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().for_each(|client| client.join().unwrap());
        self.served.load(Ordering::Relaxed)
    }
}

/// A path for the handover of one test.
fn handover(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("pants-restart-{}-{name}", std::process::id()))
}

/// Starts pants-echo at an address that is known from before.
fn restart(path: &str, address: SocketAddr, shards: usize) -> Server {
    let arguments = ["--listen", &address.to_string(), "--shards", &shards.to_string(), "--handover", path];
    let server = Server::start_as(command(PANTS_ECHO).args(arguments));
    assert_eq!(server.address, address);
    server
}

#[test]
fn a_loaded_server_is_restarted_again_and_again_and_no_client_notices() {
    let path = handover("again");
    let path = path.to_str().unwrap();
    let mut server = Server::start(&["--shards", "2", "--handover", path]);
    // At port 0 there would be a port for each process that is not handed over to.
    let address = TcpListener::bind(ANY_PORT).unwrap().local_addr().unwrap();
    server.stop();
    server = restart(path, address, 2);
    let load = Load::on(address);
    let mut ended = Vec::new();
    for round in 0..RESTARTS {
        load.wait_for_more(50);
        let next = restart(path, address, 1 + (round + 1) % 3);
        // It drains while the next ones serve.
        ended.push(std::mem::replace(&mut server, next).program);
    }
    load.wait_for_more(50);
    let served = load.end();
    server.signal(Signal::TERM);
    ended.push(server.program);
    let accepted = |ended: Ended| {
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let summary = ended.output.last().expect("it sums up");
        summary.strip_prefix("drained: ").unwrap().split(' ').next().unwrap().parse::<usize>().unwrap()
    };
    let total: usize = ended.into_iter().map(|program| accepted(program.join())).sum();
    // Each successor is a connection, too.
    assert_eq!(total - RESTARTS, served, "every connection was somebody's");
}

#[test]
fn a_successor_that_cannot_start_leaves_the_server_serving() {
    let path = handover("fails");
    let taken = TcpListener::bind(ANY_PORT).unwrap();
    let server = Server::start(&["--shards", "2", "--handover", path.to_str().unwrap()]);
    let load = Load::on(server.address);
    for _ in 0..3 {
        let taken = taken.local_addr().unwrap().to_string();
        let both = ["--listen", &server.address.to_string(), "--listen", &taken];
        let refused = run(&[&both[..], &["--handover", path.to_str().unwrap()]].concat());
        assert_eq!(refused.code, Some(2));
        assert!(refused.errors[0].contains("another program listens there"), "{refused:?}");
        load.wait_for_more(50);
    }
    load.end();
    assert_eq!(server.stop().code, Some(0));
    assert!(!path.exists());
}

#[test]
fn a_successor_that_is_killed_while_it_takes_over_leaves_the_server_serving() {
    let path = handover("killed");
    let server = Server::start(&["--shards", "2", "--handover", path.to_str().unwrap()]);
    let load = Load::on(server.address);
    // One that asks for the sockets, gets them, and dies before it serves.
    let mut successor = std::os::unix::net::UnixStream::connect(&path).unwrap();
    successor.read_exact(&mut [0; 17]).unwrap();
    drop(successor);
    load.wait_for_more(50);
    load.end();
    assert_echoes(&mut client(server.address), b"hello");
    assert_eq!(server.stop().code, Some(0));
}

/// Starts pants-echo as systemd would: with `listener` as descriptor 3.
fn start_with(listener: &TcpListener, arguments: &[&str]) -> Server {
    let address = listener.local_addr().unwrap();
    // The shell becomes pants-echo, so the number of its process is that of pants-echo.
    let script = r#"exec 3<&0; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@""#;
    let mut shell = command("sh");
    shell.args(["-c", script, "sh", PANTS_ECHO, "--listen", &address.to_string()]).args(arguments);
    start_with_input(shell, listener)
}

fn start_with_input(mut shell: Command, listener: &TcpListener) -> Server {
    let input = std::os::fd::OwnedFd::from(listener.try_clone().unwrap());
    Server::of(Program::start_with(&mut shell, input.into()))
}

#[test]
fn a_socket_that_systemd_holds_serves_before_between_and_after() {
    for shards in ["1", "3"] {
        let listener = TcpListener::bind(ANY_PORT).unwrap();
        let address = listener.local_addr().unwrap();
        let mut early = client(address);
        for _ in 0..2 {
            let server = start_with(&listener, &["--shards", shards]);
            assert_eq!(server.address, address);
            for _ in 0..30 {
                assert_echoes(&mut client(address), b"hello");
            }
            assert_echoes(&mut early, b"early");
            drop(early);
            assert_eq!(server.stop().code, Some(0));
            early = client(address);
        }
    }
}

#[test]
fn systemd_socket_activate_starts_it() {
    if !has_tool("systemd-socket-activate") {
        return;
    }
    let address = TcpListener::bind(ANY_PORT).unwrap().local_addr().unwrap();
    let listen = address.to_string();
    let mut activate = command("systemd-socket-activate");
    activate.args(["-l", &listen, PANTS_ECHO, "--shards", "2", "--listen", &listen]);
    let program = Program::start(&mut activate);
    // It starts the program at the first connection.
    let limit = Instant::now() + PATIENCE;
    let mut first = loop {
        match TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < limit, "{error}"),
        }
        thread::yield_now();
    };
    first.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_echoes(&mut first, b"first");
    let server = Server::of(program);
    assert_eq!(server.address, address);
    assert_echoes(&mut client(address), b"second");
    drop(first);
    assert_eq!(server.stop().code, Some(0));
}

#[test]
fn a_service_manager_is_told_of_the_beginning_and_the_end() {
    let path = handover("notify");
    let name = format!("pants-notify-{}", std::process::id());
    let by_path = (UnixDatagram::bind(&path).unwrap(), path.to_str().unwrap().to_owned());
    let abstract_name = UnixAddress::from_abstract_name(&name).unwrap();
    let by_name = (UnixDatagram::bind_addr(&abstract_name).unwrap(), format!("@{name}"));
    for (manager, socket) in [by_path, by_name] {
        manager.set_read_timeout(Some(PATIENCE)).unwrap();
        let next = || {
            let mut state = [0; 64];
            let length = manager.recv(&mut state).unwrap();
            String::from_utf8(state[..length].to_vec()).unwrap()
        };
        let server = Server::start_as(command(PANTS_ECHO).args(["--listen", ANY_PORT]).env("NOTIFY_SOCKET", socket));
        assert_eq!(next(), format!("READY=1\nMAINPID={}", server.pid));
        assert_echoes(&mut client(server.address), b"hello");
        server.signal(Signal::TERM);
        assert_eq!(next(), "STOPPING=1");
        assert_eq!(server.program.join().code, Some(0));
    }
    std::fs::remove_file(path).unwrap();
}
