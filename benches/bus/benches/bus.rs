//! The bus beside its peers: one way in batches, and there and back, spinning and asleep. All in one run, by turns.

use std::collections::HashMap;
use std::time::Duration;

use pants_bus_benches::sample::{best, interval, median};
use pants_bus_benches::{bus, eventfd, glommio_mesh, queue, tokio_mpsc};

const ROUNDS: usize = 15;
const MESSAGES: u64 = 1_000_000;
const SPINNING_TRIPS: u64 = 50_000;
const SLEEPING_TRIPS: u64 = 3_000;

/// A name, the number of messages or trips, and what measures so many; `None` where it cannot run.
type Contestant = (&'static str, u64, fn(u64) -> Option<Duration>);

const CONTESTANTS: [Contestant; 12] = [
    ("one way: crossbeam, boxed", MESSAGES, |count| Some(queue::one_way_boxed(count))),
    ("one way: bus", MESSAGES, |count| Some(bus::one_way_work(count))),
    ("one way: crossbeam", MESSAGES, |count| Some(queue::one_way_plain(count))),
    ("one way: mailbox", MESSAGES, |count| Some(bus::one_way_mailbox(count))),
    ("spinning: request", SPINNING_TRIPS, |trips| Some(bus::requests(trips, Some(bus::SPIN)))),
    ("spinning: mailbox", SPINNING_TRIPS, |trips| Some(bus::mailboxes(trips, Some(bus::SPIN)))),
    ("spinning: glommio", SLEEPING_TRIPS, |trips| glommio_mesh::ping_pong(trips, bus::SPIN)),
    ("asleep: eventfd", SLEEPING_TRIPS, |trips| Some(eventfd::ping_pong(trips))),
    ("asleep: request", SLEEPING_TRIPS, |trips| Some(bus::requests(trips, None))),
    ("asleep: mailbox", SLEEPING_TRIPS, |trips| Some(bus::mailboxes(trips, None))),
    ("asleep: glommio", SLEEPING_TRIPS, |trips| glommio_mesh::ping_pong(trips, Duration::ZERO)),
    ("asleep: tokio", SLEEPING_TRIPS, |trips| Some(tokio_mpsc::ping_pong(trips))),
];

/// What is divided by what, in times.
const RATIOS: [(&str, &str); 8] = [
    ("one way: crossbeam, boxed", "one way: bus"),
    ("one way: crossbeam", "one way: mailbox"),
    ("spinning: glommio", "spinning: request"),
    ("asleep: tokio", "spinning: request"),
    ("asleep: request", "asleep: eventfd"),
    ("asleep: mailbox", "asleep: eventfd"),
    ("asleep: glommio", "asleep: request"),
    ("asleep: tokio", "asleep: request"),
];

fn main() {
    let mut times: HashMap<&str, Vec<f64>> = HashMap::new();
    for round in 0..ROUNDS {
        // Each round begins with another one, so that none always follows the same.
        for step in 0..CONTESTANTS.len() {
            let (name, count, measure) = CONTESTANTS[(round + step) % CONTESTANTS.len()];
            if let Some(time) = measure(count) {
                times.entry(name).or_default().push(time.as_nanos() as f64 / count as f64);
            }
        }
    }
    for (name, ..) in CONTESTANTS {
        match times.get(name) {
            Some(times) => println!("{name:<28} median {:>9.1} ns  best {:>9.1} ns", median(times), best(times)),
            None => println!("{name:<28} cannot run here"),
        }
    }
    for (above, below) in RATIOS {
        let (Some(aboves), Some(belows)) = (times.get(above), times.get(below)) else { continue };
        let ratios: Vec<f64> = aboves.iter().zip(belows).map(|(above, below)| above / below).collect();
        let (middle, low, high) = interval(&ratios);
        println!(
            "{above} / {below}: {middle:.3} ({low:.3} to {high:.3}), of the bests {:.3}",
            best(aboves) / best(belows)
        );
    }
}
