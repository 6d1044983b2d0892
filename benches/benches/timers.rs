//! Timers with a million pending: setting, cancelling, firing.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use pants_engine::Engine;

const PENDING: u64 = 1_000_000;

/// An engine with a million timers, minutes away and of all magnitudes.
fn engine() -> Engine {
    let mut engine = Engine::new().expect("an engine");
    for index in 0..PENDING {
        engine.context().defer(Duration::from_millis(600_000 + index * 7_919 % 86_400_000), |_| {});
    }
    engine
}

fn set_and_cancel(criterion: &mut Criterion) {
    let mut engine = engine();
    // As a callback has it: to ask the engine for it reads the clock.
    let context = engine.context();
    criterion.bench_function("set and cancel one of a million", |bencher| {
        bencher.iter(|| {
            let timer = context.defer(Duration::from_secs(700), |_| {});
            black_box(context.cancel(timer))
        });
    });
}

fn fire(criterion: &mut Criterion) {
    const FIRED: u64 = 1_000;
    let mut engine = engine();
    criterion.bench_function("set and fire a thousand beside a million", |bencher| {
        bencher.iter(|| {
            for _ in 0..FIRED {
                engine.context().defer(Duration::from_nanos(1), |_| {});
            }
            while engine.context().stats().timers_pending > PENDING {
                engine.poll(None).expect("events");
            }
        });
    });
}

criterion_group!(benches, set_and_cancel, fire);
criterion_main!(benches);
