//! The listeners of all shards at one address: shared among them, and with nobody else unless that is asked for.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Instant;

use pants_shard::{ConfigBuilder, Connection, Error, Handler, Shard, ShardId};
use rustix::net::{AddressFamily, SocketType, bind, listen, socket, sockopt};

use crate::support::*;

/// Another program's listener, at any free port.
fn other_program(shares: bool) -> (OwnedFd, SocketAddr) {
    let other = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    sockopt::set_socket_reuseport(&other, shares).unwrap();
    bind(&other, &ANY_PORT.parse::<SocketAddr>().unwrap()).unwrap();
    listen(&other, 512).unwrap();
    let address = rustix::net::getsockname(&other).unwrap().try_into().unwrap();
    (other, address)
}

/// What the first shard says when it may not have `address`.
fn assert_taken(config: ConfigBuilder, address: SocketAddr) {
    let error = refusal(config, move |shard| shard.listen(address, |_peer| Echo).map(drop));
    let Error::Shard { shard, source } = &error else { panic!("{error:?}") };
    assert_eq!(*shard, ShardId::new(0));
    assert!(matches!(**source, Error::PortTaken(_)), "{source:?}");
    assert!(error.to_string().contains(&format!("cannot listen on {address}: another program listens there")));
}

#[test]
fn port_0_is_one_port_for_all_shards_and_each_accepts() {
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let live = Live::start(shards(3), move |shard| {
        let (id, tell) = (shard.id(), tell.lock().unwrap().clone());
        let acceptor = move |_peer| {
            tell.send(id).unwrap();
            Echo
        };
        shard.listen(ANY_PORT, acceptor).map(drop)
    });
    assert_eq!(live.running().addresses().len(), 1);
    let clients = clients(live.address(), 200);
    let mut accepted = [0; 3];
    for shard in next_all(&told, 200) {
        accepted[shard.index()] += 1;
    }
    assert!(accepted.iter().all(|count| *count > 0), "{accepted:?}");
    drop(clients);
    let report = live.stop();
    assert_eq!(report.shards.iter().map(|shard| shard.connections_accepted).collect::<Vec<_>>(), accepted);
}

#[test]
fn port_0_asked_for_twice_is_two_ports() {
    let live = Live::start(shards(2), |shard| {
        shard.listen(ANY_PORT, |_peer| Echo)?;
        shard.listen(ANY_PORT, |_peer| Echo).map(drop)
    });
    let addresses = live.running().addresses();
    assert_eq!(addresses.len(), 2);
    assert_ne!(addresses[0].port(), addresses[1].port());
    for address in addresses {
        assert!(clients(address.socket_address().unwrap(), 10).len() == 10);
    }
}

#[test]
fn no_shard_accepts_before_all_have_set_up() {
    let (tell, told) = channel();
    let (tell, bound) = (Mutex::new(tell), Mutex::new(None));
    let live = Live::start(shards(3), move |shard| {
        let server = shard.listen(ANY_PORT, |_peer| Echo)?;
        let address = shard.context().server_address(server).unwrap().socket_address().unwrap();
        assert_eq!(*bound.lock().unwrap().get_or_insert(address), address);
        tell.lock().unwrap().send(TcpStream::connect(address).map(drop).map_err(|error| error.kind())).unwrap();
        Ok(())
    });
    assert_eq!(next_all(&told, 3), [Err(ErrorKind::ConnectionRefused); 3]);
    // Afterwards it is there for all.
    assert_eq!(clients(live.address(), 30).len(), 30);
}

#[test]
fn a_port_that_another_program_has_for_itself_is_refused() {
    let (_other, address) = other_program(false);
    for count in [1, 2] {
        assert_taken(shards(count), address);
        assert_taken(shards(count).share_port(true), address);
    }
}

#[test]
fn a_port_that_another_program_would_share_is_refused_all_the_same() {
    let (_other, address) = other_program(true);
    for count in [1, 2] {
        assert_taken(shards(count), address);
    }
}

