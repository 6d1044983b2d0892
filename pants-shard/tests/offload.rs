//! Work that blocks, on helper threads: its result comes back once, or whoever waits for it learns that none comes.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use pants_shard::{Connection, Handler, OffloadError, Offloader, Running, Shard, Unanswered};

use crate::support::*;

/// More than all runtimes of a test take.
const MANY: usize = 10_000;

/// Work that says when it has begun, and returns when it is told to or the test is over.
fn gated(begun: &Sender<()>) -> (Sender<()>, impl FnOnce() + Send + use<>) {
    let ((open, opened), begun) = (channel(), begun.clone());
    let work = move || {
        begun.send(()).unwrap();
        let _ = opened.recv_timeout(PATIENCE);
    };
    (open, work)
}

#[test]
fn work_runs_on_a_helper_thread_and_its_result_comes_to_the_shard() {
    let (_live, told) = start(2, |shard, tell| {
        let here = thread::current().id();
        let work = move || thread::current().id() != here;
        let then = move |shard: &mut Shard<'_>, answer| {
            tell.send((shard.id(), thread::current().id() == here, answer)).unwrap();
        };
        assert!(shard.offload(work, then).is_ok());
    });
    assert_eq!(next(&told), (ZERO, true, Ok(true)));
}

/// Adds up what it is sent where that keeps nobody waiting.
struct Sums(Offloader);

impl Handler for Sums {
    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        let (key, data) = (connection.key(), data.to_vec());
        let work = move || data.iter().map(|&byte| u64::from(byte)).sum::<u64>();
        let then = move |shard: &mut Shard<'_>, sum: Result<u64, Unanswered>| {
            let mut connection = shard.context().connection(key).expect("it is open");
            connection.write(&sum.unwrap().to_be_bytes());
        };
        assert!(self.0.offload(work, then).is_ok());
    }
}

#[test]
fn a_handler_offloads_and_answers_later() {
    let live = Live::start(shards(1), |shard| {
        let offloader = shard.offloader();
        shard.listen(ANY_PORT, move |_peer| Sums(offloader.clone())).map(drop)
    });
    let mut client = client(live.address());
    client.write_all(b"abc").unwrap();
    let mut sum = [0; 8];
    client.read_exact(&mut sum).unwrap();
    assert_eq!(u64::from_be_bytes(sum), 97 + 98 + 99);
}

#[test]
fn work_that_panics_is_told_and_its_thread_goes_on() {
    hush();
    let (_live, told) = start(1, |shard, tell| {
        for number in 0..20 {
            let tell = tell.clone();
            let work = move || if number % 2 == 0 { std::panic::panic_any(ON_PURPOSE.to_owned()) } else { number };
            assert!(shard.offload(work, move |_, answer| tell.send((number, answer)).unwrap()).is_ok());
        }
    });
    let mut told = next_all(&told, 20);
    told.sort_by_key(|(number, _)| *number);
    let expected = (0..20).map(|number| (number, if number % 2 == 0 { Err(Unanswered) } else { Ok(number) }));
    assert_eq!(told, expected.collect::<Vec<_>>());
}

#[test]
fn too_much_work_comes_back_whole_and_the_rest_is_done() {
    let (open, opened) = channel::<()>();
    let opened = Arc::new(Mutex::new(opened));
    let (live, told) = start(2, move |shard, tell| {
        let zero = fill(shard, &opened, &tell);
        let opened = Arc::clone(&opened);
        let sent = shard.bus().send(ONE, move |one| {
            let one = fill(one, &opened, &tell);
            tell.send(zero + one).unwrap();
        });
        assert!(sent.is_ok());
    });
    /// Offloads as much as is taken, and says how much that is. What is refused is done here, which says that it is 1.
    fn fill(shard: &mut Shard<'_>, opened: &Arc<Mutex<Receiver<()>>>, tell: &Sender<usize>) -> usize {
        for taken in 0..MANY {
            let (opened, tell) = (Arc::clone(opened), tell.clone());
            let work = move || {
                let _ = opened.lock().unwrap().recv_timeout(PATIENCE);
                1
            };
            let then = move |_: &mut Shard<'_>, answer: Result<usize, Unanswered>| tell.send(answer.unwrap()).unwrap();
            match shard.offload(work, then) {
                Ok(()) => {}
                Err(error) => {
                    assert!(matches!(error, OffloadError::Full(_)));
                    let (_work, then) = error.into_inner();
                    then(shard, Ok(1));
                    return taken;
                }
            }
        }
        panic!("there is no bound");
    }
    let told_of = |count| next_all(&told, count);
    assert_eq!(told_of(2), [1, 1], "both closures came back");
    let taken = next(&told);
    assert!((1024..=1024 + 4).contains(&taken), "{taken} were taken");
    drop(open);
    assert!(told_of(taken).into_iter().all(|answer| answer == 1));
    live.stop();
}

