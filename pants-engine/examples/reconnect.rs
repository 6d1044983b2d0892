//! A client that does not give up: it connects again when the connection is lost or was not made, and waits twice as long
//! before each attempt in vain, up to a bound.
//!
//! Run `cargo run -p pants-engine --example reconnect -- 127.0.0.1:4040`, then `nc -l 127.0.0.1 4040` for it to find; end
//! that, and start it again. Without an argument that is the address, too.

use std::time::Duration;

use pants_engine::{Address, CloseReason, Connection, Context, Engine, Error, Handler, ToAddress};

/// The first wait. Many clients of one server would add some randomness, lest they all come back at once.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// One attempt, and the connection that comes of it.
struct Client {
    address: Address,
    /// How long to wait before the next attempt.
    wait: Duration,
}

impl Client {
    /// Makes an attempt. What fails at once, as with a Unix socket that is not there, waits like what fails later.
    fn connect(address: Address, wait: Duration, context: &mut Context) {
        let client = Self { address: address.clone(), wait };
        if let Err(error) = context.connect(&address, client) {
            Self { address, wait }.connect_later(context, &error);
        }
    }

    fn connect_later(&self, context: &mut Context, why: &dyn std::fmt::Display) {
        println!("{why}; again in {:?}", self.wait);
        let (address, next) = (self.address.clone(), (self.wait * 2).min(LONGEST_WAIT));
        context.defer(self.wait, move |context| Self::connect(address, next, context));
    }
}

impl Handler for Client {
    fn on_connect(&mut self, connection: &mut Connection<'_>) {
        println!("connected to {}", self.address);
        connection.write(b"hello\n");
    }

    fn on_read(&mut self, _connection: &mut Connection<'_>, data: &[u8]) {
        // Not when it connects: a server that accepts and hangs up would be asked without end.
        self.wait = FIRST_WAIT;
        print!("{}", String::from_utf8_lossy(data));
    }

    fn on_connect_error(&mut self, context: &mut Context, error: &Error) {
        self.connect_later(context, error);
    }

    fn on_close(&mut self, connection: &mut Connection<'_>, reason: CloseReason) {
        self.connect_later(connection.context(), &format_args!("disconnected: {reason}"));
    }
}

fn main() -> pants_engine::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:4040".to_owned()).to_address()?;
    let mut engine = Engine::new()?;
    Client::connect(address, FIRST_WAIT, engine.context());
    engine.start()
}
