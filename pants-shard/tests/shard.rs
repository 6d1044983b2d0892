//! One shard, as set-up, timers and messages see it.

mod support;

use std::cell::Cell;
use std::io::{Read, Write};
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use pants_shard::{ConfigBuilder, Error, Result, ServerOptions, Shard, ShardId};

use crate::support::*;

/// Starts shards whose set-up has a way to tell the test what it sees.
fn start_telling<T: Send + 'static>(
    config: ConfigBuilder,
    set_up: impl Fn(&mut Shard<'_>, Sender<T>) -> Result<()> + Send + Sync + 'static,
) -> (Live, Receiver<T>) {
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let live = Live::start(config, move |shard| {
        let tell = tell.lock().unwrap().clone();
        set_up(shard, tell)
    });
    (live, told)
}

#[test]
fn a_shard_knows_its_place() {
    let (_live, told) = start_telling(shards(3).backlog(17), |shard, tell| {
        let seen = (shard.id(), shard.bus().shard(), shard.shards(), shard.config().backlog());
        tell.send(seen).unwrap();
        Ok(())
    });
    let expected = (0..3).map(ShardId::new).map(|id| (id, id, 3, 17));
    assert_eq!(next_all(&told, 3), expected.collect::<Vec<_>>());
}

#[test]
fn state_is_made_once_on_each_shard_and_found_by_messages_and_timers() {
    let (_live, told) = start_telling(shards(2), |shard, tell| {
        let id = shard.id().index();
        shard.state::<Cell<usize>>().set(10 * (id + 1));
        // Another type's state is another state.
        shard.state::<Cell<u8>>().set(7);
        let work = move |shard: &mut Shard<'_>| {
            shard.state::<Cell<usize>>().set(shard.state::<Cell<usize>>().get() + 1);
            shard.callback(move |shard| tell.send((id, shard.state::<Cell<usize>>().get())).unwrap());
        };
        shard.bus().send(shard.id(), work).expect("the lane is empty");
        Ok(())
    });
    let mut seen = next_all(&told, 2);
    seen.sort_unstable();
    assert_eq!(seen, [(0, 11), (1, 21)]);
}