/// A shard that has offloaded four pieces of work, which wait, and one that must wait for these.
struct Waiting {
    live: Live,
    /// Dropping them lets the four go on.
    gates: Vec<Sender<()>>,
    /// What has become of each.
    told: Receiver<Result<usize, Unanswered>>,
    /// How often the fifth has run.
    fifth: Arc<AtomicUsize>,
}

impl Waiting {
    fn start(drain_timeout: Duration) -> Self {
        let (begin, begun) = channel();
        let (gates, works): (Vec<_>, Vec<_>) = (0..4).map(|_| gated(&begin)).unzip();
        let works = Mutex::new(works);
        let fifth = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&fifth);
        let (tell, told) = channel();
        let tell = Mutex::new(tell);
        let live = Live::start(shards(1).drain_timeout(drain_timeout), move |shard| {
            let tell = tell.lock().unwrap();
            for (number, work) in works.lock().unwrap().drain(..).enumerate() {
                let tell = tell.clone();
                let then = move |_: &mut Shard<'_>, answer: Result<(), Unanswered>| {
                    tell.send(answer.map(|()| number)).unwrap();
                };
                assert!(shard.offload(work, then).is_ok());
            }
            let (tell, count) = (tell.clone(), Arc::clone(&count));
            let work = move || count.fetch_add(1, Ordering::Relaxed);
            assert!(shard.offload(work, move |_, answer| tell.send(answer.map(|_| 4)).unwrap()).is_ok());
            shard.listen(ANY_PORT, |_peer| Echo).map(drop)
        });
        next_all(&begun, 4);
        Self { live, gates, told, fifth }
    }

    /// Ends the runtime by `end`, while the four wait, and expects that all five remain unanswered.
    fn assert_abandoned(self, end: impl FnOnce(&Running)) {
        end(self.live.running());
        self.live.join();
        assert_eq!(self.told.try_iter().collect::<Vec<_>>(), [Err(Unanswered); 5]);
        drop(self.gates);
        assert_eq!(self.fifth.load(Ordering::Relaxed), 0);
    }
}

#[test]
fn a_stop_waits_for_nothing_and_what_has_not_begun_never_does() {
    Waiting::start(PATIENCE).assert_abandoned(Running::stop);
}

#[test]
fn a_drain_does_not_wait_past_its_time() {
    Waiting::start(Duration::from_millis(50)).assert_abandoned(Running::drain);
}

#[test]
fn a_drain_waits_for_what_is_offloaded() {
    let Waiting { live, gates, told, fifth } = Waiting::start(PATIENCE);
    live.running().drain();
    while TcpStream::connect(live.address()).is_ok() {
        thread::yield_now();
    }
    // Nothing is left but the work. A shard that did not wait for it would soon take no more messages.
    let remote = live.running().remote();
    for _ in 0..3 {
        let (tell, told) = channel();
        remote.send(ZERO, move |_| tell.send(()).unwrap()).unwrap();
        next(&told);
    }
    drop(gates);
    live.join();
    let mut told: Vec<_> = told.try_iter().flatten().collect();
    told.sort_unstable();
    assert_eq!(told, [0, 1, 2, 3, 4]);
    assert_eq!(fifth.load(Ordering::Relaxed), 1);
}

#[test]
fn work_that_is_offered_at_the_end_comes_back() {
    let (live, told) = start(1, |shard, tell| {
        let (begin, begun) = channel();
        let (open, work) = gated(&begin);
        let then = move |shard: &mut Shard<'_>, answer: Result<(), Unanswered>| {
            assert_eq!(answer, Err(Unanswered));
            let again = shard.offload(|| 7, |_, _| panic!("it was refused"));
            let Err(OffloadError::Stopped((work, _then))) = again else { panic!("it was taken") };
            tell.send(work()).unwrap();
        };
        assert!(shard.offload(work, then).is_ok());
        // It never comes to an end before the shard does.
        std::mem::forget(open);
        next(&begun);
        shard.stop();
    });
    live.join();
    assert_eq!(told.try_recv(), Ok(7));
}

#[test]
fn a_helper_thread_is_not_pinned() {
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let _live = Live::start(shards(1).pin(true), move |shard| {
        let tell = tell.lock().unwrap().clone();
        let pinned = own_cpu_list();
        let then = move |_: &mut Shard<'_>, cpus| tell.send((pinned, cpus)).unwrap();
        assert!(shard.offload(own_cpu_list, then).is_ok());
        Ok(())
    });
    let (pinned, cpus) = next(&told);
    assert_eq!(pinned.len(), 1);
    assert_eq!(cpus, Ok(own_cpu_list()));
}
