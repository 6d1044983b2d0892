//! Framing: each kind of delimiter over real connections, and what may happen between two frames of one read.

mod support;

use std::io::{ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::panic::panic_any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use pants_engine::zerocopy::{FromBytes, Immutable, KnownLayout, big_endian::U16};
use pants_engine::{
    CloseReason, Connection, ConnectionKey, ConnectionOptions, Delimiter, Frame, FrameError, Framer, Handler,
    LengthPrefix, Match, Overflow, ServerOptions,
};
use support::*;

/// How a client sends its bytes.
const AT_ONCE: usize = usize::MAX;
const BYTE_BY_BYTE: usize = 1;

fn send(client: &mut TcpStream, bytes: &[u8], piece: usize) {
    for piece in bytes.chunks(piece.min(bytes.len())) {
        client.write_all(piece).unwrap();
    }
}

/// The data of the next `count` frames.
fn frames(seen: &Receiver<Event>, count: usize) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while frames.len() < count {
        if let Event::Read(frame) = next(seen) {
            frames.push(frame);
        }
    }
    frames
}

fn with_connection(connection: ConnectionOptions) -> ServerOptions {
    ServerOptions { connection, ..ServerOptions::default() }
}

/// That `input` is cut into `expected` by this delimiter, however it comes.
#[track_caller]
fn assert_cut(delimiter: impl Fn() -> Delimiter + Clone + Send + 'static, input: &[u8], expected: &[&[u8]]) {
    let (handler, seen) = recorder_with(move |connection, event| {
        if *event == Event::Connect {
            connection.set_delimiter(delimiter());
        }
    });
    let (_running, address) = Running::serve(handler);
    for piece in [AT_ONCE, BYTE_BY_BYTE, 3] {
        let mut client = client(address);
        send(&mut client, input, piece);
        assert_eq!(frames(&seen, expected.len()), expected, "in pieces of {piece}");
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(next(&seen), Event::End, "in pieces of {piece}");
    }
}

#[test]
fn a_byte_string_ends_a_frame() {
    assert_cut(|| "\n".into(), b"one\n\ntwo\nrest", &[b"one", b"", b"two"]);
    assert_cut(|| "\r\n".into(), b"one\r\n\r\r\ntwo\r\n\r", &[b"one", b"\r", b"two"]);
    assert_cut(|| b"--end--".into(), b"a--end----end--b--en--end--", &[b"a", b"", b"b--en"]);
}

#[test]
fn a_number_is_the_length_of_a_frame() {
    assert_cut(|| 4.into(), b"abcdefghij", &[b"abcd", b"efgh"]);
}

#[test]
fn every_length_prefix_announces_its_frame() {
    type Header = fn(usize) -> Vec<u8>;
    let kinds: [(LengthPrefix, Header); 7] = [
        (LengthPrefix::u8(), |length| vec![length as u8]),
        (LengthPrefix::u16_be(), |length| (length as u16).to_be_bytes().into()),
        (LengthPrefix::u16_le(), |length| (length as u16).to_le_bytes().into()),
        (LengthPrefix::u32_be(), |length| (length as u32).to_be_bytes().into()),
        (LengthPrefix::u32_le(), |length| (length as u32).to_le_bytes().into()),
        (LengthPrefix::u64_be(), |length| (length as u64).to_be_bytes().into()),
        (LengthPrefix::u64_le(), |length| (length as u64).to_le_bytes().into()),
    ];
    let long = [b'l'; 200];
    for (prefix, header) in kinds {
        let input = [&header(3)[..], b"one", &header(0), &header(200), &long, &header(1)].concat();
        assert_cut(move || prefix.into(), &input, &[b"one", b"", &long]);
    }
}

