//! The write queue: small and large writes, which leave again as a system call would take them.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pants_engine::internals::Writes;

fn write_queue(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("write queue");
    for (count, size) in [(1, 64), (256, 64), (16, 1024), (1, 64 * 1024), (64, 16 * 1024)] {
        let (data, mut writes) = (vec![7; size], Writes::default());
        group.throughput(Throughput::Bytes((count * size) as u64));
        group.bench_function(format!("{count} x {size} bytes, in and out"), |bencher| {
            bencher.iter(|| {
                for _ in 0..count {
                    writes.push(black_box(&data));
                }
                let mut left = 0;
                while left < count * size {
                    left += writes.write_out();
                }
                left
            });
        });
    }
}

criterion_group!(benches, write_queue);
criterion_main!(benches);
