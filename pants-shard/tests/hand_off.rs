//! Connections that move between shards while traffic flows: what travels, what is told, and what stays when it cannot.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use pants_shard::{Bus, CloseReason, Connection, HandOffError, Handler, SendError, ServerOptions, Shard, ShardId};

use crate::support::*;

/// Echoes, and moves on to the next shard after every read.
struct Hopper {
    bus: Bus,
    shards: usize,
    hops: Arc<AtomicUsize>,
}

impl Hopper {
    fn on(shard: &Shard<'_>, hops: &Arc<AtomicUsize>) -> Self {
        Self { bus: shard.bus(), shards: shard.shards(), hops: Arc::clone(hops) }
    }

    fn hop(&self, connection: &mut Connection<'_>) {
        let next = ShardId::new((self.bus.shard().index() + 1) % self.shards);
        let hops = Arc::clone(&self.hops);
        match self.bus.hand_off(connection, next, move |shard| Self::on(shard, &hops)) {
            Ok(()) | Err(SendError::CannotLeave(_) | SendError::Full(_)) => {}
            Err(error) => panic!("it should move: {error}"),
        }
    }
}

impl Handler for Hopper {
    fn on_hand_off(&mut self, _connection: &mut Connection<'_>) {
        self.hops.fetch_add(1, Ordering::Relaxed);
    }

    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        connection.write(data);
        self.hop(connection);
    }
}

/// The most of a stream that is looked at at once.
const PIECE_MAX: usize = 64 << 10;

/// After how many bytes a stream is the same again: a prime number, so that no round number of lost bytes hides in it.
const PERIOD: usize = 1_000_003;

/// An endless stream in which a lost, doubled or swapped piece shows.
#[derive(Clone)]
struct Stream(Arc<[u8]>);

impl Stream {
    fn new() -> Self {
        Self((0..PERIOD + PIECE_MAX).map(|position| byte_at(position % PERIOD)).collect())
    }

    fn piece(&self, position: usize, size: usize) -> &[u8] {
        &self.0[position % PERIOD..][..size]
    }
}

fn byte_at(position: usize) -> u8 {
    let word = (position as u64 / 8).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    word.rotate_left(29).to_le_bytes()[position % 8]
}

/// Sends for as long as `goes_on` and verifies what comes back; gives how much it was.
fn talk(address: SocketAddr, goes_on: impl Fn() -> bool + Send + 'static) -> usize {
    let mut client = client(address);
    let mut writer = client.try_clone().unwrap();
    let stream = Stream::new();
    let outgoing = stream.clone();
    let sending = thread::spawn(move || {
        let mut sent = 0;
        // Pieces of many sizes, and never so much ahead that the loop would end long after it should.
        for size in (1..3_000).cycle().step_by(97) {
            if !goes_on() {
                break;
            }
            writer.write_all(outgoing.piece(sent, size)).unwrap();
            sent += size;
        }
        writer.shutdown(Shutdown::Write).unwrap();
        sent
    });
    let (mut received, mut buffer) = (0, vec![0; PIECE_MAX]);
    loop {
        match client.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                assert!(buffer[..count] == *stream.piece(received, count), "behind {received} bytes");
                received += count;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("behind {received} bytes: {error}"),
        }
    }
    assert_eq!(received, sending.join().unwrap());
    received
}

#[test]
fn ten_thousand_moves_lose_double_and_reorder_nothing() {
    const MOVES: usize = 10_000;
    let hops = Arc::new(AtomicUsize::new(0));
    let hopped = Arc::clone(&hops);
    let live = Live::start(shards(4), move |shard| {
        let (bus, shards, hops) = (shard.bus(), shard.shards(), Arc::clone(&hopped));
        let make = move |_peer| Hopper { bus: bus.clone(), shards, hops: Arc::clone(&hops) };
        shard.listen(ANY_PORT, make).map(drop)
    });
    let counted = Arc::clone(&hops);
    let bytes = talk(live.address(), move || counted.load(Ordering::Relaxed) < MOVES);
    assert!(bytes >= MOVES, "every move was after a read");
    let report = live.drain();
    let sum = |count: fn(&pants_shard::Stats) -> u64| report.shards.iter().map(count).sum::<u64>();
    assert_eq!(sum(|stats| stats.connections_handed_in), hops.load(Ordering::Relaxed) as u64);
    assert_eq!(sum(|stats| stats.connections_handed_in), sum(|stats| stats.connections_handed_out));
    assert!(sum(|stats| stats.connections_handed_in) >= MOVES as u64);
    assert_eq!((sum(|stats| stats.connections_accepted), sum(|stats| stats.connections_closed)), (1, 1));
}

