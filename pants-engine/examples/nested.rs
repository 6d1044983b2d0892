//! An engine in a loop of somebody else's: an epoll instance that watches the engine beside a descriptor of its own.
//!
//! The engine's descriptor is readable when it has events, and `next_deadline` says until when the loop may sleep. A thread of
//! its own plays the client: it has one message echoed and then tells the loop, by its other descriptor, that it is done.
//!
//! Run `cargo run -p pants-engine --example nested`: it listens at a free port of this machine, and ends by itself.

use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use pants_engine::{Connection, Engine, Handler};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

/// What the loop's events carry, so that it knows whose they are.
const ENGINE: u64 = 0;
const CLIENT: u64 = 1;

/// How long the loop sleeps when the engine waits for nothing but events.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

struct Echo;

impl Handler for Echo {
    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        println!("engine: echoes {} bytes", data.len());
        connection.write(data);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut engine = Engine::new()?;
    let server = engine.listen("127.0.0.1:0", |_peer| Echo)?;
    let address =
        engine.context().server_address(server).and_then(|at| at.socket_address()).ok_or("the server is gone")?;
    println!("listening on {address}");
    engine.context().cycle(Duration::from_millis(5), |_| println!("engine: a timer"))?;

    let (mut done, tell) = UnixStream::pair()?;
    let client = std::thread::spawn(move || talk(address, tell));

    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &engine, EventData::new_u64(ENGINE), EventFlags::IN)?;
    epoll::add(&epoll, &done, EventData::new_u64(CLIENT), EventFlags::IN)?;
    let mut room = [MaybeUninit::uninit(); 8];
    let mut running = true;
    while running {
        let timeout = timeout(&engine);
        let (events, _) = epoll::wait(&epoll, &mut room, Some(&timeout))?;
        for event in events {
            if event.data.u64() == CLIENT {
                let mut word = String::new();
                done.read_to_string(&mut word)?;
                println!("loop: the client says {word:?}");
                running = false;
            }
        }
        // Asked for or not: its deadline may have come. A timeout of zero, since the sleep is this loop's.
        running &= engine.poll(Some(Duration::ZERO))?;
    }
    engine.close_all();
    client.join().map_err(|_| "the client has panicked")??;
    Ok(())
}

/// How long the loop may sleep. It is at once when the engine has left work over, for which no event will come.
fn timeout(engine: &Engine) -> Timespec {
    let left =
        engine.next_deadline().map_or(LONGEST_SLEEP, |deadline| deadline.saturating_duration_since(Instant::now()));
    let left = left.min(LONGEST_SLEEP);
    Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() }
}

fn talk(address: std::net::SocketAddr, mut tell: UnixStream) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    // Long enough for a few timers of the engine to come between.
    std::thread::sleep(Duration::from_millis(20));
    stream.write_all(b"hello")?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer)?;
    tell.write_all(&answer)
}
