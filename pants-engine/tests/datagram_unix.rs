//! Unix datagram channels, and the queue of what their peers do not take.

mod support;

use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use pants_engine::{Address, Datagram, DatagramHandler, DatagramKey, DatagramOptions, Endpoint, Engine, Error};
use support::{Noise, PATIENCE, turn_until};

/// Sends back what has come, and tells what else it is told.
struct Echo(Sender<&'static str>);

impl DatagramHandler for Echo {
    fn on_read(&mut self, datagram: &mut Datagram<'_>, data: &[u8], from: &Endpoint) {
        datagram.send_to(data, from);
    }

    fn on_write(&mut self, _datagram: &mut Datagram<'_>) {
        let _ = self.0.send("written");
    }

    fn on_error(&mut self, _datagram: &mut Datagram<'_>, error: &Error) {
        let _ = self.0.send(match error {
            Error::Truncated { length, .. } if *length == 100_000 => "truncated",
            Error::Send { source, .. } if source.kind() == ErrorKind::ConnectionRefused => "refused",
            _ => "another error",
        });
    }
}

fn handler() -> (Echo, Receiver<&'static str>) {
    let (events, seen) = channel();
    (Echo(events), seen)
}

/// A directory of one test's own, which goes with it.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("pants-datagram-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn peer(&self, name: &str) -> UnixDatagram {
        patient(UnixDatagram::bind(self.path(name)).unwrap())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn patient(socket: UnixDatagram) -> UnixDatagram {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn receive(socket: &UnixDatagram) -> Vec<u8> {
    let mut buffer = vec![0; 100];
    let length = socket.recv(&mut buffer).unwrap();
    buffer.truncate(length);
    buffer
}

fn endpoint(path: PathBuf) -> Endpoint {
    Endpoint::Path(path.as_path().into())
}

fn queued(engine: &mut Engine, key: DatagramKey) -> usize {
    engine.context().datagram(key).unwrap().queued_bytes()
}

/// An engine with one end of a pair, and the other.
fn pair(options: DatagramOptions) -> (Engine, DatagramKey, UnixDatagram, Receiver<&'static str>) {
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    let (handler, seen) = handler();
    let mut engine = Engine::new().unwrap();
    let key = engine.context().adopt_datagram(ours.into(), options, handler).unwrap();
    (engine, key, patient(theirs), seen)
}

/// Sends numbered datagrams of 1 to 8 bytes until some are queued, and `more` behind them; gives how many it were.
fn send_until_queued(engine: &mut Engine, key: DatagramKey, more: u64) -> u64 {
    let mut count = 0;
    let mut last = u64::MAX;
    while count < last {
        assert!(engine.context().datagram(key).unwrap().send(&numbered(count)));
        count += 1;
        if last == u64::MAX && queued(engine, key) > 0 {
            last = count + more;
        }
        assert!(count < 1_000_000, "the kernel takes everything");
    }
    count
}

/// The datagram `number`, of a length that tells it from its neighbours.
fn numbered(number: u64) -> Vec<u8> {
    number.to_le_bytes()[..1 + number as usize % 8].to_vec()
}

#[test]
fn a_channel_at_a_path_answers_and_takes_its_file_away() {
    let directory = Directory::new();
    let path = directory.path("echo");
    // What a server leaves that was killed.
    drop(UnixDatagram::bind(&path).unwrap());
    let mut engine = Engine::new().unwrap();
    let address = Address::Path(path.clone());
    let key = engine.open_datagram(address.clone(), handler().0).unwrap();
    assert!(engine.open_datagram(address, handler().0).is_err(), "a living one is not replaced");
    assert_eq!(*engine.context().datagram(key).unwrap().local_address(), endpoint(path.clone()));
    let client = directory.peer("client");
    for message in [b"hello".as_slice(), b"", b"again"] {
        client.send_to(message, &path).unwrap();
        turn_until(&mut engine, |engine| engine.context().stats().datagrams_out > 0);
        engine.poll(Some(std::time::Duration::ZERO)).unwrap();
        assert_eq!(receive(&client), message);
    }
    engine.close_all();
    assert!(!path.exists());
}

#[test]
fn a_client_of_an_abstract_name_can_be_answered() {
    let name = format!("pants-datagram-{}", std::process::id());
    let address = Address::Abstract(name.clone().into());
    let mut engine = Engine::new().unwrap();
    engine.open_datagram(address.clone(), handler().0).unwrap();
    // The engine's own client gets a name to be answered at.
    struct Client(Sender<(Vec<u8>, Endpoint)>);
    impl DatagramHandler for Client {
        fn on_read(&mut self, datagram: &mut Datagram<'_>, data: &[u8], from: &Endpoint) {
            assert!(matches!(datagram.local_address(), Endpoint::Abstract(_)));
            self.0.send((data.to_vec(), from.clone())).unwrap();
        }
    }
    let (answers, answered) = channel();
    let key = engine.context().connect_datagram(address, Client(answers)).unwrap();
    assert!(engine.context().datagram(key).unwrap().send(b"hello"));
    turn_until(&mut engine, |engine| engine.context().stats().datagrams_in == 2);
    assert_eq!(answered.try_recv(), Ok((b"hello".to_vec(), Endpoint::Abstract(name.as_bytes().into()))));
    // One without a name cannot be.
    let stranger = UnixDatagram::unbound().unwrap();
    let name = SocketAddr::from_abstract_name(&name).unwrap();
    stranger.send_to_addr(b"whom?", &name).unwrap();
    turn_until(&mut engine, |engine| engine.context().stats().datagrams_dropped == 1);
}

#[test]
fn a_datagram_that_is_too_long_is_told_of_and_not_cut() {
    let (mut engine, _, peer, seen) = pair(DatagramOptions::default());
    socket2::SockRef::from(&peer).set_send_buffer_size(1 << 20).unwrap();
    peer.send(&[1; 100_000]).unwrap();
    peer.send(&[2; 65_536]).unwrap();
    turn_until(&mut engine, |engine| engine.context().stats().datagrams_in == 1);
    let stats = engine.context().stats();
    // The second is answered to nobody, since its sender has no name.
    assert_eq!((stats.datagrams_dropped, stats.bytes_in), (2, 65_536));
    assert_eq!(seen.try_recv(), Ok("truncated"));
}

#[test]
fn what_the_kernel_does_not_take_is_queued_and_leaves_whole_and_in_order() {
    let (mut engine, key, peer, seen) = pair(DatagramOptions::default());
    let count = send_until_queued(&mut engine, key, 1_000);
    for _ in 0..3 {
        engine.poll(Some(std::time::Duration::ZERO)).unwrap();
    }
    assert!(queued(&mut engine, key) > 1_000 && seen.try_recv().is_err());
    let reader = std::thread::spawn(move || {
        for number in 0..count {
            assert_eq!(receive(&peer), numbered(number));
        }
        peer
    });
    turn_until(&mut engine, |engine| queued(engine, key) == 0);
    let _peer = reader.join().unwrap();
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), ["written"]);
    let stats = engine.context().stats();
    assert_eq!((stats.datagrams_out, stats.datagrams_dropped), (count, 0));
}

