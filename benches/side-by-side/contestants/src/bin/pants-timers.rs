//! A million timers on pants: set and cancelled, reset, and fired, as [`contestants::timers`] says.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::hint::black_box;
use std::rc::Rc;

use contestants::timers::{FIRING, Findings, PENDING, Stopwatch, delay, firing_delay, scattered};
use pants_engine::{Context, Engine, TimerKey};

fn main() {
    let mut engine = Engine::new().expect("an engine");
    let fired = Rc::new(Cell::new(0));
    let pending: Vec<TimerKey> = (0..PENDING).map(|index| set(engine.context(), index, &fired)).collect();
    // From a callback, as programs do.
    let found = Rc::new(Cell::new((0.0, 0.0)));
    let (result, count) = (Rc::clone(&found), Rc::clone(&fired));
    engine.context().callback(move |context| {
        let watch = Stopwatch::start();
        for index in 0..PENDING {
            let timer = set(context, black_box(index), &count);
            context.cancel(black_box(timer));
        }
        let insert_cancel = watch.per(PENDING);
        let watch = Stopwatch::start();
        for turn in 0..PENDING {
            let index = scattered(turn);
            assert!(context.reset(pending[index], delay(index + turn)));
        }
        let reset = watch.per(PENDING);
        result.set((insert_cancel, reset));
    });
    engine.poll(None).expect("events");
    let (insert_cancel_ns, reset_ns) = found.get();

    for index in 0..FIRING {
        let fired = Rc::clone(&fired);
        engine.context().defer(firing_delay(index), move |_| fired.set(fired.get() + 1));
    }
    let watch = Stopwatch::start();
    while fired.get() < FIRING {
        engine.poll(None).expect("events");
    }
    let fire_ns = watch.per(FIRING);
    Findings { insert_cancel_ns, reset_ns, fire_ns, pending: PENDING }.print();
}

/// Sets a timer as they usually are, with something of its program's in hand.
fn set(context: &mut Context, index: usize, fired: &Rc<Cell<usize>>) -> TimerKey {
    let fired = Rc::clone(fired);
    context.defer(delay(index), move |_| fired.set(fired.get() + 1))
}
