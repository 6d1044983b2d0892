//! Connections: what is written and read, in which order, in what amounts, and half-closed.

mod support;

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::time::Duration;

use pants_engine::{CloseReason, Connection, Engine, Handler, ServerOptions};
use support::*;

const MIB: usize = 1024 * 1024;

#[test]
fn what_on_connect_writes_is_sent() {
    let (handler, seen) = recorder(|connection, event| {
        if *event == Event::Connect {
            assert!(connection.write(b"welcome"));
        }
    });
    let (_running, address) = Running::serve(handler);
    assert_eq!(receive(&mut client(address), 7), b"welcome");
    assert_eq!(up_to(&seen, |event| *event == Event::Write), [Event::Connect, Event::Write]);
}

#[test]
fn many_small_writes_of_one_callback_leave_in_order_and_in_few_calls() {
    const COUNT: u32 = 20_000;
    let (handler, _seen) = recorder(|connection, event| {
        if matches!(event, Event::Read(_)) {
            for number in 0..COUNT {
                assert!(connection.write(&number.to_le_bytes()));
            }
        }
    });
    let (running, address) = Running::serve(handler);
    let mut client = client(address);
    client.write_all(b"go").unwrap();
    let expected: Vec<u8> = (0..COUNT).flat_map(u32::to_le_bytes).collect();
    assert_eq!(receive(&mut client, expected.len()), expected);
    // 80 KB in pieces of at most 16 KiB, and some room for a kernel that takes less at once.
    assert!(running.stats().writes <= 20);
}

#[test]
fn small_and_large_writes_of_one_callback_keep_their_order() {
    let (handler, _seen) = recorder(|connection, event| {
        if matches!(event, Event::Read(_)) {
            for size in [1, 3, MIB, 5, 20_000, 16 * 1024, 7, 300_000] {
                assert!(connection.write(&Noise::bytes(size)));
            }
        }
    });
    let (_running, address) = Running::serve(handler);
    let mut client = client(address);
    client.write_all(b"go").unwrap();
    for size in [1, 3, MIB, 5, 20_000, 16 * 1024, 7, 300_000] {
        assert!(receive(&mut client, size) == Noise::bytes(size), "the piece of {size} bytes differs");
    }
}

#[test]
fn writes_from_outside_and_to_several_connections_by_turns_keep_their_order() {
    let (running, (server, address)) = Running::start(|engine| listen(engine, ServerOptions::default(), || Echo));
    let mut clients = [client(address), client(address), client(address)];
    for client in &mut clients {
        assert_echoes(client, b"x");
    }
    running.ask(move |context| {
        for round in 0..1000_u32 {
            for key in context.connections(server) {
                assert!(context.connection(key).unwrap().write(&round.to_le_bytes()));
            }
        }
    });
    let expected: Vec<u8> = (0..1000).flat_map(u32::to_le_bytes).collect();
    for client in &mut clients {
        assert_eq!(receive(client, expected.len()), expected);
    }
}

#[test]
fn sixty_four_mebibytes_come_back_as_they_were() {
    const TOTAL: usize = 64 * MIB;
    let (running, address) = Running::serve(|| Echo);
    let mut client = client(address);
    let mut writing = client.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        let (mut noise, mut piece) = (Noise(1), vec![0; MIB]);
        for _ in 0..TOTAL / MIB {
            noise.fill(&mut piece);
            writing.write_all(&piece).unwrap();
        }
        writing.shutdown(Shutdown::Write).unwrap();
    });
    let (mut noise, mut expected, mut piece) = (Noise(1), vec![0; MIB], vec![0; MIB]);
    for at in 0..TOTAL / MIB {
        noise.fill(&mut expected);
        client.read_exact(&mut piece).unwrap();
        assert!(piece == expected, "mebibyte {at} differs");
    }
    assert_eq!(client.read(&mut piece).unwrap(), 0);
    writer.join().unwrap();
    let stats = running.stop();
    assert_eq!((stats.bytes_in, stats.bytes_out), (TOTAL as u64, TOTAL as u64));
}

#[test]
fn a_client_that_half_closes_still_gets_the_whole_large_reply() {
    let (handler, seen) = recorder(|connection, event| match event {
        Event::Read(_) => assert!(connection.write(&Noise::bytes(8 * MIB))),
        other => close_when_asked(connection, other),
    });
    let (_running, address) = Running::serve(handler);
    let mut client = client(address);
    client.write_all(b"go").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    // FIN is there while most of the reply is queued, and must not cut it short.
    assert!(receive_all(&mut client) == Noise::bytes(8 * MIB));
    assert_eq!(close_reason(&seen), CloseReason::Finished);
}

#[test]
fn a_handler_with_its_own_on_end_goes_on_writing_after_the_peers_end() {
    let (handler, seen) = recorder(|connection, event| {
        if *event == Event::End {
            let key = connection.key();
            connection.write(b"one ");
            let rest = move |context: &mut pants_engine::Context| {
                let mut connection = context.connection(key).expect("it is open still");
                assert!(connection.write(b"two"));
                connection.close();
            };
            connection.context().defer(Duration::from_millis(20), rest);
        }
    });
    let (_running, address) = Running::serve(handler);
    let mut client = client(address);
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(receive_all(&mut client), b"one two");
    assert_eq!(close_reason(&seen), CloseReason::Finished);
}

