//! What an idle connection holds: the growth of a server's anonymous memory by connections that have had one message back.

use crate::builds::CLIENT;
use crate::client::Client;
use crate::contestant::Contestant;
use crate::point::Point;
use crate::record::{Memory, Record};
use crate::rounds::Cpus;
use crate::server::{Server, Setting};

/// Connections that a server has before its memory is looked at, so that what it makes once is there.
const BEFORE: u32 = 100;

/// Connections that are made then.
pub(crate) const CONNECTIONS: u32 = 10_000;

/// Measures every contestant.
pub(crate) fn run(record: &mut Record, contestants: &[&Contestant], setting: Setting<'_>, cpus: Cpus) {
    for contestant in contestants {
        match growth(contestant, setting, cpus) {
            Ok(bytes) => {
                record.memory.push(Memory { contestant: contestant.name.to_owned(), connections: CONNECTIONS, bytes });
            }
            Err(error) => record.fail(contestant.name, "memory", error),
        }
    }
}

fn growth(contestant: &Contestant, setting: Setting<'_>, cpus: Cpus) -> Result<u64, String> {
    let with = |connections| Point { connections, ..Point::USUAL };
    let server = Server::start(contestant, &with(CONNECTIONS), setting)?;
    let program = setting.programs.path(CLIENT);
    let connect =
        |connections| Client::connect(&program, &with(connections), server.address, cpus.client, setting.interrupted);
    let _first = connect(BEFORE)?;
    let before = server.process.anonymous_memory();
    // Each has had a message back when the client is ready.
    let _second = connect(CONNECTIONS)?;
    Ok(server.process.anonymous_memory().saturating_sub(before))
}