#[test]
fn a_connected_channel_waits_for_room_in_its_peers_queue() {
    let directory = Directory::new();
    let peer = directory.peer("peer");
    let mut engine = Engine::new().unwrap();
    let (handler, seen) = handler();
    let key = engine.context().connect_datagram(Address::Path(directory.path("peer")), handler).unwrap();
    let count = send_until_queued(&mut engine, key, 50);
    let reader = std::thread::spawn(move || {
        for number in 0..count {
            assert_eq!(receive(&peer), numbered(number));
        }
    });
    turn_until(&mut engine, |engine| queued(engine, key) == 0);
    reader.join().unwrap();
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), ["written"]);
    // Now nobody is there.
    assert!(!engine.context().datagram(key).unwrap().send(b"anybody?"));
    turn_until(&mut engine, |_| seen.try_recv() == Ok("refused"));
}

#[test]
fn a_peer_that_does_not_read_does_not_hold_up_another() {
    let directory = Directory::new();
    let (deaf, other) = (directory.peer("deaf"), directory.peer("other"));
    let mut engine = Engine::new().unwrap();
    let key = engine.open_datagram(Address::Path(directory.path("engine")), handler().0).unwrap();
    let deaf_name = endpoint(directory.path("deaf"));
    let taken = (0..100_000).take_while(|_| engine.context().datagram(key).unwrap().send_to(b"x", &deaf_name)).count();
    assert!(taken > 0);
    assert!(engine.context().datagram(key).unwrap().send_to(b"y", &endpoint(directory.path("other"))));
    assert_eq!(receive(&other), b"y");
    assert_eq!((queued(&mut engine, key), engine.context().stats().datagrams_dropped), (0, 1));
    assert_eq!(receive(&deaf), b"x");
    assert!(engine.context().datagram(key).unwrap().send_to(b"x", &deaf_name));
}

#[test]
fn past_the_cap_of_the_queue_datagrams_are_dropped_whole() {
    let options = DatagramOptions { send_queue_cap: 1_000, ..DatagramOptions::default() };
    let (mut engine, key, peer, _seen) = pair(options);
    let message = Noise::bytes(36);
    let mut sent = 0;
    while engine.context().datagram(key).unwrap().send(&message) {
        sent += 1;
    }
    // Each counts 64 bytes beside its own.
    assert_eq!(queued(&mut engine, key), 10 * 36);
    assert_eq!(engine.context().stats().datagrams_dropped, 1);
    engine.context().datagram(key).unwrap().close();
    assert!(!engine.context().datagram(key).unwrap().send(b"too late"));
    turn_until(&mut engine, |engine| engine.context().datagram(key).is_none());
    assert_eq!(engine.context().stats().datagrams_dropped, 1 + 10, "closing does not wait for the queue");
    for _ in 0..sent - 10 {
        assert_eq!(receive(&peer), message);
    }
}
