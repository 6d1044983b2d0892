//! What happens when a peer does not read: reading stops, memory stays bounded, and the cap ends the connection.

mod support;

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use pants_engine::{CloseReason, Connection, ConnectionOptions, Handler, Overflow, ServerOptions};
use support::*;

const MIB: usize = 1024 * 1024;
const READ_BUFFER: usize = 64 * 1024;

fn options(connection: ConnectionOptions) -> ServerOptions {
    ServerOptions { connection, ..ServerOptions::default() }
}

/// An echo that tells how much is queued after each read.
struct Measured(Sender<usize>);

impl Handler for Measured {
    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        connection.write(data);
        self.0.send(connection.queued_bytes()).unwrap();
    }
}

/// Writes without reading until nothing more goes; gives how much went.
fn fill(client: &mut TcpStream) -> usize {
    client.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let piece = [3; READ_BUFFER];
    let mut total = 0;
    loop {
        match client.write(&piece) {
            Ok(count) => total += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return total,
            Err(error) => panic!("{error}"),
        }
    }
}

fn most(queued: &Receiver<usize>) -> usize {
    queued.try_iter().max().unwrap_or(0)
}

#[test]
fn a_peer_that_never_reads_is_not_read_either_and_costs_bounded_memory() {
    let (tell, told) = channel();
    let high = 100_000;
    let connection =
        ConnectionOptions { write_high_water: high, write_low_water: 10_000, ..ConnectionOptions::default() };
    let (running, address) = Running::serve_with(options(connection), move || Measured(tell.clone()));
    let mut client = client(address);
    let sent = fill(&mut client);
    let queued = most(&told);
    assert!(queued > high, "the mark was passed: {queued}");
    assert!(queued <= high + READ_BUFFER, "{queued} bytes are more than the mark and one read");
    let stats = running.stats();
    assert!((stats.bytes_in as usize) < sent, "some of what was sent waits in the kernel");
    // Nothing is lost of it when the peer reads at last.
    assert_eq!(receive(&mut client, sent), vec![3; sent]);
    client.set_write_timeout(Some(PATIENCE)).unwrap();
    assert_echoes(&mut client, b"and on it goes");
}

#[test]
fn reading_goes_on_below_the_low_mark_and_not_before() {
    let (tell, told) = channel();
    let connection =
        ConnectionOptions { write_high_water: 4 * MIB, write_low_water: 1, ..ConnectionOptions::default() };
    let (running, address) = Running::serve_with(options(connection), move || Measured(tell.clone()));
    let mut client = client(address);
    let sent = fill(&mut client);
    assert!(most(&told) > 4 * MIB);
    let before = running.stats().bytes_in;
    // A megabyte fewer is far from the low mark.
    receive(&mut client, MIB);
    assert_eq!(running.stats().bytes_in, before);
    receive(&mut client, sent - MIB);
    assert_eq!(running.stats().bytes_in, sent as u64);
}

#[test]
fn without_auto_pause_the_cap_is_told_and_ends_the_connection() {
    let (handler, seen) = recorder(|connection, event| match event {
        Event::Read(data) => {
            connection.write(data);
        }
        Event::Overflow(Overflow::Write) => assert!(!connection.write(b"x"), "an overflown connection takes nothing"),
        _ => {}
    });
    let connection = ConnectionOptions {
        auto_pause: false,
        write_cap: MIB,
        write_high_water: MIB,
        write_low_water: 1,
        ..ConnectionOptions::default()
    };
    let (running, address) = Running::serve_with(options(connection), handler);
    let mut client = client(address);
    let piece = [4; READ_BUFFER];
    while client.write_all(&piece).is_ok() {}
    assert_eq!(close_reason(&seen), CloseReason::Overflow);
    assert_eq!(running.stop().panics, 0);
}

