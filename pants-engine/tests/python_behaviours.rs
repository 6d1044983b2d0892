//! What the Python framework's own tests ask of it, asked of this one.

mod support;

use std::fs::File;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use pants_engine::zerocopy::{FromBytes, Immutable, KnownLayout, big_endian::U16};
use pants_engine::{Connection, Delimiter, Engine, Handler, ServerOptions};
use support::*;

#[test]
fn echo() {
    let (_running, address) = Running::serve(|| Echo);
    assert_echoes(&mut client(address), b"test_echo\r\n");
}

/// Sends what it is sent to all connections of its server.
struct EchoToAll;

impl Handler for EchoToAll {
    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        let server = connection.server().expect("it is a server's");
        let context = connection.context();
        for key in context.connections(server) {
            if let Some(mut connection) = context.connection(key) {
                connection.write(data);
            }
        }
    }
}

#[test]
fn echo_to_all_with_one_client() {
    let (_running, address) = Running::serve(|| EchoToAll);
    assert_echoes(&mut client(address), b"one client");
}

#[test]
fn echo_to_all_with_two_clients_one_after_the_other() {
    let (running, address) = Running::serve(|| EchoToAll);
    for round in 1..=2 {
        assert_echoes(&mut client(address), b"in sequence");
        running.wait_until(|stats| stats.connections_closed == round);
    }
}

#[test]
fn echo_to_all_with_two_clients_at_once() {
    let (running, address) = Running::serve(|| EchoToAll);
    let mut clients = [client(address), client(address)];
    running.wait_until(|stats| stats.connections_accepted == 2);
    for (at, text) in [(0, b"first "), (1, b"second")] {
        clients[at].write_all(text).unwrap();
        for client in &mut clients {
            assert_eq!(receive(client, text.len()), text);
        }
    }
}

/// That a server cuts `input` so with the first delimiter, and with the second after a frame "change".
#[track_caller]
fn assert_reads(delimiters: fn() -> [Delimiter; 2], input: &[u8], expected: &[&str]) {
    let (handler, seen) = recorder_with(move |connection, event| {
        let [first, second] = delimiters();
        match event {
            Event::Connect => connection.set_delimiter(first),
            Event::Read(frame) if frame == b"change" => connection.set_delimiter(second),
            _ => {}
        }
    });
    let (_running, address) = Running::serve(handler);
    client(address).write_all(input).unwrap();
    let events = up_to(&seen, |event| *event == Event::End);
    let frames = events.iter().filter_map(|event| match event {
        Event::Read(frame) => Some(str::from_utf8(frame).unwrap()),
        _ => None,
    });
    assert_eq!(frames.collect::<Vec<_>>(), expected);
}

#[test]
fn a_read_delimiter_of_none() {
    assert_reads(|| [Delimiter::none(), Delimiter::none()], b"all at once\r\n", &["all at once\r\n"]);
}

#[test]
fn a_read_delimiter_that_is_a_string() {
    assert_reads(|| ["\r\n".into(), Delimiter::none()], b"first\r\nsecond\r\nrest", &["first", "second"]);
}

#[test]
fn a_read_delimiter_that_is_a_number() {
    assert_reads(|| [4.into(), Delimiter::none()], b"abcdefghij", &["abcd", "efgh"]);
}

#[test]
fn a_read_delimiter_that_is_a_regular_expression() {
    let delimiters = || [Delimiter::regex(r"\s\s+").unwrap(), Delimiter::none()];
    assert_reads(delimiters, b"this is  a \t test", &["this is", "a"]);
}

#[test]
fn a_read_delimiter_that_is_a_struct() {
    #[derive(FromBytes, KnownLayout, Immutable)]
    #[zerocopy(crate = "pants_engine::zerocopy")]
    #[repr(C)]
    struct Pair(U16, U16);
    struct Adds;
    impl Handler for Adds {
        fn on_connect(&mut self, connection: &mut Connection<'_>) {
            connection.set_delimiter(Delimiter::of::<Pair>());
        }
        fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
            let Pair(one, other) = Pair::read_from_bytes(data).unwrap();
            connection.write_packed(&U16::new(one.get() + other.get()));
        }
    }
    let (_running, address) = Running::serve(|| Adds);
    let mut client = client(address);
    client.write_all(&[0, 42, 1, 0]).unwrap();
    assert_eq!(receive(&mut client, 2), 298_u16.to_be_bytes());
}