#[test]
fn a_port_of_another_runtime_is_refused() {
    for count in [1, 2] {
        let live = Live::echo(shards(count));
        assert_taken(shards(1), live.address());
        assert_taken(shards(2), live.address());
    }
}

#[test]
fn a_port_is_shared_with_another_program_when_both_want_it() {
    for count in [1, 2] {
        let (other, address) = other_program(true);
        let live =
            Live::start(shards(count).share_port(true), move |shard| shard.listen(address, |_peer| Echo).map(drop));
        assert_eq!(live.address(), address);
        let other = TcpListener::from(other);
        let clients: Vec<TcpStream> = (0..200).map(|_| client(address)).collect();
        other.set_nonblocking(true).unwrap();
        let theirs = std::iter::from_fn(|| other.accept().ok()).count();
        assert!((1..200).contains(&theirs), "the other program has {theirs} of 200");
        drop(clients);
        let report = live.drain();
        let ours: u64 = report.shards.iter().map(|shard| shard.connections_accepted).sum();
        assert_eq!(ours as usize + theirs, 200);
    }
}

#[test]
fn a_port_can_be_taken_again_at_once_after_the_server_has_closed_its_connections() {
    let live = Live::echo(shards(2));
    let address = live.address();
    let clients = clients(address, 10);
    // It is this side that closes first, which leaves the connections in TIME_WAIT here.
    live.running().drain();
    for mut client in clients {
        assert_eq!(std::io::copy(&mut client, &mut std::io::sink()).unwrap(), 0);
    }
    live.join();
    for count in [1, 2] {
        let again = Live::start(shards(count), move |shard| shard.listen(address, |_peer| Echo).map(drop));
        assert_eq!(again.address(), address);
        again.stop();
    }
}

#[test]
fn a_drain_takes_what_is_queued_on_the_listener() {
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(Some(wait));
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let live = Live::start(shards(1), move |shard| {
        shard.listen(ANY_PORT, |_peer| Echo)?;
        let (wait, tell) = (wait.lock().unwrap().take().unwrap(), tell.lock().unwrap().clone());
        // The shard is held up until all clients stand in the queue and the drain is asked for.
        shard.callback(move |_shard| {
            tell.send(()).unwrap();
            next(&wait);
        });
        Ok(())
    });
    next(&told);
    let mut clients: Vec<TcpStream> = (0..100).map(|_| client(live.address())).collect();
    for client in &mut clients {
        client.write_all(b"in the queue").unwrap();
    }
    live.running().drain();
    go.send(()).unwrap();
    for mut client in clients {
        let mut reply = String::new();
        client.read_to_string(&mut reply).unwrap();
        assert_eq!(reply, "in the queue");
    }
    assert_eq!(live.join().shards[0].connections_accepted, 100);
}

/// Echoes, and keeps its connection through a drain, for as long as that lasts.
struct Lasting;

impl Handler for Lasting {
    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        connection.write(data);
    }

    fn on_shutdown(&mut self, _connection: &mut Connection<'_>) {}
}

#[test]
fn a_successor_may_listen_while_its_predecessor_still_drains() {
    // Free again, and not soon given to anybody who asks for any port.
    let address = TcpListener::bind(ANY_PORT).unwrap().local_addr().unwrap();
    let serve = move |shard: &mut Shard<'_>| shard.listen(address, |_peer| Lasting).map(drop);
    let first = Live::start(shards(2), serve);
    let mut held = client(address);
    held.write_all(b"hello").unwrap();
    held.read_exact(&mut [0; 5]).unwrap();
    first.running().drain();
    // Refused while the first one's listeners are on their way out.
    let limit = Instant::now() + PATIENCE;
    let second = loop {
        match Live::try_start(shards(2), serve) {
            Ok(second) => break second,
            Err(error) => assert!(Instant::now() < limit, "{error}"),
        }
    };
    held.set_nonblocking(true).unwrap();
    let unread = held.read(&mut [0; 5]).map_err(|error| error.kind());
    assert_eq!(unread, Err(ErrorKind::WouldBlock), "the first one has come to its end before the second could begin");
    drop(held);
    first.join();
    second.stop();
}
