//! Bare bounded queues of crossbeam between two pinned threads that spin: what the bus stands on, without the bus.

use std::hint::{black_box, spin_loop};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::{BATCH, LANE, cpus, on_cpu};

/// A message as the bus has it: boxed work.
type Work = Box<dyn FnOnce(&mut u64) + Send>;

/// How long `count` boxed messages take from one side to the other, where each is run.
pub fn one_way_boxed(count: u64) -> Duration {
    one_way(count, |number| -> Work { Box::new(move |sum| *sum += black_box(number)) }, |work, sum| work(sum))
}

/// How long `count` messages of 64 bytes take.
pub fn one_way_plain(count: u64) -> Duration {
    one_way(count, |number| [number; 8], |message, sum| *sum += black_box(message)[0])
}

fn one_way<T: Send + 'static>(
    count: u64,
    make: impl Fn(u64) -> T + Send + 'static,
    take: impl Fn(T, &mut u64) + Send + 'static,
) -> Duration {
    let (sender, receiver) = bounded(LANE);
    let [from, to] = cpus();
    let begun = on_cpu(from, move || send_all(&sender, count, make));
    let ended = on_cpu(to, move || {
        take_all(&receiver, count, take);
        Instant::now()
    });
    ended.join().unwrap() - begun.join().unwrap()
}

fn send_all<T>(sender: &Sender<T>, count: u64, make: impl Fn(u64) -> T) -> Instant {
    let begun = Instant::now();
    for number in 0..count {
        let mut message = make(number);
        while let Err(TrySendError::Full(refused)) = sender.try_send(message) {
            message = refused;
            spin_loop();
        }
    }
    begun
}

fn take_all<T>(receiver: &Receiver<T>, count: u64, take: impl Fn(T, &mut u64)) {
    let (mut taken, mut sum) = (0, 0);
    while taken < count {
        for message in receiver.try_iter().take(BATCH) {
            take(message, &mut sum);
            taken += 1;
        }
    }
    black_box(sum);
}
