//! What callbacks relay to other connections within one batch of events: it is held and leaves together, in order, whole, and
//! before anything else that is asked of the connection that gets it.

mod support;

use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use pants_engine::{CloseReason, Connection, ConnectionKey, ConnectionOptions, Engine, Handler};
use support::*;

/// What a member does about what has come to it, with the keys of all.
type Act = fn(&mut Connection<'_>, &[ConnectionKey], &[u8]);

struct Member {
    keys: Rc<RefCell<Vec<ConnectionKey>>>,
    act: Act,
}

impl Handler for Member {
    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        (self.act)(connection, &self.keys.borrow(), data);
    }

    fn on_close(&mut self, _connection: &mut Connection<'_>, _reason: CloseReason) {}
}

/// An engine that this thread turns, and the other ends of its connections.
struct Party {
    engine: Engine,
    peers: Vec<UnixStream>,
}

impl Party {
    fn new(count: usize, act: Act) -> Self {
        Self::with_options(count, ConnectionOptions::default(), act)
    }

    fn with_options(count: usize, options: ConnectionOptions, act: Act) -> Self {
        let mut engine = Engine::new().unwrap();
        let keys = Rc::<RefCell<Vec<_>>>::default();
        let peers = (0..count).map(|_| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            theirs.set_nonblocking(true).unwrap();
            let member = Member { keys: Rc::clone(&keys), act };
            let key = engine.context().adopt_connection(ours.into(), options.clone(), member).unwrap();
            // As it does by itself once something has left: its messages take the short way from the first on.
            engine.context().connection(key).unwrap().ignore_on_write(true);
            keys.borrow_mut().push(key);
            theirs
        });
        let peers = peers.collect();
        engine.poll(Some(Duration::ZERO)).unwrap();
        Self { engine, peers }
    }

    fn say(&mut self, who: usize, what: &[u8]) {
        self.peers[who].write_all(what).unwrap();
    }

    /// One turn, in which all that was said is one batch.
    fn turn(&mut self) {
        self.engine.poll(Some(Duration::ZERO)).unwrap();
    }

    /// What has come to this one so far.
    fn heard(&mut self, who: usize) -> Vec<u8> {
        let mut heard = Vec::new();
        match self.peers[who].read_to_end(&mut heard) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        heard
    }

    fn writes(&mut self) -> u64 {
        self.engine.context().stats().writes
    }
}

/// What member `who` says about `count` bytes.
fn message(who: usize, count: usize) -> Vec<u8> {
    (0..count).map(|index| (who * 31 + index * 7 + index / 256) as u8).collect()
}

#[test]
fn it_leaves_when_all_that_was_ready_has_been_received_each_message_by_itself_and_in_order() {
    let mut party = Party::new(6, |connection, keys, data| {
        // Nothing has left so far: it is all there to be counted.
        let queued = connection.context().connection(keys[0]).unwrap().queued_bytes();
        assert_eq!(queued, usize::from(data[0] - b'1') * 3);
        connection.relay(keys[0], data);
    });
    for who in 1..6 {
        party.say(who, format!("{who}ab").as_bytes());
    }
    party.turn();
    assert_eq!(party.heard(0), b"1ab2ab3ab4ab5ab");
    assert_eq!((party.writes(), party.engine.context().stats().panics), (5, 0));
}

#[test]
fn messages_of_any_length_arrive_whole_also_when_more_are_relayed_than_are_held_at_once() {
    // Up to and past what is copied, what a write to another connection copies, and what the short way takes.
    for count in [1, 1023, 1024, 1025, 4096, 4097, 16 * 1024, 16 * 1024 + 1] {
        let mut party = Party::new(80, |connection, keys, data| {
            let own = keys.iter().position(|key| *key == connection.key()).unwrap();
            assert!(connection.relay(keys[own + 40], data));
        });
        for round in 0..3 {
            for who in 0..40 {
                party.say(who, &message(who + round, count));
            }
            party.turn();
            for who in 0..40 {
                assert_eq!(party.heard(who + 40), message(who + round, count), "{count} bytes of member {who}");
            }
        }
        assert_eq!(party.writes(), 120, "{count} bytes");
    }
}

