//! Clients of a host that is known by its name: all its addresses are tried, and nothing waits for the look-up.

mod support;

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use pants_engine::{Address, Connection, ConnectionOptions, Context, Endpoint, Error, Handler};
use support::*;

fn host(name: &str, port: u16) -> Address {
    Address::Host { name: name.to_owned(), port }
}

/// What this machine's name resolves to: IPv4, IPv6 or both.
fn localhost(port: u16) -> Vec<SocketAddr> {
    ("localhost", port).to_socket_addrs().unwrap().collect()
}

/// Tells whom it has reached, or why nobody.
struct Tells(Sender<Result<Endpoint, String>>);

impl Handler for Tells {
    fn on_connect(&mut self, connection: &mut Connection<'_>) {
        assert_eq!(connection.local_address().unwrap().ip(), connection.peer_address().ip());
        self.0.send(Ok(connection.peer_address().clone())).unwrap();
    }

    fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {}

    fn on_connect_error(&mut self, _context: &mut Context, error: &Error) {
        self.0.send(Err(error.to_string())).unwrap();
    }
}

#[test]
fn a_name_reaches_a_server_that_listens_at_any_one_of_its_addresses() {
    for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        if !localhost(address.port()).contains(&address) {
            // Not every machine's table of hosts has both.
            continue;
        }
        let (tell, told) = channel();
        let (running, _) =
            Running::start(move |engine| engine.connect(host("localhost", address.port()), Tells(tell)).unwrap());
        assert_eq!(next(&told), Ok(address.into()));
        assert_eq!(running.stats().timers_pending, 0);
        running.stop();
        assert_eq!(told.iter().count(), 0);
    }
}

#[test]
fn with_a_local_address_a_name_is_reached_at_the_addresses_of_its_family() {
    struct Tells(Sender<IpAddr>);
    impl Handler for Tells {
        fn on_connect(&mut self, connection: &mut Connection<'_>) {
            self.0.send(connection.local_address().unwrap().ip().unwrap()).unwrap();
        }
        fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {}
    }
    let listener = TcpListener::bind(ANY_PORT).unwrap();
    let port = listener.local_addr().unwrap().port();
    let local = IpAddr::from([127, 0, 0, 9]);
    let options = ConnectionOptions { local_address: Some(local), ..ConnectionOptions::default() };
    let (tell, told) = channel();
    let (_running, _) = Running::start(move |engine| {
        engine.context().connect_with(host("localhost", port), options, Tells(tell)).unwrap()
    });
    assert_eq!(next(&told), local);
}

#[test]
fn what_is_written_before_the_name_is_resolved_is_delivered() {
    let listener = TcpListener::bind(ANY_PORT).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (handler, seen) = recorder(close_when_asked);
    let (_running, known) = Running::start(move |engine| {
        let key = engine.connect(host("localhost", port), handler()).unwrap();
        let mut connection = engine.context().connection(key).unwrap();
        assert!(connection.write(b"early"));
        connection.close();
        assert!(!connection.write(b"too late"));
        (connection.queued_bytes(), connection.peer_address().clone(), connection.local_address().is_none())
    });
    assert_eq!(known, (5, Endpoint::Unnamed, true));
    let (mut server, _) = listener.accept().unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(receive_all(&mut server), b"early");
    drop(server);
    close_reason(&seen);
}

#[test]
fn when_every_address_refuses_one_error_names_the_host_and_the_last_address() {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let (tell, told) = channel();
    let (running, _) = Running::start(move |engine| engine.connect(host("localhost", port), Tells(tell)).unwrap());
    let text = next(&told).unwrap_err();
    let texts: Vec<_> =
        localhost(port).iter().map(|last| format!("cannot connect to localhost:{port}: {last}: ")).collect();
    assert!(texts.iter().any(|start| text.starts_with(start)), "{text}");
    let stats = running.stop();
    assert_eq!((stats.connections_open, stats.connections_closed, stats.timers_pending), (0, 1, 0));
    assert_eq!(told.iter().count(), 0, "nothing comes after it");
}

#[test]
fn a_name_that_nobody_has_is_an_error_that_names_it_and_timers_go_on_meanwhile() {
    let (tell, told) = channel();
    let (running, _) = Running::start(move |engine| {
        // A resolver that is far away may take longer than the default.
        let options = ConnectionOptions { connect_timeout: None, ..ConnectionOptions::default() };
        engine.context().connect_with(host("nonexistent.invalid", 80), options, Tells(tell)).unwrap();
        engine.context().cycle(Duration::from_millis(1), |_| {}).unwrap();
    });
    // The engine is not blocked, however long it takes.
    running.wait_until(|stats| stats.timers_fired >= 5);
    let limit = std::time::Instant::now() + 6 * PATIENCE;
    let text = loop {
        match told.try_recv() {
            Ok(result) => break result.unwrap_err(),
            Err(_) => {
                assert!(std::time::Instant::now() < limit, "the resolver says nothing");
                let fired = running.stats().timers_fired;
                running.wait_until(|stats| stats.timers_fired > fired);
            }
        }
    };
    assert!(text.starts_with("cannot connect to nonexistent.invalid:80: "), "{text}");
    assert_eq!(running.stop().connections_open, 0);
    assert_eq!(told.iter().count(), 0);
}

#[test]
fn an_abort_while_the_name_is_resolved_is_told_once_and_leaves_nothing() {
    let (handler, seen) = recorder(|_, _| {});
    let (running, _) = Running::start(move |engine| {
        let key = engine.connect(host("nonexistent.invalid", 80), handler()).unwrap();
        // Before any turn, and so before any answer.
        engine.context().connection(key).unwrap().abort();
    });
    assert_eq!(next(&seen), Event::ConnectFailure(ErrorKind::ConnectionAborted));
    let stats = running.stats();
    assert_eq!((stats.connections_open, stats.connections_closed, stats.timers_pending), (0, 1, 0));
    running.stop();
    assert_eq!(seen.iter().count(), 0);
}

#[test]
fn the_connect_timeout_covers_the_resolving() {
    let (handler, seen) = recorder(|_, _| {});
    let (running, _) = Running::start(move |engine| {
        let options = ConnectionOptions { connect_timeout: Some(Duration::from_millis(1)), ..Default::default() };
        engine.context().connect_with(host("localhost", 1), options, handler()).unwrap();
        // The first turn finds that the time has passed; an answer, if there is one, comes behind the timers.
        std::thread::sleep(Duration::from_millis(5));
    });
    assert_eq!(next(&seen), Event::ConnectFailure(ErrorKind::TimedOut));
    assert_eq!(running.stop().connections_open, 0);
    assert_eq!(seen.iter().count(), 0);
}

#[test]
fn a_stop_while_the_name_is_resolved_is_told_by_on_connect_error_alone() {
    let (handler, seen) = recorder(|_, _| {});
    let (running, _) = Running::start(move |engine| {
        engine.connect(host("nonexistent.invalid", 80), handler()).unwrap();
        engine.context().stop();
    });
    running.join();
    assert_eq!(seen.iter().collect::<Vec<_>>(), [Event::ConnectFailure(ErrorKind::ConnectionAborted)]);
}
