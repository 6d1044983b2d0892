//! What a message through a mailbox costs: no allocation, and no wake while its shard is awake. Alone in its process, because
//! it counts what the process's allocator and the kernel are asked for.

#[path = "../../pants-engine/tests/support/counting.rs"]
mod counting;
mod support;

use std::cell::OnceCell;
use std::fs;
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::time::Duration;

use counting::{IS_ENGINE, count};
use pants_shard::{Mailbox, Shard};

use crate::support::*;

/// Sixty-four bytes, the first eight of which say how often the message is still to be passed on.
type Ball = [u64; 8];

/// Messages of one throw.
const PASSES: u64 = 10_000;

/// Writes to the process's eventfds that nobody has read, as none is: what the shards were woken by.
fn wakes() -> u64 {
    let infos = fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
    let infos = infos.filter_map(|info| fs::read_to_string(info.path()).ok());
    let count = |info: String| {
        let count = info.lines().find_map(|line| line.strip_prefix("eventfd-count:").map(str::to_owned));
        count.map(|count| u64::from_str_radix(count.trim(), 16).unwrap())
    };
    infos.filter_map(count).sum()
}

/// Keeps a shard from ever sleeping.
fn keep_busy(shard: &mut Shard<'_>) {
    // A timer for the next turn leaves nothing of the sleep.
    shard.every_turn(|shard| {
        shard.callback(|_shard| {});
    });
}

#[test]
fn a_message_costs_no_allocation_and_none_to_an_awake_shard_a_wake() {
    let (tell, told) = channel();
    let live = Live::start(shards(2), move |shard| {
        IS_ENGINE.set(true);
        let tell = tell.clone();
        let mailbox = shard.state::<OnceCell<Mailbox<Ball>>>();
        let own = Rc::clone(&mailbox);
        let declared = shard.mailbox(move |_shard, from, mut ball: Ball| {
            if ball[0] == 0 {
                return tell.send(()).unwrap();
            }
            ball[0] -= 1;
            assert!(mailbox.get().unwrap().send(from, ball).is_ok());
        })?;
        assert!(own.set(declared).is_ok());
        Ok(())
    });
    let remote = live.running().remote();
    let throw = || {
        assert!(remote.send(ZERO, first_pass).is_ok());
        next(&told);
    };
    throw();
    // What is allocated besides is the answer to the test, at the end of a throw, and the work that begins it.
    let (allocations, asleep) = (count(throw), wakes());
    assert!(allocations < 10, "{allocations} allocations for {PASSES} messages");
    assert!(asleep > 0, "the counter counts");
    for shard in [ZERO, ONE] {
        let (awake, is_awake) = channel();
        let work = move |shard: &mut Shard<'_>| {
            keep_busy(shard);
            shard.defer(Duration::from_millis(1), move |_| awake.send(()).unwrap());
        };
        assert!(remote.send(shard, work).is_ok());
        next(&is_awake);
    }
    let before = wakes();
    throw();
    assert_eq!(wakes(), before, "nobody was asleep");
    live.stop();
}

/// Passes a ball from shard 0 to shard 1, and so on.
fn first_pass(zero: &mut Shard<'_>) {
    let mailbox = zero.state::<OnceCell<Mailbox<Ball>>>();
    assert!(mailbox.get().unwrap().send(ONE, [PASSES; 8]).is_ok());
}
