//! pants-chat when somebody is slow: a member, or a shard. Nobody waits for the one; for the other, those who speak do.

mod support;

use std::sync::mpsc::channel;

use pants_examples::chat;
use pants_shard::{Config, Runtime, ShardId, Shards};

use crate::support::chat::*;
use crate::support::*;

/// The process's memory, in KiB.
fn resident(server: &Server) -> usize {
    let field = status_field(&format!("/proc/{}", server.pid), "VmRSS");
    field.trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_member_that_does_not_read_misses_messages_and_nobody_else_does() {
    // 10 MB, of which the kernel takes up to 4 (tcp(7), `tcp_wmem`) while nobody reads.
    const LINES: usize = 20_000;
    const ROUND: usize = 100;
    let server = start(&[]);
    let mut talkers = [Guest::connect(server.address), Guest::connect(server.address)];
    let mut slow = Guest::connect(server.address);
    for talker in &mut talkers {
        talker.wait_for(&format!("-- {} has come", slow.nick));
    }
    let before = resident(&server);
    let text = "x".repeat(480);
    for round in 0..LINES / ROUND {
        let speaker = round % 2;
        let numbers = round * ROUND..(round + 1) * ROUND;
        let lines: String = numbers.clone().map(|number| format!("{text} {number}\n")).collect();
        talkers[speaker].send_bytes(lines.as_bytes());
        let nick = talkers[speaker].nick.clone();
        for talker in &mut talkers {
            for number in numbers.clone() {
                let line = talker.next_said();
                assert!(line == format!("<{nick}> {text} {number}"), "not what was said: {line}");
            }
        }
    }
    // What waits for the slow one is 256 KiB; the rest is the allocator's.
    let grown = resident(&server).saturating_sub(before);
    assert!(grown < 4096, "it has grown by {grown} KiB");

    // It may speak all the same.
    slow.send("am I late?");
    for talker in &mut talkers {
        assert_eq!(talker.next_said(), format!("<{}> am I late?", slow.nick));
    }
    let (mut heard, mut missed) = (0, 0);
    // Each speaker's next line has at least this number. Those of the two may come in another order than to the others.
    let mut least = [0; 2];
    while heard + missed <= LINES {
        let line = slow.next();
        if let Some(count) = line.strip_prefix("-- you missed ") {
            missed += count.split(' ').next().unwrap().parse::<usize>().unwrap();
        } else if line.starts_with('<') {
            heard += 1;
            if let Some((_, number)) = line.split_once("x ") {
                let number: usize = number.parse().unwrap();
                let least = &mut least[number / ROUND % 2];
                assert!(number >= *least, "{number} came after {least}");
                *least = number + 1;
            }
        }
    }
    assert!((1..LINES).contains(&missed) && heard + missed == LINES + 1, "{missed} missed, {heard} heard");
    talkers[0].send("welcome back");
    assert_eq!(slow.next_said(), format!("<{}> welcome back", talkers[0].nick));
}

#[test]
fn a_shard_that_is_behind_holds_speakers_up_and_loses_nothing() {
    const LINES: usize = 3000;
    let config = Config::builder().shards("2".parse::<Shards>().unwrap()).pin(false).listen(ANY_PORT).build().unwrap();
    let running = Runtime::new(config).unwrap().start(chat::set_up).unwrap();
    let address = running.addresses()[0].socket_address().unwrap();
    let on = |shard| loop {
        let guest = Guest::connect(address);
        if guest.shard(2) == shard {
            return guest;
        }
    };
    let (mut speaker, mut neighbour, mut far) = (on(0), on(0), on(1));
    speaker.send("ready");
    for guest in [&mut speaker, &mut neighbour, &mut far] {
        assert!(guest.next_said().ends_with("> ready"));
    }

    let ((tell_blocked, blocked), (open, opened)) = (channel(), channel::<()>());
    let block = move |_: &mut pants_shard::Shard<'_>| {
        tell_blocked.send(()).unwrap();
        let _ = opened.recv_timeout(PATIENCE);
    };
    assert!(running.remote().send(ShardId::new(1), block).is_ok());
    blocked.recv_timeout(PATIENCE).unwrap();
    let lines: String = (0..LINES).map(|number| format!("{number}\n")).collect();
    speaker.send_bytes(lines.as_bytes());
    // The lane is full when the speaker is not heard any more; its neighbour's line, then, is not behind all of its lines.
    let said = |number: usize| format!("<{}> {number}", speaker.nick);
    for number in 0..1000 {
        assert_eq!(neighbour.next_said(), said(number));
    }
    neighbour.send("still there?");
    let before = (1000..LINES).take_while(|&number| neighbour.next_said() == said(number)).count();
    assert!(before < LINES - 1000, "the speaker was not held up");

    open.send(()).unwrap();
    let mut expected = 0;
    while expected < LINES {
        let line = far.next_said();
        if line != format!("<{}> still there?", neighbour.nick) {
            assert_eq!(line, said(expected));
            expected += 1;
        }
    }
    neighbour.wait_for(&said(LINES - 1));
    drop((speaker, neighbour, far));
    running.stop();
    running.join().unwrap();
}
