//! What a callback writes to another connection than its own: how it leaves, and that nothing else changes by it.

mod support;

use std::cell::Cell;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use pants_engine::{Connection, ConnectionKey, Context, Handler};
use support::*;

/// What the first connection does with the others, in the order of their connecting, about what has come to it.
type Act = fn(&mut Connection<'_>, &[ConnectionKey], &[u8]);

struct Member {
    keys: Rc<Cell<Vec<ConnectionKey>>>,
    act: Act,
}

impl Handler for Member {
    fn on_connect(&mut self, connection: &mut Connection<'_>) {
        let mut keys = self.keys.take();
        keys.push(connection.key());
        self.keys.set(keys);
    }

    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        let keys = self.keys.take();
        (self.act)(connection, &keys[1..], data);
        self.keys.set(keys);
    }
}

/// A server with three clients, whose first one's messages are acted on.
fn party(act: Act) -> (Running, [TcpStream; 3]) {
    let (running, address): (Running, SocketAddr) = Running::start(move |engine| {
        let keys = Rc::new(Cell::new(Vec::new()));
        listen(engine, Default::default(), move || Member { keys: Rc::clone(&keys), act }).1
    });
    let clients = [1, 2, 3].map(|count| {
        let client = client(address);
        running.wait_until(|stats| stats.connections_open == count);
        client
    });
    (running, clients)
}

fn write_to(context: &mut Context, key: ConnectionKey, data: &[u8]) {
    assert!(context.connection(key).expect("it is open").write(data));
}

#[test]
fn small_writes_to_one_other_leave_in_one_send() {
    let (running, [mut first, mut second, _third]) = party(|connection, others, data| {
        write_to(connection.context(), others[0], data);
        write_to(connection.context(), others[0], b"!");
    });
    for round in 1..=3 {
        first.write_all(b"go").unwrap();
        assert_eq!(receive(&mut second, 3), b"go!");
        running.wait_until(|stats| stats.reads == round);
        assert_eq!(running.stats().writes, round);
    }
}

#[test]
fn writes_to_several_and_to_itself_reach_each_whole_and_in_order() {
    let (_running, mut clients) = party(|connection, others, data| {
        let own = connection.key();
        for (index, key) in [others[0], own, others[1], own, others[0]].into_iter().enumerate() {
            write_to(connection.context(), key, &[data, &[b'0' + index as u8]].concat());
        }
    });
    clients[0].write_all(b"x").unwrap();
    let [first, second, third] = &mut clients;
    assert_eq!(receive(second, 4), b"x0x4");
    assert_eq!(receive(first, 4), b"x1x3");
    assert_eq!(receive(third, 2), b"x2");
}

#[test]
fn a_long_write_goes_before_and_behind_short_ones_in_its_place() {
    let (_running, [mut first, mut second, _third]) = party(|connection, others, _data| {
        let long = Noise::bytes(1_000_000);
        for piece in [&long[..10], &long[10..20_000], &long[20_000..20_010], &long[20_010..]] {
            write_to(connection.context(), others[0], piece);
        }
    });
    first.write_all(b"go").unwrap();
    assert_eq!(receive(&mut second, 1_000_000), Noise::bytes(1_000_000));
}

#[test]
fn a_long_write_alone_is_one_send_and_what_the_kernel_does_not_take_follows() {
    let (running, [mut first, mut second, _third]) = party(|connection, others, data| {
        write_to(connection.context(), others[0], &data.repeat(if data == b"small" { 2_000 } else { 2_000_000 }));
    });
    first.write_all(b"small").unwrap();
    assert_eq!(receive(&mut second, 10_000), b"small".repeat(2_000));
    assert_eq!(running.stats().writes, 1);
    first.write_all(b"large").unwrap();
    assert_eq!(receive(&mut second, 10_000_000), b"large".repeat(2_000_000));
    first.write_all(b"small").unwrap();
    assert_eq!(receive(&mut second, 10_000), b"small".repeat(2_000));
}

#[test]
fn what_is_asked_after_a_write_to_another_is_done() {
    let (running, [mut first, mut second, mut third]) = party(|connection, others, data| {
        write_to(connection.context(), others[0], data);
        connection.context().connection(others[0]).expect("it is open").close();
        connection.context().connection(others[1]).expect("it is open").abort();
        connection.close();
    });
    first.write_all(b"bye").unwrap();
    assert_eq!(receive_all(&mut second), b"bye");
    assert!(ends_with_reset(&mut third));
    assert_eq!(receive_all(&mut first), b"");
    drop((first, second));
    running.wait_until(|stats| stats.connections_open == 0);
}

#[test]
fn a_panic_after_a_write_to_another_ends_the_one_that_panics() {
    hush();
    let (running, [mut first, mut second, _third]) = party(|connection, others, data| {
        write_to(connection.context(), others[0], data);
        panic!("{ON_PURPOSE}");
    });
    first.write_all(b"last words").unwrap();
    assert_eq!(receive(&mut second, 10), b"last words");
    assert!(ends_with_reset(&mut first));
    running.wait_until(|stats| stats.connections_open == 2 && stats.panics == 1);
}

#[test]
fn a_write_to_another_counts_against_its_idle_time() {
    let (running, [mut first, mut second, _third]) = party(|connection, others, data| {
        let idle = |context: &mut Context, key| context.connection(key).expect("it is open").idle_time();
        let before = idle(connection.context(), others[0]);
        assert!(before >= Duration::from_millis(9), "{before:?}");
        write_to(connection.context(), others[0], data);
        connection.flush();
        assert_eq!(idle(connection.context(), others[0]), Duration::ZERO);
        assert_eq!(connection.idle_time(), Duration::ZERO);
    });
    // It is past its first ten milliseconds when a timer that was set after it was made has fired.
    let (fired, wait) = std::sync::mpsc::channel();
    running.ask(move |context| {
        context.defer(Duration::from_millis(11), move |_| fired.send(()).expect("the test waits"));
    });
    next(&wait);
    first.write_all(b"news").unwrap();
    assert_eq!(receive(&mut second, 4), b"news");
    assert_eq!(running.stats().panics, 0);
}
