//! A chat by lines: what one says goes to all, and who reads slowly misses lines instead of holding up anybody.
//!
//! Run `cargo run -p pants-engine --example line_chat -- 127.0.0.1:4040` and join from several terminals with
//! `nc 127.0.0.1 4040`. Without an argument that is the address, too.

use pants_engine::{CloseReason, Connection, Engine, Handler, Overflow};

/// Who has more than this still to take, in bytes, misses the next line. Below the high-water mark, at which the engine
/// would not read the slow one either, and far below the cap, at which it would cut it off.
const SLOW_FROM: usize = 64 * 1024;

/// The longest line, in bytes.
const LINE_MAX: usize = 32 * 1024;

struct Guest;

impl Guest {
    fn say_to_all(connection: &mut Connection<'_>, line: &[u8]) {
        let Some(server) = connection.server() else { return };
        let context = connection.context();
        // Of keys, not of connections: nothing here can keep one alive that has gone.
        for key in context.connections(server) {
            let Some(mut guest) = context.connection(key) else { continue };
            if guest.queued_bytes() <= SLOW_FROM {
                guest.write(line);
            }
        }
    }
}

impl Handler for Guest {
    fn on_connect(&mut self, connection: &mut Connection<'_>) {
        connection.set_delimiter("\n");
        connection.set_buffer_limit(LINE_MAX);
        let joins = format!("* {} joins\n", connection.peer_address());
        Self::say_to_all(connection, joins.as_bytes());
    }

    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        let mut line = format!("{}: ", connection.peer_address()).into_bytes();
        // Of clients that end their lines with "\r\n", such as telnet.
        line.extend_from_slice(data.strip_suffix(b"\r").unwrap_or(data));
        line.push(b'\n');
        Self::say_to_all(connection, &line);
    }

    fn on_overflow_error(&mut self, connection: &mut Connection<'_>, overflow: Overflow) {
        if overflow == Overflow::Read {
            connection.write(b"* that line is too long\n");
            connection.close();
        }
    }

    fn on_close(&mut self, connection: &mut Connection<'_>, reason: CloseReason) {
        let leaves = format!("* {} leaves: {reason}\n", connection.peer_address());
        Self::say_to_all(connection, leaves.as_bytes());
    }
}

fn main() -> pants_engine::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:4040".to_owned());
    let mut engine = Engine::new()?;
    let server = engine.listen(address, |_peer| Guest)?;
    if let Some(address) = engine.context().server_address(server) {
        println!("listening on {address}");
    }
    engine.start()
}