#[test]
fn a_type_of_fixed_layout_is_a_frame() {
    #[derive(FromBytes, KnownLayout, Immutable)]
    #[zerocopy(crate = "pants_engine::zerocopy")]
    #[repr(C)]
    struct Reading {
        sensor: U16,
        value: U16,
    }
    struct Sums(u32, Sender<(u16, u32)>);
    impl Handler for Sums {
        fn on_connect(&mut self, connection: &mut Connection<'_>) {
            connection.set_delimiter(Delimiter::of::<Reading>());
        }
        fn on_read(&mut self, _connection: &mut Connection<'_>, data: &[u8]) {
            let reading = Reading::read_from_bytes(data).unwrap();
            self.0 += u32::from(reading.value.get());
            self.1.send((reading.sensor.get(), self.0)).unwrap();
        }
    }
    let (tell, told) = channel();
    let (_running, address) = Running::serve(move || Sums(0, tell.clone()));
    send(&mut client(address), &[0, 1, 2, 3, 0, 2, 0, 1, 9], BYTE_BY_BYTE);
    assert_eq!([next(&told), next(&told)], [(1, 515), (2, 516)]);
}

/// Netstrings, `5:hello,`.
struct Netstrings;

impl Framer for Netstrings {
    fn next_frame(&mut self, input: &[u8]) -> Result<Option<Frame>, FrameError> {
        let Some(colon) = input.iter().position(|&byte| byte == b':') else { return Ok(None) };
        let length = str::from_utf8(&input[..colon]).ok().and_then(|digits| digits.parse::<usize>().ok());
        let end = colon + 1 + length.ok_or(FrameError::invalid("a netstring has no length"))?;
        match input.get(end) {
            None => Ok(None),
            Some(b',') => Ok(Some(Frame::new(colon + 1..end, end + 1))),
            Some(_) => Err(FrameError::invalid("a netstring has no comma")),
        }
    }
}

#[test]
fn a_framer_of_ones_own_cuts_frames() {
    assert_cut(|| Delimiter::framer(Netstrings), b"5:hello,0:,3:a,b,7:unfin", &[b"hello", b"", b"a,b"]);
}

#[test]
fn a_regular_expression_separates_frames() {
    assert_cut(|| Delimiter::regex(r"\r?\n").unwrap(), b"one\r\ntwo\n\nrest", &[b"one", b"two", b""]);
}

#[test]
fn a_regular_expression_gives_what_its_groups_captured() {
    struct Pairs(Sender<[String; 3]>);
    impl Handler for Pairs {
        fn on_connect(&mut self, connection: &mut Connection<'_>) {
            connection.set_delimiter(Delimiter::regex_match(r"(?<key>\w+)=(\w*);").unwrap());
        }
        fn on_match(&mut self, _connection: &mut Connection<'_>, frame: &Match<'_>) {
            let parts = [frame.data(), frame.name("key").unwrap(), frame.get(2).unwrap()];
            assert!(frame.name("none").is_none() && frame.get(3).is_none());
            self.0.send(parts.map(|part| String::from_utf8(part.to_vec()).unwrap())).unwrap();
        }
        fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {
            unreachable!("on_match has the frames");
        }
    }
    let (tell, told) = channel();
    let (running, address) = Running::serve(move || Pairs(tell.clone()));
    for piece in [AT_ONCE, BYTE_BY_BYTE] {
        send(&mut client(address), b"a=1;long=;", piece);
        assert_eq!(next(&told), ["a=1;", "a", "1"]);
        assert_eq!(next(&told), ["long=;", "long", ""]);
    }
    assert_eq!(running.stats().panics, 0);
}

#[test]
fn without_a_delimiter_input_comes_as_it_is_and_so_it_does_when_it_is_taken_away() {
    let (handler, seen) = recorder(|connection, event| match event {
        Event::Connect => connection.set_delimiter("\n"),
        Event::Read(line) if line == b"raw" => connection.set_delimiter(Delimiter::none()),
        _ => {}
    });
    let (_running, address) = Running::serve(handler);
    let mut client = client(address);
    client.write_all(b"line\nraw\nwhat\never\n").unwrap();
    assert_eq!(frames(&seen, 3), [&b"line"[..], b"raw", b"what\never\n"]);
    client.write_all(b"as it is\n").unwrap();
    assert_eq!(frames(&seen, 1), [b"as it is\n"]);
}

