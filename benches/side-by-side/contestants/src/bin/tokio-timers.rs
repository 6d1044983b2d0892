//! A million timers on tokio, on a runtime of one thread: set and cancelled, reset, and fired, as [`contestants::timers`] says.
//!
//! A timer is a `Sleep` that was polled once, which enters it into the runtime's wheel; dropping it cancels it. One that is kept is
//! in a box of its own, since it must not move; one that is not kept is pinned where it is.

#![forbid(unsafe_code)]

use std::future::{Future, poll_fn};
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use contestants::timers::{FIRING, Findings, PENDING, Stopwatch, delay, firing_delay, scattered};
use tokio::runtime::Builder;
use tokio::time::{Instant, Sleep, sleep};

fn main() {
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(run());
}

async fn run() {
    let mut pending: Vec<Pin<Box<Sleep>>> = Vec::with_capacity(PENDING);
    let (insert_cancel_ns, reset_ns) = poll_fn(|context| Poll::Ready(churn(&mut pending, context))).await;
    let mut firing: Vec<Pin<Box<Sleep>>> = (0..FIRING).map(|index| Box::pin(sleep(firing_delay(index)))).collect();
    poll_fn(|context| {
        firing.iter_mut().for_each(|sleep| poll_pending(sleep.as_mut(), context));
        Poll::Ready(())
    })
    .await;
    // The thread's time from here on to the end of the last: in between it is in the runtime's loop.
    let mut done = 0;
    let fire = poll_fn(|context| {
        while done < FIRING && firing[done].as_mut().poll(context).is_ready() {
            done += 1;
        }
        if done == FIRING { Poll::Ready(()) } else { Poll::Pending }
    });
    let watch = Stopwatch::start();
    fire.await;
    let fire_ns = watch.per(FIRING);
    Findings { insert_cancel_ns, reset_ns, fire_ns, pending: pending.len() }.print();
}

/// Sets the pending timers, and measures the first two kinds of work beside them.
fn churn(pending: &mut Vec<Pin<Box<Sleep>>>, context: &mut Context<'_>) -> (f64, f64) {
    for index in 0..PENDING {
        let mut sleep = Box::pin(sleep(delay(index)));
        poll_pending(sleep.as_mut(), context);
        pending.push(sleep);
    }
    let watch = Stopwatch::start();
    for index in 0..PENDING {
        let mut sleep = pin!(sleep(delay(black_box(index))));
        poll_pending(sleep.as_mut(), context);
    }
    let insert_cancel = watch.per(PENDING);
    let watch = Stopwatch::start();
    for turn in 0..PENDING {
        let index = scattered(turn);
        pending[index].as_mut().reset(Instant::now() + delay(index + turn));
    }
    let reset = watch.per(PENDING);
    (insert_cancel, reset)
}

fn poll_pending(sleep: Pin<&mut Sleep>, context: &mut Context<'_>) {
    assert!(black_box(sleep.poll(context)).is_pending(), "it is not due yet");
}
