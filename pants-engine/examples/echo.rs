//! The smallest server: sends back what it is sent, on port 4040.

use pants_engine::{Connection, Engine, Handler};

struct Echo;

impl Handler for Echo {
    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        connection.write(data);
    }
}

fn main() -> pants_engine::Result<()> {
    let mut engine = Engine::new()?;
    engine.listen(4040, |_peer| Echo)?;
    engine.start()
}