/// Lines; one that is a number announces a body of so many bytes.
fn lines_and_bodies() -> impl FnMut(&mut Connection<'_>, &Event) + Clone + Send + 'static {
    let mut in_body = false;
    move |connection, event| match event {
        Event::Connect => connection.set_delimiter("\r\n"),
        Event::Read(_) if in_body => {
            in_body = false;
            connection.set_delimiter("\r\n");
        }
        Event::Read(line) => {
            if let Some(length) = str::from_utf8(line).ok().and_then(|line| line.parse::<usize>().ok()) {
                in_body = true;
                connection.set_delimiter(length);
            }
        }
        _ => {}
    }
}

#[test]
fn a_line_that_announces_a_body_changes_the_delimiter_from_the_next_byte() {
    let (handler, seen) = recorder_with(lines_and_bodies());
    let (_running, address) = Running::serve(handler);
    let input = b"hello\r\n6\r\n\r\n\r\n\r\nbye\r\n1\r\n\r2\r\n\r\n";
    let expected: [&[u8]; 8] = [b"hello", b"6", b"\r\n\r\n\r\n", b"bye", b"1", b"\r", b"2", b"\r\n"];
    for piece in [AT_ONCE, BYTE_BY_BYTE, 2, 5] {
        send(&mut client(address), input, piece);
        assert_eq!(frames(&seen, expected.len()), expected, "in pieces of {piece}");
    }
}

#[test]
fn on_match_may_change_the_delimiter_as_well() {
    struct Header(Sender<Vec<u8>>);
    impl Handler for Header {
        fn on_connect(&mut self, connection: &mut Connection<'_>) {
            connection.set_delimiter(Delimiter::regex_match(r"len=(\d+)\n").unwrap());
        }
        fn on_match(&mut self, connection: &mut Connection<'_>, frame: &Match<'_>) {
            match frame.get(1) {
                Some(digits) => connection.set_delimiter(str::from_utf8(digits).unwrap().parse::<usize>().unwrap()),
                None => {
                    connection.set_delimiter(Delimiter::regex_match(r"len=(\d+)\n").unwrap());
                    self.0.send(frame.data().to_vec()).unwrap();
                }
            }
        }
        fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {}
    }
    let (tell, told) = channel();
    let (_running, address) = Running::serve(move || Header(tell.clone()));
    for piece in [AT_ONCE, BYTE_BY_BYTE] {
        send(&mut client(address), b"len=5\nlen=6len=2\n\n\n", piece);
        assert_eq!([next(&told), next(&told)], [b"len=6".to_vec(), b"\n\n".to_vec()]);
    }
}

#[test]
fn a_delimiter_set_from_outside_applies_to_what_is_kept() {
    let (handler, seen) = recorder(|connection, event| match event {
        Event::Connect => connection.set_delimiter(100),
        Event::Read(data) if data == b"defer" => {
            connection.set_delimiter(100);
            connection.defer(Duration::from_millis(1), |_: &mut Recorder, connection| {
                assert_eq!(connection.buffered(), b"f;g;");
                connection.set_delimiter(";");
            });
        }
        _ => {}
    });
    let (running, (server, address)) = Running::start(move |engine| listen(engine, ServerOptions::default(), handler));
    let mut client = client(address);
    client.write_all(b"a\nb\nc,d,defer,f;g;").unwrap();
    running.wait_until(|stats| stats.bytes_in == 18);
    // By a message, as another connection's callback would.
    let set = move |delimiter: &'static str| {
        running.ask(move |context| {
            let [key] = context.connections(server)[..] else { panic!("there is one connection") };
            context.connection(key).unwrap().set_delimiter(delimiter);
        });
    };
    set("\n");
    assert_eq!(frames(&seen, 2), [b"a", b"b"]);
    set(",");
    assert_eq!(frames(&seen, 5), [&b"c"[..], b"d", b"defer", b"f", b"g"]);
}

/// Echoes lines to whoever sent them; "cut" has the first connection cut its input by a comma, "go" has it read on.
struct Foreman {
    keys: std::rc::Rc<std::cell::RefCell<Vec<ConnectionKey>>>,
    told: Sender<Vec<u8>>,
}

impl Handler for Foreman {
    fn on_connect(&mut self, connection: &mut Connection<'_>) {
        self.keys.borrow_mut().push(connection.key());
        connection.set_delimiter("\n");
    }