/// What became of a move, and who tells it.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Arrived(ShardId),
    Refused(ShardId, HandOffError),
    Closed(ShardId, CloseReason),
}

/// Moves to a given shard when it reads `m`, and answers everything else.
struct Mover {
    bus: Bus,
    has_moved: bool,
    to: ShardId,
    tell: Sender<Told>,
    make: fn(&mut Shard<'_>),
}

impl Handler for Mover {
    fn on_connect(&mut self, connection: &mut Connection<'_>) {
        connection.write(&[self.bus.shard().index() as u8]);
    }

    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        if data != b"m" {
            connection.write(data);
            return;
        }
        let (to, tell, make) = (self.to, self.tell.clone(), self.make);
        let make = move |shard: &mut Shard<'_>| {
            make(shard);
            Mover { bus: shard.bus(), has_moved: true, to, tell, make }
        };
        self.has_moved = true;
        assert!(self.bus.hand_off(connection, to, make).is_ok());
    }

    fn on_hand_off(&mut self, connection: &mut Connection<'_>) {
        assert!(connection.server().is_some(), "it belongs to the same listener");
        self.tell.send(Told::Arrived(self.bus.shard())).unwrap();
    }

    fn on_hand_off_error(&mut self, _connection: &mut Connection<'_>, error: &HandOffError) {
        self.tell.send(Told::Refused(self.bus.shard(), error.clone())).unwrap();
    }

    fn on_close(&mut self, _connection: &mut Connection<'_>, reason: CloseReason) {
        if self.has_moved {
            let _ = self.tell.send(Told::Closed(self.bus.shard(), reason));
        }
    }
}

/// Only shard 0 accepts; its connections move to shard 1, which has room for one.
fn movers(make: fn(&mut Shard<'_>)) -> (Live, std::sync::mpsc::Receiver<Told>) {
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let live = Live::start(shards(2), move |shard| {
        let (bus, tell) = (shard.bus(), tell.lock().unwrap().clone());
        let max_connections = (shard.id() == ONE).then_some(1);
        let options = ServerOptions { max_connections, ..shard.config().server_options() };
        let make = move |_peer| Mover { bus: bus.clone(), has_moved: false, to: ONE, tell: tell.clone(), make };
        shard.listen_with(ANY_PORT, options, make).map(drop)
    });
    (live, told)
}

/// A client of shard 0: the kernel chooses the shard by the client's port, and every shard greets with its number.
fn client_of_zero(live: &Live) -> TcpStream {
    let mut number = [1];
    loop {
        let mut client = client(live.address());
        client.read_exact(&mut number).unwrap();
        if number == [0] {
            return client;
        }
        // It takes the room over there until it has ended.
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.read(&mut number).unwrap(), 0);
    }
}

#[test]
fn a_connection_goes_on_at_the_same_listener_s_server_over_there() {
    let (live, told) = movers(|_| {});
    let mut client = client_of_zero(&live);
    assert_echoes(&mut client, b"here");
    client.write_all(b"m").unwrap();
    assert_eq!(next(&told), Told::Arrived(ONE));
    assert_echoes(&mut client, b"there");
    drop(client);
    assert_eq!(next(&told), Told::Closed(ONE, CloseReason::Finished));
}

#[test]
fn where_there_is_no_room_the_connection_stays_and_its_handler_hears_of_it() {
    let (live, told) = movers(|_| {});
    let (mut first, mut second) = (client_of_zero(&live), client_of_zero(&live));
    first.write_all(b"m").unwrap();
    assert_eq!(next(&told), Told::Arrived(ONE));
    second.write_all(b"m").unwrap();
    assert_eq!(next(&told), Told::Refused(ZERO, HandOffError::Full));
    assert_echoes(&mut second, b"still here");
    drop(first);
    assert_eq!(next(&told), Told::Closed(ONE, CloseReason::Finished));
    second.write_all(b"m").unwrap();
    assert_eq!(next(&told), Told::Arrived(ONE));
    assert_echoes(&mut second, b"now there");
}

#[test]
fn if_the_new_handler_cannot_be_made_the_old_one_goes_on() {
    hush();
    let (live, told) = movers(|_| std::panic::panic_any(ON_PURPOSE.to_owned()));
    let mut client = client_of_zero(&live);
    client.write_all(b"m").unwrap();
    assert_eq!(next(&told), Told::Refused(ZERO, HandOffError::Panicked));
    assert_echoes(&mut client, b"no harm done");
}

