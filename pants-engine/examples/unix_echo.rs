//! An echo server at a Unix socket, which knows whose process it talks to.
//!
//! Run `cargo run -p pants-engine --example unix_echo -- ./echo.sock` and talk to it with `nc -U ./echo.sock`. Without an
//! argument that is the address, too. One that begins with `@` is a name outside the file system, for which it is
//! `socat - ABSTRACT-CONNECT:name`.

use pants_engine::{CloseReason, Connection, Engine, Handler};

#[derive(Default)]
struct Echo {
    /// Bytes sent back.
    echoed: usize,
}

impl Handler for Echo {
    fn on_connect(&mut self, connection: &mut Connection<'_>) {
        // The kernel vouches for them, so that a server can choose whom it serves: see `Connection::abort`.
        match connection.peer_credentials() {
            Some(peer) => println!("process {} of user {} has come", peer.pid, peer.uid),
            None => println!("somebody has come"),
        }
    }

    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        self.echoed += data.len();
        connection.write(data);
    }

    fn on_close(&mut self, _connection: &mut Connection<'_>, reason: CloseReason) {
        println!("gone after {} bytes: {reason}", self.echoed);
    }
}

fn main() -> pants_engine::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "./echo.sock".to_owned());
    let mut engine = Engine::new()?;
    // A file that a dead server has left there is replaced; one that is in use is an error.
    let server = engine.listen(address, |_peer| Echo::default())?;
    if let Some(address) = engine.context().server_address(server) {
        println!("listening on {address}");
    }
    engine.start()
}