#[test]
fn after_shutdown_write_the_peers_data_is_still_read_and_its_end_finishes() {
    let (handler, seen) = recorder(|connection, event| match event {
        Event::Connect => {
            connection.write(b"bye");
            connection.shutdown_write();
            assert!(!connection.write(b"too late"));
        }
        other => close_when_asked(connection, other),
    });
    let (_running, address) = Running::serve(handler);
    let mut client = client(address);
    assert_eq!(receive_all(&mut client), b"bye");
    client.write_all(b"still here").unwrap();
    let read = up_to(&seen, |event| matches!(event, Event::Read(_)));
    assert_eq!(read.last(), Some(&Event::Read(b"still here".to_vec())));
    drop(client);
    assert_eq!(up_to(&seen, |event| *event == Event::End), [Event::End]);
    assert_eq!(next(&seen), Event::Close(CloseReason::Finished));
}

#[test]
fn a_write_after_close_is_refused_in_every_callback() {
    let (handler, seen) = recorder(|connection, event| match event {
        Event::Read(_) => {
            assert!(connection.write(b"last"));
            connection.close();
            assert!(!connection.write(b"no"));
        }
        Event::Close(_) => assert!(!connection.write(b"no")),
        _ => {}
    });
    let (running, address) = Running::serve(handler);
    let mut client = client(address);
    client.write_all(b"x").unwrap();
    assert_eq!(receive_all(&mut client), b"last");
    drop(client);
    assert_eq!(close_reason(&seen), CloseReason::Finished);
    assert_eq!(running.stats().panics, 0);
}

#[test]
fn pause_reading_stops_the_loop_at_once_and_a_timer_resumes_it_with_the_end() {
    /// Reads one piece at a time, resting in between.
    struct Sips(Rc<Cell<bool>>, std::sync::mpsc::Sender<Option<Vec<u8>>>);
    impl Handler for Sips {
        fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
            assert!(!self.0.replace(true), "it was read while paused");
            self.1.send(Some(data.to_vec())).unwrap();
            connection.pause_reading();
            let (key, paused) = (connection.key(), Rc::clone(&self.0));
            connection.context().defer(Duration::from_millis(1), move |context| {
                paused.set(false);
                context.connection(key).unwrap().resume_reading();
            });
        }
        fn on_end(&mut self, connection: &mut Connection<'_>) {
            assert!(!self.0.get(), "it was ended while paused");
            self.1.send(None).unwrap();
            connection.close();
        }
    }
    let (tell, told) = channel();
    let (running, address) = Running::serve(move || Sips(Rc::default(), tell.clone()));
    let mut client = client(address);
    // Many times the read buffer, so that there is a loop to stop; and all of it with FIN before the first rest is over.
    let sent = Noise::bytes(MIB);
    client.write_all(&sent).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut received = Vec::new();
    while let Some(piece) = next(&told) {
        received.extend(piece);
    }
    assert!(received == sent);
    assert_eq!(receive_all(&mut client), b"");
    assert_eq!(running.stats().panics, 0);
}

#[test]
fn urgent_data_does_not_stall_the_stream() {
    let (running, address) = Running::serve(|| Echo);
    let mut client = client(address);
    for round in 0..20 {
        // In three sends, so that the mark comes between them; and, every other time, with the engine at rest.
        client.write_all(b"before").unwrap();
        if round % 2 == 0 {
            assert_eq!(receive(&mut client, 6), b"before");
        }
        assert_eq!(rustix::net::send(&client, b"!", rustix::net::SendFlags::OOB).unwrap(), 1);
        client.write_all(b"after").unwrap();
        if round % 2 == 1 {
            assert_eq!(receive(&mut client, 6), b"before");
        }
        assert_eq!(receive(&mut client, 5), b"after");
    }
    assert_echoes(&mut client, &Noise::bytes(200_000));
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(receive_all(&mut client), b"");
    assert_eq!(running.stop().connections_closed, 1);
}

#[test]
fn a_stale_key_reaches_nothing_even_when_its_slot_is_used_again() {
    let mut engine = Engine::new().unwrap();
    let (server, address) = listen(&mut engine, ServerOptions::default(), || Silent);
    let mut stale = Vec::new();
    for round in 0..5 {
        let client = client(address);
        turn_until(&mut engine, |engine| engine.context().stats().connections_accepted == round + 1);
        let context = engine.context();
        let [key] = context.connections(server)[..] else { panic!("there is one connection") };
        assert!(context.connection(key).is_some() && !stale.contains(&key));
        assert!(stale.iter().all(|old| context.connection(*old).is_none()));
        stale.push(key);
        drop(client);
        turn_until(&mut engine, |engine| engine.context().stats().connections_open == 0);
    }
    assert!(stale.iter().all(|old| engine.context().connection(*old).is_none()));
}

#[test]
fn queued_bytes_counts_what_the_kernel_has_not_taken() {
    struct Watches(std::sync::mpsc::Sender<(usize, usize)>);
    impl Handler for Watches {
        fn on_read(&mut self, connection: &mut Connection<'_>, _data: &[u8]) {
            connection.write(b"abc");
            let small = connection.queued_bytes();
            connection.write(&vec![0; 12 * MIB]);
            self.0.send((small, connection.queued_bytes())).unwrap();
        }
        fn on_write(&mut self, connection: &mut Connection<'_>) {
            self.0.send((connection.queued_bytes(), 0)).unwrap();
        }
    }
    let (tell, told) = channel();
    let (_running, address) = Running::serve(move || Watches(tell.clone()));
    let mut client: TcpStream = client(address);
    client.write_all(b"x").unwrap();
    let (small, large) = next(&told);
    assert_eq!(small, 3);
    assert!(large > 0 && large < 12 * MIB + 3, "the kernel takes some and not all: {large}");
    receive(&mut client, 12 * MIB + 3);
    assert_eq!(next(&told), (0, 0));
}
