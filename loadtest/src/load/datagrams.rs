//! The handler of a shard's datagram channels, and what is particular to them in its pool.

use std::rc::Rc;
use std::time::{Duration, Instant};

use pants_shard::{
    CloseReason, Context, Datagram, DatagramHandler, DatagramKey, DatagramOptions, Endpoint, EngineError,
};

use crate::count::failure::Kind;
use crate::load::exchange::{Exchange, Heard};
use crate::load::pool::{Next, Pool};
use crate::load::talk::Carried;
use crate::load::worker::Worker;
use crate::plan::IN_FLIGHT_BYTES_MAX;

/// How long a channel sends nothing after a message was refused: one that nobody hears is not to keep the shard busy.
const PAUSE: Duration = Duration::from_millis(10);

/// How far apart two looks for messages that have waited too long are at least, so that many losses cost one look.
const CHECK_GAP: Duration = Duration::from_millis(1);

/// What may be queued on a channel when the kernel takes no more: all that may be in flight, and what the engine adds to each.
const QUEUE_CAP: usize = 2 * IN_FLIGHT_BYTES_MAX;

/// One datagram channel. It has no connection that could fail: messages do, one at a time, and the channel goes on.
#[derive(Debug)]
struct Post {
    worker: Rc<Worker<Exchange>>,
    /// The channel's place in the pool.
    index: u32,
}

impl Post {
    /// After a message was refused the channel sends nothing for a while.
    fn pause(&self, context: &mut Context) {
        let (worker, index) = (Rc::clone(&self.worker), self.index);
        worker.pool.borrow_mut().hold(index, true);
        context.defer(PAUSE, move |context| {
            let mut pool = worker.pool.borrow_mut();
            pool.hold(index, false);
            let next = if pool.is_running() { pool.speak(index, context) } else { Next::Nothing };
            drop(pool);
            worker.follow(context, index, next);
        });
    }
}

impl DatagramHandler for Post {
    fn on_read(&mut self, datagram: &mut Datagram<'_>, data: &[u8], _from: &Endpoint) {
        let next = self.worker.pool.borrow_mut().hear(self.index, datagram, data);
        match next {
            Next::Nothing => {}
            Next::Think(count) => self.worker.think(datagram.context(), self.index, count, false),
            next => self.worker.follow(datagram.context(), self.index, next),
        }
    }

    fn on_error(&mut self, datagram: &mut Datagram<'_>, error: &EngineError) {
        let next = self.worker.pool.borrow_mut().handle_error(self.index, error);
        if let EngineError::Truncated { .. } = error {
            return;
        }
        self.pause(datagram.context());
        self.worker.follow(datagram.context(), self.index, next);
    }

    fn on_close(&mut self, datagram: &mut Datagram<'_>, reason: CloseReason) {
        if self.worker.is_needed(self.index) {
            let detail = Some(format!("the channel closed: {reason:?}"));
            self.worker.handle_failure(datagram.context(), self.index, Kind::Other, detail);
        }
    }
}

impl Carried for Exchange {
    type Key = DatagramKey;
    type Socket<'a> = Datagram<'a>;

    fn connect(worker: &Rc<Worker<Self>>, context: &mut Context, index: Option<u32>) -> Result<(), EngineError> {
        // A plan has no idle ones: an unused socket is nothing to a server.
        let Some(index) = index else { return Ok(()) };
        let begun = Instant::now();
        let options = DatagramOptions { send_queue_cap: QUEUE_CAP, ..DatagramOptions::default() };
        let post = Post { worker: Rc::clone(worker), index };
        let key = context.connect_datagram_with(worker.plan().target.address(), options, post)?;
        let next = worker.handle_open(context, index, key, begun);
        worker.follow(context, index, next);
        check_later(worker, context, index, worker.timeout());
        Ok(())
    }

    fn find(context: &mut Context, key: DatagramKey) -> Option<Datagram<'_>> {
        context.datagram(key)
    }

    fn context<'s>(datagram: &'s mut Datagram<'_>) -> &'s mut Context {
        datagram.context()
    }

    fn send(datagram: &mut Datagram<'_>, message: &[u8]) -> bool {
        datagram.send(message)
    }
}

