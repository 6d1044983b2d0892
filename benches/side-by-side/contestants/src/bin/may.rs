//! may: a coroutine for every connection, on one worker, as in its own echo examples.
//!
//! A read needs a buffer that is zeroed, so a connection's is small at first and doubles while reads fill it: then the
//! short messages of many connections cost little memory, and long ones few calls.

#![forbid(unsafe_code)]

use std::io::{self, Read as _, Write as _};

use clap::Parser as _;
use contestants::{Arguments, Work};
use may::net::{TcpListener, TcpStream, UdpSocket};

/// As much is read at once from a new connection.
const BUFFER_AT_FIRST: usize = 4 * 1024;

/// As much is read at once at most; it holds every datagram.
const BUFFER: usize = 64 * 1024;

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    may::config().set_workers(1);
    let work = match (arguments.work, arguments.variant.as_deref()) {
        (Work::Echo, None) => may::go!(echo),
        (Work::Udp, None) => may::go!(udp),
        _ => contestants::refuse("may", &arguments),
    };
    work.join().expect("a coroutine that does not panic")
}

fn echo() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    contestants::announce(listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        may::go!(move || serve(stream));
    }
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_AT_FIRST];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..count])?;
        if count == buffer.len() && count < BUFFER {
            buffer.resize(2 * count, 0);
        }
    }
}

fn udp() -> io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    contestants::announce(socket.local_addr()?);
    let mut buffer = vec![0; BUFFER];
    loop {
        let (count, from) = socket.recv_from(&mut buffer)?;
        socket.send_to(&buffer[..count], from)?;
    }
}