#[test]
fn the_overflow_error_comes_once_and_before_the_close() {
    let (handler, seen) = recorder(|connection, event| {
        if matches!(event, Event::Read(_)) {
            let piece = vec![5; MIB];
            let taken = (0..64).take_while(|_| connection.write(&piece)).count();
            assert!((1..64).contains(&taken), "{taken} MiB were taken");
            assert!(!connection.write(b"x"));
        }
    });
    let connection = ConnectionOptions { write_cap: 2 * MIB, ..ConnectionOptions::default() };
    let (running, address) = Running::serve_with(options(connection), handler);
    let mut client = client(address);
    client.write_all(b"go").unwrap();
    // Before the client reads anything, which would make room.
    let events = up_to(&seen, |event| matches!(event, Event::Close(_)));
    assert!(ends_with_reset(&mut client));
    let last = [Event::Read(b"go".to_vec()), Event::Overflow(Overflow::Write), Event::Close(CloseReason::Overflow)];
    assert_eq!(events, [&[Event::Connect], &last[..]].concat());
    assert_eq!(running.stop().panics, 0);
}

#[test]
fn a_write_larger_than_the_cap_is_refused_as_a_whole() {
    let (handler, seen) = recorder(|connection, event| {
        if matches!(event, Event::Read(_)) {
            assert!(!connection.write(&vec![0; 17 * MIB]));
        }
    });
    let (running, address) = Running::serve(handler);
    let mut client = client(address);
    client.write_all(b"go").unwrap();
    assert!(ends_with_reset(&mut client));
    assert_eq!(close_reason(&seen), CloseReason::Overflow);
    assert_eq!(running.stats().bytes_out, 0);
}

#[test]
fn a_writer_that_waits_for_on_write_never_queues_more_than_a_piece() {
    const PIECES: usize = 64;
    struct Produces(usize, usize);
    impl Produces {
        fn next(&mut self, connection: &mut Connection<'_>) {
            assert_eq!(connection.queued_bytes(), 0);
            if self.0 == PIECES {
                return connection.close();
            }
            self.0 += 1;
            assert!(connection.write(&[self.0 as u8; 300_000]));
        }
    }
    impl Handler for Produces {
        fn on_connect(&mut self, connection: &mut Connection<'_>) {
            self.next(connection);
        }
        fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {}
        fn on_write(&mut self, connection: &mut Connection<'_>) {
            self.1 += 1;
            assert_eq!(self.0, self.1, "it comes once for each piece");
            self.next(connection);
        }
    }
    let (running, address) = Running::serve(|| Produces(0, 0));
    let mut client = client(address);
    for piece in 1..=PIECES {
        assert!(receive(&mut client, 300_000).iter().all(|byte| *byte == piece as u8));
    }
    assert_eq!(receive_all(&mut client), b"");
    assert_eq!(running.stats().panics, 0);
}

/// Writes much at once, before it reads anything; then it closes with its peer.
struct Pushes(Sender<CloseReason>, usize);

const PUSHED: usize = 12 * MIB;

impl Handler for Pushes {
    fn on_connect(&mut self, connection: &mut Connection<'_>) {
        assert!(connection.write(&vec![6; PUSHED]));
    }

    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        self.1 += data.len();
        if self.1 == PUSHED {
            connection.close();
        }
    }

    fn on_close(&mut self, _connection: &mut Connection<'_>, reason: CloseReason) {
        assert!(reason != CloseReason::Finished || self.1 == PUSHED);
        self.0.send(reason).unwrap();
    }
}

/// A server and a client that both write first, the client pausing on congestion or not; how both end.
fn push_both(auto_pause: bool) -> [CloseReason; 2] {
    let (tell, told) = channel();
    let stall =
        ConnectionOptions { write_stall_timeout: Some(Duration::from_millis(300)), ..ConnectionOptions::default() };
    let (_running, ()) = Running::start(move |engine| {
        let client = Pushes(tell.clone(), 0);
        let (_, address) = listen(engine, options(stall.clone()), move || Pushes(tell.clone(), 0));
        let lenient = ConnectionOptions { auto_pause, write_stall_timeout: None, ..stall };
        engine.context().connect_with(address, lenient, client).unwrap();
    });
    [next(&told), next(&told)]
}

#[test]
fn two_peers_that_both_write_first_need_one_that_goes_on_reading() {
    assert_eq!(push_both(false), [CloseReason::Finished; 2]);
}

#[test]
fn two_peers_that_both_wait_for_the_other_are_parted_by_the_stall_timeout() {
    assert_eq!(push_both(true), [CloseReason::WriteStalled, CloseReason::Reset]);
}
