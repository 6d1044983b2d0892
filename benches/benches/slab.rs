//! The slab: letting a slot and giving it back, and look-ups, in a small slab and in a large one.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use pants_engine::internals::{Name, Slab};

/// About what the engine keeps of a connection.
type Value = [u64; 16];

fn slab(criterion: &mut Criterion) {
    for count in [50, 100_000] {
        let mut group = criterion.benchmark_group(format!("slab of {count}"));
        let mut slab: Slab<Value> = Slab::default();
        let names: Vec<Name> = (0..count).map(|index| slab.insert([index; 16])).collect();
        group.bench_function("insert and remove", |bencher| {
            bencher.iter(|| {
                let name = slab.insert(black_box([1; 16]));
                slab.remove(name).map(|value| value[0])
            });
        });
        let mut turn = 0;
        group.bench_function("look one up, anywhere", |bencher| {
            bencher.iter(|| {
                turn += 61_195;
                slab.get_mut(names[turn % names.len()]).map(|value| {
                    value[0] += 1;
                    value[0]
                })
            });
        });
    }
}

criterion_group!(benches, slab);
criterion_main!(benches);
