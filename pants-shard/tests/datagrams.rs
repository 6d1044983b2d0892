//! The datagram channels of all shards at one address: flows that stay with their shard, and a port that is theirs alone.

mod support;

use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use pants_shard::{
    ConfigBuilder, Connection, Datagram, DatagramHandler, Endpoint, Error, Handler, Result, Shard, ShardId,
};
use rustix::net::{AddressFamily, SocketType, bind, socket, sockopt};

use crate::support::*;

/// A datagram that has its channel closed, without an answer.
const CLOSE: &[u8] = b"close";

/// Answers every datagram with its shard's number and what the datagram held.
struct Numbered(ShardId);

impl DatagramHandler for Numbered {
    fn on_read(&mut self, datagram: &mut Datagram<'_>, data: &[u8], from: &Endpoint) {
        if data == CLOSE {
            return datagram.close();
        }
        let mut answer = vec![u8::try_from(self.0.index()).unwrap()];
        answer.extend_from_slice(data);
        datagram.send_to(&answer, from);
    }
}

fn open(shard: &mut Shard<'_>) -> Result<()> {
    open_at(shard, ANY_PORT.parse().unwrap())
}

fn open_at(shard: &mut Shard<'_>, address: SocketAddr) -> Result<()> {
    shard.open_datagram(address, Numbered(shard.id())).map(drop)
}

fn addresses(live: &Live) -> Vec<SocketAddr> {
    live.running().datagram_addresses().iter().map(|address| address.socket_address().unwrap()).collect()
}

/// A client that is connected, so that it hears nobody but `address`, and gives up after [`PATIENCE`].
fn connected(address: SocketAddr) -> UdpSocket {
    let client = UdpSocket::bind(ANY_PORT).unwrap();
    client.connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

/// Which shard has answered what was sent.
fn answered(client: &UdpSocket, sent: &[u8]) -> usize {
    let mut answer = [0; 64];
    let length = client.recv(&mut answer).expect("an answer comes in time");
    assert_eq!(&answer[1..length], sent);
    usize::from(answer[0])
}

fn ask(client: &UdpSocket) -> usize {
    client.send(b"who?").unwrap();
    answered(client, b"who?")
}

/// Another program's socket, at any free port.
fn other_program(shares: bool) -> (OwnedFd, SocketAddr) {
    let other = socket(AddressFamily::INET, SocketType::DGRAM, None).unwrap();
    sockopt::set_socket_reuseport(&other, shares).unwrap();
    bind(&other, &ANY_PORT.parse::<SocketAddr>().unwrap()).unwrap();
    let address = rustix::net::getsockname(&other).unwrap().try_into().unwrap();
    (other, address)
}

/// A port that is free, at an address where the other tests' clients have none: it may be bound again and again.
fn free_address() -> SocketAddr {
    UdpSocket::bind("127.0.0.2:0").unwrap().local_addr().unwrap()
}

fn unix_address(name: &[u8]) -> UnixAddress {
    UnixAddress::from_abstract_name(name).unwrap()
}

/// What the first shard says when it may not have `address`.
fn assert_taken(config: ConfigBuilder, address: SocketAddr) {
    let error = refusal(config, move |shard| open_at(shard, address));
    let Error::Shard { shard, source } = &error else { panic!("{error:?}") };
    assert_eq!(*shard, ZERO);
    assert!(matches!(**source, Error::PortTaken(_)), "{source:?}");
    assert!(error.to_string().contains(&format!("cannot listen on {address}: another program listens there")));
}

#[test]
fn every_client_is_answered_by_one_shard_and_every_shard_has_clients() {
    let live = Live::start(shards(4), open);
    let address = addresses(&live)[0];
    let clients: Vec<UdpSocket> = (0..200).map(|_| connected(address)).collect();
    let mut served_by = vec![HashSet::new(); clients.len()];
    for round in 0..50_u8 {
        for client in &clients {
            client.send(&[round]).unwrap();
        }
        for (client, served_by) in clients.iter().zip(&mut served_by) {
            served_by.insert(answered(client, &[round]));
        }
    }
    assert!(served_by.iter().all(|shards| shards.len() == 1), "{served_by:?}");
    let shards: HashSet<_> = served_by.into_iter().flatten().collect();
    assert_eq!(shards.len(), 4, "{shards:?}");
    let report = live.drain();
    assert_eq!(report.shards.iter().map(|shard| shard.datagrams_in).sum::<u64>(), 200 * 50);
    assert_eq!(report.shards.iter().map(|shard| shard.datagrams_out).sum::<u64>(), 200 * 50);
}

#[test]
fn an_answer_comes_from_where_the_question_went() {
    let live = Live::start(shards(2), open);
    let address = addresses(&live)[0];
    let client = UdpSocket::bind(ANY_PORT).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send_to(b"who?", address).unwrap();
    assert_eq!(client.recv_from(&mut [0; 64]).unwrap().1, address);
    live.stop();
}

#[test]
fn port_0_asked_for_twice_is_two_ports_of_every_shard() {
    let live = Live::start(shards(2), |shard| open(shard).and_then(|()| open(shard)));
    assert!(live.running().addresses().is_empty(), "nobody can connect to them");
    let addresses = addresses(&live);
    assert_eq!(addresses.len(), 2);
    assert_ne!(addresses[0].port(), addresses[1].port());
    for address in addresses {
        let shards: HashSet<_> = (0..100).map(|_| ask(&connected(address))).collect();
        assert_eq!(shards.len(), 2);
    }
    live.stop();
}

#[test]
fn a_port_alone_takes_ipv6_and_ipv4_on_every_shard() {
    let live = Live::start(shards(2), |shard| shard.open_datagram(0, Numbered(shard.id())).map(drop));
    let port = addresses(&live)[0].port();
    let client = |_| ask(&connected(SocketAddr::from(([127, 0, 0, 1], port))));
    assert_eq!((0..100).map(client).collect::<HashSet<_>>().len(), 2);
    live.stop();
}

#[test]
fn a_port_can_be_that_of_a_listener_too() {
    let address = free_address();
    let live = Live::start(shards(2), move |shard| {
        shard.listen(address, |_peer| Echo)?;
        open_at(shard, address)
    });
    assert_eq!((live.address(), addresses(&live)), (address, vec![address]));
    assert_echoes(&mut client(address), b"over TCP");
    ask(&connected(address));
    live.stop();
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
        let live = Live::start(shards(count), open);
        assert_taken(shards(1), addresses(&live)[0]);
        assert_taken(shards(2), addresses(&live)[0]);
    }
}

