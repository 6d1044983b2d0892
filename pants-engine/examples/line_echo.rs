//! Sends back every line that it is sent, at the address that it is given, or on port 4040.
//!
//! `cargo run --example line_echo`, and then `nc 127.0.0.1 4040`.

use pants_engine::{Connection, Engine, Handler};

struct LineEcho;

impl Handler for LineEcho {
    fn on_connect(&mut self, connection: &mut Connection<'_>) {
        connection.set_delimiter("\n");
    }

    fn on_read(&mut self, connection: &mut Connection<'_>, line: &[u8]) {
        connection.write(line);
        connection.write(b"\n");
    }
}

fn main() -> pants_engine::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:4040".to_owned());
    let mut engine = Engine::new()?;
    let server = engine.listen(&*address, |_peer| LineEcho)?;
    if let Some(address) = engine.context().server_address(server) {
        println!("listening on {address}");
    }
    engine.start()
}
