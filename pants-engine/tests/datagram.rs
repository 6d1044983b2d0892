//! UDP channels, as their handlers and their peers see them.

mod support;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use pants_engine::{
    CloseReason, Context, Datagram, DatagramHandler, DatagramKey, DatagramOptions, Endpoint, Engine, Error,
};
use support::{ANY_PORT, ON_PURPOSE, PATIENCE, Running, hush, next, turn_until};

/// What a handler was told.
#[derive(Clone, Debug, PartialEq)]
enum Told {
    Read(Vec<u8>, Endpoint),
    Write,
    Shutdown,
    Failure(String, ErrorKind),
    Close(CloseReason),
}

/// What a [`Recorder`] does about what it is told.
type Script = fn(&mut Datagram<'_>, &Told);

struct Recorder(Sender<Told>, Script);

impl Recorder {
    fn tell(&mut self, datagram: &mut Datagram<'_>, told: Told) {
        (self.1)(datagram, &told);
        let _ = self.0.send(told);
    }
}

impl DatagramHandler for Recorder {
    fn on_read(&mut self, datagram: &mut Datagram<'_>, data: &[u8], from: &Endpoint) {
        self.tell(datagram, Told::Read(data.to_vec(), from.clone()));
    }

    fn on_write(&mut self, datagram: &mut Datagram<'_>) {
        self.tell(datagram, Told::Write);
    }

    fn on_shutdown(&mut self, datagram: &mut Datagram<'_>) {
        self.tell(datagram, Told::Shutdown);
    }

    fn on_error(&mut self, datagram: &mut Datagram<'_>, error: &Error) {
        let (what, kind) = match error {
            Error::Send { source, .. } => ("send", source.kind()),
            Error::Receive { source, .. } => ("receive", source.kind()),
            _ => ("other", ErrorKind::Other),
        };
        self.tell(datagram, Told::Failure(what.to_owned(), kind));
    }

    fn on_close(&mut self, datagram: &mut Datagram<'_>, reason: CloseReason) {
        self.tell(datagram, Told::Close(reason));
    }
}

fn recorder(script: Script) -> (Recorder, Receiver<Told>) {
    let (events, seen) = channel();
    (Recorder(events, script), seen)
}

fn echo(datagram: &mut Datagram<'_>, told: &Told) {
    if let Told::Read(data, from) = told {
        assert!(datagram.send_to(data, from));
    }
}

fn address_of(context: &mut Context, key: DatagramKey) -> SocketAddr {
    context.datagram(key).unwrap().local_address().socket_address().unwrap()
}

/// An engine with one channel that follows `script`.
fn open(address: &'static str, script: Script) -> (Running, DatagramKey, SocketAddr, Receiver<Told>) {
    let (handler, seen) = recorder(script);
    let (running, (key, address)) = Running::start(move |engine| {
        let key = engine.open_datagram(address, handler).unwrap();
        (key, address_of(engine.context(), key))
    });
    (running, key, address, seen)
}

/// An engine on the test's own thread, with one channel that follows `script`.
fn open_here(options: DatagramOptions, script: Script) -> (Engine, DatagramKey, SocketAddr, Receiver<Told>) {
    let (handler, seen) = recorder(script);
    let mut engine = Engine::new().unwrap();
    let key = engine.context().open_datagram_with(ANY_PORT, options, handler).unwrap();
    let address = address_of(engine.context(), key);
    (engine, key, address, seen)
}

/// A peer that gives up after [`PATIENCE`].
fn peer(address: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((if address.is_ipv4() { "127.0.0.1" } else { "::1" }, 0)).unwrap();
    socket.connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 70_000];
    let length = socket.recv(&mut buffer).unwrap();
    buffer.truncate(length);
    buffer
}

fn endpoint(socket: &UdpSocket) -> Endpoint {
    socket.local_addr().unwrap().into()
}

#[test]
fn boundaries_are_kept_from_the_empty_datagram_to_the_biggest() {
    let (running, _, address, seen) = open(ANY_PORT, echo);
    let client = peer(address);
    for length in [0, 1, 2, 1_500, 0, 65_507] {
        let message = support::Noise::bytes(length);
        client.send(&message).unwrap();
        assert_eq!(receive(&client), message);
        assert_eq!(next(&seen), Told::Read(message, endpoint(&client)));
    }
    let stats = running.stop();
    assert_eq!((stats.datagrams_in, stats.datagrams_out, stats.datagrams_dropped), (6, 6, 0));
    assert_eq!((stats.bytes_in, stats.bytes_out), (67_010, 67_010));
    assert_eq!(next(&seen), Told::Close(CloseReason::Stopped));
}

