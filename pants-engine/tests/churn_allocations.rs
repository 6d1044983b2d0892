//! That a connection costs no allocation where others were before it: alone in its process, because it counts what the
//! process's allocator is asked for.

#[path = "support/counting.rs"]
mod counting;
mod support;

use std::net::SocketAddr;
use std::time::Duration;

use counting::{IS_ENGINE, count};
use pants_engine::{ConnectionOptions, ServerOptions};
use support::*;

/// Connections at once.
const AT_ONCE: usize = 10;

/// What may be allocated all the same: one that lingers makes more of them at once than there ever were.
const GROWTH_MAX: u64 = 8;

/// Makes so many connections for a message each.
fn churn(address: SocketAddr, rounds: usize) {
    for _ in 0..rounds {
        let mut clients = [(); AT_ONCE].map(|()| client(address));
        clients.iter_mut().for_each(|client| assert_echoes(client, b"message"));
    }
}

#[test]
fn a_connection_costs_no_allocation_where_others_were_before_it() {
    let connection = ConnectionOptions { idle_timeout: Some(Duration::from_secs(60)), ..ConnectionOptions::default() };
    let options = ServerOptions { connection, ..ServerOptions::default() };
    let (running, (_, address)) = Running::start(move |engine| {
        IS_ENGINE.set(true);
        listen(engine, options, || Echo)
    });
    churn(address, 20);
    // The counter counts: this answer's way back is allocated on the engine's thread.
    assert!(count(|| assert_eq!(running.ask(|_| vec![1_u8; 100]).len(), 100)) > 0);
    let counted = count(|| churn(address, 100));
    running.wait_until(|stats| stats.connections_open == 0);
    assert_eq!(running.stop().connections_accepted, 120 * AT_ONCE as u64);
    assert!(counted <= GROWTH_MAX, "{counted} allocations for 1,000 connections");
}
