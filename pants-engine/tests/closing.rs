//! How connections end: whoever closes first, in good order or by a reset, each is told once and for the right reason.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use pants_engine::{CloseReason, Connection, ServerOptions};
use support::*;

const MIB: usize = 1024 * 1024;

#[test]
fn closing_over_unread_input_does_not_destroy_the_reply() {
    let (handler, seen) = recorder(|connection, event| {
        if matches!(event, Event::Read(_)) {
            connection.write(&Noise::bytes(MIB));
            connection.close();
        }
    });
    let (_running, address) = Running::serve(handler);
    let mut client = client(address);
    // It reads only after it has sent everything, most of it to a server that has closed.
    client.write_all(&vec![1; 8 * MIB]).unwrap();
    let mut reply = Vec::new();
    client.read_to_end(&mut reply).unwrap();
    assert!(reply == Noise::bytes(MIB));
    let reads = up_to(&seen, |event| *event == Event::Write);
    assert_eq!(reads.iter().filter(|event| matches!(event, Event::Read(_))).count(), 1, "nothing is read after close");
    drop(client);
    assert_eq!(next(&seen), Event::Close(CloseReason::Finished));
}

#[test]
fn close_while_paused_discards_the_input_that_waits() {
    fn refuse(connection: &mut Connection<'_>) {
        connection.write(b"enough");
        connection.close();
    }
    const REST: Duration = Duration::from_millis(20);
    let (handler, seen) = recorder(|connection, event| match event {
        Event::Read(data) if data[0] == b'c' => {
            connection.pause_reading();
            let key = connection.key();
            connection.context().defer(REST, move |context| refuse(&mut context.connection(key).unwrap()));
        }
        Event::Read(_) => {
            connection.pause_reading();
            connection.defer(REST, |_: &mut Recorder, connection| refuse(connection));
        }
        _ => {}
    });
    let (_running, address) = Running::serve(handler);
    // From a timer of the context, and from one of the connection itself.
    for kind in [b'c', b'h'] {
        let mut client = client(address);
        // More than the kernel holds: unless the rest is discarded, this never ends.
        client.write_all(&vec![kind; 48 * MIB]).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(receive_all(&mut client), b"enough");
        assert_eq!(close_reason(&seen), CloseReason::Finished);
    }
}

#[test]
fn abort_resets_the_peer() {
    let (handler, seen) = recorder(|connection, event| {
        if matches!(event, Event::Read(_)) {
            connection.write(b"never mind");
            connection.abort();
        }
    });
    let (_running, address) = Running::serve(handler);
    let mut client = client(address);
    client.write_all(b"x").unwrap();
    assert!(ends_with_reset(&mut client));
    assert_eq!(close_reason(&seen), CloseReason::Aborted);
}

#[test]
fn a_peers_reset_while_much_is_queued_is_told_once() {
    let (handler, seen) = recorder(|connection, event| {
        if matches!(event, Event::Read(_) | Event::Write) {
            connection.write(&[7; 100_000]);
        }
    });
    let (running, address) = Running::serve(handler);
    for _ in 0..10 {
        let mut client = client(address);
        client.write_all(b"go").unwrap();
        receive(&mut client, MIB);
        reset(client);
        assert_eq!(close_reason(&seen), CloseReason::Reset);
    }
    assert_eq!(running.stop().connections_closed, 10);
    assert_eq!(closes(&seen), 0);
}

#[test]
fn a_reset_while_nothing_is_going_on_is_told_once() {
    let (handler, seen) = recorder(|_, _| {});
    let (running, address) = Running::serve(handler);
    let client = client(address);
    assert_eq!(next(&seen), Event::Connect);
    reset(client);
    assert_eq!(next(&seen), Event::Close(CloseReason::Reset));
    running.stop();
    assert_eq!(seen.try_iter().count(), 0);
}

#[test]
fn a_reset_while_reading_is_paused_closes_the_connection() {
    let (handler, seen) = recorder(|connection, event| {
        if *event == Event::Connect {
            connection.pause_reading();
        }
    });
    let (_running, address) = Running::serve(handler);
    for unread in [&b""[..], b"unread"] {
        let mut client = client(address);
        assert_eq!(next(&seen), Event::Connect);
        client.write_all(unread).unwrap();
        reset(client);
        assert_eq!(next(&seen), Event::Close(CloseReason::Reset));
    }
}

#[test]
fn a_reset_after_the_peers_end_is_no_second_end() {
    let (handler, seen) = recorder(|_, _| {});
    let (running, address) = Running::serve(handler);
    let client = client(address);
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(up_to(&seen, |event| *event == Event::End), [Event::Connect, Event::End]);
    reset(client);
    assert_eq!(next(&seen), Event::Close(CloseReason::Reset));
    running.stop();
    assert_eq!(seen.try_iter().count(), 0);
}