#[test]
fn every_one_of_many_senders_gets_its_own_back() {
    let (_running, _, address, _seen) = open(ANY_PORT, echo);
    let clients: Vec<UdpSocket> = (0..64).map(|_| peer(address)).collect();
    for round in 0..10_u8 {
        for (number, client) in clients.iter().enumerate() {
            client.send(&[round, number as u8]).unwrap();
        }
        for (number, client) in clients.iter().enumerate() {
            assert_eq!(receive(client), [round, number as u8]);
        }
    }
}

#[test]
fn an_ipv4_peer_of_a_port_alone_is_named_as_such_and_answered() {
    let (handler, seen) = recorder(echo);
    let (_running, port) = Running::start(move |engine| {
        let key = engine.open_datagram(0, handler).unwrap();
        address_of(engine.context(), key).port()
    });
    let client = peer((Ipv4Addr::LOCALHOST, port).into());
    client.send(b"four").unwrap();
    assert_eq!(receive(&client), b"four");
    assert_eq!(next(&seen), Told::Read(b"four".to_vec(), endpoint(&client)));
    // The other family, where there is one.
    if UdpSocket::bind("[::1]:0").is_ok() {
        let client = peer(format!("[::1]:{port}").parse().unwrap());
        client.send(b"six").unwrap();
        assert_eq!(receive(&client), b"six");
        assert_eq!(next(&seen), Told::Read(b"six".to_vec(), endpoint(&client)));
    }
}

#[test]
fn a_connected_channel_talks_with_its_peer_alone() {
    let server = UdpSocket::bind(ANY_PORT).unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let to = server.local_addr().unwrap();
    let (handler, seen) = recorder(|_, _| {});
    let (running, (key, address)) = Running::start(move |engine| {
        let key = engine.context().connect_datagram(to, handler).unwrap();
        let mut datagram = engine.context().datagram(key).unwrap();
        assert_eq!(datagram.peer_address(), Some(&to.into()));
        assert!(datagram.send(b"question"));
        (key, address_of(engine.context(), key))
    });
    assert_eq!(receive(&server), b"question");
    peer(address).send(b"from a stranger").unwrap();
    server.send_to(b"answer", address).unwrap();
    assert_eq!(next(&seen), Told::Read(b"answer".to_vec(), to.into()));
    running.ask(move |context| context.datagram(key).unwrap().close());
    assert_eq!(next(&seen), Told::Close(CloseReason::Finished));
    assert!(running.ask(move |context| context.datagram(key).is_none()), "a stale key misses");
}

#[test]
fn a_refusal_is_told_and_the_channel_survives_it() {
    // An address at which no other test is given a port.
    let nobody = UdpSocket::bind("127.0.0.77:0").unwrap().local_addr().unwrap();
    let (handler, seen) = recorder(|_, _| {});
    let (running, (key, address)) = Running::start(move |engine| {
        let key = engine.context().connect_datagram(nobody, handler).unwrap();
        assert!(engine.context().datagram(key).unwrap().send(b"anybody?"));
        (key, address_of(engine.context(), key))
    });
    assert_eq!(next(&seen), Told::Failure("receive".to_owned(), ErrorKind::ConnectionRefused));
    let server = UdpSocket::bind(nobody).unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(running.ask(move |context| context.datagram(key).unwrap().send(b"now?")));
    assert_eq!(receive(&server), b"now?");
    server.send_to(b"here", address).unwrap();
    assert_eq!(next(&seen), Told::Read(b"here".to_vec(), nobody.into()));
}

#[test]
fn what_cannot_be_sent_is_told_once_counted_and_closes_nothing() {
    let (running, key, address, seen) = open(ANY_PORT, echo);
    let to: Endpoint = peer(address).local_addr().unwrap().into();
    let sent = running.ask(move |context| {
        let mut datagram = context.datagram(key).unwrap();
        [datagram.send_to(&[0; 65_508], &to), datagram.send_to(&[0; 70_000], &to), datagram.send(b"to whom?")]
    });
    assert_eq!(sent, [false; 3]);
    let Told::Failure(what, _) = next(&seen) else { panic!("a failure is told") };
    assert_eq!(what, "send");
    let client = peer(address);
    client.send(b"still there?").unwrap();
    assert_eq!(receive(&client), b"still there?");
    assert_eq!(next(&seen), Told::Read(b"still there?".to_vec(), endpoint(&client)));
    assert_eq!(running.stats().datagrams_dropped, 3);
}