#[test]
fn a_message_beside_those_held_for_others_leaves_in_its_place() {
    let mut party = Party::new(3, |connection, keys, data| match data[0] {
        b'a' => assert!(connection.relay(keys[0], data)),
        b'b' => assert!(connection.context().connection(keys[0]).unwrap().write(data)),
        b'c' => assert!(connection.context().connection(keys[0]).unwrap().write_shared(&data.into())),
        b'd' => {
            let slices = [b"d".as_slice(), b"d"].map(std::io::IoSlice::new);
            assert!(connection.context().connection(keys[0]).unwrap().write_vectored(&slices));
        }
        b'e' => {
            connection.relay(keys[0], data);
            connection.relay(keys[0], b"f");
            connection.write(b"own");
        }
        _ => panic!("{ON_PURPOSE}"),
    });
    let mut expected = Vec::new();
    for (first, second) in [("a", "b"), ("b", "a"), ("a", "c"), ("a", "dd"), ("b", "c"), ("a", "e"), ("e", "a")] {
        party.say(1, first.as_bytes());
        party.say(2, second.as_bytes());
        party.turn();
        expected.extend(format!("{first}{second}").replace('e', "ef").bytes());
    }
    // Long ones, that are not copied, among short ones.
    for (first, second) in [(b'a', b'b'), (b'b', b'a'), (b'a', b'a')] {
        for (length_of_first, length_of_second) in [(10_000, 10_000), (10_000, 1), (1, 10_000)] {
            let (first, second) = (vec![first; length_of_first], vec![second; length_of_second]);
            party.say(1, &first);
            party.say(2, &second);
            party.turn();
            expected.extend([first, second].concat());
        }
    }
    party.turn();
    assert!(party.heard(0) == expected);
    assert_eq!((party.heard(2), party.heard(1)), (b"own".to_vec(), b"own".to_vec()));
}

#[test]
fn what_is_asked_of_a_connection_comes_behind_what_is_held_for_it() {
    let acts: [(Act, bool); 5] = [
        (
            |connection, keys, _| {
                let mut other = connection.context().connection(keys[0]).unwrap();
                other.pause_reading();
                assert_eq!(other.queued_bytes(), 0, "it has not left");
            },
            false,
        ),
        (|connection, keys, _| connection.context().connection(keys[0]).unwrap().close(), true),
        (|connection, keys, _| connection.context().connection(keys[0]).unwrap().shutdown_write(), true),
        (|connection, keys, _| connection.context().connection(keys[0]).unwrap().flush(), false),
        (|connection, _, _| connection.context().stop(), false),
    ];
    for (index, (act, ends)) in acts.into_iter().enumerate() {
        thread_local!(static ACT: RefCell<Option<Act>> = const { RefCell::new(None) });
        ACT.set(Some(act));
        let mut party = Party::new(3, |connection, keys, data| match data {
            b"ask" => ACT.with_borrow(|act| act.unwrap()(connection, keys, data)),
            _ => assert!(connection.relay(keys[0], data)),
        });
        party.say(1, &message(1, 5000));
        party.say(2, b"ask");
        party.turn();
        assert!(party.heard(0) == message(1, 5000), "act {index}");
        assert_eq!(party.engine.context().stats().panics, 0);
        if ends {
            assert_eq!(party.peers[0].read(&mut [0]).unwrap(), 0);
        }
    }
}

