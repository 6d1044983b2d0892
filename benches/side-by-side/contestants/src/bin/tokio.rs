//! tokio: a task for every connection, on its current-thread runtime or on its multi-thread one.
//!
//! Each work is done as tokio's own examples do it. An echo's buffer has room for 64 KiB, as pants' has, and is not zeroed.
//! With several threads the accept loop is a task too, since what `block_on` runs is on no worker thread.

#![forbid(unsafe_code)]

use std::io;
use std::sync::Arc;

use clap::Parser as _;
use contestants::{Arguments, Work};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, BufWriter};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::Builder;
use tokio::sync::broadcast::{self, error::RecvError};

/// As much is read at once; it holds every datagram.
const BUFFER: usize = 64 * 1024;

/// As many messages may wait for the slowest connection of a broadcast.
const BACKLOG: usize = 1024;

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    // The multi-thread runtime has as many workers as the process may use CPUs: one, on one.
    let runtime = match arguments.variant.as_deref() {
        None | Some("current-thread") => Builder::new_current_thread().enable_io().build()?,
        Some("multi-thread") => Builder::new_multi_thread().enable_io().build()?,
        _ => contestants::refuse("tokio", &arguments),
    };
    runtime.block_on(async {
        let work = match arguments.work {
            Work::Echo => tokio::spawn(serve(echo)),
            Work::Lines => tokio::spawn(serve(lines)),
            Work::Udp => tokio::spawn(udp()),
            Work::Broadcast => {
                let (messages, _) = broadcast::channel(BACKLOG);
                tokio::spawn(serve(move |stream| broadcast_to_all(stream, messages.clone())))
            }
            Work::Proxy => contestants::refuse("tokio", &arguments),
        };
        work.await?
    })
}

/// Gives every connection to a task of its own.
async fn serve<F: Future<Output = io::Result<()>> + Send + 'static>(task: impl Fn(TcpStream) -> F) -> io::Result<()> {
    let (listener, address) = contestants::listener();
    let listener = TcpListener::from_std(listener)?;
    contestants::announce(address);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(task(stream));
    }
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(BUFFER);
    while stream.read_buf(&mut buffer).await? > 0 {
        stream.write_all(&buffer).await?;
        buffer.clear();
    }
    Ok(())
}

/// Sends the replies to all lines that came together at once.
async fn lines(mut stream: TcpStream) -> io::Result<()> {
    let (input, output) = stream.split();
    let mut input = BufReader::new(input);
    let mut output = BufWriter::new(output);
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line).await? > 0 {
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        output.write_all(text).await?;
        output.write_u8(b'\n').await?;
        line.clear();
        if !input.buffer().contains(&b'\n') {
            output.flush().await?;
        }
    }
    Ok(())
}

async fn udp() -> io::Result<()> {
    let (socket, address) = contestants::datagram_socket();
    let socket = UdpSocket::from_std(socket)?;
    let mut buffer = vec![0; BUFFER];
    contestants::announce(address);
    loop {
        let (count, from) = socket.recv_from(&mut buffer).await?;
        socket.send_to(&buffer[..count], from).await?;
    }
}

/// Has what comes sent to all, by one task, and what all are sent written, by another.
async fn broadcast_to_all(stream: TcpStream, messages: broadcast::Sender<Arc<[u8]>>) -> io::Result<()> {
    let mine = messages.subscribe();
    let (mut input, output) = stream.into_split();
    let writer = tokio::spawn(pass_on(mine, output));
    let mut buffer = Vec::with_capacity(BUFFER);
    while input.read_buf(&mut buffer).await.unwrap_or(0) > 0 {
        // Nobody to send it to is no error here.
        let _ = messages.send(Arc::from(buffer.as_slice()));
        buffer.clear();
    }
    writer.abort();
    Ok(())
}

/// Writes the messages that wait together at once.
async fn pass_on(mut messages: broadcast::Receiver<Arc<[u8]>>, output: OwnedWriteHalf) -> io::Result<()> {
    let mut output = BufWriter::new(output);
    loop {
        match messages.recv().await {
            Ok(message) => output.write_all(&message).await?,
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return Ok(()),
        }
        if messages.is_empty() {
            output.flush().await?;
        }
    }
}