/// Looks later for messages that have waited too long. There is one timer for a channel, which is set anew when it fires.
fn check_later(worker: &Rc<Worker<Exchange>>, context: &mut Context, index: u32, after: Duration) {
    let worker = Rc::clone(worker);
    context.defer(after.max(CHECK_GAP), move |context| {
        if !worker.is_needed(index) {
            return;
        }
        let timeout = worker.timeout();
        let mut pool = worker.pool.borrow_mut();
        let next = pool.give_up(index, timeout, context);
        drop(pool);
        let left = worker.waited(index).map_or(timeout, |waited| timeout.saturating_sub(waited));
        worker.follow(context, index, next);
        check_later(&worker, context, index, left);
    });
}

impl Pool<Exchange> {
    /// A datagram has come.
    fn hear(&mut self, index: u32, datagram: &mut Datagram<'_>, data: &[u8]) -> Next {
        if self.is_over() {
            return Next::Nothing;
        }
        let now = self.now();
        let Self { seats, tally, span, .. } = self;
        tally.bytes_in += data.len() as u64;
        match seats[index as usize].talk.handle_datagram(data) {
            Heard::Reply(reply) => tally.record(reply, now, span),
            Heard::Short(stamp) => {
                tally.failures.add(Kind::Short, 1, 0, || Some(format!("an answer of {} bytes", data.len())));
                tally.record_given_up(stamp, now, span);
            }
            Heard::Late => return Next::Nothing,
            Heard::Duplicate => {
                tally.failures.add(Kind::Duplicate, 1, 0, || Some(format!("{} bytes came again", data.len())));
                return Next::Nothing;
            }
            Heard::Stranger => {
                let detail = || Some(format!("{} bytes that answer no message", data.len()));
                tally.failures.add(Kind::Corrupt, 1, 0, detail);
                return Next::Nothing;
            }
        }
        self.go_on(index, datagram, now, 1)
    }

    /// The kernel has refused a message, or has heard that one was refused. All that is in flight fails with it then, since it
    /// does not say which.
    fn handle_error(&mut self, index: u32, error: &EngineError) -> Next {
        if self.is_over() {
            return Next::Nothing;
        }
        let now = self.now();
        let Self { seats, tally, .. } = self;
        let talk = &mut seats[index as usize].talk;
        let mut failed = talk.take_refused();
        let kind = match error {
            EngineError::Send { source, .. } => Kind::of(source),
            EngineError::Receive { source, .. } => {
                talk.give_up(u64::MAX, |_| failed += 1);
                Kind::of(source)
            }
            EngineError::Truncated { .. } => {
                failed += 1;
                Kind::Corrupt
            }
            _ => Kind::Other,
        };
        tally.failures.add(kind, failed as u64, 0, || Some(error.to_string()));
        self.next_of(index, now)
    }

    /// Gives up what has waited for `timeout`, and goes on with other messages.
    fn give_up(&mut self, index: u32, timeout: Duration, context: &mut Context) -> Next {
        if !self.is_running() {
            return Next::Nothing;
        }
        let now = self.now();
        let Some(sent) = now.checked_sub(timeout.as_nanos() as u64) else { return Next::Nothing };
        let Self { seats, tally, span, .. } = self;
        let mut given_up = 0;
        seats[index as usize].talk.give_up(sent, |stamp| {
            given_up += 1;
            tally.record_given_up(stamp, now, span);
        });
        if given_up == 0 {
            return Next::Nothing;
        }
        tally.failures.add(Kind::Timeout, given_up as u64, 0, || None);
        match self.speak(index, context) {
            Next::Think(_) => Next::Think(given_up),
            next => next,
        }
    }

    /// A channel sends nothing for now, or it does again.
    fn hold(&mut self, index: u32, held: bool) {
        self.seats[index as usize].talk.hold(held);
    }
}
