//! What meets a full lane and waits: in order, bounded, told of room even to a sleeper, and not lost at the stop.

mod support;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use pants_shard::{Bus, SendError, Shard, ShardId};

use crate::support::*;

/// More than a lane holds.
const MANY: usize = 5000;

/// Holds a shard up, inside a message to it, until what this returns is used or dropped.
fn hold_up(shard: &mut Shard<'_>, which: ShardId) -> Sender<()> {
    let (release, released) = channel::<()>();
    let (here, is_here) = channel();
    let work = move |_shard: &mut Shard<'_>| {
        here.send(()).unwrap();
        let _ = released.recv_timeout(PATIENCE);
    };
    shard.bus().send(which, work).expect("the lane is empty");
    next(&is_here);
    release
}

/// Sends the numbers up to `count` to shard 1, which tells them.
fn send_numbers(bus: &Bus, count: usize, tell: &Sender<usize>) {
    for number in 0..count {
        let tell = tell.clone();
        bus.send(ONE, move |_| tell.send(number).unwrap()).expect("there is room in the overflow");
    }
}

/// What shard 0 tells of itself beside the numbers.
type Release = (Sender<()>, u64);

/// Two shards, one of which is held up and has [`MANY`] numbers coming; it goes on when the release is used.
fn hold_up_and_send() -> (Live, Receiver<usize>, Release) {
    let (tell, told) = channel();
    let (live, release) = start(2, move |shard, hand_out| {
        let release = hold_up(shard, ONE);
        let bus = shard.bus().with_overflow(MANY);
        send_numbers(&bus, MANY, &tell);
        hand_out.send((release, bus.overflowed())).unwrap();
    });
    let release = next(&release);
    (live, told, release)
}

#[test]
fn what_waits_arrives_in_order_though_its_sender_sleeps_meanwhile() {
    let (_live, told, (release, overflowed)) = hold_up_and_send();
    assert!((1..MANY as u64).contains(&overflowed), "{overflowed} had to wait");
    // By now shard 0 has nothing to do, and nobody but the lane's receiver to tell it of room.
    drop(release);
    assert_eq!(next_all(&told, MANY), (0..MANY).collect::<Vec<_>>());
}

#[test]
fn what_waits_when_the_runtime_stops_is_delivered() {
    let (live, told, (release, _)) = hold_up_and_send();
    live.running().stop();
    drop(release);
    live.join();
    assert_eq!(told.try_iter().collect::<Vec<_>>(), (0..MANY).collect::<Vec<_>>());
}

fn send_when_there_is_room(shard: &mut Shard<'_>, tell: &Sender<usize>, number: usize) {
    let (told, again) = (tell.clone(), tell.clone());
    if shard.bus().send(ONE, move |_| told.send(number).unwrap()).is_err() {
        shard.callback(move |shard| send_when_there_is_room(shard, &again, number));
    }
}

#[test]
fn nothing_overtakes_what_waits_and_its_bound_holds() {
    let (_live, told) = start(2, |shard, tell| {
        let release = hold_up(shard, ONE);
        let (bus, patient) = (shard.bus(), shard.bus().with_overflow(2));
        while bus.send(ONE, |_| {}).is_ok() {}
        send_numbers(&patient, 2, &tell);
        let full = |bus: &Bus| matches!(bus.send(ONE, |_| {}), Err(SendError::Full(_)));
        assert!(full(&patient) && full(&bus));
        assert!(!full(&shard.bus().with_overflow(3)), "the bound is each handle's own");
        assert_eq!(bus.overflowed(), 3);
        drop(release);
        // Shard 1 makes room at some time from here on, but what waits goes first.
        send_when_there_is_room(shard, &tell, 2);
    });
    assert_eq!(next_all(&told, 3), [0, 1, 2]);
}

#[test]
fn requests_timers_and_their_cancellations_wait_as_well() {
    let (live, told) = start(2, |shard, tell| {
        let release = hold_up(shard, ONE);
        let bus = shard.bus().with_overflow(MANY);
        let timer = bus.cycle(ONE, Duration::from_millis(1), |_| {}).expect("the lane is not full");
        while shard.bus().send(ONE, |_| {}).is_ok() {}
        let (asked, set) = (tell.clone(), tell);
        bus.request(ONE, |one| one.id(), move |_, answer| asked.send(answer.unwrap()).unwrap()).expect("it waits");
        bus.defer(ONE, Duration::ZERO, move |one| set.send(one.id()).unwrap()).expect("it waits");
        timer.cancel();
        assert_eq!(bus.overflowed(), 3);
        drop(release);
    });
    assert_eq!(next_all(&told, 2), [ONE, ONE]);
    assert_eq!(live.stop().shards[1].timers_pending, 0);
}

#[test]
fn a_lane_whose_last_messages_panic_still_tells_of_room() {
    hush();
    let (_live, told) = start(2, |shard, tell| {
        let release = hold_up(shard, ONE);
        while shard.bus().send(ONE, |_| panic!("{ON_PURPOSE}")).is_ok() {}
        send_numbers(&shard.bus().with_overflow(1), 1, &tell);
        shard.callback(move |_| drop(release));
    });
    assert_eq!(next(&told), 0);
}

#[test]
fn a_shard_that_fails_keeps_nobody_waiting_for_room() {
    /// A panic that goes on when it is over, which is more than an engine contains.
    struct Relentless;
    impl Drop for Relentless {
        fn drop(&mut self) {
            panic!("{ON_PURPOSE}");
        }
    }
    hush();
    let running = pants_shard::Runtime::new(shards(2).build().unwrap()).unwrap().start(|shard| {
        if shard.id() == ZERO {
            shard.callback(|shard| {
                let release = hold_up(shard, ONE);
                let bus = shard.bus().with_overflow(MANY);
                bus.send(ONE, |_| std::panic::resume_unwind(Box::new(Relentless))).expect("the lane is not full");
                for _ in 0..MANY {
                    bus.send(ONE, |_| {}).expect("it waits");
                }
                drop(release);
            });
        }
        Ok(())
    });
    let running = running.unwrap();
    let error = in_time(|| running.join()).unwrap_err();
    assert!(error.to_string().starts_with("shard-1: "), "{error}");
}
