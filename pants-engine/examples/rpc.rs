//! Calls and answers: messages with a header of fixed layout, told apart by number, so that many can be on their way.
//!
//! Run `cargo run -p pants-engine --example rpc -- serve 127.0.0.1:4040`, and in another terminal
//! `cargo run -p pants-engine --example rpc -- call 127.0.0.1:4040 hello`. Without more arguments that is what they do, too.

use std::cell::Cell;
use std::rc::Rc;

use pants_engine::zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, big_endian::U32};
use pants_engine::{CloseReason, Connection, Context, Engine, Error, Handler, LengthPrefix};

/// What a call asks for, the code in its header.
const UPPER_CASE: u32 = 1;
const REVERSE: u32 = 2;

/// What came of it, the code in its answer's header.
const DONE: u32 = 0;
const UNKNOWN: u32 = 1;

/// The longest message, in bytes, without its length.
const MESSAGE_MAX: usize = 32 * 1024;

/// What a message begins with, on the wire.
#[derive(IntoBytes, Immutable)]
#[zerocopy(crate = "pants_engine::zerocopy")]
#[repr(C)]
struct Header {
    /// Of the rest, in bytes.
    length: U32,
    call: Call,
}

/// What is left of it when the delimiter has taken the length.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[zerocopy(crate = "pants_engine::zerocopy")]
#[repr(C)]
struct Call {
    /// An answer has that of its call.
    number: U32,
    code: U32,
}

fn send(connection: &mut Connection<'_>, number: u32, code: u32, body: &[u8]) {
    let length = (size_of::<Call>() + body.len()) as u32;
    let call = Call { number: number.into(), code: code.into() };
    connection.write_packed(&Header { length: length.into(), call });
    connection.write(body);
}

struct Service;

impl Handler for Service {
    fn on_connect(&mut self, connection: &mut Connection<'_>) {
        connection.set_delimiter(LengthPrefix::u32_be().max(MESSAGE_MAX));
    }

    fn on_read(&mut self, connection: &mut Connection<'_>, message: &[u8]) {
        let Ok((call, body)) = Call::ref_from_prefix(message) else { return connection.abort() };
        let (code, answer) = match call.code.get() {
            UPPER_CASE => (DONE, body.to_ascii_uppercase()),
            REVERSE => (DONE, body.iter().rev().copied().collect()),
            _ => (UNKNOWN, Vec::new()),
        };
        send(connection, call.number.get(), code, &answer);
    }
}

struct Caller {
    text: String,
    /// Answers that are still to come.
    missing: Rc<Cell<usize>>,
}

impl Handler for Caller {
    fn on_connect(&mut self, connection: &mut Connection<'_>) {
        connection.set_delimiter(LengthPrefix::u32_be().max(MESSAGE_MAX));
        send(connection, 1, UPPER_CASE, self.text.as_bytes());
        send(connection, 2, REVERSE, self.text.as_bytes());
    }

    fn on_read(&mut self, connection: &mut Connection<'_>, message: &[u8]) {
        let Ok((call, body)) = Call::ref_from_prefix(message) else { return connection.abort() };
        println!("{}: code {}, {}", call.number, call.code, String::from_utf8_lossy(body));
        self.missing.set(self.missing.get().saturating_sub(1));
        if self.missing.get() == 0 {
            connection.close();
        }
    }

    fn on_connect_error(&mut self, context: &mut Context, error: &Error) {
        eprintln!("{error}");
        context.stop();
    }

    fn on_close(&mut self, connection: &mut Connection<'_>, _reason: CloseReason) {
        connection.context().stop();
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mode = arguments.next().unwrap_or_default();
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:4040".to_owned());
    let mut engine = Engine::new()?;
    let missing = Rc::new(Cell::new(0));
    match mode.as_str() {
        "serve" => {
            let server = engine.listen(address, |_peer| Service)?;
            if let Some(address) = engine.context().server_address(server) {
                println!("listening on {address}");
            }
        }
        "call" => {
            missing.set(2);
            let text = arguments.next().unwrap_or_else(|| "hello".to_owned());
            engine.connect(address, Caller { text, missing: Rc::clone(&missing) })?;
        }
        _ => return Err("usage: rpc serve [ADDRESS], or rpc call [ADDRESS [TEXT]]".into()),
    }
    engine.start()?;
    if missing.get() > 0 { Err("the server has not answered".into()) } else { Ok(()) }
}
