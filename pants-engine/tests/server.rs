//! Servers: listening, accepting, refusing, the bound on connections, and closing.

mod support;

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use pants_engine::{
    Acceptor, Balancer, Connection, Context, Endpoint, Engine, Error, Handler, Newcomer, ServerOptions,
};
use support::*;

#[test]
fn a_server_sends_back_what_it_is_sent() {
    let (running, address) = Running::serve(|| Echo);
    let mut client = client(address);
    for size in [1, 2, 100, 1_000, 16 * 1024 - 1, 16 * 1024, 16 * 1024 + 1, 70_000] {
        assert_echoes(&mut client, &Noise::bytes(size));
    }
    let stats = running.stop();
    assert_eq!((stats.connections_accepted, stats.connections_closed, stats.connections_open), (1, 1, 0));
    assert_eq!(stats.bytes_in, stats.bytes_out);
}

#[test]
fn a_port_in_use_is_an_error_that_names_the_address() {
    let taken = TcpListener::bind(ANY_PORT).unwrap();
    let address = taken.local_addr().unwrap();
    let mut engine = Engine::new().unwrap();
    let error = engine.listen(address, |_| Silent).unwrap_err();
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    assert!(matches!(error, Error::Listen { address: named, .. } if named == address.into()));
    // Nothing of it is left: the address is free again when its owner leaves.
    drop(taken);
    engine.listen(address, |_| Silent).unwrap();
}

#[test]
fn an_address_that_is_none_is_an_error_that_quotes_it() {
    let mut engine = Engine::new().unwrap();
    let error = engine.listen("127.0.0.1", |_| Silent).unwrap_err();
    assert!(matches!(error, Error::Address(_)) && error.to_string().contains("127.0.0.1"), "{error}");
}

#[test]
fn options_that_contradict_each_other_are_refused_before_anything_is_bound() {
    let mut engine = Engine::new().unwrap();
    let good = ServerOptions::default;
    for options in [
        ServerOptions { max_connections: Some(0), ..good() },
        ServerOptions { backlog: 0, ..good() },
        ServerOptions { backlog: u32::MAX, ..good() },
    ] {
        let result = engine.context().listen_with(ANY_PORT, options, |_| Silent);
        assert!(matches!(result, Err(Error::Options(_))));
    }
}

#[test]
fn port_zero_gives_a_real_port() {
    let mut engine = Engine::new().unwrap();
    let keys = [(); 2].map(|()| engine.listen(ANY_PORT, |_| Silent).unwrap());
    let [one, two] = keys.map(|key| engine.context().server_address(key).unwrap().socket_address().unwrap());
    assert!(one.port() != 0 && two.port() != 0 && one != two);
    assert_eq!(one.ip(), Ipv4Addr::LOCALHOST);
    client(one);
}

#[test]
fn a_port_alone_is_reached_over_ipv4_and_the_peer_is_named_as_such() {
    let (tell, told) = channel();
    let (_running, port) = Running::start(move |engine| {
        let server = engine.listen(0, move |peer| {
            tell.send(peer).unwrap();
            Echo
        });
        engine.context().server_address(server.unwrap()).unwrap().port().unwrap()
    });
    let mut client = client((Ipv4Addr::LOCALHOST, port).into());
    assert_echoes(&mut client, b"hello");
    assert_eq!(next(&told), client.local_addr().unwrap());
}

#[derive(Debug, PartialEq, Eq)]
enum Told {
    Listen(Endpoint),
    Accept(Endpoint),
    Close,
}

/// Reports, and lets in whom `admits` says.
struct Gate {
    told: Sender<Told>,
    admits: fn(u32) -> bool,
    count: u32,
}

impl Acceptor for Gate {
    type Handler = Echo;

    fn on_listen(&mut self, address: &Endpoint) {
        self.told.send(Told::Listen(address.clone())).unwrap();
    }

    fn on_accept(&mut self, peer: Endpoint) -> Option<Echo> {
        self.told.send(Told::Accept(peer)).unwrap();
        self.count += 1;
        (self.admits)(self.count).then_some(Echo)
    }

    fn on_close(&mut self) {
        self.told.send(Told::Close).unwrap();
    }
}

