//! Writing: slices, files, packed values, flushing, and what the water marks tell.

mod support;

use std::fs::File;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use pants_engine::zerocopy::{Immutable, IntoBytes, big_endian::U16, big_endian::U32};
use pants_engine::{CloseReason, Connection, ConnectionOptions, Handler, ServerOptions};
use support::*;

const MIB: usize = 1024 * 1024;

/// A file of this test's own that has no name any more.
fn scratch(contents: &[u8]) -> File {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("pants-writing-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let path: PathBuf = std::env::temp_dir().join(name);
    let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    file.write_all_at(contents, 0).unwrap();
    file
}

fn with_connection(connection: ConnectionOptions) -> ServerOptions {
    ServerOptions { connection, ..ServerOptions::default() }
}

/// A server that does this at every read, and closes when its peer has ended.
fn on_read<F>(act: F) -> (Running, SocketAddr, Receiver<Event>)
where
    F: FnMut(&mut Connection<'_>) + Clone + Send + 'static,
{
    on_read_with(ConnectionOptions::default(), act)
}

fn on_read_with<F>(options: ConnectionOptions, mut act: F) -> (Running, SocketAddr, Receiver<Event>)
where
    F: FnMut(&mut Connection<'_>) + Clone + Send + 'static,
{
    let (handler, seen) = recorder_with(move |connection, event| match event {
        Event::Read(_) => act(connection),
        other => close_when_asked(connection, other),
    });
    let (running, address) = Running::serve_with(with_connection(options), handler);
    (running, address, seen)
}

fn ask(address: SocketAddr) -> TcpStream {
    let mut client = client(address);
    client.write_all(b"go").unwrap();
    client
}

#[test]
fn small_slices_leave_in_one_send_with_the_writes_around_them() {
    let (running, address, _seen) = on_read(|connection| {
        assert!(connection.write(b"one "));
        assert!(connection.write_vectored(&[b"two ".as_slice(), b"", b"three "].map(IoSlice::new)));
        assert!(connection.write_vectored(&[]));
        assert!(connection.write(b"four"));
        assert_eq!(connection.queued_bytes(), 18);
    });
    assert_eq!(receive(&mut ask(address), 18), b"one two three four");
    assert_eq!(running.stats().writes, 1);
}

#[test]
fn large_slices_leave_in_one_call_and_in_their_order() {
    let (running, address, _seen) = on_read(|connection| {
        let pieces = [Noise::bytes(20_000), Noise::bytes(30_000)];
        assert!(connection.write(b"before"));
        assert!(connection.write_vectored(&[IoSlice::new(&pieces[0]), IoSlice::new(&[]), IoSlice::new(&pieces[1])]));
        assert!(connection.write(b"after"));
    });
    let expected = [b"before".as_slice(), &Noise::bytes(20_000), &Noise::bytes(30_000), b"after"].concat();
    assert!(receive(&mut ask(address), expected.len()) == expected);
    assert_eq!(running.stats().writes, 3);
}

#[test]
fn more_slices_than_one_call_takes_arrive_whole() {
    // 1,024 is the kernel's bound (IOV_MAX).
    const SLICES: usize = 3000;
    let (_running, address, _seen) = on_read(|connection| {
        let bytes = Noise::bytes(SLICES * 7);
        let slices: Vec<IoSlice<'_>> = bytes.chunks(7).map(IoSlice::new).collect();
        assert!(connection.write_vectored(&slices));
    });
    assert!(receive(&mut ask(address), SLICES * 7) == Noise::bytes(SLICES * 7));
}

#[test]
fn slices_that_the_kernel_takes_in_part_arrive_whole_and_in_order() {
    // Two writes: the second finds the first queued. Slices of many sizes, so that the cut falls anywhere.
    let (running, address, seen) = on_read(|connection| {
        for _ in 0..2 {
            let bytes = Noise::bytes(7 * MIB);
            let (mut rest, mut slices, mut size) = (&bytes[..], Vec::new(), 1);
            while !rest.is_empty() {
                let (slice, behind) = rest.split_at(size.min(rest.len()));
                slices.push(IoSlice::new(slice));
                (rest, size) = (behind, (size * 3 + 1) % 200_003);
            }
            assert!(slices.len() > 64);
            assert!(connection.write_vectored(&slices));
        }
        assert!(connection.queued_bytes() > 0, "the kernel took it all: this tests nothing");
        assert!(connection.write(b"end"));
    });
    let mut client = ask(address);
    // Nothing is read before all is written, so that the kernel cannot take it all.
    while next(&seen) != Event::Read(b"go".to_vec()) {}
    for _ in 0..2 {
        assert!(receive(&mut client, 7 * MIB) == Noise::bytes(7 * MIB));
    }
    assert_eq!(receive(&mut client, 3), b"end");
    assert_eq!(running.stats().panics, 0);
}

#[test]
fn slices_past_the_cap_are_refused_as_a_whole() {
    let options = ConnectionOptions { write_cap: MIB, ..ConnectionOptions::default() };
    let (running, address, seen) = on_read_with(options, |connection| {
        let half = vec![0; MIB / 2];
        let slices = [IoSlice::new(&half), IoSlice::new(&half), IoSlice::new(b"x")];
        assert!(!connection.write_vectored(&slices));
        assert!(!connection.write_vectored(&slices[2..]) && !connection.write_vectored(&[]));
    });
    let mut client = ask(address);
    assert!(ends_with_reset(&mut client));
    assert_eq!(close_reason(&seen), CloseReason::Overflow);
    assert_eq!((running.stats().bytes_out, running.stats().panics), (0, 0));
}

#[test]
fn writing_nothing_before_the_connection_is_made_is_no_write() {
    let listener = std::net::TcpListener::bind(ANY_PORT).unwrap();
    let address = listener.local_addr().unwrap();
    let (handler, seen) = recorder(|_, _| {});
    let (running, key) = Running::start(move |engine| {
        let key = engine.connect(address, handler()).unwrap();
        assert!(engine.context().connection(key).unwrap().write_vectored(&[]));
        key
    });
    assert_eq!(next(&seen), Event::Connect);
    running.ask(move |context| context.connection(key).unwrap().abort());
    assert_eq!(next(&seen), Event::Close(CloseReason::Aborted));
}

#[test]
fn packed_values_are_written_as_they_lie_in_memory() {
    #[derive(IntoBytes, Immutable)]
    #[zerocopy(crate = "pants_engine::zerocopy")]
    #[repr(C)]
    struct Header {
        kind: U16,
        flags: [u8; 2],
        length: U32,
    }
    let (running, address, _seen) = on_read(|connection| {
        assert!(connection.write_packed(&Header { kind: 258.into(), flags: [3, 4], length: 5.into() }));
        assert!(connection.write_packed(&[7_u8, 8][..]));
    });
    assert_eq!(receive(&mut ask(address), 10), [1, 2, 3, 4, 0, 0, 0, 5, 7, 8]);
    assert_eq!(running.stats().writes, 1);
}

#[test]
fn flush_sends_what_was_written_before_the_callback_returns() {
    let (answer, answered) = channel::<()>();
    let answered = Arc::new(std::sync::Mutex::new(answered));
    let (_running, address, _seen) = on_read(move |connection| {
        connection.write(b"early ");
        connection.flush();
        // The peer has it, and says so, while this callback still runs.
        answered.lock().unwrap().recv_timeout(PATIENCE).expect("the peer has the bytes");
        connection.write(b"late");
        connection.flush();
        connection.flush();
    });
    let mut client = ask(address);
    assert_eq!(receive(&mut client, 6), b"early ");
    answer.send(()).unwrap();
    assert_eq!(receive(&mut client, 4), b"late");
}

#[test]
fn a_file_is_sent_in_its_place_among_other_writes() {
    let file = Arc::new(scratch(b"0123456789"));
    let (_running, address, _seen) = on_read(move |connection| {
        assert!(connection.write(b"before "));
        assert!(connection.write_file(Arc::clone(&file), 0, 10));
        assert!(connection.write(b" between "));
        assert!(connection.write_file(Arc::clone(&file), 3, 4));
        assert!(connection.write_file(Arc::clone(&file), 5, 0));
        assert!(connection.write_vectored(&[b" after".as_slice(), b"."].map(IoSlice::new)));
        assert_eq!(connection.queued_bytes(), 30);
        connection.close();
    });
    assert_eq!(receive_all(&mut ask(address)), b"before 0123456789 between 3456 after.");
}

#[test]
fn a_file_of_no_length_is_no_write() {
    let (handler, seen) = recorder(|connection, event| match event {
        Event::Connect => assert!(connection.write_file(File::open("/dev/null").unwrap(), 0, 0)),
        other => close_when_asked(connection, other),
    });
    let (_running, address) = Running::serve(handler);
    drop(client(address));
    let expected = [Event::Connect, Event::End, Event::Close(CloseReason::Finished)];
    assert_eq!(up_to(&seen, |event| matches!(event, Event::Close(_))), expected);
}

#[test]
fn on_write_comes_once_when_files_and_all_have_left() {
    let file = Arc::new(scratch(&Noise::bytes(12 * MIB)));
    let (running, address, seen) = on_read(move |connection| {
        connection.write(b"head");
        assert!(connection.write_file(Arc::clone(&file), 0, 12 << 20));
        assert_eq!(connection.queued_bytes(), 12 * MIB);
    });
    let mut client = ask(address);
    up_to(&seen, |event| matches!(event, Event::Read(_)));
    running.stats();
    assert_eq!(seen.try_iter().count(), 0, "most of it has not left");
    assert_eq!(receive(&mut client, 4), b"head");
    assert!(receive(&mut client, 12 * MIB) == Noise::bytes(12 * MIB));
    assert_eq!(next(&seen), Event::Write);
    drop(client);
    assert_eq!(next(&seen), Event::End);
}

#[test]
fn one_file_is_shared_by_many_connections_whose_peers_are_slow() {
    const SIZE: usize = 3 * MIB + 17;
    let file = Arc::new(scratch(&Noise::bytes(SIZE)));
    let (_running, address, _seen) = on_read(move |connection| {
        assert!(connection.write_file(Arc::clone(&file), 0, SIZE as u64));
        connection.close();
    });
    let mut clients: Vec<TcpStream> = (0..10).map(|_| ask(address)).collect();
    let mut received = vec![Vec::new(); clients.len()];
    // A little of each in turn, so that all of them are in the middle at once.
    while received.iter().any(|bytes| bytes.len() < SIZE) {
        for (client, bytes) in clients.iter_mut().zip(&mut received) {
            let piece = (SIZE - bytes.len()).min(200_000);
            bytes.extend(receive(client, piece));
        }
    }
    let expected = Noise::bytes(SIZE);
    assert!(received.iter().all(|bytes| *bytes == expected));
    assert!(clients.iter_mut().all(|client| receive_all(client).is_empty()));
}

#[test]
fn a_file_that_is_cut_short_meanwhile_ends_the_connection_with_a_reset() {
    let file = Arc::new(scratch(&vec![1; 16 * MIB]));
    let sent = Arc::clone(&file);
    let (_running, address, seen) = on_read(move |connection| {
        assert!(connection.write_file(Arc::clone(&sent), 0, 16 << 20));
        connection.write(b"behind it");
    });
    let mut client = ask(address);
    up_to(&seen, |event| matches!(event, Event::Read(_)));
    file.set_len(1).unwrap();
    assert!(ends_with_reset(&mut client));
    let failed = ErrorKind::UnexpectedEof;
    assert_eq!([next(&seen), next(&seen)], [Event::Failure(failed), Event::Close(CloseReason::Failed(failed))]);
}

#[test]
fn a_file_that_was_promised_longer_than_it_is_ends_the_connection_with_a_reset() {
    let file = Arc::new(scratch(b"short"));
    let (_running, address, seen) = on_read(move |connection| {
        assert!(connection.write_file(Arc::clone(&file), 0, i64::MAX as u64));
        connection.close();
    });
    let mut client = ask(address);
    assert_eq!(close_reason(&seen), CloseReason::Failed(ErrorKind::UnexpectedEof));
    assert!(ends_with_reset(&mut client));
}

#[test]
fn what_cannot_be_read_as_a_file_is_told_and_ends_the_connection() {
    let directory = Arc::new(File::open("/").unwrap());
    let (running, address, seen) = on_read(move |connection| {
        connection.write_file(Arc::clone(&directory), 0, 10);
    });
    let mut client = ask(address);
    assert!(ends_with_reset(&mut client));
    let events = up_to(&seen, |event| matches!(event, Event::Close(_)));
    let [.., Event::Failure(told), Event::Close(CloseReason::Failed(reason))] = events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((told, running.stats().panics), (reason, 0));
}

#[test]
fn a_piece_beyond_four_gibibytes_is_found() {
    let far = (5 << 30) + 7;
    let file = scratch(b"");
    // Sparse: it takes one block.
    file.write_all_at(b"far away", far).unwrap();
    let file = Arc::new(file);
    let (_running, address, _seen) = on_read(move |connection| {
        assert!(connection.write_file(Arc::clone(&file), far - 2, 10));
        connection.close();
    });
    assert_eq!(receive_all(&mut ask(address)), b"\0\0far away");
}

#[test]
fn a_file_is_sent_before_the_connection_is_made_and_after_the_peers_end() {
    let listener = std::net::TcpListener::bind(ANY_PORT).unwrap();
    let address = listener.local_addr().unwrap();
    let file = Arc::new(scratch(b"file"));
    let (handler, _seen) = recorder(|_, _| {});
    let (_running, ()) = Running::start(move |engine| {
        let key = engine.connect(address, handler()).unwrap();
        let mut connection = engine.context().connection(key).unwrap();
        assert!(connection.write(b"a ") && connection.write_file(file, 0, 4) && connection.write(b" z"));
        connection.close();
        assert!(!connection.write_file(File::open("/dev/null").unwrap(), 0, 1));
    });
    let (mut server, _) = listener.accept().unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    server.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(receive_all(&mut server), b"a file z");
}

/// What a [`Marked`] handler is told of, with the bytes that are queued then.
#[derive(Debug, PartialEq, Eq)]
enum Mark {
    Congested(usize),
    Drained(usize),
    Written,
}

/// Writes much when it is read to, and again so often when it is told that the queue is down.
struct Marked {
    again: u32,
    within: bool,
    told: Sender<Mark>,
}

const HIGH: usize = MIB;
const LOW: usize = 64 * 1024;

impl Marked {
    fn produce(&mut self, connection: &mut Connection<'_>) {
        // In pieces: only one of them passes the mark.
        self.within = true;
        (0..12).for_each(|_| assert!(connection.write(&vec![0; MIB])));
        self.within = false;
    }

    fn tell(&self, mark: Mark) {
        assert!(!self.within, "callbacks do not nest");
        self.told.send(mark).unwrap();
    }
}

impl Handler for Marked {
    fn on_read(&mut self, connection: &mut Connection<'_>, _data: &[u8]) {
        self.produce(connection);
    }

    fn on_write(&mut self, _connection: &mut Connection<'_>) {
        self.tell(Mark::Written);
    }

    fn on_congested(&mut self, connection: &mut Connection<'_>) {
        self.tell(Mark::Congested(connection.queued_bytes()));
    }

    fn on_drained(&mut self, connection: &mut Connection<'_>) {
        self.tell(Mark::Drained(connection.queued_bytes()));
        if self.again > 0 {
            self.again -= 1;
            self.produce(connection);
        }
    }
}

#[test]
fn each_crossing_of_the_marks_is_told_once() {
    for auto_pause in [true, false] {
        let (told, marks) = channel();
        let options =
            ConnectionOptions { auto_pause, write_high_water: HIGH, write_low_water: LOW, ..Default::default() };
        let (running, address) = Running::serve_with(with_connection(options), move || Marked {
            again: 2,
            within: false,
            told: told.clone(),
        });
        let mut client = ask(address);
        for _ in 0..3 {
            let first = next(&marks);
            assert!(matches!(first, Mark::Congested(queued) if queued > HIGH), "{first:?}, auto_pause: {auto_pause}");
            assert!(marks.try_recv().is_err(), "the peer has taken nothing since");
            receive(&mut client, 12 * MIB);
            let second = next(&marks);
            assert!(matches!(second, Mark::Drained(queued) if queued <= LOW), "{second:?}, auto_pause: {auto_pause}");
        }
        assert_eq!(next(&marks), Mark::Written);
        assert_eq!(running.stats().panics, 0);
    }
}

#[test]
fn files_do_not_pass_the_marks() {
    let (told, marks) = channel();
    struct Sends(Arc<File>, Sender<Mark>);
    impl Handler for Sends {
        fn on_read(&mut self, connection: &mut Connection<'_>, _data: &[u8]) {
            assert!(connection.write_file(Arc::clone(&self.0), 0, 12 << 20));
        }
        fn on_write(&mut self, _connection: &mut Connection<'_>) {
            self.1.send(Mark::Written).unwrap();
        }
        fn on_congested(&mut self, connection: &mut Connection<'_>) {
            self.1.send(Mark::Congested(connection.queued_bytes())).unwrap();
        }
    }
    let file = Arc::new(scratch(&vec![0; 12 * MIB]));
    let (_running, address) = Running::serve(move || Sends(Arc::clone(&file), told.clone()));
    receive(&mut ask(address), 12 * MIB);
    assert_eq!(next(&marks), Mark::Written);
}

#[test]
fn congestion_before_the_connection_is_made_is_told_after_it() {
    struct Tells(Sender<&'static str>);
    impl Handler for Tells {
        fn on_connect(&mut self, _connection: &mut Connection<'_>) {
            self.0.send("connect").unwrap();
        }
        fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {}
        fn on_congested(&mut self, _connection: &mut Connection<'_>) {
            self.0.send("congested").unwrap();
        }
    }
    let (tell, told) = channel();
    // Its name takes some turns to be resolved, in which its timer fires.
    let listener = std::net::TcpListener::bind(ANY_PORT).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (_running, ()) = Running::start(move |engine| {
        let timer = tell.clone();
        let key = engine.connect(("localhost", port), Tells(tell)).unwrap();
        let mut connection = engine.context().connection(key).unwrap();
        assert!(connection.write(&vec![0; 8 * MIB]));
        connection.defer(Duration::ZERO, move |_: &mut Tells, _| timer.send("timer").unwrap());
    });
    assert_eq!([(); 3].map(|()| next(&told)), ["timer", "connect", "congested"]);
    drop(listener);
}

#[test]
fn the_engines_own_pause_does_not_count_as_the_peers_silence() {
    let timeout = Duration::from_millis(200);
    let options = ConnectionOptions { read_timeout: Some(timeout), ..ConnectionOptions::default() };
    let (_running, address, seen) = on_read_with(options, |connection| {
        assert!(connection.write(&vec![0; 12 * MIB]));
    });
    let mut client = ask(address);
    up_to(&seen, |event| matches!(event, Event::Read(_)));
    // It takes nothing, and can say nothing that would be read, for longer than the timeout.
    let begun = Instant::now();
    while begun.elapsed() < 2 * timeout {
        std::thread::sleep(timeout / 10);
    }
    receive(&mut client, 12 * MIB);
    let resumed = Instant::now();
    assert_eq!(next(&seen), Event::Write);
    assert_eq!(next(&seen), Event::Close(CloseReason::ReadTimeout));
    assert!(resumed.elapsed() >= timeout / 2, "it was not waited for: {:?}", resumed.elapsed());
    assert_eq!(client.read(&mut [0; 1]).unwrap_or(0), 0);
}

#[test]
fn no_file_ends_past_what_a_file_can_be_and_no_sum_of_them_overflows() {
    let file = Arc::new(scratch(b"short"));
    let (handler, seen) = recorder_with(move |connection: &mut Connection<'_>, event: &Event| {
        // Not at once: the reset would meet a client that still connects.
        if matches!(event, Event::Read(_)) {
            assert!(!connection.write_file(Arc::clone(&file), 0, u64::MAX));
            assert!(!connection.write_file(Arc::clone(&file), 1, i64::MAX as u64));
            assert!(connection.write_file(Arc::clone(&file), 0, i64::MAX as u64));
            assert!(!connection.write_file(Arc::clone(&file), 0, i64::MAX as u64), "the queue cannot count both");
            assert_eq!(connection.queued_bytes(), i64::MAX as usize);
        }
    });
    let (_running, address) = Running::serve(handler);
    let _client = ask(address);
    assert_eq!(close_reason(&seen), CloseReason::Failed(ErrorKind::UnexpectedEof));
}

/// Sends a file for every byte that it is sent, and tells when that is too much for the peer.
struct Files(Arc<File>, Sender<()>);

impl Handler for Files {
    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        for _ in data {
            connection.write(b"header");
            connection.write_file(Arc::clone(&self.0), 0, 256 * 1024);
        }
    }

    fn on_congested(&mut self, _connection: &mut Connection<'_>) {
        self.1.send(()).unwrap();
    }
}

#[test]
fn files_that_nobody_takes_congest_the_queue() {
    let file = Arc::new(scratch(&[7; 256 * 1024]));
    let (tell, told) = channel();
    let (_running, address) = Running::serve(move || Files(Arc::clone(&file), tell.clone()));
    let mut client = client(address);
    // What they hold is 200 times 4 KiB, past the mark of 256 KiB, though no bytes of theirs are in memory.
    client.write_all(&[b'x'; 200]).unwrap();
    next(&told);
}
