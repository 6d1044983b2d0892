//! The smallest server: sends back what it is sent.
//!
//! Run `cargo run -p pants-engine --example echo -- 127.0.0.1:4040` and talk to it with `nc 127.0.0.1 4040`. Without an
//! argument that is the address, too.

use pants_engine::{Connection, Engine, Handler};

struct Echo;

impl Handler for Echo {
    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        connection.write(data);
    }
}

fn main() -> pants_engine::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:4040".to_owned());
    let mut engine = Engine::new()?;
    let server = engine.listen(address, |_peer| Echo)?;
    if let Some(address) = engine.context().server_address(server) {
        println!("listening on {address}");
    }
    engine.start()
}
