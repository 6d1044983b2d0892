//! Balance: which shard serves a connection, and what happens when some have many more than others.

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use pants_shard::{Balance, Config, Connection, Handler, Movable, RemoteBus, Shard, ShardId, Shards};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::support::*;

const SHARDS: usize = 4;

/// Echoes, and can move.
struct Mobile;

impl Handler for Mobile {
    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        connection.write(data);
    }
}

impl Movable for Mobile {
    type State = ();

    fn pack(&self) -> Option<()> {
        Some(())
    }

    fn unpack(_shard: &mut Shard<'_>, _state: ()) -> Self {
        Self
    }
}

fn balanced(balance: Balance) -> Live {
    let config = shards(SHARDS).balance(balance).balance_interval(Duration::from_millis(10));
    Live::start(config, |shard| shard.listen_movable(ANY_PORT, |_peer| Mobile).map(drop))
}

/// What one shard counts, asked on that shard.
fn ask<T: Send + 'static>(remote: &RemoteBus, shard: usize, what: fn(&mut Shard<'_>) -> T) -> T {
    let (tell, told): (_, Receiver<T>) = channel();
    assert!(remote.send(ShardId::new(shard), move |shard| drop(tell.send(what(shard)))).is_ok());
    next(&told)
}

fn open_by_shard(live: &Live) -> Vec<u64> {
    let remote = live.running().remote();
    (0..SHARDS).map(|shard| ask(&remote, shard, |shard| shard.context().stats().connections_open)).collect()
}

/// The fullest shard's share of the mean.
fn skew(open: &[u64]) -> f64 {
    let mean = open.iter().sum::<u64>() as f64 / open.len() as f64;
    *open.iter().max().unwrap() as f64 / mean
}