    fn on_read(&mut self, connection: &mut Connection<'_>, line: &[u8]) {
        self.told.send(line.to_vec()).unwrap();
        let first = self.keys.borrow()[0];
        match line {
            b"cut" => connection.context().connection(first).unwrap().set_delimiter(","),
            b"go" => connection.context().connection(first).unwrap().resume_reading(),
            b"pause" => connection.pause_reading(),
            _ => {}
        }
    }
}

fn foremen() -> (Running, SocketAddr, Receiver<Vec<u8>>) {
    let (told, telling) = channel();
    let (running, address) = Running::start(move |engine| {
        let keys = std::rc::Rc::default();
        listen(engine, ServerOptions::default(), move || Foreman {
            keys: std::rc::Rc::clone(&keys),
            told: told.clone(),
        })
    });
    (running, address.1, telling)
}

#[test]
fn another_connections_callback_may_set_the_delimiter_and_resume_reading() {
    let (running, address, told) = foremen();
    let mut first = client(address);
    first.write_all(b"pause\none\ntwo\na,b,").unwrap();
    assert_eq!(next(&told), b"pause");
    let mut second = client(address);
    second.write_all(b"go\n").unwrap();
    assert_eq!([(); 3].map(|()| next(&told)), [&b"go"[..], b"one", b"two"]);
    second.write_all(b"cut\n").unwrap();
    assert_eq!([(); 3].map(|()| next(&told)), [&b"cut"[..], b"a", b"b"]);
    assert_eq!(running.stats().panics, 0);
}

#[test]
fn a_pause_in_mid_batch_keeps_the_rest_until_a_timer_resumes() {
    let paused = Arc::new(AtomicBool::new(false));
    let (handler, seen) = recorder_with(move |connection, event| match event {
        Event::Connect => connection.set_delimiter("\n"),
        Event::Read(_) => {
            assert!(!paused.swap(true, Ordering::Relaxed), "a frame came while reading was paused");
            assert!(connection.buffered().is_empty());
            connection.pause_reading();
            let (key, paused) = (connection.key(), Arc::clone(&paused));
            connection.context().defer(Duration::from_millis(1), move |context| {
                paused.store(false, Ordering::Relaxed);
                let mut connection = context.connection(key).unwrap();
                connection.write(b"r");
                connection.resume_reading();
            });
        }
        Event::End => connection.close(),
        _ => {}
    });
    let (running, address) = Running::serve(handler);
    let mut client = client(address);
    client.write_all(b"one\ntwo\n\nfour\npart").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    // All of it, and FIN behind it, is with the engine or the kernel; no more input comes.
    let events = up_to(&seen, |event| matches!(event, Event::Close(_)));
    let told = events.iter().filter(|event| matches!(event, Event::Read(_) | Event::End)).collect::<Vec<_>>();
    let read = |line: &[u8]| Event::Read(line.to_vec());
    assert_eq!(told, [&read(b"one"), &read(b"two"), &read(b""), &read(b"four"), &Event::End]);
    assert_eq!((receive_all(&mut client), running.stats().panics), (b"rrrr".to_vec(), 0));
}

#[test]
fn on_write_may_resume_what_on_read_has_paused() {
    let (handler, seen) = recorder(|connection, event| match event {
        Event::Connect => connection.set_delimiter("\n"),
        Event::Read(line) => {
            connection.write(line);
            connection.pause_reading();
        }
        Event::Write => connection.resume_reading(),
        _ => {}
    });
    let (_running, address) = Running::serve(handler);
    let mut client = client(address);
    client.write_all(b"one\ntwo\nthree\n").unwrap();
    assert_eq!(receive(&mut client, 11), b"onetwothree");
    let events: Vec<Event> = (0..7).map(|_| next(&seen)).collect();
    let rounds = events[1..].chunks(2).filter(|pair| matches!(pair, [Event::Read(_), Event::Write])).count();
    assert_eq!(rounds, 3, "{events:?}");
}

#[test]
fn a_pause_that_is_taken_back_in_the_same_callback_stops_nothing() {
    let (handler, seen) = recorder(|connection, event| match event {
        Event::Connect => connection.set_delimiter("\n"),
        Event::Read(_) => {
            connection.pause_reading();
            connection.resume_reading();
        }
        _ => {}
    });
    let (_running, address) = Running::serve(handler);
    client(address).write_all(b"one\ntwo\n").unwrap();
    assert_eq!(frames(&seen, 2), [b"one", b"two"]);
}

