//! The framing: each delimiter on frames of 64 bytes and of 1 KiB, which come whole or in two reads.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pants_engine::internals::Cutter;
use pants_engine::{Delimiter, LengthPrefix};

const LIMIT: usize = 1 << 20;

/// A frame of `size` bytes, delimiter or header included, for each kind of delimiter.
fn kinds(size: usize) -> [(&'static str, Delimiter, Vec<u8>); 6] {
    let text = |end: &str| [vec![b'x'; size - end.len()], end.as_bytes().to_vec()].concat();
    let prefixed = [((size - 4) as u32).to_be_bytes().to_vec(), vec![b'x'; size - 4]].concat();
    let regex = Delimiter::regex("\r?\n").expect("a pattern");
    [
        ("no delimiter", Delimiter::none(), text("")),
        ("a byte", "\n".into(), text("\n")),
        ("two bytes", "\r\n".into(), text("\r\n")),
        ("a count", size.into(), text("")),
        ("a length", LengthPrefix::u32_be().into(), prefixed),
        ("a pattern", regex, text("\r\n")),
    ]
}

fn framing(criterion: &mut Criterion) {
    for size in [64, 1024] {
        let mut group = criterion.benchmark_group(format!("frames of {size} bytes"));
        group.throughput(Throughput::Bytes(size as u64));
        for (name, delimiter, frame) in kinds(size) {
            let mut cutter = Cutter::new(delimiter, LIMIT);
            assert_eq!(cutter.feed(&frame).0, 1, "{name}");
            group.bench_function(format!("{name}, whole"), |bencher| bencher.iter(|| cutter.feed(black_box(&frame))));
            let (begin, end) = frame.split_at(size / 2);
            group.bench_function(format!("{name}, in two reads"), |bencher| {
                bencher.iter(|| (cutter.feed(black_box(begin)), cutter.feed(black_box(end))));
            });
        }
    }
}

criterion_group!(benches, framing);
criterion_main!(benches);
