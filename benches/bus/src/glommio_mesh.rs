//! Glommio: an executor on each CPU, and its mesh of channels between them. It needs io_uring.

use std::time::{Duration, Instant};

use glommio::channels::channel_mesh::MeshBuilder;
use glommio::{LocalExecutorBuilder, Placement};

use crate::{LANE, cpus};

/// How long `trips` there and back take, with executors that spin for `spin` before they park. `None` if none can be made.
pub fn ping_pong(trips: u64, spin: Duration) -> Option<Duration> {
    let mesh = MeshBuilder::<u64, _>::full(2, LANE);
    let executors = cpus().map(|cpu| {
        let mesh = mesh.clone();
        let builder = LocalExecutorBuilder::new(Placement::Fixed(cpu)).spin_before_park(spin);
        builder.spawn(move || async move {
            let (senders, mut receivers) = mesh.join().await.expect("a place in the mesh");
            let (own, other) = (senders.peer_id(), 1 - senders.peer_id());
            let (_, receiver) = receivers.streams().swap_remove(0);
            let begun = Instant::now();
            for trip in 0..trips {
                if own == 0 {
                    senders.send_to(other, trip).await.expect("the other is there");
                }
                assert_eq!(receiver.recv().await, Some(trip));
                if own == 1 {
                    senders.send_to(other, trip).await.expect("the other is there");
                }
            }
            begun.elapsed()
        })
    });
    let times = executors.map(|executor| executor.ok().and_then(|executor| executor.join().ok()));
    Some(times[0]?.max(times[1]?))
}