#[test]
fn a_paused_connection_whose_on_shutdown_resumes_gets_what_was_kept() {
    for unframed in [false, true] {
        let mut told = false;
        let (handler, seen) = recorder_with(move |connection, event| match event {
            Event::Connect if unframed => connection.pause_reading(),
            Event::Connect => connection.set_delimiter("\n"),
            Event::Read(_) if !told => connection.pause_reading(),
            Event::Read(_) => connection.close(),
            Event::Drain => {
                told = true;
                connection.resume_reading();
            }
            _ => {}
        });
        let (running, address) = Running::serve(handler);
        let mut client = client(address);
        assert_eq!(next(&seen), Event::Connect);
        client.write_all(b"one\ntwo\n").unwrap();
        let last = if unframed { b"one\ntwo\n".to_vec() } else { b"two".to_vec() };
        if !unframed {
            assert_eq!(next(&seen), Event::Read(b"one".to_vec()));
        }
        let begun = Instant::now();
        // Far from half of it, when even those that are busy are told.
        running.ask(|context| context.drain(Duration::from_secs(3600)));
        assert_eq!([next(&seen), next(&seen)], [Event::Drain, Event::Read(last)]);
        assert_eq!(receive_all(&mut client), b"");
        drop(client);
        running.join();
        assert!(begun.elapsed() < PATIENCE);
    }
}

#[test]
fn closing_in_mid_batch_discards_the_rest_and_keeps_the_replies() {
    let (handler, seen) = recorder(|connection, event| match event {
        Event::Connect => connection.set_delimiter("\n"),
        Event::Read(line) => {
            connection.write(line);
            if line == b"quit" {
                connection.close();
            }
        }
        _ => {}
    });
    let (_running, address) = Running::serve(handler);
    let mut client = client(address);
    client.write_all(b"one\nquit\nthree\nfour").unwrap();
    assert_eq!(receive_all(&mut client), b"onequit");
    drop(client);
    let read = |line: &[u8]| Event::Read(line.to_vec());
    let events = up_to(&seen, |event| matches!(event, Event::Close(_)));
    let events: Vec<&Event> = events.iter().filter(|event| **event != Event::Write).collect();
    let expected = [&Event::Connect, &read(b"one"), &read(b"quit"), &Event::Close(CloseReason::Finished)];
    assert_eq!(events, expected);
}

#[test]
fn aborting_in_mid_batch_is_the_last_that_is_heard() {
    let (handler, seen) = recorder(|connection, event| match event {
        Event::Connect => connection.set_delimiter("\n"),
        Event::Read(line) if line == b"two" => connection.abort(),
        _ => {}
    });
    let (running, address) = Running::serve(handler);
    let mut client = client(address);
    client.write_all(b"one\ntwo\nthree\nfour").unwrap();
    assert!(ends_with_reset(&mut client));
    running.stop();
    let read = |line: &[u8]| Event::Read(line.to_vec());
    let expected = [Event::Connect, read(b"one"), read(b"two"), Event::Close(CloseReason::Aborted)];
    assert_eq!(seen.iter().collect::<Vec<_>>(), expected);
}

#[test]
fn a_half_close_in_mid_batch_goes_on_reading_and_refuses_to_write() {
    let mut ended = false;
    let (handler, seen) = recorder_with(move |connection, event| match event {
        Event::Connect => connection.set_delimiter("\n"),
        Event::Read(line) => {
            assert_eq!(connection.write(line), !ended);
            if line == b"two" {
                connection.shutdown_write();
                ended = true;
            }
        }
        Event::End => connection.close(),
        _ => {}
    });
    let (running, address) = Running::serve(handler);
    let mut client = client(address);
    client.write_all(b"one\ntwo\nthree\nfour\n").unwrap();
    assert_eq!(receive_all(&mut client), b"onetwo");
    assert_eq!(frames(&seen, 4), [&b"one"[..], b"two", b"three", b"four"]);
    drop(client);
    assert_eq!((close_reason(&seen), running.stats().panics), (CloseReason::Finished, 0));
}

