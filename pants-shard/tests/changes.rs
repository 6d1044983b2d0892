//! Listeners that are added and removed while the shards run.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;

use pants_shard::{Address, Endpoint, Error, Running, Shard, ShardId};

use crate::support::*;

/// Adds an echo server at any port.
fn add_echo(running: &Running) -> SocketAddr {
    running.listen(ANY_PORT, |_shard| |_peer| Echo).unwrap().socket_address().unwrap()
}

fn assert_refused(address: SocketAddr) {
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn an_address_that_is_added_is_one_port_for_all_shards_and_each_accepts() {
    let live = Live::start(shards(3), |_shard| Ok(()));
    assert!(live.running().addresses().is_empty());
    let (tell, told) = channel();
    let make = move |shard: &mut Shard<'_>| {
        let (id, tell) = (shard.id(), tell.clone());
        move |_peer| {
            tell.send(id).unwrap();
            Echo
        }
    };
    let endpoint = live.running().listen(ANY_PORT, make).unwrap();
    assert_eq!(live.running().addresses(), std::slice::from_ref(&endpoint));
    let _clients = clients(endpoint.socket_address().unwrap(), 200);
    let mut accepted = [0; 3];
    next_all(&told, 200).into_iter().for_each(|shard| accepted[shard.index()] += 1);
    assert!(accepted.iter().all(|count| *count > 0), "{accepted:?}");
}

#[test]
fn a_shard_adds_and_removes_and_is_told_on_its_own_thread() {
    let (live, told) = start(2, |shard, tell| {
        let remote = shard.bus();
        let _ = remote.send(ONE, move |one| {
            let make = |_shard: &mut Shard<'_>| |_peer| Echo;
            let listen = one.listeners().listen(ANY_PORT, make, move |one, endpoint| {
                let endpoint = endpoint.unwrap();
                tell.send((one.id(), endpoint.clone())).unwrap();
                let unlisten = one.listeners().unlisten(endpoint, move |one, endpoint| {
                    tell.send((one.id(), endpoint.unwrap())).unwrap();
                });
                unlisten.unwrap();
            });
            listen.unwrap();
        });
    });
    let (added, removed) = (next(&told), next(&told));
    assert_eq!(added, removed);
    assert_eq!(added.0, ONE);
    assert_refused(added.1.socket_address().unwrap());
    assert!(live.running().addresses().is_empty());
}

#[test]
fn what_one_shard_cannot_do_is_undone_on_all() {
    hush();
    let live = Live::start(shards(3), |_shard| Ok(()));
    let free = TcpListener::bind(ANY_PORT).unwrap().local_addr().unwrap();
    let make = |shard: &mut Shard<'_>| {
        assert!(shard.id() != ShardId::new(2), "{ON_PURPOSE}");
        |_peer| Echo
    };
    let error = live.running().listen(free, make).unwrap_err();
    let Error::Shard { shard, source } = error else { panic!("{error}") };
    assert!(shard == ShardId::new(2) && matches!(*source, Error::Panicked(_)), "{source}");
    assert_refused(free);
    assert!(live.running().addresses().is_empty());
    // Nothing of it is in the way of another attempt, or of another program.
    let again = live.running().listen(free, |_shard| |_peer| Echo).unwrap();
    assert_eq!(again.socket_address(), Some(free));
    clients(free, 10);
}

#[test]
fn an_address_of_another_program_or_of_these_shards_is_refused() {
    let other = TcpListener::bind(ANY_PORT).unwrap();
    let live = Live::echo(shards(2));
    for (address, own) in [(other.local_addr().unwrap(), false), (live.address(), true)] {
        let error = live.running().listen(address, |_shard| |_peer| Echo).unwrap_err();
        let Error::Shard { shard, source } = error else { panic!("{error}") };
        assert_eq!(shard, ZERO);
        assert!(
            if own { matches!(*source, Error::AlreadyListening(_)) } else { matches!(*source, Error::PortTaken(_)) },
            "{source}"
        );
    }
    clients(live.address(), 10);
}

#[test]
fn an_address_that_is_removed_is_free_and_its_connections_stay() {
    let live = Live::echo(shards(2));
    let address = add_echo(live.running());
    let mut kept = clients(address, 20);
    assert_eq!(live.running().unlisten(address).unwrap(), Endpoint::from(address));
    assert_refused(address);
    kept.iter_mut().for_each(|client| assert_echoes(client, b"still here"));
    assert_eq!(live.running().addresses().len(), 1);
    let error = live.running().unlisten(address).unwrap_err();
    assert!(matches!(&error, Error::NotListening(named) if *named == Address::from(address)), "{error}");
    drop(kept);
    // It may be taken anew, and what was declared in set-up may be removed as well.
    live.running().listen(address, |_shard| |_peer| Echo).unwrap();
    clients(address, 10);
    live.running().unlisten(live.address()).unwrap();
    assert_eq!(live.running().addresses(), [Endpoint::from(address)]);
}

