//! pants-chat as a program: who hears what, who is called what, and what ends.

mod support;

use std::time::Instant;

use crate::support::chat::*;
use crate::support::*;

#[test]
fn everybody_in_a_room_hears_each_speaker_in_order_and_nobody_else_does() {
    const SPEAKERS: usize = 12;
    const LINES: usize = 50;
    let server = start(&[]);
    let mut guests: Vec<Guest> = (0..SPEAKERS).map(|_| Guest::connect(server.address)).collect();
    let mut others: Vec<Guest> = (0..6).map(|_| Guest::connect(server.address)).collect();
    guests.iter_mut().for_each(|guest| guest.join("rust"));
    for number in 0..LINES {
        for guest in &mut guests {
            guest.send(&number.to_string());
        }
    }
    let nicks: Vec<String> = guests.iter().map(|guest| guest.nick.clone()).collect();
    for guest in &mut guests {
        let mut heard = vec![0; SPEAKERS];
        for _ in 0..SPEAKERS * LINES {
            let line = guest.next_said();
            let (nick, number) = line[1..].split_once("> ").unwrap();
            let speaker = nicks.iter().position(|other| other == nick).unwrap();
            assert_eq!(number, heard[speaker].to_string(), "{nick} was not heard in order");
            heard[speaker] += 1;
        }
        assert_eq!(heard, [LINES; SPEAKERS]);
    }
    let last = format!("<{}> in the lobby", others[0].nick);
    others[0].send("in the lobby");
    for other in &mut others {
        assert_eq!(other.next_said(), last);
    }
    // Nor did they in the room.
    guests[0].send("still here");
    for guest in &mut guests {
        assert_eq!(guest.next_said(), format!("<{}> still here", nicks[0]));
    }
}

#[test]
fn of_fifty_who_ask_for_one_name_at_once_one_gets_it_until_it_leaves() {
    let server = start(&[]);
    let mut guests: Vec<Guest> = (0..50).map(|_| Guest::connect(server.address)).collect();
    guests.iter_mut().for_each(|guest| guest.send("/nick Bob"));
    let called: Vec<bool> = guests.iter_mut().map(|guest| guest.is_called("Bob")).collect();
    assert_eq!(called.iter().filter(|&&is| is).count(), 1);
    let bob = guests.swap_remove(called.iter().position(|&is| is).unwrap());
    assert!(!guests[0].takes("BOB"), "case makes it another name");
    bob.reset();
    guests[0].wait_for("-- Bob has left");
    let limit = Instant::now() + PATIENCE;
    while !guests[1].takes("bob") {
        assert!(Instant::now() < limit, "the name is never free again");
    }
}

#[test]
fn a_name_asked_for_by_one_who_has_gone_is_free_again() {
    let server = start(&[]);
    let mut guest = Guest::connect(server.address);
    for _ in 0..30 {
        let mut hasty = Guest::connect(server.address);
        hasty.send("/nick bob");
        hasty.reset();
    }
    let limit = Instant::now() + PATIENCE;
    while !guest.takes("bob") {
        assert!(Instant::now() < limit, "the name is never free again");
    }
}

#[test]
fn a_member_may_change_its_name_and_its_old_one_is_free() {
    let server = start(&[]);
    let (mut one, mut two) = (Guest::connect(server.address), Guest::connect(server.address));
    assert!(one.takes("ann"));
    one.nick = "ann".to_owned();
    // What follows in the same packet is said under the new name.
    one.send("/nick Ann\n/nick anna\nhello");
    two.wait_for("-- ann is now Ann");
    two.wait_for("-- Ann is now anna");
    assert_eq!(two.next_said(), "<anna> hello");
    let limit = Instant::now() + PATIENCE;
    while !two.takes("ann") {
        assert!(Instant::now() < limit, "the old name is never free again");
    }
}

#[test]
fn those_who_vanish_are_told_of_and_gone_from_every_list() {
    let server = start(&[]);
    let mut left = Guest::connect(server.address);
    left.join("rust");
    let mut others: Vec<Guest> = (0..10).map(|_| Guest::connect(server.address)).collect();
    for other in &mut others {
        other.join("rust");
        left.wait_for(&format!("-- {} has come", other.nick));
    }
    left.send("/who");
    assert!(left.next().starts_with("-- in rust (11): guest-"));
    let mut nicks: Vec<String> = others.iter().map(|other| other.nick.clone()).collect();
    for (index, other) in others.into_iter().enumerate() {
        // Some with a reset, some with FIN.
        if index % 2 == 0 { other.reset() } else { drop(other) }
    }
    while !nicks.is_empty() {
        let line = left.next();
        let gone = nicks.iter().position(|nick| line == format!("-- {nick} has left"));
        nicks.swap_remove(gone.unwrap_or_else(|| panic!("{line}")));
    }
    left.send("/who\n/rooms\n/leave\n/leave\n/rooms");
    for answer in [
        format!("-- in rust (1): {}", left.nick),
        "-- rooms: rust (1)".to_owned(),
        "-- you are in lobby".to_owned(),
        "-- you are in lobby already".to_owned(),
        "-- rooms: lobby (1)".to_owned(),
    ] {
        assert_eq!(left.next(), answer);
    }
}

#[test]
fn a_line_that_is_too_long_ends_only_its_speaker_and_no_terminal_is_moved() {
    let server = start(&[]);
    let mut guest = Guest::connect(server.address);
    let mut speaker = Guest::connect(server.address);
    let longest = "x".repeat(510);
    speaker.send(&format!("{longest}\r"));
    assert_eq!(guest.next_said(), format!("<{}> {longest}", speaker.nick));
    speaker.send_bytes(b"a\x1b]0;title\x07\x9b2Jb\xff\n");
    assert_eq!(guest.next_said(), format!("<{}> a]0;title\u{fffd}2Jb\u{fffd}", speaker.nick));
    speaker.send("/me waves");
    guest.wait_for(&format!("* {} waves", speaker.nick));
    speaker.send(&format!("{longest}xx"));
    speaker.wait_for("-- that line is too long: 512 bytes at most");
    assert_eq!(speaker.try_next(), None);
    guest.wait_for(&format!("-- {} has left", speaker.nick));
}

#[test]
fn quitting_is_answered_and_told_at_once() {
    let server = start(&[]);
    let (mut guest, mut quitter) = (Guest::connect(server.address), Guest::connect(server.address));
    quitter.send("/dance\n/quit\nnot heard");
    quitter.wait_for("-- there is no /dance; /help lists the commands");
    assert_eq!((quitter.next(), quitter.try_next()), ("-- goodbye".to_owned(), None));
    // The quitter has not closed its end yet.
    guest.wait_for(&format!("-- {} has left", quitter.nick));
    drop(quitter);
}

#[test]
fn a_drain_says_goodbye_to_everybody() {
    let server = start(&[]);
    let mut guests: Vec<Guest> = (0..20).map(|_| Guest::connect(server.address)).collect();
    assert!(guests[0].takes("ann"));
    let goodbyes = std::thread::spawn(move || {
        for mut guest in guests.drain(..) {
            guest.wait_for("-- the server ends; goodbye");
            assert_eq!(guest.try_next(), None);
        }
    });
    let ended = server.stop();
    assert_eq!(ended.code, Some(0));
    assert_eq!(ended.errors, ["pants-chat: draining for at most 10s; a second signal ends it at once"]);
    assert!(ended.output.last().unwrap().starts_with("drained: 20 connections, "), "{ended:?}");
    goodbyes.join().unwrap();
}