#[test]
fn what_is_left_of_a_frame_can_be_read_when_the_peer_ends() {
    let (handler, seen) = recorder(|connection, event| match event {
        Event::Connect => connection.set_delimiter("\n"),
        Event::End => {
            let rest = connection.buffered().to_vec();
            connection.write(&rest);
            connection.close();
        }
        _ => {}
    });
    let (_running, address) = Running::serve(handler);
    for piece in [AT_ONCE, BYTE_BY_BYTE] {
        let mut client = client(address);
        send(&mut client, b"line\npart of a line", piece);
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(receive_all(&mut client), b"part of a line");
        assert_eq!(frames(&seen, 1), [b"line"]);
        assert_eq!(close_reason(&seen), CloseReason::Finished);
    }
}

fn with_limit(limit: usize) -> ServerOptions {
    with_connection(ConnectionOptions { buffer_limit: limit, ..ConnectionOptions::default() })
}

#[test]
fn a_frame_that_is_too_long_is_told_with_all_that_has_come_and_ends_by_a_reset() {
    let (handler, seen) = recorder(|connection, event| match event {
        Event::Connect => connection.set_delimiter("\n"),
        Event::Overflow(Overflow::Read) => assert_eq!(connection.buffered(), b"0123456789"),
        _ => {}
    });
    let (running, address) = Running::serve_with(with_limit(9), handler);
    for (input, piece) in [(&b"12345678\n0123456789"[..], AT_ONCE), (b"12345678\n0123456789", BYTE_BY_BYTE)] {
        let mut client = client(address);
        send(&mut client, input, piece);
        let events = up_to(&seen, |event| matches!(event, Event::Close(_)));
        let overflow = [Event::Overflow(Overflow::Read), Event::Close(CloseReason::Overflow)];
        let expected = [&[Event::Connect, Event::Read(b"12345678".to_vec())], &overflow[..]].concat();
        assert_eq!(events, expected, "in pieces of {piece}");
        assert!(ends_with_reset(&mut client));
    }
    assert_eq!(running.stop().panics, 0);
}

#[test]
fn a_reply_to_a_frame_that_is_too_long_arrives_when_the_connection_is_closed_behind_it() {
    let (handler, seen) = recorder(|connection, event| match event {
        Event::Connect => connection.set_delimiter("\n"),
        Event::Read(line) => {
            connection.write(line);
        }
        Event::Overflow(Overflow::Read) => {
            connection.write(b" 414 URI too long");
            connection.close();
        }
        _ => {}
    });
    let (_running, address) = Running::serve_with(with_limit(100), handler);
    let mut client = client(address);
    // More of it comes than anybody reads, which must not turn into a reset.
    client.write_all(&[b"first\n", &[b'x'; 300_000][..]].concat()).unwrap();
    assert_eq!(receive_all(&mut client), b"first 414 URI too long");
    drop(client);
    assert_eq!(close_reason(&seen), CloseReason::Finished);
}

#[test]
fn the_limit_can_be_changed_for_one_connection() {
    let (handler, seen) = recorder(|connection, event| match event {
        Event::Connect => connection.set_delimiter("\n"),
        Event::Read(line) if line == b"more" => connection.set_buffer_limit(1000),
        _ => {}
    });
    let (_running, address) = Running::serve_with(with_limit(10), handler);
    let long = [&b"more\n"[..], &[b'x'; 999], b"\n"].concat();
    let mut roomy = client(address);
    roomy.write_all(&long).unwrap();
    assert_eq!(frames(&seen, 2)[1].len(), 999);
    client(address).write_all(&long[5..]).unwrap();
    assert_eq!(close_reason(&seen), CloseReason::Overflow);
}

#[test]
fn a_length_past_the_prefixs_maximum_is_an_overflow_before_the_frame_has_come() {
    let (handler, seen) = recorder(|connection, event| match event {
        Event::Connect => connection.set_delimiter(LengthPrefix::u32_be().max(5)),
        Event::Overflow(_) => assert_eq!(connection.buffered(), [0, 0, 0, 6]),
        _ => {}
    });
    let (running, address) = Running::serve(handler);
    let mut client = client(address);
    client.write_all(b"\0\0\0\x05hello\0\0\0\x06").unwrap();
    assert_eq!(frames(&seen, 1), [b"hello"]);
    assert_eq!(up_to(&seen, |event| matches!(event, Event::Overflow(_))), [Event::Overflow(Overflow::Read)]);
    assert_eq!((close_reason(&seen), running.stop().panics), (CloseReason::Overflow, 0));
}