#[test]
fn a_peer_that_is_gone_shows_as_a_reset_on_the_next_write() {
    let (handler, seen) = recorder(|connection, event| {
        // Its whole descriptor is closed, so it answers what is written with RST.
        if matches!(event, Event::End | Event::Write) {
            connection.write(b"anyone there?");
        }
    });
    let (_running, address) = Running::serve(handler);
    drop(client(address));
    assert_eq!(close_reason(&seen), CloseReason::Reset);
}

/// Who closes a connection, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Nothing,
    Ends,
    Closes,
    Resets,
}

#[test]
fn whoever_closes_first_and_however_the_end_is_told_exactly_once() {
    const SIDES: [Side; 4] = [Side::Nothing, Side::Ends, Side::Closes, Side::Resets];
    // The client says what the server is to do, so that both act at about the same time.
    let (handler, seen) = recorder(|connection, event| match event {
        Event::Read(data) => match data[0] {
            b'e' => connection.shutdown_write(),
            b'c' => connection.close(),
            b'r' => connection.abort(),
            _ => {}
        },
        other => close_when_asked(connection, other),
    });
    let (running, address) = Running::serve(handler);
    let mut count = 0;
    for server in SIDES {
        for ours in SIDES {
            for waits in [false, true] {
                let mut client = client(address);
                let order: &[u8] = match server {
                    Side::Nothing => b"n",
                    Side::Ends => b"e",
                    Side::Closes => b"c",
                    Side::Resets => b"r",
                };
                client.write_all(order).unwrap();
                if waits && server != Side::Nothing {
                    let reset = ends_with_reset(&mut client);
                    assert_eq!(reset, server == Side::Resets);
                }
                act(client, ours);
                let reason = close_reason(&seen);
                let expected: &[CloseReason] = match (server, ours) {
                    (Side::Resets, Side::Resets) => &[CloseReason::Aborted, CloseReason::Reset],
                    (Side::Resets, _) => &[CloseReason::Aborted],
                    (_, Side::Resets) => &[CloseReason::Reset],
                    // Its FIN may be answered by RST, since its whole descriptor is closed.
                    _ => &[CloseReason::Finished],
                };
                assert!(expected.contains(&reason), "{server:?}, {ours:?}, {waits}: {reason:?}");
                count += 1;
            }
        }
    }
    let stats = running.stop();
    assert_eq!((stats.connections_closed, stats.connections_open), (count, 0));
    assert_eq!(closes(&seen), 0, "nothing is told twice");
}

/// Does the client's part, and goes.
fn act(mut client: TcpStream, side: Side) {
    match side {
        Side::Nothing | Side::Ends => {
            client.shutdown(Shutdown::Write).or_else(not_connected).unwrap();
            let _ = std::io::copy(&mut client, &mut std::io::sink());
        }
        Side::Closes => drop(client),
        Side::Resets => reset(client),
    }
}

/// A reset by the server has come first.
fn not_connected(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == ErrorKind::NotConnected { Ok(()) } else { Err(error) }
}

#[test]
fn stop_tells_every_connection_once() {
    let (handler, seen) = recorder(|_, _| {});
    let (running, address) = Running::serve_with(ServerOptions::default(), handler);
    let clients: Vec<TcpStream> = (0..5).map(|_| client(address)).collect();
    (0..5).for_each(|_| assert_eq!(next(&seen), Event::Connect));
    let stats = running.stop();
    assert_eq!(stats.connections_closed, 5);
    assert_eq!(seen.iter().collect::<Vec<_>>(), vec![Event::Close(CloseReason::Stopped); 5]);
    for mut client in clients {
        assert_eq!(receive_all(&mut client), b"");
    }
}

#[test]
fn a_client_that_has_reset_before_it_is_accepted_costs_nobody_else() {
    let (handler, seen) = recorder(|connection, event| match event {
        Event::Read(data) => assert!(connection.write(data)),
        other => close_when_asked(connection, other),
    });
    // All of them wait before the engine looks.
    let (running, (address, mut last)) = Running::start(move |engine| {
        let (_, address) = listen(engine, ServerOptions::default(), handler);
        (0..3).for_each(|_| reset(client(address)));
        (address, client(address))
    });
    assert_echoes(&mut last, b"in order");
    assert_echoes(&mut client(address), b"and after");
    drop(last);
    running.wait_until(|stats| stats.connections_open == 0);
    let stats = running.stop();
    assert_eq!((stats.connections_accepted + stats.accept_errors, stats.panics), (5, 0));
    let resets = seen.iter().filter(|event| *event == Event::Close(CloseReason::Reset)).count();
    assert_eq!(resets as u64 + stats.accept_errors, 3, "whichever the kernel tells");
}