#[test]
fn an_acceptor_is_told_of_listening_then_of_each_peer_then_of_the_close() {
    let (told, telling) = channel();
    let (running, (server, address)) = Running::start(move |engine| {
        let server = engine.listen(ANY_PORT, Gate { told, admits: |_| true, count: 0 }).unwrap();
        (server, engine.context().server_address(server).unwrap().socket_address().unwrap())
    });
    let mut clients = [client(address), client(address)];
    for client in &mut clients {
        assert_echoes(client, b"x");
    }
    running.ask(move |context| context.close_server(server));
    let peers = clients.each_ref().map(|client| client.local_addr().unwrap());
    assert_eq!(next(&telling), Told::Listen(address.into()));
    assert_eq!([next(&telling), next(&telling)], peers.map(|peer| Told::Accept(peer.into())));
    assert_eq!(next(&telling), Told::Close);
    running.stop();
    assert_eq!(telling.try_iter().count(), 0);
}

#[test]
fn an_acceptor_that_refuses_closes_the_connection_at_once() {
    let (told, _telling) = channel();
    let (running, address) = Running::start(move |engine| {
        let server = engine.listen(ANY_PORT, Gate { told, admits: |count| count != 1, count: 0 }).unwrap();
        engine.context().server_address(server).unwrap().socket_address().unwrap()
    });
    assert_eq!(receive_all(&mut client(address)), b"");
    assert_echoes(&mut client(address), b"welcome");
    let stats = running.stop();
    assert_eq!((stats.connections_refused, stats.connections_accepted), (1, 1));
}

#[test]
fn a_panic_in_on_accept_costs_only_that_connection() {
    hush();
    let (told, telling) = channel();
    let admits = |count| if count == 2 { std::panic::panic_any(ON_PURPOSE) } else { true };
    // All three wait before the engine looks: the third is accepted in the same batch as the one that is lost.
    let (running, (address, clients)) = Running::start(move |engine| {
        let server = engine.listen(ANY_PORT, Gate { told, admits, count: 0 }).unwrap();
        let address = engine.context().server_address(server).unwrap().socket_address().unwrap();
        (address, [client(address), client(address), client(address)])
    });
    let [mut first, mut second, mut third] = clients;
    assert_echoes(&mut first, b"1");
    assert_eq!(receive_all(&mut second), b"");
    assert_echoes(&mut third, b"3");
    assert_echoes(&mut client(address), b"4");
    let stats = running.stop();
    assert_eq!((stats.panics, stats.connections_accepted), (1, 3));
    assert_eq!(telling.iter().filter(|told| *told == Told::Close).count(), 1);
}

