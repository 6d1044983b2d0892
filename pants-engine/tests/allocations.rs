//! That a message costs no allocation: alone in its process, because it counts what the process's allocator is asked for.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pants_engine::{ConnectionOptions, ServerOptions};
use support::*;

static COUNTING: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Whether this is the engine's thread. Constant and without a destructor, so that reading it does not allocate.
    static IS_ENGINE: Cell<bool> = const { Cell::new(false) };
}

/// The system's allocator, counted on the engine's thread.
struct Counting;

// SAFETY: every call is passed on to the system's allocator as it is; counting touches no memory of the allocator's. A
// `realloc` is the trait's own, which allocates anew through `alloc`, and is thereby counted too.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTING.load(Ordering::Relaxed) && IS_ENGINE.get() {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller keeps to the contract of `alloc`, which is that of the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller has `pointer` from `alloc` above, which has it from the system's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Counts what the engine's thread allocates while `f` runs here.
fn count(f: impl FnOnce()) -> u64 {
    ALLOCATIONS.store(0, Ordering::SeqCst);
    COUNTING.store(true, Ordering::SeqCst);
    f();
    COUNTING.store(false, Ordering::SeqCst);
    ALLOCATIONS.load(Ordering::SeqCst)
}

/// Messages one at a time, and in batches that one turn meets together.
fn exchange(clients: &mut [TcpStream], rounds: u32) {
    let message = [b'm'; 64];
    let mut reply = [0; 64];
    for _ in 0..rounds {
        for client in &mut *clients {
            client.write_all(&message).unwrap();
        }
        for client in &mut *clients {
            std::io::Read::read_exact(client, &mut reply).unwrap();
            client.write_all(&message).unwrap();
            std::io::Read::read_exact(client, &mut reply).unwrap();
        }
    }
}

#[test]
fn a_message_costs_no_allocation() {
    let connection = ConnectionOptions { idle_timeout: Some(Duration::from_secs(60)), ..ConnectionOptions::default() };
    let options = ServerOptions { connection, ..ServerOptions::default() };
    let (running, (_, address)) = Running::start(move |engine| {
        IS_ENGINE.set(true);
        listen(engine, options, || Echo)
    });
    let mut clients: Vec<TcpStream> = (0..8).map(|_| client(address)).collect();
    exchange(&mut clients, 100);
    // The counter counts: this answer's way back is allocated on the engine's thread.
    assert!(count(|| assert_eq!(running.ask(|_| vec![1_u8; 100]).len(), 100)) > 0);
    exchange(&mut clients, 100);
    assert_eq!(count(|| exchange(&mut clients, 2_000)), 0);
    assert_eq!(running.stop().reads, 8 * 2 * 2_200);
}
