//! Faults that were found once and must not come back.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use pants_shard::{CloseReason, Connection, Context, Handler};

use crate::support::*;

/// A client that begins anew whenever its connection ends: at once, or a little later.
struct Persistent {
    address: SocketAddr,
    pause: Duration,
}

impl Persistent {
    fn connect(self, context: &mut Context) {
        // It may be refused, while everything is closed say.
        let _ = context.connect(self.address, self);
    }

    fn begin_anew(&self, context: &mut Context) {
        let next = Self { ..*self };
        if self.pause.is_zero() {
            return next.connect(context);
        }
        context.defer(self.pause, |context| next.connect(context));
    }
}

impl Handler for Persistent {
    fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {}

    fn on_connect_error(&mut self, context: &mut Context, _error: &pants_engine::Error) {
        self.begin_anew(context);
    }

    fn on_close(&mut self, connection: &mut Connection<'_>, _reason: CloseReason) {
        self.begin_anew(connection.context());
    }
}

/// Ends a runtime whose shards have such clients and nothing else.
fn end_in_spite_of_clients(pause: Duration, end: fn(&Live)) {
    let other = TcpListener::bind(ANY_PORT).unwrap();
    let address = other.local_addr().unwrap();
    let live = Live::start(shards(2).drain_timeout(Duration::from_millis(100)), move |shard| {
        Persistent { address, pause }.connect(shard.context());
        Ok(())
    });
    let _accepted = other.accept().unwrap();
    end(&live);
    live.join();
}

#[test]
fn a_client_that_reconnects_at_once_does_not_keep_a_drain_from_its_end() {
    end_in_spite_of_clients(Duration::ZERO, |live| live.running().drain());
}

#[test]
fn a_client_that_reconnects_at_once_does_not_keep_a_stop_from_its_end() {
    end_in_spite_of_clients(Duration::ZERO, |live| live.running().stop());
}

#[test]
fn a_client_that_reconnects_after_a_pause_does_not_keep_a_drain_from_its_end() {
    end_in_spite_of_clients(Duration::from_millis(1), |live| live.running().drain());
}

#[test]
fn a_client_that_reconnects_after_a_pause_does_not_keep_a_stop_from_its_end() {
    end_in_spite_of_clients(Duration::from_millis(1), |live| live.running().stop());
}

#[test]
fn a_timer_that_keeps_a_connection_up_does_not_keep_a_drain_from_its_end() {
    end_in_spite_of_a_keeper(|live| live.running().drain());
}

#[test]
fn a_timer_that_keeps_a_connection_up_does_not_keep_a_stop_from_its_end() {
    end_in_spite_of_a_keeper(|live| live.running().stop());
}

/// Does nothing about what it is told.
struct Silent;

impl Handler for Silent {
    fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {}

    fn on_shutdown(&mut self, _connection: &mut Connection<'_>) {}
}

/// Ends a runtime whose one shard looks after its connection in every turn.
fn end_in_spite_of_a_keeper(end: fn(&Live)) {
    let other = TcpListener::bind(ANY_PORT).unwrap();
    let address = other.local_addr().unwrap();
    let live = Live::start(shards(1).drain_timeout(Duration::from_millis(100)), move |shard| {
        let mut kept = None;
        shard.every_turn(move |shard| {
            let context = shard.context();
            if kept.is_none_or(|key| context.connection(key).is_none()) {
                kept = context.connect(address, Silent).ok();
            }
        });
        Ok(())
    });
    let _accepted = other.accept().unwrap();
    end(&live);
    live.join();
}

/// Closes for nobody, and panics when it is closed.
struct Sore;

impl Handler for Sore {
    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        connection.write(data);
    }

    fn on_shutdown(&mut self, _connection: &mut Connection<'_>) {}

    fn on_close(&mut self, _connection: &mut Connection<'_>, _reason: CloseReason) {
        panic!("{ON_PURPOSE}");
    }
}

#[test]
fn a_panic_at_the_deadline_of_a_drain_does_not_keep_the_others_open() {
    hush();
    let live = Live::start(shards(1).drain_timeout(Duration::from_millis(100)), |shard| {
        shard.listen(ANY_PORT, |_peer| Sore).map(drop)
    });
    let clients = clients(live.address(), 10);
    let report = live.drain();
    assert_eq!((report.shards[0].panics, report.shards[0].connections_closed), (10, 10));
    drop(clients);
}

#[test]
fn what_a_handler_asks_of_its_engine_alone_is_done_by_the_whole_runtime() {
    struct Ending(fn(&mut Context));
    impl Handler for Ending {
        fn on_read(&mut self, connection: &mut Connection<'_>, _data: &[u8]) {
            (self.0)(connection.context());
        }
    }
    let ways: [fn(&mut Context); 2] = [Context::stop, |context| context.drain(Duration::from_secs(1))];
    for way in ways {
        let live = Live::start(shards(2), move |shard| shard.listen(ANY_PORT, move |_peer| Ending(way)).map(drop));
        let mut client = client(live.address());
        client.write_all(b"now").unwrap();
        live.join();
    }
}

#[test]
fn a_listener_does_not_come_to_stand_beside_the_admin_endpoint() {
    // Both ask for any port of the same address, and the first shard alone has the admin endpoint.
    let live = Live::echo(shards(2).admin_listen(Some(ANY_PORT.parse().unwrap())));
    let admin = live.running().admin_address().unwrap().socket_address().unwrap();
    assert_eq!(live.running().addresses().len(), 1);
    assert_eq!(clients(live.address(), 100).len(), 100);
    for _ in 0..50 {
        let mut visitor = client(admin);
        visitor.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        visitor.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    }
    live.stop();
}
