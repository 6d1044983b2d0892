//! An allocator that counts what the engine's thread asks of it, for test binaries of one test.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

static COUNTING: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Whether this is the engine's thread. Constant and without a destructor, so that reading it does not allocate.
    pub(crate) static IS_ENGINE: Cell<bool> = const { Cell::new(false) };
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
pub(crate) fn count(f: impl FnOnce()) -> u64 {
    ALLOCATIONS.store(0, Ordering::SeqCst);
    COUNTING.store(true, Ordering::SeqCst);
    f();
    COUNTING.store(false, Ordering::SeqCst);
    ALLOCATIONS.load(Ordering::SeqCst)
}