#[test]
fn a_connection_that_has_something_held_answers_behind_it() {
    let mut party = Party::new(2, |connection, keys, data| {
        if connection.key() == keys[0] {
            connection.write(data);
        } else {
            connection.relay(keys[0], data);
        }
    });
    for length in [10, 5000] {
        party.say(1, &message(1, length));
        party.say(0, b"echo");
        party.turn();
        assert!(party.heard(0) == [message(1, length), b"echo".to_vec()].concat());
        // Its peer's reading is an event too, which must not come before the next one.
        party.turn();
    }
}

#[test]
fn an_echo_that_comes_to_ask_for_more_has_room_beside_what_is_held() {
    let mut party = Party::new(14, |connection, keys, data| {
        if data.len() < 5000 {
            connection.relay(keys[0], data);
        } else {
            connection.write(data);
            assert!(connection.queued_bytes() >= data.len());
            assert!(connection.context().stats().reads > 0);
        }
    });
    for who in 2..14 {
        party.say(who, &message(who, 900));
    }
    party.say(1, &message(1, 16 * 1024));
    party.turn();
    assert!(party.heard(1) == message(1, 16 * 1024));
    assert_eq!(party.heard(0).len(), 12 * 900);
}

#[test]
fn a_panic_takes_nothing_with_it_that_was_relayed_to_others() {
    hush();
    for length in [10, 5000] {
        let mut party = Party::new(4, |connection, keys, data| {
            assert!(connection.relay(keys[0], data));
            if connection.key() == keys[2] {
                panic!("{ON_PURPOSE}");
            }
        });
        for who in 1..4 {
            party.say(who, &message(who, length));
        }
        party.turn();
        assert!(party.heard(0) == [1, 2, 3].map(|who| message(who, length)).concat());
        assert_eq!(party.engine.context().stats().panics, 1);
    }
}

#[test]
fn it_is_refused_for_a_connection_that_has_closed_and_goes_back_to_one_that_relays_to_itself() {
    let mut party = Party::new(2, |connection, keys, data| match data {
        b"mine" => assert!(connection.relay(connection.key(), data)),
        _ => assert_eq!(connection.relay(keys[0], data), data == b"now"),
    });
    party.say(1, b"now");
    party.turn();
    assert_eq!(party.heard(0), b"now");
    party.peers[0] = UnixStream::pair().unwrap().0;
    party.turn();
    party.say(1, b"then");
    party.turn();
    party.say(1, b"mine");
    party.turn();
    assert_eq!(party.heard(1), b"mine");
    assert_eq!(party.engine.context().stats().panics, 0);
}

#[test]
fn what_the_kernel_does_not_take_is_queued_in_order_and_nothing_is_lost() {
    let mut party = Party::new(2, |connection, keys, data| {
        assert!(connection.relay(keys[0], data));
    });
    let piece = message(1, 16 * 1024);
    let mut heard = Vec::new();
    for _ in 0..200 {
        party.say(1, &piece);
        party.turn();
    }
    while heard.len() < 200 * piece.len() {
        let more = party.heard(0);
        assert!(!more.is_empty(), "it ended at {}", heard.len());
        heard.extend(more);
        party.turn();
    }
    assert!(heard == piece.repeat(200));
}

#[test]
fn what_is_held_counts_against_the_cap() {
    let options = ConnectionOptions {
        write_cap: 50_000,
        write_high_water: 40_000,
        write_low_water: 20_000,
        ..ConnectionOptions::default()
    };
    let mut party = Party::with_options(6, options, |connection, keys, data| {
        if data == b"look" {
            let most = connection.context().connection(keys[0]).map_or(0, |other| other.queued_bytes());
            assert!(most <= 50_000, "{most} bytes");
        } else {
            connection.relay(keys[0], data);
        }
    });
    for _ in 0..30 {
        for who in 1..5 {
            party.say(who, &message(who, 16_000));
        }
        party.say(5, b"look");
        party.turn();
    }
    let stats = party.engine.context().stats();
    assert_eq!((stats.panics, stats.connections_open), (0, 5), "the one that does not read ends by its cap");
}