#[test]
fn input_that_cannot_be_a_frame_is_an_error_and_ends_the_connection() {
    let (handler, seen) = recorder(|connection, event| match event {
        Event::Connect => connection.set_delimiter(Delimiter::framer(Netstrings)),
        Event::Failure(_) => assert_eq!(connection.buffered(), b"x:no,"),
        _ => {}
    });
    let (running, address) = Running::serve(handler);
    client(address).write_all(b"3:yes,x:no,").unwrap();
    let events = up_to(&seen, |event| matches!(event, Event::Close(_)));
    let failed = ErrorKind::InvalidData;
    let last = [Event::Failure(failed), Event::Close(CloseReason::Failed(failed))];
    assert_eq!(events, [&[Event::Connect, Event::Read(b"yes".to_vec())], &last[..]].concat());
    assert_eq!(running.stop().panics, 0);
}

#[test]
fn input_that_cannot_be_a_frame_may_be_answered() {
    let (handler, seen) = recorder(|connection, event| match event {
        Event::Connect => connection.set_delimiter(Delimiter::framer(Netstrings)),
        Event::Failure(_) => {
            connection.write(b"not a netstring");
            connection.close();
        }
        _ => {}
    });
    let (_running, address) = Running::serve(handler);
    let mut client = client(address);
    client.write_all(b"x:no,").unwrap();
    assert_eq!(receive_all(&mut client), b"not a netstring");
    drop(client);
    assert_eq!(close_reason(&seen), CloseReason::Finished);
}

#[test]
fn a_panic_in_mid_batch_ends_its_connection_alone() {
    hush();
    let (handler, seen) = recorder(|connection, event| match event {
        Event::Connect => connection.set_delimiter("\n"),
        Event::Read(line) if line == b"boom" => panic_any(ON_PURPOSE),
        Event::Read(line) => {
            connection.write(line);
        }
        _ => {}
    });
    let (running, address) = Running::serve(handler);
    let (mut lost, mut other) = (client(address), client(address));
    (0..2).for_each(|_| assert_eq!(next(&seen), Event::Connect));
    lost.write_all(b"one\nboom\nthree\n").unwrap();
    assert!(ends_with_reset(&mut lost));
    assert_eq!(close_reason(&seen), CloseReason::Panicked);
    other.write_all(b"still here\n").unwrap();
    assert_eq!(receive(&mut other, 10), b"still here");
    let stats = running.stop();
    assert_eq!((stats.panics, stats.connections_closed), (1, 2));
    assert!(!seen.iter().any(|event| event == Event::Read(b"three".to_vec())));
}

#[test]
fn the_lines_of_one_read_are_answered_in_one_send() {
    const LINES: usize = 500;
    let (handler, _seen) = recorder(|connection, event| match event {
        Event::Connect => connection.set_delimiter("\n"),
        Event::Read(line) => assert!(connection.write(line)),
        _ => {}
    });
    let (running, address) = Running::serve(handler);
    let mut client = client(address);
    client.write_all(&b"0123456789\n".repeat(LINES)).unwrap();
    assert_eq!(receive(&mut client, 10 * LINES), b"0123456789".repeat(LINES));
    let stats = running.stats();
    assert_eq!(stats.writes, stats.reads, "a read is answered by one send");
    assert!(stats.reads <= 3, "{} reads", stats.reads);
}