/// Keeps shard 1 busy until what comes back is dropped, with the client's connection before its door.
fn send_before_closed_door(live: &Live, client: &mut TcpStream) -> Sender<()> {
    let (enter, entered) = channel();
    let (leave, left) = channel::<()>();
    let remote = live.running().remote();
    let wait = move |_: &mut Shard<'_>| {
        enter.send(()).unwrap();
        let _ = left.recv_timeout(PATIENCE);
    };
    assert!(remote.send(ONE, wait).is_ok());
    next(&entered);
    client.write_all(b"m").unwrap();
    let (tell, gone) = channel();
    let look = move |shard: &mut Shard<'_>| {
        shard.every_turn(move |shard| {
            let _ = tell.send(shard.context().stats().connections_handed_out);
        });
    };
    assert!(remote.send(ZERO, look).is_ok());
    while next(&gone) == 0 {}
    leave
}

#[test]
fn a_stop_closes_what_is_here_while_a_connection_is_before_a_closed_door() {
    let (live, told) = movers(|_| {});
    let (mut mover, mut stayer) = (client_of_zero(&live), client_of_zero(&live));
    let busy = send_before_closed_door(&live, &mut mover);
    live.running().stop();
    stayer.set_read_timeout(Some(PATIENCE / 4)).unwrap();
    assert!(stayer.read(&mut [0]).is_ok_and(|count| count == 0), "it waits for the other shard");
    drop(busy);
    assert_eq!(next(&told), Told::Refused(ZERO, HandOffError::Stopping));
    assert_eq!(next(&told), Told::Closed(ZERO, CloseReason::Stopped));
    live.join();
}

#[test]
fn a_connection_that_meets_a_drain_on_its_way_is_drained_where_it_was() {
    let (live, told) = movers(|_| {});
    let mut client = client_of_zero(&live);
    let busy = send_before_closed_door(&live, &mut client);
    live.running().drain();
    drop(busy);
    assert_eq!(next(&told), Told::Refused(ZERO, HandOffError::Stopping));
    assert_eq!(next(&told), Told::Closed(ZERO, CloseReason::Finished));
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    live.join();
}

#[test]
fn in_a_drain_and_without_such_a_shard_nothing_leaves() {
    struct Stays(Bus, Sender<String>);
    impl Handler for Stays {
        fn on_read(&mut self, connection: &mut Connection<'_>, _data: &[u8]) {
            let refused = self.0.hand_off(connection, ShardId::new(2), |_| Echo).map_err(|error| error.to_string());
            self.1.send(refused.unwrap_err()).unwrap();
        }

        fn on_shutdown(&mut self, connection: &mut Connection<'_>) {
            let refused = self.0.hand_off(connection, ZERO, |_| Echo).map_err(|error| error.to_string());
            self.1.send(refused.unwrap_err()).unwrap();
            connection.close();
        }
    }
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let live = Live::start(shards(2), move |shard| {
        let (bus, tell) = (shard.bus(), tell.lock().unwrap().clone());
        shard.listen(ANY_PORT, move |_peer| Stays(bus.clone(), tell.clone())).map(drop)
    });
    let mut client = client(live.address());
    client.write_all(b"x").unwrap();
    assert_eq!(next(&told), "there is no such shard");
    live.running().drain();
    assert_eq!(next(&told), "the runtime has stopped");
    drop(client);
    live.join();
}

#[test]
fn a_connection_moves_from_outside_its_callbacks_too() {
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let live = Live::start(shards(2), move |shard| {
        let tell = tell.lock().unwrap().clone();
        let server = shard.listen(ANY_PORT, |_peer| Echo)?;
        let moves = move |shard: &mut Shard<'_>| {
            let keys = shard.context().connections(server);
            let (bus, tell) = (shard.bus(), tell.clone());
            let other = ShardId::new(1 - shard.id().index());
            for key in keys {
                let mut connection = shard.context().connection(key).expect("it is open");
                assert!(bus.hand_off(&mut connection, other, |_| Echo).is_ok());
                tell.send(other).unwrap();
            }
        };
        shard.cycle(Duration::from_millis(1), moves).map(drop)
    });
    let mut clients = clients(live.address(), 5);
    for round in 0..20 {
        next_all(&told, 5);
        for client in &mut clients {
            assert_echoes(client, format!("round {round}").as_bytes());
        }
    }
}
