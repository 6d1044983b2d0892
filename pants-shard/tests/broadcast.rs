//! What it costs to say something to a thousand connections on two shards: a `send` each, and no copy of it for any of them.
//! Alone in its process, because it counts what the process's allocator is asked for.

#[path = "../../pants-engine/tests/support/counting.rs"]
mod counting;
mod support;

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;

use counting::{IS_ENGINE, count};
use pants_shard::{Bus, Connection, ConnectionKey, Handler, Shard};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::*;

const CONNECTIONS: usize = 1000;
const MESSAGES: usize = 20;
const MESSAGE: [u8; 64] = [b'm'; 64];

/// A shard's connections.
type Members = RefCell<Vec<ConnectionKey>>;

/// Has everybody hear what its connection says.
struct Member {
    bus: Bus,
    members: Rc<Members>,
}

impl Handler for Member {
    fn on_connect(&mut self, connection: &mut Connection<'_>) {
        self.members.borrow_mut().push(connection.key());
    }

    fn on_read(&mut self, _connection: &mut Connection<'_>, data: &[u8]) {
        let data: Arc<[u8]> = data.into();
        assert!(self.bus.broadcast(move |shard| tell_all(shard, &data)).is_empty());
    }
}

fn tell_all(shard: &mut Shard<'_>, data: &Arc<[u8]>) {
    let members = shard.state::<Members>();
    for &key in &*members.borrow() {
        assert!(shard.context().connection(key).is_some_and(|mut member| member.write_shared(data)));
    }
}

/// Each client says something in its turn, and all hear it.
fn talk(clients: &mut [TcpStream]) {
    for speaker in (0..CONNECTIONS).step_by(CONNECTIONS / MESSAGES) {
        clients[speaker].write_all(&MESSAGE).unwrap();
        for client in &mut *clients {
            let mut heard = [0; MESSAGE.len()];
            client.read_exact(&mut heard).unwrap();
            assert_eq!(heard, MESSAGE);
        }
    }
}

#[test]
fn what_all_hear_costs_a_send_each_and_no_copy_for_any_of_them() {
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard }).unwrap();
    let live = Live::start(shards(2), |shard| {
        IS_ENGINE.set(true);
        let (bus, members) = (shard.bus(), shard.state::<Members>());
        shard.listen(ANY_PORT, move |_peer| Member { bus: bus.clone(), members: Rc::clone(&members) }).map(drop)
    });
    let mut clients: Vec<TcpStream> = (0..CONNECTIONS).map(|_| client(live.address())).collect();
    while live.running().metrics().shards.iter().map(|shard| shard.stats.connections_open).sum::<u64>() < 1000 {}
    talk(&mut clients);

    let before = live.running().metrics().shards;
    let allocations = count(|| talk(&mut clients));
    let after = live.running().metrics().shards;
    let sum = |counter: fn(&pants_shard::Stats) -> u64| {
        let more = before.iter().zip(&after).map(|(before, after)| counter(&after.stats) - counter(&before.stats));
        more.sum::<u64>() as usize
    };
    println!("{allocations} allocations, {} turns for {MESSAGES} messages to {CONNECTIONS}", sum(|stats| stats.turns));
    assert!(after.iter().all(|shard| shard.stats.connections_open > 0), "one shard has them all");
    assert_eq!(sum(|stats| stats.reads), MESSAGES);
    assert_eq!(sum(|stats| stats.writes), MESSAGES * CONNECTIONS);
    // What is said, once; and the work, once for each shard.
    assert!(allocations as usize <= 4 * MESSAGES, "{allocations} allocations for {MESSAGES} messages");
    // One turn reads it, one on each shard says it, and each of them may find itself woken once more.
    assert!(sum(|stats| stats.turns) <= 8 * MESSAGES, "{} turns for {MESSAGES} messages", sum(|stats| stats.turns));
    live.stop();
}