#[test]
fn state_can_be_replaced_and_needs_no_default_then() {
    struct Users(&'static str);
    impl Default for Users {
        fn default() -> Self {
            Self("nobody")
        }
    }
    let (_live, told) = start_telling(shards(1), |shard, tell| {
        let before = shard.state::<Users>();
        shard.set_state(Rc::new(Users("everybody")));
        tell.send((before.0, shard.state::<Users>().0)).unwrap();
        Ok(())
    });
    assert_eq!(next(&told), ("nobody", "everybody"));
}

#[test]
fn every_timer_gets_its_shard() {
    let (_live, told) = start_telling(shards(2), |shard, tell| {
        let delay = Duration::from_millis(3);
        let tellers = [tell.clone(), tell.clone(), tell.clone(), tell.clone(), tell];
        let [a, b, c, d, e] = tellers.map(|tell| {
            move |name: &'static str, shard: &Shard<'_>| {
                // The test may have seen enough.
                let _ = tell.send((shard.id().index(), name));
            }
        });
        shard.callback(move |shard| a("callback", shard));
        shard.defer(delay, move |shard| b("defer", shard));
        shard.defer_until(Instant::now() + delay, move |shard| c("defer_until", shard));
        shard.cycle(delay, move |shard| d("cycle", shard))?;
        shard.every_turn(move |shard| e("every_turn", shard));
        Ok(())
    });
    let mut awaited: Vec<(usize, &str)> = (0..2)
        .flat_map(|id| ["callback", "defer", "defer_until", "cycle", "cycle", "every_turn"].map(|name| (id, name)))
        .collect();
    while !awaited.is_empty() {
        let seen = next(&told);
        if let Some(at) = awaited.iter().position(|awaited| *awaited == seen) {
            awaited.swap_remove(at);
        }
    }
}

#[test]
fn a_deferred_timer_waits_for_its_delay() {
    let delay = Duration::from_millis(30);
    let (_live, told) = start_telling(shards(1), move |shard, tell| {
        let begun = Instant::now();
        shard.defer(delay, move |_shard| tell.send(begun.elapsed()).unwrap());
        Ok(())
    });
    assert!(next(&told) >= delay);
}

#[test]
fn a_cycle_without_an_interval_is_an_error_of_its_shard() {
    let error = refusal(shards(2), |shard| shard.cycle(Duration::ZERO, |_shard| {}).map(drop));
    assert!(error.to_string().starts_with("shard-0: "), "{error}");
}

#[test]
fn a_cancelled_timer_does_not_fire() {
    let (_live, told) = start_telling(shards(1), |shard, tell| {
        let never = tell.clone();
        let timer = shard.defer(Duration::from_millis(1), move |_shard| never.send("cancelled").unwrap());
        assert!(shard.context().cancel(timer));
        shard.defer(Duration::from_millis(20), move |_shard| tell.send("kept").unwrap());
        Ok(())
    });
    assert_eq!(next(&told), "kept");
}

#[test]
fn listening_after_set_up_is_refused() {
    let (_live, told) = start_telling(shards(2), |shard, tell| {
        let by_message = tell.clone();
        shard.callback(move |shard| tell.send(shard.listen(ANY_PORT, |_peer| Echo)).unwrap());
        let work = move |shard: &mut Shard<'_>| by_message.send(shard.listen(ANY_PORT, |_peer| Echo)).unwrap();
        shard.bus().send(shard.id(), work).expect("the lane is empty");
        Ok(())
    });
    for result in next_all(&told, 4) {
        assert!(matches!(result, Err(Error::LateListen)), "{result:?}");
    }
}

#[test]
fn an_address_that_is_none_is_an_error_of_its_shard() {
    let error = refusal(shards(2), |shard| shard.listen("nowhere:to:go", |_peer| Echo).map(drop));
    let text = error.to_string();
    assert!(text.starts_with("shard-0: ") && text.contains("nowhere:to:go"), "{text}");
}

#[test]
fn a_server_takes_its_options_from_the_configuration() {
    let live = Live::echo(shards(1).idle_timeout(Some(Duration::from_millis(20))));
    let mut client = clients(live.address(), 1).remove(0);
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0, "the silent connection is closed");
}

#[test]
fn an_engine_takes_its_options_from_the_configuration() {
    let live = Live::echo(shards(1));
    assert_echoes(&mut client(live.address()), b"hello");
    assert_eq!(live.stop().shards[0].busy_polls, 0);

    let live = Live::echo(shards(1).busy_poll(Some(Duration::from_micros(50))));
    let mut client = client(live.address());
    let limit = Instant::now() + PATIENCE;
    // Where there is always work already, as on a busy machine, none is looked for.
    while live.running().metrics().shards.iter().all(|shard| shard.stats.busy_polls == 0) {
        assert_echoes(&mut client, b"hello");
        assert!(Instant::now() < limit, "it has never looked for work before it slept");
    }
}

#[test]
fn a_server_may_have_options_of_its_own() {
    let live = Live::start(shards(1).idle_timeout(Some(Duration::from_millis(20))), |shard| {
        let options = ServerOptions { max_connections: Some(1), ..ServerOptions::default() };
        shard.listen_with(ANY_PORT, options, |_peer| Echo).map(drop)
    });
    let mut first = clients(live.address(), 1).remove(0);
    let mut second = client(live.address());
    second.write_all(b"second").unwrap();
    // The second waits in the kernel; the first is served beyond the configuration's timeout.
    second.set_read_timeout(Some(Duration::from_millis(60))).unwrap();
    assert!(second.read(&mut [0; 8]).is_err(), "a second connection was accepted");
    assert_echoes(&mut first, b"first");
    drop(first);
    second.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(second.read(&mut [0; 8]).unwrap(), 6);
}
