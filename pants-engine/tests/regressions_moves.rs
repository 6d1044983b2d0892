//! What went wrong once with connections that move between engines: one test for each.

mod support;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use pants_engine::{Balancer, Connection, Context, Detached, Engine, Handler, Newcomer, ServerKey, ServerOptions};
use support::*;

/// Sends every connection away.
struct Away(Sender<Newcomer>);

impl Balancer for Away {
    fn on_accept(&mut self, _context: &mut Context, newcomer: Newcomer) -> Option<Newcomer> {
        self.0.send(newcomer).err().map(|error| error.0)
    }
}

/// Accepts one connection for another engine.
fn newcomer() -> (TcpStream, Newcomer) {
    let (way, newcomers) = channel();
    let mut engine = Engine::new().unwrap();
    let (server, address) = listen(&mut engine, ServerOptions::default(), || Echo);
    engine.context().set_balancer(server, Away(way));
    let client = client(address);
    let mut newcomer = None;
    turn_until(&mut engine, |_| {
        newcomer = newcomers.try_recv().ok();
        newcomer.is_some()
    });
    (client, newcomer.unwrap())
}

/// Lets a timer become due before the engine's next turn.
fn pass(time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() <= time {}
}

/// A server to which connections are sent, and what their handlers see.
fn passive(engine: &mut Engine, options: ServerOptions) -> (ServerKey, Receiver<Event>) {
    let (handler, seen) = recorder(|_, _| {});
    let server = engine.context().bind(ANY_PORT, options, move |_peer| handler()).unwrap();
    engine.context().open_passive(server).unwrap();
    (server, seen)
}

/// The balancer's panic took the acceptor away, which was not even running, and every later connection was refused.
#[test]
fn a_server_whose_balancer_has_panicked_serves_what_it_accepts() {
    struct Clumsy;
    impl Balancer for Clumsy {
        fn on_accept(&mut self, _context: &mut Context, _newcomer: Newcomer) -> Option<Newcomer> {
            std::panic::panic_any(ON_PURPOSE)
        }
    }
    hush();
    let mut engine = Engine::new().unwrap();
    let (server, address): (_, SocketAddr) = listen(&mut engine, ServerOptions::default(), || Echo);
    engine.context().set_balancer(server, Clumsy);
    let _lost = client(address);
    turn_until(&mut engine, |engine| engine.context().stats().panics == 1);
    let mut client = client(address);
    client.write_all(b"hello").unwrap();
    turn_until(&mut engine, |engine| engine.context().stats().bytes_out == 5);
    assert_eq!(receive(&mut client, 5), b"hello");
    assert_eq!(engine.context().stats().panics, 1);
}

/// It began among what was being closed, and nobody closed it.
#[test]
fn a_newcomer_that_waits_when_everything_is_closed_does_not_stay_open() {
    let (mut client, newcomer) = newcomer();
    let mut engine = Engine::new().unwrap();
    let (server, seen) = passive(&mut engine, ServerOptions::default());
    engine.context().admit(server, newcomer).unwrap();
    engine.close_all();
    assert_eq!(engine.context().stats().connections_open, 0);
    assert_eq!(seen.try_iter().count(), 0, "it never began");
    assert_eq!(receive_all(&mut client), b"");
}

/// It began when the others had been closed, and the drain waited for it.
#[test]
fn a_newcomer_that_waits_at_the_end_of_a_drain_does_not_prolong_it() {
    let (_client, newcomer) = newcomer();
    let mut engine = Engine::new().unwrap();
    let (server, _seen) = passive(&mut engine, ServerOptions::default());
    engine.context().admit(server, newcomer).unwrap();
    engine.context().drain(Duration::ZERO);
    pass(Duration::from_millis(1));
    turn_until(&mut engine, |engine| engine.context().is_drained());
}

/// What was set before the first callback was due ran before it.
#[test]
fn a_timer_of_a_connection_that_has_arrived_waits_for_its_first_callback() {
    struct Leaver(Sender<Detached>);
    impl Handler for Leaver {
        fn on_connect(&mut self, connection: &mut Connection<'_>) {
            let left = self.0.clone();
            connection.detach(move |_context, connection, _left_behind| left.send(connection).unwrap());
        }

        fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {}
    }
    struct Arrival(Sender<&'static str>);
    impl Handler for Arrival {
        fn on_hand_off(&mut self, _connection: &mut Connection<'_>) {
            self.0.send("arrival").unwrap();
        }

        fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {}
    }
    let (left, has_left) = channel();
    let mut engine = Engine::new().unwrap();
    let (_, address) = listen(&mut engine, ServerOptions::default(), move || Leaver(left.clone()));
    let _client = client(address);
    let mut detached = None;
    turn_until(&mut engine, |_| {
        detached = has_left.try_recv().ok();
        detached.is_some()
    });
    let (tell, told) = channel();
    let key = engine.context().attach(detached.unwrap(), None, Arrival(tell)).unwrap();
    let mut connection = engine.context().connection(key).unwrap();
    connection.defer(Duration::from_millis(1), |handler: &mut Arrival, _| handler.0.send("timer").unwrap());
    pass(Duration::from_millis(2));
    let mut heard = Vec::new();
    turn_until(&mut engine, |_| {
        heard.extend(told.try_iter());
        heard.len() == 2
    });
    assert_eq!(heard, ["arrival", "timer"]);
}

/// It was closed, though it had been accepted.
#[test]
fn a_newcomer_that_is_back_waits_for_a_place_where_its_server_has_become_full() {
    let ((first, newcomer_1), (mut second, newcomer_2)) = (newcomer(), newcomer());
    let mut engine = Engine::new().unwrap();
    let options = ServerOptions { max_connections: Some(1), ..ServerOptions::default() };
    let server = engine.context().bind(ANY_PORT, options, |_peer| Echo).unwrap();
    engine.context().open_passive(server).unwrap();
    engine.context().admit(server, newcomer_1).unwrap();
    engine.context().admit_again(server, newcomer_2).unwrap();
    engine.context().retire_server(server);
    turn_until(&mut engine, |engine| engine.context().stats().connections_accepted == 1);
    assert_eq!(engine.context().connections_open(server), 2, "one of them waits, and so does the server");
    drop(first);
    second.write_all(b"hello").unwrap();
    turn_until(&mut engine, |engine| engine.context().stats().bytes_out == 5);
    assert_eq!(receive(&mut second, 5), b"hello");
    assert!(engine.context().server_address(server).is_none());
}
