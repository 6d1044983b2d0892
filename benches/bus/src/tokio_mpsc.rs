//! tokio: two pinned threads, each with a runtime of its own and a `LocalSet`, and an `mpsc` channel each way.

use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::LocalSet;

use crate::{LANE, cpus, on_cpu};

/// How long `trips` there and back take.
pub fn ping_pong(trips: u64) -> Duration {
    let ((there, over_there), (back, over_here)) = (channel(LANE), channel(LANE));
    let [here, far] = cpus();
    let answerer = on_cpu(far, move || run(answer(back, over_there)));
    let asker = on_cpu(here, move || run(ask(there, over_here, trips)));
    answerer.join().unwrap();
    asker.join().unwrap()
}

fn run<T: 'static>(task: impl Future<Output = T> + 'static) -> T {
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    let local = LocalSet::new();
    let task = local.spawn_local(task);
    local.block_on(&runtime, task).expect("the task does not panic")
}

async fn ask(there: Sender<u64>, mut over_here: Receiver<u64>, trips: u64) -> Duration {
    let begun = Instant::now();
    for trip in 0..trips {
        there.send(trip).await.expect("somebody is there");
        assert_eq!(over_here.recv().await, Some(trip));
    }
    begun.elapsed()
}

async fn answer(back: Sender<u64>, mut over_there: Receiver<u64>) {
    while let Some(trip) = over_there.recv().await {
        // The last one may find nobody.
        let _ = back.send(trip).await;
    }
}
