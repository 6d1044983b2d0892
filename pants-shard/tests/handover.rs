//! Listening sockets that one process leaves to the next, or was given at its start: no connection is lost with them.
//!
//! Here both processes are runtimes of one; the tests of pants-echo have two.

mod support;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pants_shard::{Address, Error, Result, Runtime, Shard};

use crate::support::*;

/// A directory of this test's own, which goes with it.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pants-handover-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A runtime of this many shards that takes over at `path`, and hands over there.
fn begin<F>(path: &Path, count: usize, set_up: F) -> Result<Live>
where
    F: Fn(&mut Shard<'_>) -> Result<()> + Send + Sync + 'static,
{
    let config = shards(count).drain_timeout(Duration::from_secs(4)).build().unwrap();
    let path = path.to_owned();
    in_time(move || Runtime::new(config)?.handover(path).start(set_up)).map(Live::of)
}

fn begin_echo(path: &Path, count: usize, address: &Address) -> Result<Live> {
    let address = address.clone();
    begin(path, count, move |shard| shard.listen(address.clone(), |_peer| Echo).map(drop))
}

/// A free port that nobody else is given soon.
fn free_address() -> Address {
    TcpListener::bind(ANY_PORT).unwrap().local_addr().unwrap().into()
}

fn connect(address: &Address) -> std::io::Result<Box<dyn ReadWrite>> {
    Ok(match address {
        Address::Path(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            Box::new(stream)
        }
        Address::Socket(address) => {
            let stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            Box::new(stream)
        }
        _ => unreachable!("the tests have no others"),
    })
}

trait ReadWrite: Read + Write + Send {}

impl<T: Read + Write + Send> ReadWrite for T {}

/// Clients that do something over and over. Any failure is a panic.
struct Traffic {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
}

impl Traffic {
    /// Clients that connect, have something echoed and leave.
    fn at(address: &Address) -> Self {
        let address = address.clone();
        Self::of(4, move || {
            let mut client = connect(&address).expect("nobody is refused");
            client.write_all(b"hello").expect("nobody is reset");
            client.read_exact(&mut [0; 5]).expect("everybody is answered");
        })
    }

    fn of(clients: usize, visit: impl FnMut() + Clone + Send + 'static) -> Self {
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let threads = (0..clients).map(|_| {
            let (mut visit, stop, count) = (visit.clone(), Arc::clone(&stop), Arc::clone(&count));
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    visit();
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let threads = threads.collect();
        Self { stop, count, threads }
    }

    /// Waits until this many more have been served.
    fn wait_for_more(&self, count: usize) {
        let aim = self.count.load(Ordering::Relaxed) + count;
        let limit = std::time::Instant::now() + PATIENCE;
        while self.count.load(Ordering::Relaxed) < aim && !self.threads.iter().any(JoinHandle::is_finished) {
            assert!(std::time::Instant::now() < limit, "the traffic stands still");
            thread::yield_now();
        }
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

/// One runtime after the other, each with so many shards, takes over under traffic.
fn hand_on(name: &str, address: &Address, counts: &[usize]) {
    let directory = Directory::new(name);
    let path = directory.path("handover");
    let mut live = begin_echo(&path, counts[0], address).unwrap();
    let traffic = Traffic::at(address);
    for count in &counts[1..] {
        traffic.wait_for_more(100);
        let next = begin_echo(&path, *count, address).unwrap();
        live.join();
        traffic.wait_for_more(200);
        live = next;
    }
    traffic.end();
    let report = live.stop();
    assert!(report.shards.iter().all(|shard| shard.connections_accepted > 0), "every shard has its part");
    assert!(!path.exists(), "the last one clears up");
    if let Address::Path(path) = address {
        assert!(!path.exists(), "the last one clears up");
    }
}

#[test]
fn two_shards_hand_on_to_two() {
    hand_on("2-2", &free_address(), &[2, 2]);
}

#[test]
fn two_shards_hand_on_to_one_which_serves_both_queues() {
    hand_on("2-1", &free_address(), &[2, 1]);
}

#[test]
fn one_shard_hands_on_to_three() {
    hand_on("1-3", &free_address(), &[1, 3]);
}

#[test]
fn sockets_go_from_hand_to_hand() {
    hand_on("chain", &free_address(), &[3, 1, 2, 4]);
}

#[test]
fn a_unix_socket_is_handed_on_with_its_file() {
    let directory = Directory::new("unix");
    hand_on("unix-hand", &Address::Path(directory.path("server")), &[2, 1, 3]);
}

/// Asks the admin endpoint whether it is ready, which it is. Gives whether the connection stays.
fn assert_ready(client: &mut dyn ReadWrite) -> bool {
    client.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("nobody is reset");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nready\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap_or_else(|error| panic!("{error} after {}", answer.escape_ascii()));
        answer.push(byte[0]);
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    !answer.contains("\r\nConnection: close\r\n")
}

/// Restarts a program whose configuration says where its endpoint is and where it hands over.
fn hand_on_with_endpoint(name: &str, admin: &Address) {
    let directory = Directory::new(name);
    let (path, address) = (directory.path("handover"), free_address());
    let begin = || {
        let config = shards(2).drain_timeout(Duration::from_secs(4)).admin_listen(Some(admin.clone()));
        let address = address.clone();
        let set_up = move |shard: &mut Shard<'_>| shard.listen(address.clone(), |_peer| Echo).map(drop);
        Live::start(config.handover(Some(path.clone())), set_up)
    };
    let (first, at) = (begin(), admin.clone());
    let visitors = Traffic::of(2, move || {
        assert_ready(&mut *connect(&at).expect("nobody is refused"));
    });
    let mut steady = connect(admin).unwrap();
    assert!(assert_ready(&mut *steady), "it stays for as long as there is no successor");
    let second = begin();
    let limit = std::time::Instant::now() + PATIENCE;
    while assert_ready(&mut *steady) {
        assert!(std::time::Instant::now() < limit, "it is not sent to the successor");
    }
    assert_eq!(steady.read(&mut [0]).unwrap(), 0);
    visitors.wait_for_more(20);
    first.join();
    visitors.wait_for_more(20);
    visitors.end();
    assert!(assert_ready(&mut *connect(admin).unwrap()), "it is the successor's");
    second.stop();
    if let Address::Path(path) = admin {
        assert!(!path.exists(), "the last one clears up");
    }
}

#[test]
fn the_admin_endpoint_says_all_along_that_the_program_is_ready() {
    hand_on_with_endpoint("admin", &free_address());
}

#[test]
fn so_it_does_at_a_unix_socket() {
    let directory = Directory::new("admin-unix");
    hand_on_with_endpoint("admin-hand", &Address::Path(directory.path("admin")));
}

#[test]
fn what_is_queued_at_a_handover_is_served_by_the_successor() {
    let directory = Directory::new("queue");
    let (path, address) = (directory.path("handover"), free_address());
    let (held, is_held) = std::sync::mpsc::channel();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let first = begin_echo(&path, 2, &address).unwrap();
    let hold = move |_shard: &mut Shard<'_>| {
        held.send(()).unwrap();
        next(&wait);
    };
    // Shard 1 accepts nothing from now on, until the successor has started.
    assert!(first.running().remote().send(ONE, hold).is_ok());
    next(&is_held);
    let mut queued: Vec<_> = (0..50).map(|_| connect(&address).unwrap()).collect();
    let second = begin_echo(&path, 1, &address).unwrap();
    for client in &mut queued {
        client.write_all(b"hello").unwrap();
        client.read_exact(&mut [0; 5]).unwrap();
    }
    assert!(second.running().addresses().len() == 1, "the way to the next one is nobody else's business");
    go.send(()).unwrap();
    drop(queued);
    first.join();
    assert!(second.stop().shards[0].connections_accepted > 0);
}

#[test]
fn a_successor_that_fails_leaves_the_first_one_serving() {
    let directory = Directory::new("fails");
    let (path, unix) = (directory.path("handover"), directory.path("server"));
    let (address, other) = (free_address(), Address::Path(unix.clone()));
    let both = [address.clone(), other.clone()];
    let set_up = move |shard: &mut Shard<'_>| {
        both.iter().try_for_each(|address| shard.listen(address.clone(), |_peer| Echo).map(drop))
    };
    let first = begin(&path, 2, set_up.clone()).unwrap();
    let traffic = [Traffic::at(&address), Traffic::at(&other)];
    for round in 0..5 {
        let set_up = set_up.clone();
        let failing = begin(&path, 1 + round % 3, move |shard| {
            set_up(shard)?;
            if shard.id().index() + 1 == shard.shards() { Err(Error::other("not today")) } else { Ok(()) }
        });
        let error = failing.map(drop).unwrap_err();
        assert!(error.to_string().ends_with("not today"), "{error}");
        traffic.iter().for_each(|traffic| traffic.wait_for_more(50));
    }
    let second = begin(&path, 2, set_up).unwrap();
    first.join();
    traffic.iter().for_each(|traffic| traffic.wait_for_more(50));
    traffic.into_iter().for_each(Traffic::end);
    second.stop();
    assert!(!unix.exists() && !path.exists());
}

#[test]
fn a_process_that_is_ended_while_another_takes_over_leaves_the_files_to_that() {
    let directory = Directory::new("ended");
    let (path, unix) = (directory.path("handover"), directory.path("server"));
    let address = Address::Path(unix.clone());
    let first = Mutex::new(Some(begin_echo(&path, 2, &address).unwrap()));
    let place = address.clone();
    let second = begin(&path, 1, move |shard| {
        // It is told to end, and has, before this one serves.
        if let Some(first) = first.lock().unwrap().take() {
            first.drain();
        }
        shard.listen(place.clone(), |_peer| Echo).map(drop)
    })
    .unwrap();
    let mut client = connect(&address).unwrap();
    client.write_all(b"hello").unwrap();
    client.read_exact(&mut [0; 5]).unwrap();
    // It can be taken over from in its turn.
    let third = begin_echo(&path, 1, &address).unwrap();
    drop(client);
    second.join();
    third.stop();
    assert!(!unix.exists() && !path.exists());
}

#[test]
fn one_takes_over_at_a_time() {
    let directory = Directory::new("one");
    let (path, address) = (directory.path("handover"), free_address());
    let first = begin_echo(&path, 1, &address).unwrap();
    let (inner_path, inner_address) = (path.clone(), address.clone());
    let second = begin(&path, 1, move |shard| {
        let error = begin_echo(&inner_path, 1, &inner_address).map(drop).unwrap_err();
        assert!(matches!(error, Error::Handover { .. }), "{error}");
        assert!(error.to_string().contains("another takes over just now"), "{error}");
        shard.listen(inner_address.clone(), |_peer| Echo).map(drop)
    });
    first.join();
    let mut client = connect(&address).unwrap();
    client.write_all(b"hello").unwrap();
    client.read_exact(&mut [0; 5]).unwrap();
    second.unwrap().stop();
}

#[test]
fn an_address_that_the_successor_does_not_declare_is_drained_and_closed() {
    let directory = Directory::new("leaves");
    let path = directory.path("handover");
    let (kept, left, new) = (free_address(), free_address(), free_address());
    let both = [kept.clone(), left.clone()];
    let first = begin(&path, 2, move |shard| {
        both.iter().try_for_each(|address| shard.listen(address.clone(), |_peer| Echo).map(drop))
    })
    .unwrap();
    let both = [kept.clone(), new.clone()];
    let second = begin(&path, 2, move |shard| {
        both.iter().try_for_each(|address| shard.listen(address.clone(), |_peer| Echo).map(drop))
    })
    .unwrap();
    first.join();
    assert!(connect(&kept).is_ok() && connect(&new).is_ok());
    assert_eq!(connect(&left).map(drop).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    second.stop();
}

#[test]
fn what_the_program_says_beats_where_its_configuration_would_hand_over() {
    let directory = Directory::new("said");
    let (said, configured) = (directory.path("said"), directory.path("configured"));
    let config = shards(1).handover(Some(configured.clone())).build().unwrap();
    let path = said.clone();
    let live = in_time(move || Runtime::new(config)?.handover(path).start(|_shard| Ok(()))).map(Live::of).unwrap();
    assert!(said.exists() && !configured.exists());
    live.stop();
}

#[test]
fn only_its_user_may_take_over() {
    let directory = Directory::new("mode");
    let path = directory.path("handover");
    let live = begin_echo(&path, 1, &free_address()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    live.stop();
}

#[test]
fn a_connection_that_lasts_is_served_by_the_first_one_until_it_drains() {
    let directory = Directory::new("lasts");
    let (path, address) = (directory.path("handover"), free_address());
    let first = begin_echo(&path, 2, &address).unwrap();
    let mut lasting = connect(&address).unwrap();
    let second = begin_echo(&path, 2, &address).unwrap();
    let mut echoes = 0;
    // The end comes as FIN, between two messages.
    loop {
        if lasting.write_all(b"hello").is_err() || lasting.read(&mut [0; 5]).is_ok_and(|count| count == 0) {
            break;
        }
        echoes += 1;
    }
    assert!(echoes > 0);
    first.join();
    second.stop();
}

#[test]
fn an_inherited_socket_is_that_of_the_address_at_which_it_is_bound() {
    for count in [1, 3] {
        let directory = Directory::new(&format!("inherit-{count}"));
        let path = directory.path("server");
        let (tcp, unix) = (TcpListener::bind(ANY_PORT).unwrap(), UnixListener::bind(&path).unwrap());
        let unwanted = TcpListener::bind(ANY_PORT).unwrap();
        let address = tcp.local_addr().unwrap();
        // They wait for whoever comes, and are there afterwards.
        let mut early = client(address);
        let left = tcp.try_clone().unwrap();
        let sockets: [OwnedFd; 3] = [tcp.into(), unix.into(), unwanted.into()];
        let config = shards(count).build().unwrap();
        let both = [Address::from(address), Address::Path(path.clone())];
        let running = in_time(move || {
            Runtime::new(config)?.inherit(sockets)?.start(move |shard| {
                both.iter().try_for_each(|address| shard.listen(address.clone(), |_peer| Echo).map(drop))
            })
        });
        let live = Live::of(running.unwrap());
        assert_eq!(live.running().addresses().len(), 2);
        assert_echoes(&mut early, b"early");
        clients(address, 60);
        let mut client = connect(&Address::Path(path.clone())).unwrap();
        client.write_all(b"hello").unwrap();
        client.read_exact(&mut [0; 5]).unwrap();
        drop(client);
        let accepted: Vec<u64> = live.stop().shards.iter().map(|shard| shard.connections_accepted).collect();
        assert!(accepted.iter().all(|count| *count > 0), "{accepted:?}");
        assert!(path.exists(), "the file belongs to whoever made it");
        let late = TcpStream::connect(address).unwrap();
        left.set_nonblocking(false).unwrap();
        assert_eq!(left.accept().unwrap().1, late.local_addr().unwrap());
    }
}

#[test]
fn a_port_alone_finds_the_socket_of_all_interfaces() {
    let any = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = any.local_addr().unwrap().port();
    let config = shards(1).build().unwrap();
    let running = in_time(move || {
        let runtime = Runtime::new(config)?.inherit([any.into()])?;
        runtime.start(move |shard| shard.listen(port, |_peer| Echo).map(drop))
    });
    let _live = Live::of(running.unwrap());
    clients(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), 5);
}
