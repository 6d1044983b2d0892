//! Echo on 50 connections, messages of 64 bytes: the engine beside the floor, loaded in turn.
//!
//! The server's thread is pinned to one CPU and the client's to another. What is printed is the engine's rate as a part of
//! the floor's: each round's ratio, their best and their median.

use std::net::SocketAddr;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use core_affinity::CoreId;
use pants_benches::{client, floor};
use pants_engine::{Connection, ConnectionOptions, Engine, Handler, ServerOptions};

const ROUNDS: usize = 9;
const CONNECTIONS: usize = 50;
const MESSAGES: usize = 200_000;
const SIZE: usize = 64;

struct Echo;

impl Handler for Echo {
    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        connection.write(data);
    }
}

fn main() {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let [server_core, client_core, ..] = cores[..] else {
        println!("skipped: the server and its load need a CPU each");
        return;
    };
    let servers = [("floor", start_floor(server_core)), ("pants", start_engine(server_core))];
    core_affinity::set_for_current(client_core);
    let mut ratios: Vec<f64> = (0..ROUNDS)
        .map(|round| {
            let times = servers.map(|(name, address)| {
                let time = client::Client::connect(address, CONNECTIONS, SIZE).count(MESSAGES);
                println!("round {round}: {name:>6} {:>9.0} messages/s", MESSAGES as f64 / time.as_secs_f64());
                time
            });
            times[0].as_secs_f64() / times[1].as_secs_f64()
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    println!("pants / floor: best {:.3}, median {:.3}", ratios[ROUNDS - 1], ratios[ROUNDS / 2]);
}

fn start_floor(core: CoreId) -> SocketAddr {
    let (listener, address) = floor::listener();
    thread::spawn(move || {
        core_affinity::set_for_current(core);
        floor::serve(&listener);
    });
    address
}

fn start_engine(core: CoreId) -> SocketAddr {
    let (sender, addresses) = channel();
    thread::spawn(move || {
        core_affinity::set_for_current(core);
        let mut engine = Engine::new().expect("an engine");
        // As pants-echo has it.
        let connection =
            ConnectionOptions { idle_timeout: Some(Duration::from_secs(600)), ..ConnectionOptions::default() };
        let options = ServerOptions { connection, ..ServerOptions::default() };
        let server = engine.context().listen_with("127.0.0.1:0", options, |_peer| Echo).expect("a free port");
        let address = engine.context().server_address(server).and_then(|address| address.socket_address());
        sender.send(address.expect("a server")).expect("somebody waits");
        engine.start().expect("events");
    });
    addresses.recv().expect("an address")
}
