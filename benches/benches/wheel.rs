//! The timing wheel by itself, with as many entries as would fit a cache and with a million.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use pants_engine::internals::{Name, Wheel};

/// What the engine keeps of a timer is as large.
type Value = [u64; 3];

/// From ten minutes to seventy, in milliseconds.
fn deadline(index: u64) -> u64 {
    600_000 + index * 7_919 % 3_600_000
}

fn filled(pending: u64) -> (Wheel<Value>, Vec<Name>) {
    let mut wheel = Wheel::default();
    let names = (0..pending).map(|index| wheel.insert(deadline(index), [index; 3])).collect();
    (wheel, names)
}

fn wheel(criterion: &mut Criterion) {
    for pending in [1_000, 1_000_000] {
        let mut group = criterion.benchmark_group(format!("wheel with {pending} pending"));
        let (mut wheel, mut names) = filled(pending);
        let mut turn = 0;
        group.bench_function("insert and remove", |bencher| {
            bencher.iter(|| {
                turn += 1;
                let name = wheel.insert(deadline(black_box(turn)), [turn; 3]);
                wheel.remove(black_box(name))
            });
        });
        group.bench_function("replace one anywhere", |bencher| {
            bencher.iter(|| {
                turn += 1;
                let at = (turn * 611_953 % pending) as usize;
                wheel.remove(names[at]);
                names[at] = wheel.insert(deadline(turn), [turn; 3]);
            });
        });
        let mut now = 0;
        group.bench_function("insert one due in the next tick, and take it", |bencher| {
            // The pending ones are not met: they are put off for as long as this may run.
            let (mut wheel, _) = filled(0);
            (0..pending).for_each(|index| _ = wheel.insert((1 << 50) + index, [index; 3]));
            bencher.iter(|| {
                now += 1;
                wheel.insert(now, [now; 3]);
                wheel.next_due(now)
            });
        });
    }
}

criterion_group!(benches, wheel);
criterion_main!(benches);
