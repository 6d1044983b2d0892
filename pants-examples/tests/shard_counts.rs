//! What a message costs with more shards: no more than with one, since shards share nothing on its path.
//!
//! Instructions in user space, counted as in `counts.rs`, with 50 connections for each shard.

mod support;

use std::net::{SocketAddr, TcpStream};
use std::thread;

use crate::support::counts::*;
use crate::support::*;

const SHARDS: [usize; 4] = [1, 2, 4, 8];

/// What the dearest may cost, of the cheapest.
const SPREAD_MAX: f64 = 1.05;

/// Sends `rounds` messages on each connection, each when the reply to the one before is in. A thread for each connection, so
/// that none waits for another, and each shard is as busy as the others let it be.
fn saturate(address: SocketAddr, connections: usize, rounds: usize) -> usize {
    let clients: Vec<TcpStream> = (0..connections).map(|_| client(address)).collect();
    thread::scope(|scope| {
        for mut client in clients {
            scope.spawn(move || (0..rounds).for_each(|_| assert_echoes(&mut client, &MESSAGE)));
        }
    });
    connections * rounds
}

fn cost(shards: usize) -> f64 {
    let count = shards.to_string();
    let flags = [PANTS_ECHO, "--shards", &count, "--no-pin", "--listen", ANY_PORT];
    let each = instructions_per_message(
        &format!("message-of-{shards}"),
        &|tool| Server::start_as(tool.args(flags)),
        &|server, rounds| saturate(server.address, shards * CONNECTIONS, rounds / 2),
    );
    println!("{shards} shards: {each:.1} instructions per message");
    each
}

/// The dearest over the cheapest.
fn spread(costs: [f64; 4]) -> f64 {
    costs.into_iter().fold(0.0, f64::max) / costs.into_iter().fold(f64::MAX, f64::min)
}

#[test]
fn a_message_costs_as_much_with_eight_shards_as_with_one() {
    if !can_count_instructions() {
        return;
    }
    let mut costs = SHARDS.map(cost);
    for _ in 1..ATTEMPTS {
        if spread(costs) <= SPREAD_MAX {
            break;
        }
        for (shards, least) in SHARDS.into_iter().zip(&mut costs) {
            *least = least.min(cost(shards));
        }
    }
    assert!(spread(costs) <= SPREAD_MAX, "instructions per message with {SHARDS:?} shards: {costs:.1?}");
}
