//! What the benchmarks of the bus share: the contestants, and what is made of their times.
//!
//! Every contestant runs between the same two CPUs, one after the other, round after round; what counts is the ratio of two
//! in one round.

#![forbid(unsafe_code)]

pub mod bus;
pub mod eventfd;
pub mod glommio_mesh;
pub mod queue;
pub mod sample;
pub mod tokio_mpsc;

/// Messages that a lane between two of two shards holds, and so the queues that it is measured beside.
pub const LANE: usize = 1024;

/// Messages that a sender sends before it looks at anything else.
pub const BATCH: usize = 256;

/// The CPUs of the two sides.
///
/// # Panics
///
/// If there are not two.
pub fn cpus() -> [usize; 2] {
    let cpus = core_affinity::get_core_ids().unwrap_or_default();
    let [first, second, ..] = cpus[..] else { panic!("the two sides need a CPU each") };
    [first.id, second.id]
}

/// Runs `f` on a thread of its own that is pinned to `cpu`.
pub fn on_cpu<T: Send + 'static>(cpu: usize, f: impl FnOnce() -> T + Send + 'static) -> std::thread::JoinHandle<T> {
    std::thread::spawn(move || {
        core_affinity::set_for_current(core_affinity::CoreId { id: cpu });
        f()
    })
}
