//! What went wrong once with connections that are spread over the shards: one test for each.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use pants_shard::{Balance, Bus, Connection, Handler, Movable, Shard, ShardId};

use crate::support::*;

const SHARDS: usize = 2;

/// How far apart the looks of a leveller are here: far enough for a burst between two of them.
const INTERVAL: Duration = Duration::from_millis(100);

/// Echoes; moves to the other shard when it reads `m`, under another type; and can be moved, unless it is stubborn.
struct Mobile {
    bus: Bus,
    is_stubborn: bool,
}

impl Handler for Mobile {
    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        if data == b"m" {
            let other = ShardId::new(1 - self.bus.shard().index());
            assert!(self.bus.hand_off(connection, other, |_shard| Greeter).is_ok());
        } else {
            connection.write(data);
        }
    }
}

impl Movable for Mobile {
    type State = bool;

    fn pack(&self) -> Option<bool> {
        (!self.is_stubborn).then_some(false)
    }

    fn unpack(shard: &mut Shard<'_>, is_stubborn: bool) -> Self {
        Self { bus: shard.bus(), is_stubborn }
    }
}

/// Says so when it has arrived, and echoes.
struct Greeter;

impl Handler for Greeter {
    fn on_hand_off(&mut self, connection: &mut Connection<'_>) {
        connection.write(b"!");
    }

    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        connection.write(data);
    }
}

/// Two shards whose connections move, but for the first few of each.
fn rebalanced(stubborn: usize, moves_per_interval: usize) -> Live {
    let config = shards(SHARDS).balance(Balance::Rebalance).balance_interval(INTERVAL);
    Live::start(config.moves_per_interval(moves_per_interval), move |shard| {
        let (bus, mut left) = (shard.bus(), stubborn);
        let make = move |_peer| {
            left = left.saturating_sub(1);
            Mobile { bus: bus.clone(), is_stubborn: left > 0 }
        };
        shard.listen_movable(ANY_PORT, make).map(drop)
    })
}

/// What one shard says, asked on it.
fn ask<T: Send + 'static>(live: &Live, shard: ShardId, what: fn(&mut Shard<'_>) -> T) -> T {
    let (tell, told): (_, Receiver<T>) = channel();
    assert!(live.running().remote().send(shard, move |shard| drop(tell.send(what(shard)))).is_ok());
    next(&told)
}

/// What every shard says.
fn ask_all<T: Send + 'static>(live: &Live, what: fn(&mut Shard<'_>) -> T) -> Vec<T> {
    [ZERO, ONE].map(|shard| ask(live, shard, what)).into()
}

/// Keeps a shard from everything until what comes back is dropped.
fn keep_busy(live: &Live, shard: ShardId) -> Sender<()> {
    let (enter, entered) = channel();
    let (leave, left) = channel::<()>();
    let wait = move |_: &mut Shard<'_>| {
        enter.send(()).unwrap();
        let _ = left.recv_timeout(PATIENCE);
    };
    assert!(live.running().remote().send(shard, wait).is_ok());
    next(&entered);
    leave
}

fn open_by_shard(live: &Live) -> Vec<u64> {
    ask_all(live, |shard| shard.context().stats().connections_open)
}

fn wait_until_open(live: &Live, by_shard: [u64; SHARDS]) {
    let limit = Instant::now() + PATIENCE;
    while open_by_shard(live) != by_shard {
        assert!(Instant::now() < limit, "{:?} instead of {by_shard:?}", open_by_shard(live));
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until every shard has had time for so many looks.
fn wait_for_looks(live: &Live, looks: u32) {
    let (tell, told) = channel();
    for shard in 0..SHARDS {
        let tell = tell.clone();
        let wait = move |shard: &mut Shard<'_>| {
            shard.defer(looks * INTERVAL, move |_| tell.send(()).unwrap());
        };
        assert!(live.running().remote().send(ShardId::new(shard), wait).is_ok());
    }
    next_all(&told, SHARDS);
}

/// Ends all connections of shard 1.
fn abort_all_of_one(live: &Live) {
    ask(live, ONE, |shard| {
        let context = shard.context();
        let servers: Vec<_> = context.servers().collect();
        let keys: Vec<_> = servers.into_iter().flat_map(|server| context.connections(server)).collect();
        for key in keys {
            context.connection(key).unwrap().abort();
        }
    });
}

/// A directory of a test's own, with nothing in it.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pants-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn served(path: &PathBuf) -> UnixStream {
    let mut client = UnixStream::connect(path).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
    client
}

