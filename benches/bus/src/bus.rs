//! The bus itself, between two pinned shards.

use std::cell::OnceCell;
use std::hint::black_box;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use pants_shard::{Config, Mailbox, Runtime, SendError, Shard, ShardId, Shards};

use crate::{BATCH, cpus};

const ZERO: ShardId = ShardId::new(0);
const ONE: ShardId = ShardId::new(1);

/// How long spinning shards poll before they sleep.
pub const SPIN: Duration = Duration::from_millis(1);

/// A message of a mailbox: 64 bytes.
type Ball = [u64; 8];

/// What a mailbox keeps on its shard.
#[derive(Default)]
struct Own(OnceCell<Mailbox<Ball>>);

impl Own {
    fn send(&self, shard: ShardId, ball: Ball) -> Result<(), SendError<Ball>> {
        self.0.get().expect("it was declared").send(shard, ball)
    }
}

/// Runs two shards with a mailbox that does `deliver`, and `begin` on the first; what that tells is the time.
fn run(
    busy_poll: Option<Duration>,
    deliver: impl Fn(&mut Shard<'_>, &Own, Ball, &Sender<Instant>) + Clone + Send + Sync + 'static,
    begin: impl Fn(&mut Shard<'_>, Sender<Instant>) + Clone + Send + Sync + 'static,
) -> Duration {
    let config = Config::builder().shards("2".parse::<Shards>().expect("a number")).cpus(cpus()).busy_poll(busy_poll);
    let (tell, told) = channel();
    let running = Runtime::new(config.build().expect("it is valid")).and_then(|runtime| {
        runtime.start(move |shard| {
            let (own, deliver, to_tell) = (shard.state::<Own>(), deliver.clone(), tell.clone());
            let mailbox = shard.mailbox(move |shard, _from, ball| deliver(shard, &own, ball, &to_tell))?;
            assert!(shard.state::<Own>().0.set(mailbox).is_ok());
            if shard.id() == ZERO {
                let (begin, tell) = (begin.clone(), tell.clone());
                // Not before the other has come to its first turn.
                shard.defer(Duration::from_millis(2), move |shard| begin(shard, tell));
            }
            Ok(())
        })
    });
    let running = running.expect("the shards start");
    let begun = told.recv().expect("the beginning");
    let ended = told.recv().expect("the end");
    running.stop();
    running.join().expect("no shard fails");
    ended - begun
}

/// How long `count` pieces of work take from one shard to another.
pub fn one_way_work(count: u64) -> Duration {
    run(
        Some(SPIN),
        |_, _, _, _| {},
        move |shard, tell| {
            tell.send(Instant::now()).expect("somebody waits");
            send_work(shard, 0, count, tell);
        },
    )
}

fn send_work(shard: &mut Shard<'_>, at: u64, count: u64, tell: Sender<Instant>) {
    let bus = shard.bus();
    let end = count.min(at + BATCH as u64);
    let mut sent = at;
    while sent < end {
        let number = sent;
        if bus.send(ONE, move |_| _ = black_box(number)).is_err() {
            break;
        }
        sent += 1;
    }
    if sent < count {
        shard.callback(move |shard| send_work(shard, sent, count, tell));
    } else if let Err(SendError::Full(work)) = bus.send(ONE, end_work(tell)) {
        // The end has to come through as well.
        shard.defer(Duration::ZERO, move |shard| assert!(shard.bus().with_overflow(1).send(ONE, work).is_ok()));
    }
}

fn end_work(tell: Sender<Instant>) -> impl FnOnce(&mut Shard<'_>) + Send + 'static {
    move |_| tell.send(Instant::now()).expect("somebody waits")
}

/// How long `count` messages of 64 bytes take through a mailbox.
pub fn one_way_mailbox(count: u64) -> Duration {
    let deliver = move |_: &mut Shard<'_>, _: &Own, ball: Ball, tell: &Sender<Instant>| {
        if black_box(ball)[0] + 1 == count {
            tell.send(Instant::now()).expect("somebody waits");
        }
    };
    run(Some(SPIN), deliver, move |shard, tell| {
        tell.send(Instant::now()).expect("somebody waits");
        send_balls(shard, 0, count);
    })
}

fn send_balls(shard: &mut Shard<'_>, at: u64, count: u64) {
    let own = shard.state::<Own>();
    let end = count.min(at + BATCH as u64);
    let mut sent = at;
    while sent < end && own.send(ONE, [sent; 8]).is_ok() {
        sent += 1;
    }
    if sent < count {
        shard.callback(move |shard| send_balls(shard, sent, count));
    }
}

/// How long `trips` requests take, one after the other, with shards that poll busily for `busy_poll`.
pub fn requests(trips: u64, busy_poll: Option<Duration>) -> Duration {
    run(
        busy_poll,
        |_, _, _, _| {},
        move |shard, tell| {
            tell.send(Instant::now()).expect("somebody waits");
            ask(shard, trips, tell);
        },
    )
}

fn ask(shard: &mut Shard<'_>, left: u64, tell: Sender<Instant>) {
    if left == 0 {
        return tell.send(Instant::now()).expect("somebody waits");
    }
    let asked = shard.bus().request(
        ONE,
        move |_| left,
        move |shard, answer| {
            assert_eq!(answer, Ok(left));
            ask(shard, left - 1, tell);
        },
    );
    assert!(asked.is_ok());
}

/// How long `trips` of a ball through mailboxes take, with shards that poll busily for `busy_poll`.
pub fn mailboxes(trips: u64, busy_poll: Option<Duration>) -> Duration {
    let deliver = |shard: &mut Shard<'_>, own: &Own, mut ball: Ball, tell: &Sender<Instant>| {
        let to = ShardId::new(1 - shard.id().index());
        if to == ONE {
            ball[0] -= 1;
        }
        if ball[0] == 0 {
            return tell.send(Instant::now()).expect("somebody waits");
        }
        assert!(own.send(to, ball).is_ok());
    };
    run(busy_poll, deliver, move |shard, tell| {
        tell.send(Instant::now()).expect("somebody waits");
        assert!(shard.state::<Own>().send(ONE, [trips; 8]).is_ok());
    })
}
