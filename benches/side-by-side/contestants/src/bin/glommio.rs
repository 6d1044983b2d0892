//! glommio: a task for every connection on one executor, as in its own echo example.
//!
//! The executor stays on the CPU that the process was given, and its rings have room for what a thousand connections ask
//! for at once; the rest is as glommio has it by default. A read needs a buffer that is zeroed, so a connection's is
//! small at first and doubles while reads fill it: then the short messages of many connections cost little memory, and
//! long ones few calls.

#![forbid(unsafe_code)]

use std::io;

use clap::Parser as _;
use contestants::{Arguments, Work};
use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _};
use glommio::net::{TcpListener, TcpStream, UdpSocket};
use glommio::{LocalExecutorBuilder, Placement};

/// As much is read at once from a new connection.
const BUFFER_AT_FIRST: usize = 4 * 1024;

/// As much is read at once at most; it holds every datagram.
const BUFFER: usize = 64 * 1024;

/// Entries of each ring; 128 by default.
const RING_DEPTH: usize = 4096;

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let executor = LocalExecutorBuilder::new(Placement::Unbound).ring_depth(RING_DEPTH).make()?;
    executor.run(async {
        match (arguments.work, arguments.variant.as_deref()) {
            (Work::Echo, None) => echo().await,
            (Work::Udp, None) => udp().await,
            _ => contestants::refuse("glommio", &arguments),
        }
    })
}

async fn echo() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    contestants::announce(listener.local_addr()?);
    loop {
        let stream = listener.accept().await?;
        stream.set_nodelay(true)?;
        glommio::spawn_local(serve(stream)).detach();
    }
}

async fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_AT_FIRST];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..count]).await?;
        if count == buffer.len() && count < BUFFER {
            buffer.resize(2 * count, 0);
        }
    }
}

async fn udp() -> io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    contestants::announce(socket.local_addr()?);
    let mut buffer = vec![0; BUFFER];
    loop {
        let (count, from) = socket.recv_from(&mut buffer).await?;
        socket.send_to(&buffer[..count], from).await?;
    }
}
