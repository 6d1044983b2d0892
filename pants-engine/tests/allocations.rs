//! That a message costs no allocation: alone in its process, because it counts what the process's allocator is asked for.

#[path = "support/counting.rs"]
mod counting;
mod support;

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use counting::{IS_ENGINE, count};
use pants_engine::{
    Connection, ConnectionOptions, Delimiter, Frame, FrameError, Framer, Handler, LengthPrefix, ServerOptions,
};
use support::*;

/// What every message and every reply has, in bytes.
const MESSAGE: usize = 64;

/// Messages one at a time, and in batches that one turn meets together.
fn exchange(clients: &mut [TcpStream], message: &[u8; MESSAGE], rounds: u32) {
    let mut reply = [0; MESSAGE];
    for _ in 0..rounds {
        for client in &mut *clients {
            client.write_all(message).unwrap();
        }
        for client in &mut *clients {
            std::io::Read::read_exact(client, &mut reply).unwrap();
            client.write_all(message).unwrap();
            std::io::Read::read_exact(client, &mut reply).unwrap();
        }
    }
}

/// Replies to as many frames as one message has.
struct Replies {
    delimiter: Option<Delimiter>,
    frames: usize,
    came: usize,
}

impl Handler for Replies {
    fn on_connect(&mut self, connection: &mut Connection<'_>) {
        connection.set_delimiter(self.delimiter.take().unwrap_or_default());
    }

    fn on_read(&mut self, connection: &mut Connection<'_>, _data: &[u8]) {
        self.came += 1;
        if self.came == self.frames {
            self.came = 0;
            connection.write(&[b'r'; MESSAGE]);
        }
    }
}

/// Eight bytes, without a look at them.
struct Eights;

impl Framer for Eights {
    fn next_frame(&mut self, input: &[u8]) -> Result<Option<Frame>, FrameError> {
        Ok((input.len() >= 8).then(|| Frame::new(0..8, 8)))
    }
}

/// How many allocations the engine makes for `rounds` of `message`s, each of so many frames; and how many messages those are.
fn allocations(delimiter: fn() -> Delimiter, message: &[u8; MESSAGE], frames: usize, rounds: u32) -> (u64, u64) {
    let connection = ConnectionOptions { idle_timeout: Some(Duration::from_secs(60)), ..ConnectionOptions::default() };
    let options = ServerOptions { connection, ..ServerOptions::default() };
    let (running, (_, address)) = Running::start(move |engine| {
        IS_ENGINE.set(true);
        listen(engine, options, move || Replies { delimiter: Some(delimiter()), frames, came: 0 })
    });
    let mut clients: Vec<TcpStream> = (0..8).map(|_| client(address)).collect();
    exchange(&mut clients, message, 100);
    // The counter counts: this answer's way back is allocated on the engine's thread.
    assert!(count(|| assert_eq!(running.ask(|_| vec![1_u8; 100]).len(), 100)) > 0);
    exchange(&mut clients, message, 100);
    let counted = count(|| exchange(&mut clients, message, rounds));
    let (stats, messages) = (running.stop(), 8 * 2 * (u64::from(rounds) + 200));
    assert_eq!((stats.reads, stats.writes), (messages, messages), "a message is one recv and one send");
    (counted, 8 * 2 * u64::from(rounds))
}

/// Eight frames of eight bytes.
fn eights(frame: &[u8; 8]) -> [u8; MESSAGE] {
    frame.repeat(8).try_into().unwrap()
}

#[test]
fn a_message_costs_no_allocation_and_a_frame_over_two_reads_two_at_most() {
    type Case = (&'static str, fn() -> Delimiter, [u8; MESSAGE], usize);
    let whole: [Case; 9] = [
        ("none", Delimiter::none, [b'm'; MESSAGE], 1),
        ("a byte", || "\n".into(), eights(b"1234567\n"), 8),
        ("a byte string", || "\r\n".into(), eights(b"123456\r\n"), 8),
        ("a number", || 8.into(), eights(b"12345678"), 8),
        ("one long frame", || MESSAGE.into(), [b'm'; MESSAGE], 1),
        ("a length prefix", || LengthPrefix::u16_be().into(), eights(b"\0\x06123456"), 8),
        ("a separating pattern", || Delimiter::regex(r"\r?\n").unwrap(), eights(b"123456\r\n"), 8),
        ("a matching pattern", || Delimiter::regex_match(r"(\d+);").unwrap(), eights(b"1234567;"), 8),
        ("a framer", || Delimiter::framer(Eights), eights(b"12345678"), 8),
    ];
    for (name, delimiter, message, frames) in whole {
        let (counted, messages) = allocations(delimiter, &message, frames, 500);
        assert_eq!(counted, 0, "for {messages} messages, with {name}");
    }
    // Each read brings the end of one line and the beginning of the next, for which memory is asked; and again when the rest
    // comes. An idle connection keeps none.
    let across: [Case; 2] = [
        ("a byte", || "\n".into(), eights(b"123\n4567"), 8),
        ("a byte string", || "\r\n".into(), eights(b"12\r\n4567"), 8),
    ];
    for (name, delimiter, message, frames) in across {
        let (counted, messages) = allocations(delimiter, &message, frames, 500);
        assert!((1..=2 * messages).contains(&counted), "{counted} for {messages} messages, with {name}");
    }
}