#[test]
fn a_port_that_another_runtime_is_about_to_bind_is_refused() {
    let address = free_address();
    let claim = UnixDatagram::bind_addr(&unix_address(format!("pants/udp/{address}").as_bytes())).unwrap();
    assert_taken(shards(2), address);
    drop(claim);
    Live::start(shards(2), move |shard| open_at(shard, address)).stop();
}

#[test]
fn a_port_is_shared_with_another_program_when_both_want_it() {
    let (other, address) = other_program(true);
    let live = Live::start(shards(2).share_port(true), move |shard| open_at(shard, address));
    assert_eq!(addresses(&live), [address]);
    let clients: Vec<UdpSocket> = (0..100).map(|_| connected(address)).collect();
    for client in &clients {
        client.send(b"anybody").unwrap();
    }
    let other = UdpSocket::from(other);
    other.set_nonblocking(true).unwrap();
    // On loopback what was sent has arrived.
    let theirs = std::iter::from_fn(|| other.recv_from(&mut [0; 64]).ok()).count();
    assert!((1..100).contains(&theirs), "the other program has {theirs} of 100");
    let report = live.drain();
    let ours: u64 = report.shards.iter().map(|shard| shard.datagrams_in).sum();
    assert_eq!(ours as usize + theirs, 100);
}

/// Tells of its end, which comes after its socket's.
struct Parting {
    numbered: Numbered,
    gone: Sender<usize>,
}

impl DatagramHandler for Parting {
    fn on_read(&mut self, datagram: &mut Datagram<'_>, data: &[u8], from: &Endpoint) {
        self.numbered.on_read(datagram, data, from);
    }
}

impl Drop for Parting {
    fn drop(&mut self) {
        let _ = self.gone.send(self.numbered.0.index());
    }
}

