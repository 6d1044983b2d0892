//! Into one shard from several: a lane from each, or one inbox for all. And what the lanes of many shards weigh.

use std::fs;
use std::hint::black_box;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use pants_bus_benches::sample::{best, interval, median};
use pants_bus_benches::{cpus, on_cpu};

const ROUNDS: usize = 15;
const MESSAGES: u64 = 2_000_000;

/// Messages on their way into one shard, by lanes or by an inbox.
const INTO_ONE_SHARD: usize = 8192;

/// What a lane delivers before it is the next one's turn.
const BATCH: usize = 32;

/// As large as a box for a `dyn` message.
type Message = [u64; 2];

fn main() {
    for producers in [2, 4, 8] {
        let (mut lanes, mut inbox) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            lanes.push(nanos(by_lanes(producers)));
            inbox.push(nanos(by_inbox(producers)));
        }
        for (name, times) in [("lanes", &lanes), ("inbox", &inbox)] {
            println!("{producers} producers, {name}: median {:.1} ns  best {:.1} ns", median(times), best(times));
        }
        let ratios: Vec<f64> = inbox.iter().zip(&lanes).map(|(inbox, lanes)| inbox / lanes).collect();
        let (middle, low, high) = interval(&ratios);
        println!("{producers} producers, inbox / lanes: {middle:.3} ({low:.3} to {high:.3})");
    }
    for shards in [8, 64, 256] {
        let before = resident();
        let lanes: Vec<_> = (0..shards * shards).map(|_| bounded::<Message>(lane(shards))).collect();
        let with_lanes = resident();
        let inboxes: Vec<_> = (0..shards).map(|_| bounded::<Message>(INTO_ONE_SHARD)).collect();
        println!("{shards} shards: lanes {:.1} MiB, inboxes {:.1} MiB", with_lanes - before, resident() - with_lanes);
        drop((lanes, inboxes));
    }
}

fn nanos(time: Duration) -> f64 {
    time.as_nanos() as f64 / MESSAGES as f64
}

/// The capacity of a lane, as the bus has it.
fn lane(shards: usize) -> usize {
    (INTO_ONE_SHARD / shards).clamp(16, 1024)
}

fn by_lanes(producers: u64) -> Duration {
    let (senders, receivers) = (0..producers).map(|_| bounded(lane(producers as usize))).unzip();
    transfer(senders, receivers)
}

fn by_inbox(producers: u64) -> Duration {
    let (sender, receiver) = bounded(INTO_ONE_SHARD);
    transfer(vec![sender; producers as usize], vec![receiver])
}

/// How long it takes until all has come. The producers share the CPUs; the receiver has one of them, as a shard would.
fn transfer(senders: Vec<Sender<Message>>, receivers: Vec<Receiver<Message>>) -> Duration {
    let (count, begun) = (MESSAGES / senders.len() as u64, Instant::now());
    let all = count * senders.len() as u64;
    let producers: Vec<_> =
        senders.into_iter().map(|sender| std::thread::spawn(move || send(&sender, count))).collect();
    let receiver = on_cpu(cpus()[1], move || {
        let mut taken = 0;
        while taken < all {
            for lane in &receivers {
                taken += lane.try_iter().take(BATCH).map(black_box).count() as u64;
            }
        }
        Instant::now()
    });
    producers.into_iter().for_each(|producer| producer.join().unwrap());
    receiver.join().unwrap() - begun
}

fn send(sender: &Sender<Message>, count: u64) {
    for number in 0..count {
        let mut message = [number; 2];
        while let Err(TrySendError::Full(refused)) = sender.try_send(message) {
            message = refused;
            // With fewer CPUs than threads, spinning would only keep the receiver from making room.
            std::thread::yield_now();
        }
    }
}

/// This process's memory in MiB, as the kernel counts it.
fn resident() -> f64 {
    let pages = fs::read_to_string("/proc/self/statm").expect("procfs");
    let pages: f64 = pages.split(' ').nth(1).expect("the second number").parse().expect("a number");
    pages * rustix::param::page_size() as f64 / (1024.0 * 1024.0)
}
