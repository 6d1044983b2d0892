//! monoio: a task for every connection, over io_uring or over epoll, which it calls its legacy driver.
//!
//! Each connection has one buffer, which goes to the kernel and comes back with every call, as in monoio's own echo
//! example; it has room for 64 KiB, as pants has. Its guide advises a ring of 32,768 entries where there is much to do. The
//! flags of a ring that one thread uses are left to monoio's user: with them it needs a tenth to a fifth less time.

#![forbid(unsafe_code)]

use std::io;

use clap::Parser as _;
use contestants::{Arguments, Work};
use io_uring_of_monoio::IoUring;
use monoio::io::{AsyncReadRent as _, AsyncWriteRentExt as _};
use monoio::net::udp::UdpSocket;
use monoio::net::{TcpListener, TcpStream};
use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};

/// As much is read at once; it holds every datagram.
const BUFFER: usize = 64 * 1024;

/// Entries of the ring.
const ENTRIES: u32 = 32 * 1024;

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    match arguments.variant.as_deref() {
        None | Some("io_uring") => {
            let mut ring = IoUring::builder();
            ring.setup_single_issuer().setup_defer_taskrun();
            let runtime = RuntimeBuilder::<IoUringDriver>::new().with_entries(ENTRIES).uring_builder(ring);
            runtime.build()?.block_on(serve(&arguments, false))
        }
        Some("epoll") => RuntimeBuilder::<LegacyDriver>::new().build()?.block_on(serve(&arguments, true)),
        _ => contestants::refuse("monoio", &arguments),
    }
}

/// Serves. io_uring waits only for sockets that are not `nonblocking`.
async fn serve(arguments: &Arguments, nonblocking: bool) -> io::Result<()> {
    match arguments.work {
        Work::Echo => serve_streams(nonblocking).await,
        Work::Udp => serve_datagrams(nonblocking).await,
        _ => contestants::refuse("monoio", arguments),
    }
}

async fn serve_streams(nonblocking: bool) -> io::Result<()> {
    let (listener, address) = contestants::listener();
    listener.set_nonblocking(nonblocking)?;
    let listener = TcpListener::from_std(listener)?;
    contestants::announce(address);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        monoio::spawn(echo(stream));
    }
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(BUFFER);
    loop {
        let (count, filled) = stream.read(buffer).await;
        if count? == 0 {
            return Ok(());
        }
        let (sent, emptied) = stream.write_all(filled).await;
        sent?;
        buffer = emptied;
        buffer.clear();
    }
}

async fn serve_datagrams(nonblocking: bool) -> io::Result<()> {
    let (socket, address) = contestants::datagram_socket();
    socket.set_nonblocking(nonblocking)?;
    let socket = UdpSocket::from_std(socket)?;
    let mut buffer = Vec::with_capacity(BUFFER);
    contestants::announce(address);
    loop {
        let (received, filled) = socket.recv_from(buffer).await;
        let (_, from) = received?;
        let (sent, emptied) = socket.send_to(filled, from).await;
        sent?;
        buffer = emptied;
        buffer.clear();
    }
}