#[test]
fn the_clients_of_a_shard_that_closes_go_to_the_others() {
    let (gone, told) = channel();
    let gone = Mutex::new(gone);
    let live = Live::start(shards(3), move |shard| {
        let gone = gone.lock().unwrap().clone();
        shard.open_datagram(ANY_PORT, Parting { numbered: Numbered(shard.id()), gone }).map(drop)
    });
    let clients: Vec<UdpSocket> = (0..100).map(|_| connected(addresses(&live)[0])).collect();
    let closing = ask(&clients[0]);
    clients[0].send(CLOSE).unwrap();
    assert_eq!(next(&told), closing);
    let serve: HashSet<_> = clients.iter().map(ask).collect();
    assert_eq!(serve, (0..3).filter(|shard| *shard != closing).collect());
    live.stop();
}

#[test]
fn a_drain_answers_what_has_arrived_and_frees_the_port() {
    let address = free_address();
    let (held, hold) = channel::<()>();
    let hold = Arc::new(Mutex::new(hold));
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let live = Live::start(shards(2), move |shard| {
        let (hold, tell) = (Arc::clone(&hold), tell.lock().unwrap().clone());
        // The shards are held up until everything has arrived and the drain is asked for.
        shard.callback(move |_shard| {
            tell.send(()).unwrap();
            let _ = hold.lock().unwrap().recv_timeout(PATIENCE);
        });
        open_at(shard, address)
    });
    next_all(&told, 2);
    let clients: Vec<UdpSocket> = (0..100).map(|_| connected(address)).collect();
    for client in &clients {
        client.send(b"in time").unwrap();
    }
    live.running().drain();
    drop(held);
    for client in &clients {
        answered(client, b"in time");
    }
    live.join();
    let late = clients[0].send(b"too late").and_then(|_length| clients[0].recv(&mut [0; 64]));
    assert_eq!(late.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let again = Live::start(shards(2), move |shard| open_at(shard, address));
    ask(&clients[0]);
    again.stop();
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
fn a_successor_may_have_the_port_while_connections_still_drain() {
    let address = free_address();
    let first = Live::start(shards(2), move |shard| {
        shard.listen(ANY_PORT, |_peer| Lasting)?;
        open_at(shard, address)
    });
    let mut held = client(first.address());
    assert_echoes(&mut held, b"hello");
    first.running().drain();
    // Refused while the first one's channels are on their way out.
    let limit = Instant::now() + PATIENCE;
    let second = loop {
        match Live::try_start(shards(2), move |shard| open_at(shard, address)) {
            Ok(second) => break second,
            Err(error) => assert!(Instant::now() < limit, "{error}"),
        }
    };
    assert_echoes(&mut held, b"still here");
    drop(held);
    first.join();
    second.stop();
}

#[test]
fn a_unix_socket_is_one_shards() {
    let name = format!("@pants-datagrams-{}", std::process::id());
    let on_all = name.clone();
    let error = refusal(shards(2), move |shard| shard.open_datagram(&*on_all, Numbered(shard.id())).map(drop));
    let Error::Shard { shard: ONE, source } = &error else { panic!("{error:?}") };
    assert!(matches!(**source, Error::UnixDatagrams(_)), "{source:?}");
    assert!(error.to_string().contains("open it on one shard alone"), "{error}");

    let live = Live::start(shards(2), move |shard| match shard.id() {
        ONE => shard.open_datagram(&*name, Numbered(ONE)).map(drop),
        _ => Ok(()),
    });
    let [Endpoint::Abstract(server)] = &live.running().datagram_addresses()[..] else { panic!("it is one") };
    let client = UnixDatagram::bind_addr(&unix_address(&[server, b"-client".as_slice()].concat())).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send_to_addr(b"who?", &unix_address(server)).unwrap();
    let mut answer = [0; 64];
    let length = client.recv(&mut answer).unwrap();
    assert_eq!(&answer[..length], b"\x01who?");
    live.drain();
}

#[test]
fn datagrams_are_declared_in_set_up() {
    let (live, told) = start(1, |shard, tell| tell.send(open(shard).unwrap_err().to_string()).unwrap());
    assert!(next(&told).starts_with("a shard's datagram channels are declared in set-up"));
    live.stop();
}