/// Has `count` datagrams of `length` bytes wait at one channel and one at another, and gives in which order they were read.
fn order_of_reading(count: usize, length: usize) -> Vec<usize> {
    let options = DatagramOptions { receive_buffer: Some(4 << 20), ..DatagramOptions::default() };
    let (events, seen) = channel();
    let mut engine = Engine::new().unwrap();
    let mut open = || {
        let handler = Recorder(events.clone(), |_, _| {});
        let key = engine.context().open_datagram_with(ANY_PORT, options.clone(), handler).unwrap();
        address_of(engine.context(), key)
    };
    let (busy, idle) = (open(), open());
    let client = peer(busy);
    for _ in 0..count {
        client.send(&vec![0; length]).unwrap();
    }
    peer(idle).send(b"!").unwrap();
    turn_until(&mut engine, |engine| engine.context().stats().datagrams_in == count as u64 + 1);
    seen.try_iter()
        .map(|told| match told {
            Told::Read(data, _) => data.len(),
            other => panic!("nothing else happens: {other:?}"),
        })
        .collect()
}

#[test]
fn what_a_used_up_budget_leaves_is_read_after_the_others_without_an_edge() {
    let read = order_of_reading(400, 2);
    assert_eq!(read.len(), 401);
    assert_eq!(read.iter().position(|&length| length == 1), Some(256));
}

#[test]
fn long_datagrams_use_up_the_budget_of_bytes() {
    let read = order_of_reading(6, 60_000);
    assert_eq!(read, [60_000, 60_000, 60_000, 60_000, 60_000, 1, 60_000]);
}

#[test]
fn pausing_stops_at_once_and_resuming_finds_what_the_kernel_kept() {
    let pause = |datagram: &mut Datagram<'_>, told: &Told| {
        if matches!(told, Told::Read(data, _) if data == b"pause") {
            datagram.pause_reading();
        }
    };
    let (mut engine, key, address, seen) = open_here(DatagramOptions::default(), pause);
    let client = peer(address);
    for message in [b"first".as_slice(), b"pause", b"third", b""] {
        client.send(message).unwrap();
    }
    turn_until(&mut engine, |engine| engine.context().stats().datagrams_in == 2);
    for _ in 0..3 {
        engine.poll(Some(Duration::ZERO)).unwrap();
    }
    assert_eq!(engine.context().stats().datagrams_in, 2);
    engine.context().datagram(key).unwrap().resume_reading();
    turn_until(&mut engine, |engine| engine.context().stats().datagrams_in == 4);
    for message in [b"first".as_slice(), b"pause", b"third", b""] {
        assert_eq!(next(&seen), Told::Read(message.to_vec(), endpoint(&client)));
    }
}

#[test]
fn closing_within_a_callback_comes_before_what_waits() {
    let close = |datagram: &mut Datagram<'_>, told: &Told| {
        if let Told::Read(_, from) = told {
            datagram.close();
            assert!(!datagram.send_to(b"too late", from));
        }
    };
    let (mut engine, key, address, seen) = open_here(DatagramOptions::default(), close);
    let client = peer(address);
    client.send(b"one").unwrap();
    client.send(b"two").unwrap();
    turn_until(&mut engine, |engine| engine.context().datagram(key).is_none());
    assert_eq!(next(&seen), Told::Read(b"one".to_vec(), endpoint(&client)));
    assert_eq!(next(&seen), Told::Close(CloseReason::Finished));
    assert!(seen.recv().is_err(), "the handler is dropped and was told no more");
    // Its slot's next tenant is not reached by the old key.
    let (handler, _seen) = recorder(|_, _| {});
    let successor = engine.open_datagram(ANY_PORT, handler).unwrap();
    assert_ne!(successor, key);
    assert!(engine.context().datagram(key).is_none());
}

#[test]
fn a_panic_costs_its_own_channel_alone() {
    hush();
    let panic = |_: &mut Datagram<'_>, told: &Told| {
        if matches!(told, Told::Read(data, _) if data == b"panic") {
            std::panic::panic_any(ON_PURPOSE);
        }
    };
    let (running, key, address, seen) = open(ANY_PORT, panic);
    let (handler, _others) = recorder(echo);
    let other = running.ask(move |context| {
        let key = context.open_datagram(ANY_PORT, handler).unwrap();
        address_of(context, key)
    });
    peer(address).send(b"panic").unwrap();
    assert_eq!(next(&seen), Told::Close(CloseReason::Panicked));
    let client = peer(other);
    client.send(b"and you?").unwrap();
    assert_eq!(receive(&client), b"and you?");
    assert!(running.ask(move |context| context.datagram(key).is_none()));
    assert_eq!(running.stop().panics, 1);
}

