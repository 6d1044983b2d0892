//! What passes through pants-proxy: bytes, ends and resets, in both directions and over both kinds of sockets; and whom it tries.

mod support;

use std::io::{ErrorKind, Read};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, bind, listen};

use crate::support::proxy::*;
use crate::support::*;

/// Bytes that do not repeat.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    Noise(seed).fill(&mut bytes);
    bytes
}

/// A proxy before an upstream of the test's own, and the first connection through it.
fn pair(arguments: &[&str]) -> (Proxy, Upstream, Socket, Socket) {
    let upstream = Upstream::tcp();
    let proxy = Proxy::start(&[&["--to", &upstream.address()], arguments].concat());
    let (client, server) = (proxy.connect(), upstream.accept());
    (proxy, upstream, client, server)
}

#[test]
fn bytes_pass_both_ways_at_once_between_all_kinds_of_sockets() {
    let (there, back) = (noise(1, 3 << 20), noise(2, 3 << 20));
    for before in KINDS {
        for behind in KINDS {
            let upstream = Upstream::bind(behind);
            let proxy = Proxy::start_at(&before.address(), &["--to", &upstream.address()]);
            let (mut client, mut server) = (proxy.connect(), upstream.accept());
            thread::scope(|scope| {
                for (socket, data) in [(&client, &there), (&server, &back)] {
                    let mut socket = match socket {
                        Socket::Tcp(stream) => Socket::Tcp(stream.try_clone().unwrap()),
                        Socket::Unix(stream) => Socket::Unix(stream.try_clone().unwrap()),
                    };
                    scope.spawn(move || {
                        socket.send(data);
                        socket.end();
                    });
                }
                scope.spawn(|| server.assert_receives_all(&there));
                client.assert_receives_all(&back);
            });
            let line = proxy.next_logged();
            assert!(line.contains(" from_client=3145728 from_upstream=3145728 "), "{before:?} {behind:?}: {line}");
            assert!(line.ends_with(" reason=finished"), "{before:?} {behind:?}: {line}");
            assert_eq!(proxy.stop().code, Some(0));
        }
    }
}

#[test]
fn a_client_that_has_ended_still_gets_its_answer() {
    let (proxy, _upstream, mut client, mut server) = pair(&[]);
    client.send(b"question");
    client.end();
    server.assert_receives_all(b"question");
    let answer = noise(3, 1 << 20);
    thread::scope(|scope| {
        scope.spawn(|| {
            server.send(&answer);
            server.end();
        });
        client.assert_receives_all(&answer);
    });
    assert!(proxy.next_logged().ends_with(" by=client reason=finished"));
}

#[test]
fn an_upstream_that_has_ended_still_gets_what_its_client_says() {
    let (proxy, _upstream, mut client, mut server) = pair(&[]);
    server.send(b"greeting");
    server.end();
    client.assert_receives_all(b"greeting");
    let upload = noise(4, 1 << 20);
    thread::scope(|scope| {
        scope.spawn(|| {
            client.send(&upload);
            client.end();
        });
        server.assert_receives_all(&upload);
    });
    assert!(proxy.next_logged().ends_with(" by=upstream reason=finished"));
}

#[test]
fn a_reset_is_passed_on_as_one_in_both_directions() {
    let (proxy, upstream, mut client, mut server) = pair(&[]);
    client.send(b"question");
    server.assert_receives(b"question");
    client.reset();
    server.assert_reset();
    assert!(proxy.next_logged().ends_with(" by=client reason=\"reset by peer\""));

    let (mut client, mut server) = (proxy.connect(), upstream.accept());
    client.send(b"question");
    server.assert_receives(b"question");
    server.reset();
    client.assert_reset();
    assert!(proxy.next_logged().ends_with(" by=upstream reason=\"reset by peer\""));
}

#[test]
fn a_reset_after_one_direction_has_ended_is_one_still() {
    let (proxy, upstream, client, mut server) = pair(&[]);
    client.end();
    server.assert_receives_all(b"");
    client.reset();
    assert!(proxy.next_logged().ends_with(" by=client reason=\"reset by peer\""));
    server.assert_reset_by_writing();

    let (mut client, mut server) = (proxy.connect(), upstream.accept());
    client.end();
    server.assert_receives_all(b"");
    server.reset();
    client.assert_reset();
}

#[test]
fn a_reset_of_a_unix_socket_ends_the_other_side_too() {
    let upstream = Upstream::bind(Kind::Path);
    let proxy = Proxy::start_at(&Kind::Path.address(), &["--to", &upstream.address()]);
    let (mut client, server) = (proxy.connect(), upstream.accept());
    // Closing over unread bytes is what comes nearest to a reset (unix(7) knows no other).
    client.send(b"unread");
    assert!(server.has_come(PATIENCE));
    drop(server);
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
    assert!(proxy.next_logged().ends_with(" by=upstream reason=\"reset by peer\""));
}

#[test]
fn a_client_that_goes_while_its_upstream_is_awaited_is_not_connected() {
    let full = FullListener::new();
    let proxy = Proxy::start(&["--to", &full.address]);
    let client = proxy.connect();
    client.reset();
    assert!(proxy.next_logged().ends_with(" attempts=1 by=client reason=\"reset by peer\""));
    assert_eq!(proxy.stop().code, Some(0));
}

/// An address at which nobody listens.
fn refusing() -> String {
    TcpListener::bind(ANY_PORT).unwrap().local_addr().unwrap().to_string()
}