#[test]
fn at_the_bound_the_next_waits_and_is_served_when_one_leaves() {
    let options = ServerOptions { max_connections: Some(2), ..ServerOptions::default() };
    let (running, address) = Running::serve_with(options, || Echo);
    let mut inside = [client(address), client(address)];
    for client in &mut inside {
        assert_echoes(client, b"in");
    }
    // The kernel has taken these for the server, so they connect, and what they say waits.
    let mut outside: Vec<TcpStream> = (0..3).map(|_| client(address)).collect();
    for client in &mut outside {
        client.write_all(b"out").unwrap();
        client.set_nonblocking(true).unwrap();
        assert_eq!(client.read(&mut [0; 8]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        client.set_nonblocking(false).unwrap();
    }
    assert_eq!(running.stats().connections_accepted, 2);
    for (leaving, entering) in inside.into_iter().zip(&mut outside) {
        drop(leaving);
        assert_eq!(receive(entering, 3), b"out");
        assert_eq!(running.stats().connections_open, 2);
    }
    assert_eq!(running.stats().connections_accepted, 4);
    drop(outside.remove(0));
    assert_eq!(receive(&mut outside[1], 3), b"out");
}

#[test]
fn write_to_all_is_a_loop_over_a_servers_connections() {
    let (running, (server, address, _bystander)) = Running::start(|engine| {
        // A second server, to see that its connections are not taken for the first one's.
        let (_, other) = listen(engine, ServerOptions::default(), || Silent);
        let (server, address) = listen(engine, ServerOptions::default(), || Echo);
        (server, address, client(other))
    });
    running.wait_until(|stats| stats.connections_accepted == 1);
    let mut clients: Vec<TcpStream> = (0..5).map(|_| client(address)).collect();
    for client in &mut clients {
        assert_echoes(client, b"here");
    }
    let written = running.ask(move |context| {
        let connections = context.connections(server);
        connections.iter().filter(|key| context.connection(**key).is_some_and(|mut to| to.write(b"all"))).count()
    });
    assert_eq!(written, 5);
    for client in &mut clients {
        assert_eq!(receive(client, 3), b"all");
    }
}

#[test]
fn a_closed_server_keeps_its_connections_and_frees_its_port() {
    let (running, (server, address)) = Running::start(|engine| listen(engine, ServerOptions::default(), || Echo));
    let mut client = client(address);
    assert_echoes(&mut client, b"before");
    running.ask(move |context| context.close_server(server));
    running.wait_until(|_| TcpStream::connect(address).is_err());
    assert_echoes(&mut client, b"after");
    let (closed, connections, listens) = running.ask(move |context| {
        // A stale key does nothing.
        context.close_server(server);
        let listens = context.listen(address, |_| Silent).is_ok();
        (context.server_address(server).is_none(), context.connections(server).len(), listens)
    });
    assert!(closed && listens);
    assert_eq!(connections, 1);
}

#[test]
fn a_bound_server_accepts_when_it_is_opened_and_not_before() {
    let (running, (server, address)) = Running::start(|engine| {
        let server = engine.context().bind(ANY_PORT, ServerOptions::default(), |_| Echo).unwrap();
        (server, engine.context().server_address(server).unwrap().socket_address().unwrap())
    });
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    running.ask(move |context| context.open(server)).unwrap();
    assert_echoes(&mut client(address), b"open");
    assert!(matches!(running.ask(move |context| context.open(server)), Err(Error::NoServer)));
}

#[test]
fn a_connection_knows_its_server_and_both_addresses() {
    struct Knows(Sender<(bool, Option<Endpoint>, Endpoint)>);
    impl Handler for Knows {
        fn on_connect(&mut self, connection: &mut Connection<'_>) {
            let (local, peer) = (connection.local_address(), connection.peer_address().clone());
            let server = connection.server().unwrap();
            let own = connection.key();
            let listed = connection.context().connections(server).contains(&own);
            self.0.send((listed, local, peer)).unwrap();
        }
        fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {}
    }
    let (tell, told) = channel();
    let (_running, address) = Running::serve(move || Knows(tell.clone()));
    let client = client(address);
    assert_eq!(next(&told), (true, Some(address.into()), client.local_addr().unwrap().into()));
}

/// Sends every connection away, and counts what it is told.
struct Away {
    way: Sender<Newcomer>,
    changes: Rc<RefCell<Vec<usize>>>,
}

impl Balancer for Away {
    fn on_accept(&mut self, _context: &mut Context, newcomer: Newcomer) -> Option<Newcomer> {
        self.way.send(newcomer).err().map(|error| error.0)
    }

    fn on_change(&mut self, _context: &mut Context, open: usize) {
        self.changes.borrow_mut().push(open);
    }
}

#[test]
fn a_balancer_sends_connections_to_another_server_and_hears_of_changes() {
    let (way, newcomers) = channel();
    let changes = Rc::default();
    let mut engine = Engine::new().unwrap();
    let (server, address) = listen(&mut engine, ServerOptions::default(), || Echo);
    let options = ServerOptions { max_connections: Some(2), ..ServerOptions::default() };
    let passive = engine.context().bind(ANY_PORT, options, |_peer| Echo).unwrap();
    engine.context().set_balancer(server, Away { way: way.clone(), changes: Rc::clone(&changes) });
    engine.context().set_balancer(passive, Away { way, changes: Rc::clone(&changes) });
    let mut clients = [client(address), client(address), client(address)];
    let mut arrived = Vec::new();
    turn_until(&mut engine, |_| {
        arrived.extend(newcomers.try_iter());
        arrived.len() == 3
    });
    let mut arrived = arrived.into_iter();
    let early = engine.context().admit(passive, arrived.next().unwrap()).unwrap_err();
    engine.context().open_passive(passive).unwrap();
    engine.context().admit(passive, early).unwrap();
    engine.context().admit(passive, arrived.next().unwrap()).unwrap();
    assert!(engine.context().admit(passive, arrived.next().unwrap()).is_err(), "two is what it may have");
    assert_eq!(engine.context().connections_open(passive), 2);
    turn_until(&mut engine, |engine| engine.context().stats().connections_accepted == 2);
    assert_eq!((engine.context().connections_open(passive), engine.context().connections_open(server)), (2, 0));
    for client in &mut clients[..2] {
        client.write_all(b"hello").unwrap();
    }
    turn_until(&mut engine, |engine| engine.context().stats().bytes_out == 10);
    drop(clients);
    turn_until(&mut engine, |engine| engine.context().stats().connections_open == 0);
    assert_eq!(changes.borrow().first(), Some(&2), "once for both");
    assert_eq!(changes.borrow().last(), Some(&0));
    engine.context().drain(PATIENCE);
    turn_until(&mut engine, |engine| engine.context().is_drained());
}

#[test]
fn connections_on_their_way_to_a_server_that_closes_are_served() {
    let (way, newcomers) = channel();
    let mut engine = Engine::new().unwrap();
    let (server, address) = listen(&mut engine, ServerOptions::default(), || Echo);
    engine.context().set_balancer(server, Away { way, changes: Rc::default() });
    let passive = engine.context().bind(ANY_PORT, ServerOptions::default(), |_peer| Echo).unwrap();
    engine.context().open_passive(passive).unwrap();
    let mut client = client(address);
    client.write_all(b"hello").unwrap();
    let mut arrived = None;
    turn_until(&mut engine, |_| {
        arrived = newcomers.try_recv().ok();
        arrived.is_some()
    });
    engine.context().admit(passive, arrived.unwrap()).unwrap();
    engine.context().close_server(passive);
    turn_until(&mut engine, |engine| engine.context().stats().bytes_out == 5);
    assert_eq!(receive(&mut client, 5), b"hello");
}

#[test]
fn a_server_that_retires_accepts_what_is_queued_before_it_closes() {
    let mut engine = Engine::new().unwrap();
    let (server, address) = listen(&mut engine, ServerOptions::default(), || Echo);
    let mut clients: Vec<TcpStream> = (0..100).map(|_| client(address)).collect();
    engine.context().retire_server(server);
    turn_until(&mut engine, |engine| engine.context().server_address(server).is_none());
    assert_eq!(engine.context().stats().connections_accepted, 100);
    assert!(TcpStream::connect(address).is_err());
    for client in &mut clients {
        client.write_all(b"hello").unwrap();
    }
    turn_until(&mut engine, |engine| engine.context().stats().bytes_out == 500);
}

#[test]
fn a_server_that_has_closed_is_not_woken_by_a_socket_that_lives_on_elsewhere() {
    let mut engine = Engine::new().unwrap();
    let (server, address) = listen(&mut engine, ServerOptions::default(), || Echo);
    let elsewhere = engine.context().server_socket(server).unwrap().try_clone_to_owned().unwrap();
    engine.context().close_server(server);
    turn_until(&mut engine, |engine| engine.context().server_address(server).is_none());
    let listener = TcpListener::from(elsewhere);
    let _client = client(address);
    let before = Instant::now();
    engine.poll(Some(Duration::from_millis(50))).unwrap();
    assert!(before.elapsed() >= Duration::from_millis(50), "the connection has woken it");
    listener.accept().unwrap();
}

#[test]
fn connections_that_wait_for_room_do_not_keep_the_engine_awake() {
    let options = ServerOptions { max_connections: Some(1), ..ServerOptions::default() };
    let (running, address) = Running::serve_with(options, || Echo);
    let mut first = client(address);
    assert_echoes(&mut first, b"first");
    let waiting = [(); 3].map(|()| client(address));
    // Each answer is a turn, which meets the event of those that wait.
    let before = [(); 10].map(|()| running.stats().turns)[9];
    let (tell, told) = channel();
    running.ask(move |context| {
        context.defer(Duration::from_millis(50), move |context| tell.send(context.stats().turns).unwrap());
    });
    let turns = next(&told) - before;
    assert!(turns < 10, "{turns} turns in which there was nothing to do");
    drop(first);
    for mut client in waiting {
        assert_echoes(&mut client, b"next");
    }
}
