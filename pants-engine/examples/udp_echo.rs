//! An echo server for datagrams: sends each back to where it came from.
//!
//! Run `cargo run -p pants-engine --example udp_echo -- 127.0.0.1:4040` and talk to it with `nc -u 127.0.0.1 4040`. Without
//! an argument that is the address, too.

use pants_engine::{Datagram, DatagramHandler, Endpoint, Engine};

struct Echo;

impl DatagramHandler for Echo {
    fn on_read(&mut self, datagram: &mut Datagram<'_>, data: &[u8], from: &Endpoint) {
        datagram.send_to(data, from);
    }
}

fn main() -> pants_engine::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:4040".to_owned());
    let mut engine = Engine::new()?;
    let key = engine.open_datagram(address, Echo)?;
    if let Some(channel) = engine.context().datagram(key) {
        println!("listening on {}", channel.local_address());
    }
    engine.start()
}
