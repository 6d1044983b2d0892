//! compio: a task for every connection, over io_uring or, as its polling driver, over epoll.
//!
//! Each connection has one buffer, which goes to the kernel and comes back with every call, as in compio's own examples,
//! with room for 64 KiB, as pants has. The ring has the flags that compio's documentation advises for a single thread.

#![forbid(unsafe_code)]

use std::io;

use clap::Parser as _;
use compio::BufResult;
use compio::driver::{DriverType, ProactorBuilder};
use compio::io::{AsyncRead as _, AsyncWriteExt as _};
use compio::net::{TcpListener, TcpStream, UdpSocket};
use compio::runtime::RuntimeBuilder;
use contestants::{Arguments, Work};

/// As much is read at once; it holds every datagram.
const BUFFER: usize = 64 * 1024;

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let mut driver = ProactorBuilder::new();
    match arguments.variant.as_deref() {
        None | Some("io_uring") => {
            driver.driver_type(DriverType::IoUring).single_issuer(true).coop_taskrun(true).taskrun_flag(true)
        }
        Some("epoll") => driver.driver_type(DriverType::Poll),
        _ => contestants::refuse("compio", &arguments),
    };
    RuntimeBuilder::new().with_proactor(driver).build()?.block_on(async {
        match arguments.work {
            Work::Echo => echo().await,
            Work::Udp => udp().await,
            _ => contestants::refuse("compio", &arguments),
        }
    })
}

async fn echo() -> io::Result<()> {
    let (listener, address) = contestants::listener();
    // io_uring waits only for sockets that block; with the polling driver `from_std` undoes this.
    listener.set_nonblocking(false)?;
    let listener = TcpListener::from_std(listener)?;
    contestants::announce(address);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        compio::runtime::spawn(serve(stream)).detach();
    }
}

async fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(BUFFER);
    loop {
        let BufResult(count, filled) = stream.read(buffer).await;
        if count? == 0 {
            return Ok(());
        }
        let BufResult(sent, emptied) = stream.write_all(filled).await;
        sent?;
        buffer = emptied;
        buffer.clear();
    }
}

async fn udp() -> io::Result<()> {
    let (socket, address) = contestants::datagram_socket();
    socket.set_nonblocking(false)?;
    let socket = UdpSocket::from_std(socket)?;
    let mut buffer = Vec::with_capacity(BUFFER);
    contestants::announce(address);
    loop {
        let BufResult(received, filled) = socket.recv_from(buffer).await;
        let (_, from) = received?;
        let BufResult(sent, emptied) = socket.send_to(filled, from).await;
        sent?;
        buffer = emptied;
        buffer.clear();
    }
}