#[test]
fn what_is_queued_where_an_address_is_removed_is_accepted() {
    let live = Live::echo(shards(1));
    let (held, is_held) = channel();
    let (go, wait) = channel::<()>();
    let hold = move |_shard: &mut Shard<'_>| {
        held.send(()).unwrap();
        next(&wait);
    };
    assert!(live.running().remote().send(ZERO, hold).is_ok());
    next(&is_held);
    let mut queued: Vec<TcpStream> = (0..100).map(|_| client(live.address())).collect();
    let (tell, told) = channel();
    live.running().listeners().unlisten(live.address(), move |_shard, result| tell.send(result).unwrap()).unwrap();
    go.send(()).unwrap();
    next(&told).unwrap();
    queued.iter_mut().for_each(|client| assert_echoes(client, b"from the queue"));
}

#[test]
fn a_unix_socket_comes_and_goes_with_its_file() {
    let path = std::env::temp_dir().join(format!("pants-changes-{}", std::process::id()));
    let live = Live::start(shards(2), |_shard| Ok(()));
    for _ in 0..2 {
        live.running().listen(path.clone(), |_shard| |_peer| Echo).unwrap();
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(b"hello").unwrap();
        client.read_exact(&mut [0; 5]).unwrap();
        live.running().unlisten(path.clone()).unwrap();
        assert!(!path.exists());
    }
}

#[test]
fn a_full_server_goes_when_it_has_places_again() {
    let live = Live::start(shards(1).max_connections(Some(1)), |_shard| Ok(()));
    let address = add_echo(live.running());
    let first = clients(address, 1);
    let mut queued = client(address);
    let (tell, told) = channel();
    live.running().listeners().unlisten(address, move |_shard, result| tell.send(result).unwrap()).unwrap();
    let other = add_in_turn(&live);
    assert!(told.try_recv().is_err(), "one still waits for a place");
    drop(first);
    assert_echoes(&mut queued, b"there is one");
    // Whether there is another is seen when that one could be accepted.
    drop(queued);
    next(&told).unwrap();
    next(&other).unwrap();
}

/// Asks for another change, which comes after those that are under way.
fn add_in_turn(live: &Live) -> std::sync::mpsc::Receiver<pants_shard::Result<Endpoint>> {
    let (tell, told) = channel();
    let told_of = move |_shard: &mut Shard<'_>, result| tell.send(result).unwrap();
    live.running().listeners().listen(ANY_PORT, |_shard| |_peer| Echo, told_of).unwrap();
    told
}

#[test]
fn traffic_elsewhere_does_not_notice_that_addresses_come_and_go() {
    let live = Live::echo(shards(2));
    let (address, stop) = (live.address(), Arc::new(AtomicBool::new(false)));
    let traffic: Vec<_> = (0..4)
        .map(|_| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                let mut lasting = client(address);
                let mut count = 0;
                while !stop.load(Ordering::Relaxed) {
                    assert_echoes(&mut lasting, b"lasting");
                    assert_echoes(&mut client(address), b"passing");
                    count += 1;
                }
                count
            })
        })
        .collect();
    for _ in 0..50 {
        let added = add_echo(live.running());
        let clients = clients(added, 5);
        live.running().unlisten(added).unwrap();
        assert_refused(added);
        drop(clients);
    }
    stop.store(true, Ordering::Relaxed);
    assert!(traffic.into_iter().all(|thread| thread.join().unwrap() > 0));
}

#[test]
fn nothing_is_added_to_a_runtime_that_drains() {
    let live = Live::echo(shards(2));
    let kept = clients(live.address(), 1);
    live.running().drain();
    let error = live.running().listen(ANY_PORT, |_shard| |_peer| Echo).unwrap_err();
    assert!(matches!(error, Error::Stopped), "{error}");
    drop(kept);
    live.join();
}

#[test]
fn nothing_is_added_to_a_runtime_that_has_stopped() {
    let live = Live::echo(shards(2));
    let listeners = live.running().listeners();
    live.stop();
    let never = |_: &mut Shard<'_>, _| unreachable!("the runtime has stopped");
    let error = listeners.listen(ANY_PORT, |_shard| |_peer| Echo, never).unwrap_err();
    assert!(matches!(error, Error::Stopped), "{error}");
}

#[test]
fn the_admin_endpoint_is_no_listener_that_could_be_removed_or_joined() {
    let config = shards(2).admin_listen(Some("127.0.0.1:0".parse().unwrap()));
    let live = Live::echo(config);
    let admin = Address::from(live.running().admin_address().unwrap());
    let error = live.running().unlisten(admin.clone()).unwrap_err();
    assert!(matches!(error, Error::NotListening(_)), "{error}");
    let error = live.running().listen(admin.clone(), |_shard| |_peer| Echo).unwrap_err();
    assert_eq!(error.to_string(), format!("shard-0: the shards listen on {admin} already"));
}