#[test]
fn a_drain_reads_what_waits_and_then_tells_and_ends() {
    let close = |datagram: &mut Datagram<'_>, told: &Told| {
        if *told == Told::Shutdown {
            datagram.close();
        }
    };
    let (mut engine, _, address, seen) = open_here(DatagramOptions::default(), close);
    let client = peer(address);
    client.send(b"in time").unwrap();
    engine.context().drain(PATIENCE);
    engine.start().unwrap();
    let told: Vec<Told> = seen.iter().collect();
    let read = Told::Read(b"in time".to_vec(), endpoint(&client));
    assert_eq!(told, [read, Told::Shutdown, Told::Close(CloseReason::Finished)]);
}

#[test]
fn reading_that_a_drain_resumes_goes_on_at_once() {
    let script = |datagram: &mut Datagram<'_>, told: &Told| match told {
        Told::Shutdown => datagram.resume_reading(),
        Told::Read(..) => datagram.close(),
        _ => {}
    };
    let (mut engine, key, address, seen) = open_here(DatagramOptions::default(), script);
    engine.context().datagram(key).unwrap().pause_reading();
    peer(address).send(b"kept").unwrap();
    engine.poll(Some(PATIENCE)).unwrap();
    engine.context().drain(PATIENCE);
    engine.poll(Some(Duration::ZERO)).unwrap();
    assert_eq!(next(&seen), Told::Shutdown);
    engine.poll(Some(Duration::ZERO)).unwrap();
    assert!(matches!(next(&seen), Told::Read(..)));
    assert_eq!(next(&seen), Told::Close(CloseReason::Finished));
}

#[test]
fn a_channel_that_stays_is_closed_at_the_drains_deadline() {
    let (running, key, _, seen) = open(ANY_PORT, |_, _| {});
    running.ask(move |context| {
        context.datagram(key).unwrap().pause_reading();
        context.drain(Duration::from_millis(20));
    });
    running.join();
    assert_eq!([next(&seen), next(&seen)], [Told::Shutdown, Told::Close(CloseReason::Stopped)]);
}

#[test]
fn one_that_is_opened_in_a_drain_is_told_too() {
    let (running, _, _, _seen) = open(ANY_PORT, |_, _| {});
    let (handler, seen) = recorder(|datagram, _| datagram.close());
    running.ask(move |context| {
        context.drain(PATIENCE);
        context.open_datagram(ANY_PORT, handler).unwrap();
    });
    assert_eq!([next(&seen), next(&seen)], [Told::Shutdown, Told::Close(CloseReason::Finished)]);
}

#[test]
fn a_port_is_shared_only_on_demand() {
    let open = |engine: &mut Engine, address: SocketAddr, reuse_port| {
        let options = DatagramOptions { reuse_port, ..DatagramOptions::default() };
        let (handler, _) = recorder(|_, _| {});
        engine.context().open_datagram_with(address, options, handler)
    };
    let mut engine = Engine::new().unwrap();
    let any: SocketAddr = ANY_PORT.parse().unwrap();
    let alone = open(&mut engine, any, false).unwrap();
    let taken = address_of(engine.context(), alone);
    let error = open(&mut engine, taken, false).unwrap_err();
    assert!(matches!(&error, Error::Bind { source, .. } if source.kind() == ErrorKind::AddrInUse), "{error}");
    let shared = open(&mut engine, any, true).unwrap();
    let shared = address_of(engine.context(), shared);
    assert!(open(&mut engine, shared, true).is_ok());
}

#[test]
fn a_host_is_not_connected_to_and_a_stream_not_adopted() {
    let mut engine = Engine::new().unwrap();
    let host = pants_engine::Address::Host { name: "localhost".to_owned(), port: 1 };
    let error = engine.context().connect_datagram(host, recorder(|_, _| {}).0).unwrap_err();
    assert!(matches!(&error, Error::Connect { source, .. } if source.kind() == ErrorKind::InvalidInput), "{error}");
    let stream = std::net::TcpListener::bind(ANY_PORT).unwrap();
    let adopted = engine.context().adopt_datagram(stream.into(), DatagramOptions::default(), recorder(|_, _| {}).0);
    assert!(matches!(adopted, Err(Error::Adopt(_))));
}