/// What came and went between two looks was never told of, and counted for ever at the shard that had sent it.
#[test]
fn a_shard_is_not_believed_to_have_what_has_long_gone() {
    let directory = Directory::new("burst");
    let path = directory.socket("socket");
    let listen = path.clone();
    let live = Live::start(shards(SHARDS).balance_interval(INTERVAL), move |shard| {
        shard.listen(listen.as_path(), |_peer| Echo).map(drop)
    });
    drop((0..20).map(|_| served(&path)).collect::<Vec<_>>());
    wait_until_open(&live, [0, 0]);
    wait_for_looks(&live, 3);
    let clients: Vec<_> = (0..20).map(|_| served(&path)).collect();
    assert_eq!(open_by_shard(&live), [10, 10]);
    drop(clients);
}

/// A shard planned anew before it had heard of what it had sent itself, and too many moved, and back again.
#[test]
fn no_more_connections_move_than_have_to() {
    let live = rebalanced(0, 4096);
    let clients: Vec<TcpStream> = clients(live.address(), 100);
    wait_for_looks(&live, 3);
    let before: u64 = ask_all(&live, |shard| shard.context().stats().connections_handed_out).iter().sum();
    let open = open_by_shard(&live)[0];
    abort_all_of_one(&live);
    wait_until_open(&live, [open - open / 2, open / 2]);
    wait_for_looks(&live, 5);
    let after: u64 = ask_all(&live, |shard| shard.context().stats().connections_handed_out).iter().sum();
    assert_eq!(after - before, open / 2, "of {open}");
    drop(clients);
}

/// Always the same were tried.
#[test]
fn connections_that_stay_do_not_keep_the_others_from_moving() {
    let live = rebalanced(11, 4);
    let clients: Vec<TcpStream> = clients(live.address(), 60);
    wait_for_looks(&live, 3);
    let open = open_by_shard(&live)[0];
    assert!(open > 20, "the kernel's hash is even, more or less: {open}");
    abort_all_of_one(&live);
    let limit = Instant::now() + PATIENCE;
    while open_by_shard(&live)[1] < open / 2 - 1 {
        assert!(Instant::now() < limit, "of {open}: {:?}", open_by_shard(&live));
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(clients);
}

/// The mover's timer met it, and panicked.
#[test]
fn a_connection_that_the_program_has_given_another_handler_is_left_alone() {
    let live = rebalanced(0, 64);
    let mut clients: Vec<TcpStream> = clients(live.address(), 40);
    wait_for_looks(&live, 3);
    for client in &mut clients {
        client.write_all(b"m").unwrap();
        let mut greeting = [0];
        client.read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting, b"!");
    }
    let open = open_by_shard(&live)[0];
    abort_all_of_one(&live);
    wait_for_looks(&live, 3);
    assert_eq!(open_by_shard(&live), [open, 0], "there was nothing that could move");
    let panics: u64 = ask_all(&live, |shard| shard.context().stats().panics).iter().sum();
    assert_eq!(panics, 0);
}

/// The one that accepts for all sent them to others that had closed, and had closed itself when they were back.
#[test]
fn what_is_queued_when_a_listener_goes_is_served_by_the_last_shard_that_has_it() {
    let directory = Directory::new("unlisten");
    // The second group's sole acceptor is shard 1, the last to close.
    let paths = [directory.socket("first"), directory.socket("second")];
    let listen = paths.clone();
    let live = Live::start(shards(SHARDS), move |shard| {
        listen.iter().try_for_each(|path| shard.listen(path.as_path(), |_peer| Echo).map(drop))
    });
    let one = keep_busy(&live, ONE);
    let mut clients: Vec<UnixStream> = (0..50).map(|_| UnixStream::connect(&paths[1]).unwrap()).collect();
    let (tell, told) = channel();
    let unlisten = live.running().listeners().unlisten(paths[1].as_path(), move |_shard, result| {
        tell.send(result.map(drop).map_err(|error| error.to_string())).unwrap();
    });
    unlisten.unwrap();
    let servers = |shard| ask(&live, shard, |shard| shard.context().servers().count());
    while servers(ZERO) > 1 {}
    // From now on shard 0 refuses what it is sent, but not at once.
    let zero = keep_busy(&live, ZERO);
    drop(one);
    for _turn in 0..10 {
        servers(ONE);
    }
    drop(zero);
    for client in &mut clients {
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
    }
    assert_eq!(next(&told), Ok(()));
}
