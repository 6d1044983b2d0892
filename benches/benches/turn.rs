//! A turn of the engine: with nothing to do, with a message from another thread, and with sockets that have something to read.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use pants_engine::{Connection, ConnectionOptions, Engine, Handler};

const NO_WAIT: Option<Duration> = Some(Duration::ZERO);

struct Sink;

impl Handler for Sink {
    fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {}
}

fn idle(criterion: &mut Criterion) {
    let mut engine = Engine::new().expect("an engine");
    criterion.bench_function("a turn with nothing to do", |bencher| {
        bencher.iter(|| engine.poll(NO_WAIT).expect("events"));
    });
    criterion.bench_function("a turn with a callback", |bencher| {
        bencher.iter(|| {
            engine.context().callback(|_| {});
            engine.poll(NO_WAIT).expect("events")
        });
    });
    let remote = engine.remote();
    criterion.bench_function("a turn with a wake and its message", |bencher| {
        bencher.iter(|| {
            remote.send(|_| {}).expect("room in the inbox");
            engine.poll(NO_WAIT).expect("events")
        });
    });
}

fn ready(criterion: &mut Criterion) {
    for count in [1, 50] {
        let mut engine = Engine::new().expect("an engine");
        let mut peers = Vec::new();
        for _ in 0..count {
            let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
            let adopted = engine.context().adopt_connection(ours.into(), ConnectionOptions::default(), Sink);
            adopted.expect("a connection");
            peers.push(theirs);
        }
        criterion.bench_function(
            &format!("a turn with {count} of {count} sockets ready, their peers' writes included"),
            |bencher| {
                bencher.iter(|| {
                    peers.iter_mut().for_each(|peer| peer.write_all(&[7; 64]).expect("a reader"));
                    engine.poll(NO_WAIT).expect("events")
                });
            },
        );
    }
}

criterion_group!(benches, idle, ready);
criterion_main!(benches);