#[test]
fn a_read_delimiter_that_changes_in_mid_stream() {
    let input = b"one\nchange\ntwo,three,rest";
    assert_reads(|| ["\n".into(), ",".into()], input, &["one", "change", "two", "three"]);
    assert_reads(|| ["\n".into(), 3.into()], b"change\nabcdef", &["change", "abc", "def"]);
    let to_none = || ["\n".into(), Delimiter::none()];
    assert_reads(to_none, b"change\nall the rest\n", &["change", "all the rest\n"]);
}

#[test]
fn a_client_says_something_and_hears_it_back() {
    let (server, address) = Running::serve(|| Echo);
    let (handler, seen) = recorder(|connection, event| match event {
        Event::Connect => assert!(connection.write(b"hello")),
        Event::Read(_) => connection.close(),
        _ => {}
    });
    let (_client, _) = Running::start(move |engine| engine.connect(address, handler()).unwrap());
    let events = up_to(&seen, |event| matches!(event, Event::Close(_)));
    assert!(events.contains(&Event::Read(b"hello".to_vec())), "{events:?}");
    assert_eq!(server.stats().connections_accepted, 1);
}

/// An engine whose timers tell; `set` makes them.
fn timers(set: fn(&mut Engine, Sender<&'static str>)) -> Receiver<&'static str> {
    let (tell, told) = channel();
    let mut engine = Engine::new().unwrap();
    engine.context().defer(Duration::from_millis(80), pants_engine::Context::stop);
    set(&mut engine, tell);
    engine.start().unwrap();
    told
}

#[test]
fn callbacks_loops_deferreds_and_cycles_run() {
    let told = timers(|engine, tell| {
        let [callback, turn, defer, cycle] = [tell.clone(), tell.clone(), tell.clone(), tell];
        let context = engine.context();
        context.callback(move |_| callback.send("callback").unwrap());
        context.every_turn(move |_| turn.send("loop").unwrap());
        context.defer(Duration::from_millis(5), move |_| defer.send("deferred").unwrap());
        context.cycle(Duration::from_millis(10), move |_| cycle.send("cycle").unwrap()).unwrap();
    });
    let all: Vec<&str> = told.iter().collect();
    let count = |name: &str| all.iter().filter(|told| **told == name).count();
    assert_eq!((count("callback"), count("deferred")), (1, 1), "{all:?}");
    assert!(count("loop") > 1 && (1..=8).contains(&count("cycle")), "{all:?}");
}

#[test]
fn cancelled_timers_do_not_run() {
    let told = timers(|engine, tell| {
        let [callback, turn, defer, cycle] = [tell.clone(), tell.clone(), tell.clone(), tell];
        let context = engine.context();
        let timers = [
            context.callback(move |_| callback.send("callback").unwrap()),
            context.every_turn(move |_| turn.send("loop").unwrap()),
            context.defer(Duration::from_millis(5), move |_| defer.send("deferred").unwrap()),
            context.cycle(Duration::from_millis(10), move |_| cycle.send("cycle").unwrap()).unwrap(),
        ];
        assert!(timers.into_iter().all(|timer| context.cancel(timer)));
        assert!(!timers.into_iter().any(|timer| context.cancel(timer)));
    });
    assert_eq!(told.iter().count(), 0);
}

#[test]
fn a_file_is_sent() {
    struct Sends(Arc<File>, u64);
    impl Handler for Sends {
        fn on_connect(&mut self, connection: &mut Connection<'_>) {
            assert!(connection.write_file(Arc::clone(&self.0), 0, self.1));
            connection.close();
        }
        fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {}
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python_behaviours.rs");
    let contents = std::fs::read(path).unwrap();
    let (file, length) = (Arc::new(File::open(path).unwrap()), contents.len() as u64);
    let (_running, address): (Running, SocketAddr) =
        Running::serve_with(ServerOptions::default(), move || Sends(Arc::clone(&file), length));
    let mut client: TcpStream = client(address);
    assert!(receive_all(&mut client) == contents);
}