#[test]
fn a_drain_serves_the_frames_that_congestion_keeps_before_it_tells() {
    const LINES: usize = 64;
    let connection =
        ConnectionOptions { write_high_water: 64 * 1024, write_low_water: 1024, ..ConnectionOptions::default() };
    let (handler, seen) = recorder(|connection, event| match event {
        Event::Connect => connection.set_delimiter("\n"),
        Event::Read(_) => assert!(connection.write(&[b'r'; 256 * 1024])),
        Event::Drain => connection.close(),
        _ => {}
    });
    let (running, address) = Running::serve_with(with_connection(connection), handler);
    let mut client = client(address);
    client.write_all(&b"line\n".repeat(LINES)).unwrap();
    // The peer takes nothing yet, so the engine has stopped somewhere in the batch.
    assert_eq!(frames(&seen, 1), [b"line"]);
    running.ask(|context| context.drain(Duration::from_secs(3600)));
    assert!(receive_all(&mut client).len() == LINES * 256 * 1024);
    drop(client);
    running.join();
    let events: Vec<Event> = seen.iter().collect();
    let reads = events.iter().filter(|event| matches!(event, Event::Read(_))).count();
    assert!(reads < LINES && reads + 1 == LINES, "{reads} and the first");
    let drain = events.iter().position(|event| *event == Event::Drain).unwrap();
    assert!(!events[drain..].iter().any(|event| matches!(event, Event::Read(_))));
}

#[test]
fn congestion_in_mid_batch_keeps_the_rest_until_the_peer_has_taken_enough() {
    const LINES: usize = 40;
    const REPLY: usize = 512 * 1024;
    let connection =
        ConnectionOptions { write_high_water: 256 * 1024, write_low_water: 1024, ..ConnectionOptions::default() };
    let mut at = 0_u8;
    let (handler, seen) = recorder_with(move |connection, event| match event {
        Event::Connect => connection.set_delimiter("\n"),
        Event::Read(_) => {
            assert!(connection.queued_bytes() <= 256 * 1024, "frames come in spite of the congestion");
            at += 1;
            assert!(connection.write(&vec![at; REPLY]));
        }
        Event::End => connection.close(),
        _ => {}
    });
    let (running, address) = Running::serve_with(with_connection(connection), handler);
    let mut client = client(address);
    client.write_all(&b"line\n".repeat(LINES)).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    for line in 1..=LINES {
        assert!(receive(&mut client, REPLY).iter().all(|byte| usize::from(*byte) == line), "reply {line}");
    }
    assert_eq!(receive_all(&mut client), b"");
    drop(client);
    let events = up_to(&seen, |event| matches!(event, Event::Close(_)));
    let end = events.iter().position(|event| *event == Event::End).unwrap();
    assert_eq!(events[..end].iter().filter(|event| matches!(event, Event::Read(_))).count(), LINES);
    assert_eq!(running.stats().panics, 0);
}

#[test]
fn the_peer_is_not_waited_for_while_frames_are_kept_and_is_again_afterwards() {
    let timeout = Duration::from_millis(150);
    let connection = ConnectionOptions { read_timeout: Some(timeout), ..ConnectionOptions::default() };
    let (handler, seen) = recorder(|connection, event| match event {
        Event::Connect => connection.set_delimiter("\n"),
        Event::Read(line) if line == b"one" => {
            connection.pause_reading();
            connection.defer(Duration::from_millis(400), |_: &mut Recorder, connection| connection.resume_reading());
        }
        _ => {}
    });
    let (_running, address) = Running::serve_with(with_connection(connection), handler);
    let mut client = client(address);
    client.write_all(b"one\ntwo\n").unwrap();
    assert_eq!(frames(&seen, 2), [b"one", b"two"]);
    let resumed = Instant::now();
    assert_eq!(close_reason(&seen), CloseReason::ReadTimeout);
    // Told from another thread, and in ticks of a millisecond.
    assert!(resumed.elapsed() >= timeout - Duration::from_millis(50), "{:?}", resumed.elapsed());
}

#[test]
fn a_reset_while_frames_are_kept_closes_the_connection_without_them() {
    let (handler, seen) = recorder(|connection, event| match event {
        Event::Connect => connection.set_delimiter("\n"),
        Event::Read(_) => connection.pause_reading(),
        _ => {}
    });
    let (_running, address) = Running::serve(handler);
    let mut client = client(address);
    client.write_all(b"one\ntwo\n").unwrap();
    assert_eq!(frames(&seen, 1), [b"one"]);
    reset(client);
    assert_eq!(next(&seen), Event::Close(CloseReason::Reset));
}
