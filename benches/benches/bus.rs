//! The bus: messages that a shard sends in batches, to itself and to another thread's shard, until the last has run.

use std::hint::black_box;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use pants_shard::{Config, Runtime, Shard, ShardId, Shards};

const SENDER: ShardId = ShardId::new(0);

/// Messages sent in one turn, at most: a quarter of a lane.
const BATCH: u64 = 256;

fn bus(criterion: &mut Criterion) {
    let shards = "2".parse::<Shards>().expect("a number");
    let config =
        Config::builder().shards(shards).busy_poll(Some(Duration::from_millis(1))).build().expect("it is valid");
    let running = Runtime::new(config).and_then(|runtime| runtime.start(|_| Ok(()))).expect("the shards start");
    for (name, target) in [("to itself", SENDER), ("to another thread", ShardId::new(1))] {
        criterion.bench_function(&format!("a message of the bus, {name}"), |bencher| {
            bencher.iter_custom(|count| {
                let (tell, told) = channel();
                let begin = move |shard: &mut Shard<'_>| send(shard, target, count, Instant::now(), tell);
                assert!(running.remote().send(SENDER, begin).is_ok());
                told.recv().expect("the time it took")
            });
        });
    }
    running.stop();
    running.join().expect("no shard fails");
}

/// Sends a batch of the messages that are `left`, and goes on in the next turn. The last one tells how long all took.
fn send(shard: &mut Shard<'_>, target: ShardId, mut left: u64, begun: Instant, tell: Sender<Duration>) {
    let bus = shard.bus();
    let batch_ends = left.saturating_sub(BATCH).max(1);
    while left > batch_ends && bus.send(target, move |_| _ = black_box(left)).is_ok() {
        left -= 1;
    }
    if left == 1 {
        let tell = tell.clone();
        if bus.send(target, move |_| tell.send(begun.elapsed()).expect("somebody waits")).is_ok() {
            return;
        }
    }
    shard.callback(move |shard| send(shard, target, left, begun, tell));
}

criterion_group!(benches, bus);
criterion_main!(benches);