#[test]
fn upstreams_that_cannot_be_reached_are_passed_over() {
    let upstream = Upstream::tcp();
    let nowhere = Kind::Path.address();
    let to = [&refusing(), &nowhere, &upstream.address(), "nosuch.invalid:80"].map(str::to_owned);
    let flags: Vec<&str> = to.iter().flat_map(|address| ["--to", address]).collect();
    let proxy = Proxy::start(&flags);
    // Each connection begins with the next one.
    for attempts in [3, 2, 1, 4] {
        let (mut client, mut server) = (proxy.connect(), upstream.accept());
        client.send(b"hello");
        server.assert_receives(b"hello");
        drop((client, server));
        let line = proxy.next_logged();
        assert!(line.contains(&format!(" attempts={attempts} ")), "{line}");
        assert!(line.contains(&format!(" upstream={} ", upstream.address())), "{line}");
    }
}

#[test]
fn a_client_is_reset_when_no_upstream_can_be_reached_and_the_proxy_goes_on() {
    let address = refusing();
    let nowhere = Kind::Path.address();
    let proxy = Proxy::start(&["--to", &nowhere, "--to", &address]);
    let mut client = proxy.connect();
    client.assert_reset();
    let line = proxy.next_logged();
    assert!(line.contains(" attempts=2 by=upstream reason=\"cannot connect to "), "{line}");
    assert!(line.contains(&format!("{address}: Connection refused")), "{line}");
    let mut client = proxy.connect();
    client.assert_reset();
    let line = proxy.next_logged();
    assert!(line.contains(&format!("{nowhere}: No such file or directory")), "{line}");

    let upstream = TcpListener::bind(&address).unwrap();
    let (mut client, mut server) = (proxy.connect(), upstream.accept().unwrap().0);
    client.send(b"hello");
    assert_receives(&mut server, b"hello");
    drop((client, server));
    assert_eq!(proxy.stop().code, Some(0));
}

#[test]
fn an_upstream_that_does_not_answer_is_given_up_after_the_connect_timeout() {
    let (full, upstream) = (FullListener::new(), Upstream::tcp());
    let to = ["--to", &full.address, "--to", &upstream.address()];
    let proxy = Proxy::start(&[&to[..], &["--connect-timeout", "200ms"]].concat());
    let begun = Instant::now();
    let mut client = proxy.connect();
    client.send(b"patience");
    let mut server = upstream.accept();
    assert!(begun.elapsed() >= Duration::from_millis(200), "it was given up early");
    server.assert_receives(b"patience");
    drop((client, server));
    assert!(proxy.next_logged().contains(" attempts=2 "));
}

#[test]
fn what_a_client_sends_waits_for_an_upstream_that_accepts_late() {
    // The proxy's first attempts meet a full queue, and are repeated.
    let address = Kind::Path.address();
    let listener = {
        let unix = rustix::net::SocketAddrUnix::new(&*address).unwrap();
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        bind(&socket, &unix).unwrap();
        listen(&socket, 0).unwrap();
        Upstream::Unix(socket.into(), address.clone())
    };
    let first = Socket::connect(&address);
    let proxy = Proxy::start(&["--to", &address]);
    let mut client = proxy.connect();
    let upload = noise(5, 1 << 20);
    thread::scope(|scope| {
        scope.spawn(|| {
            client.send(&upload);
            client.end();
        });
        // The client has sent all that its kernel takes by the time the upstream is ready, or nearly so.
        drop(listener.accept());
        drop(first);
        let mut server = listener.accept();
        server.assert_receives_all(&upload);
    });
}

#[test]
fn upstreams_have_equal_shares_on_every_shard() {
    const CONNECTIONS: usize = 40;
    let upstreams = [Upstream::tcp(), Upstream::tcp()];
    let [one, two] = upstreams.each_ref().map(Upstream::address);
    let proxy = Proxy::start(&["--to", &one, "--to", &two, "--shards", "2"]);
    let mut clients: Vec<Socket> = (0..CONNECTIONS).map(|_| proxy.connect()).collect();
    let mut counts = [0_usize; 2];
    let mut servers = Vec::new();
    let limit = Instant::now() + PATIENCE;
    while servers.len() < CONNECTIONS {
        assert!(Instant::now() < limit, "only {} have come", servers.len());
        for (upstream, count) in upstreams.iter().zip(&mut counts) {
            if upstream.has_come(Duration::from_millis(1)) {
                servers.push(upstream.accept());
                *count += 1;
            }
        }
    }
    assert!(counts[0].abs_diff(counts[1]) <= 2, "{counts:?}");
    for server in &mut servers {
        server.send(b"hello");
    }
    for client in &mut clients {
        client.assert_receives(b"hello");
    }
}

#[test]
fn host_names_are_resolved() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(&["--to", &format!("localhost:{}", upstream.local_addr().unwrap().port())]);
    let mut client = proxy.connect();
    client.send(b"hello");
    assert_receives(&mut upstream.accept().unwrap().0, b"hello");
}

impl Socket {
    /// Expects that writing shows a reset: a socket whose end was read already tells of it nowhere else.
    fn assert_reset_by_writing(&mut self) {
        let limit = Instant::now() + PATIENCE;
        loop {
            match std::io::Write::write(self, b"x") {
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => return,
                result => assert!(Instant::now() < limit, "it is still open: {result:?}"),
            }
            thread::yield_now();
        }
    }
}