/// Waits until so many are open and the fullest shard has no more than so many times the mean; meanwhile, `go_on`.
fn assert_levels_out(live: &Live, count: u64, max_skew: f64, mut go_on: impl FnMut()) -> Vec<u64> {
    let limit = Instant::now() + PATIENCE;
    loop {
        let open = open_by_shard(live);
        if open.iter().sum::<u64>() == count && skew(&open) <= max_skew {
            return open;
        }
        assert!(Instant::now() < limit, "of {count}: {open:?}, a skew of {:.3}", skew(&open));
        go_on();
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Replaces some of the connections by new ones; most live for many rounds.
fn replace_some(live: &Live, clients: &mut [TcpStream], round: usize) {
    for index in (round % 3..clients.len()).step_by(7 + round % 10) {
        clients[index] = client(live.address());
    }
}

#[test]
fn by_counts_a_thousand_with_mixed_lifetimes_stay_within_a_tenth_of_the_mean() {
    for balance in [Balance::Kernel, Balance::Cpu, Balance::LeastConnections, Balance::Rebalance] {
        let live = balanced(balance);
        let mut clients: Vec<TcpStream> = (0..1_000).map(|_| client(live.address())).collect();
        (0..10).for_each(|round| replace_some(&live, &mut clients, round));
        let by_counts = matches!(balance, Balance::LeastConnections | Balance::Rebalance);
        // Where live connections stay, only those that come can make up for those that went last.
        let mut round = 0;
        let open = assert_levels_out(&live, 1_000, if by_counts { 1.10 } else { SHARDS as f64 }, || {
            round += 1;
            if balance == Balance::LeastConnections {
                replace_some(&live, &mut clients, round);
            }
        });
        println!("{balance}: {open:?}, a skew of {:.3}", skew(&open));
        for client in clients.iter_mut().step_by(50) {
            assert_echoes(client, b"served");
        }
    }
}

#[test]
fn rebalance_moves_live_connections_when_those_of_some_shards_have_gone() {
    let live = balanced(Balance::Rebalance);
    let mut clients = clients(live.address(), 400);
    assert_levels_out(&live, 400, 1.10, || {});
    // On all shards but one, most connections end.
    let remote = live.running().remote();
    for shard in 1..SHARDS {
        let close = |shard: &mut Shard<'_>| {
            let context = shard.context();
            let servers: Vec<_> = context.servers().collect();
            let keys: Vec<_> = servers.into_iter().flat_map(|server| context.connections(server)).collect();
            for key in keys.into_iter().skip(10) {
                if let Some(mut connection) = context.connection(key) {
                    connection.close();
                }
            }
        };
        ask(&remote, shard, close);
    }
    let mut left = Vec::new();
    for mut client in clients.drain(..) {
        client.write_all(b"still there?").unwrap();
        let mut answer = [0; 12];
        if std::io::Read::read_exact(&mut client, &mut answer).is_ok() {
            assert_eq!(&answer, b"still there?");
            left.push(client);
        }
    }
    assert!(left.len() >= 100, "{} are left", left.len());
    assert_levels_out(&live, left.len() as u64, 1.10, || {});
    for client in &mut left {
        assert_echoes(client, b"wherever it is");
    }
    let report = live.stop();
    assert!(report.shards[0].connections_handed_out >= 30, "{:?}", report.shards[0]);
}

#[test]
fn balance_by_cpu_serves_a_connection_where_its_packets_are_handled() {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < (6, 2) {
        println!("skipped: Linux {} chooses by hash in a group all the same", release.trim());
        return;
    }
    let cpus = own_cpu_list();
    let config = Config::builder().shards(Shards::Auto).balance(Balance::Cpu);
    let live = Live::start(config, |shard| shard.listen(ANY_PORT, |_peer| Echo).map(drop));
    let placement: Vec<_> = live.running().placement().iter().map(|cpu| cpu.expect("it is pinned").get()).collect();
    let remote = live.running().remote();
    for cpu in cpus {
        let Some(shard) = placement.iter().position(|&place| place == cpu) else { continue };
        let accepted = |shard: &mut Shard<'_>| shard.context().stats().connections_accepted;
        let before = ask(&remote, shard, accepted);
        let address = live.address();
        let connect = move || {
            let mut only = CpuSet::new();
            only.set(cpu);
            sched_setaffinity(None, &only).unwrap();
            clients(address, 20)
        };
        let clients = in_time(connect);
        // Over loopback the client's own CPU handles the packets.
        assert_eq!(ask(&remote, shard, accepted) - before, 20, "from CPU {cpu}, of {placement:?}");
        drop(clients);
    }
}

#[test]
fn the_kernel_s_hash_moves_nothing() {
    let live = balanced(Balance::Kernel);
    let clients = clients(live.address(), 100);
    assert_eq!(open_by_shard(&live).iter().sum::<u64>(), 100);
    drop(clients);
    let report = live.drain();
    assert!(report.shards.iter().all(|stats| stats.connections_handed_out + stats.connections_handed_in == 0));
}

#[test]
fn a_unix_listener_s_connections_are_spread_evenly_by_the_shard_that_accepts() {
    let directory = std::env::temp_dir().join(format!("pants-balance-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("socket");
    let listen = path.clone();
    let live = Live::start(shards(SHARDS), move |shard| shard.listen(listen.as_path(), |_peer| Echo).map(drop));
    let mut clients: Vec<UnixStream> = (0..40).map(|_| UnixStream::connect(&path).unwrap()).collect();
    for client in &mut clients {
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(b"hello").unwrap();
        let mut answer = [0; 5];
        std::io::Read::read_exact(client, &mut answer).unwrap();
    }
    assert_eq!(open_by_shard(&live), [10; SHARDS]);
    drop(clients);
    live.drain();
    assert!(!path.exists(), "the socket's file goes with the server");
    std::fs::remove_dir(&directory).unwrap();
}

#[test]
fn connections_that_come_as_a_drain_begins_are_served_and_none_is_reset() {
    for _ in 0..10 {
        let live = balanced(Balance::LeastConnections);
        let mut clients: Vec<TcpStream> = (0..100).map(|_| client(live.address())).collect();
        for client in &mut clients {
            client.write_all(b"last words").unwrap();
        }
        live.running().drain();
        for mut client in clients {
            let mut heard = Vec::new();
            std::io::Read::read_to_end(&mut client, &mut heard).unwrap();
            assert_eq!(heard, b"last words");
        }
        live.join();
    }
}

#[test]
fn a_listener_s_own_balance_beats_the_configuration_s() {
    let config = shards(2).balance(Balance::LeastConnections).balance_interval(Duration::from_millis(10));
    let live =
        Live::start(config, |shard| shard.listener(ANY_PORT).balance(Balance::Kernel).listen(|_peer| Echo).map(drop));
    let _clients = clients(live.address(), 60);
    let report = live.stop();
    assert!(report.shards.iter().all(|stats| stats.connections_handed_out == 0));
    assert_eq!(report.shards.iter().map(|stats| stats.connections_accepted).sum::<u64>(), 60);
}

#[test]
fn a_full_acceptor_goes_on_accepting_for_shards_that_have_room() {
    let directory = std::env::temp_dir().join(format!("pants-full-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("socket");
    let listen = path.clone();
    let config = shards(2).max_connections(Some(3)).balance_interval(Duration::from_millis(10));
    let live = Live::start(config, move |shard| {
        let number = shard.id().index() as u8;
        shard.listen(listen.as_path(), move |_peer| Greeter(number)).map(drop)
    });
    let connect = || {
        let mut client = UnixStream::connect(&path).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut number = [9];
        std::io::Read::read_exact(&mut client, &mut number).unwrap();
        (number[0], client)
    };
    let mut clients: Vec<_> = (0..6).map(|_| connect()).collect();
    for accepts in 0..2 {
        // Whichever shard it is that accepts, when it alone is full, and its connections stay, the other's places are filled.
        clients.retain(|(number, _)| *number == accepts);
        assert_eq!(clients.len(), 3);
        clients.extend((0..3).map(|_| connect()));
    }
    drop(clients);
    live.drain();
    std::fs::remove_dir(&directory).unwrap();
}

/// Says which shard serves.
struct Greeter(u8);

impl Handler for Greeter {
    fn on_connect(&mut self, connection: &mut Connection<'_>) {
        connection.write(&[self.0]);
    }

    fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {}
}
