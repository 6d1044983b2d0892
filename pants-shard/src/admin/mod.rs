//! The admin endpoint: a small HTTP server on one shard, which shows what all of them do.
//!
//! It reads and changes nothing. Its connections stand beside the service: they are not counted, and a drain leaves them
//! alone, so that it can be watched.

mod json;
mod request;
mod response;
mod series;
mod text;

use std::rc::Rc;
use std::time::Duration;

use pants_engine::{
    Connection, ConnectionOptions, Delimiter, Endpoint, Handler, Overflow, ServerKey, ServerOptions, TimerKey,
    ToAddress,
};

use self::request::{HEAD_BYTES_MAX, Heads};
use self::response::{Body, Status, refusal, response};
use crate::error::Result;
use crate::listener::servers;
use crate::metrics::Metrics;
use crate::shard::{Local, Shard};
use crate::shutdown::Stage;

/// The most visitors at a time; others wait in the kernel's queue.
const VISITORS_MAX: usize = 64;

/// How long a visitor may take from one answer to the end of its next request, and to take an answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(10);

const PAGE: &str = concat!(include_str!("page.html"), "<script>\n", include_str!("page.js"), "</script>\n");

impl Shard<'_> {
    /// Serves the admin endpoint at `address`, on this shard, from now on until the runtime has ended. One shard is enough:
    /// it asks the others, over the bus, when somebody looks. The first shard does it of itself at the configuration's
    /// `admin.listen`; this is for programs that say themselves where.
    ///
    /// It speaks HTTP/1.1, answers GET and nothing else, and changes nothing:
    ///
    /// | path | what is there |
    /// | --- | --- |
    /// | `/` | a page that shows the shards live |
    /// | `/metrics` | all numbers, for Prometheus |
    /// | `/stats.json` | the same as JSON |
    /// | `/healthz` | 200 while this shard turns |
    /// | `/readyz` | 200 while the runtime serves, 503 while it drains; visitors wait until every shard listens |
    ///
    /// When a successor takes the address over ([`Runtime::handover`](crate::Runtime::handover)), `/readyz` goes on to say 200, and
    /// each visitor's next answer is the last of its connection, so that the one after comes from the successor.
    ///
    /// There is no password and no TLS: whoever reaches the address can read, and a port alone is reached over every
    /// interface. Choose loopback, such as `127.0.0.1:9090`, or
    /// a Unix socket, unless the network around it is trusted.
    ///
    /// Visitors are not among the [`Stats`](crate::Stats)' connections, though this shard's bytes, reads and writes include
    /// theirs; a drain neither ends nor waits for them. At most 64 are served at a time, a request's head has at most
    /// 8 KiB, and each must be complete within 20 s.
    ///
    /// # Errors
    ///
    /// If the address is not understood or taken.
    ///
    /// # Examples
    ///
    /// ```
    /// use pants_shard::{Config, Runtime, ShardId};
    /// use std::io::{Read, Write};
    /// use std::net::TcpStream;
    /// use std::sync::mpsc::channel;
    ///
    /// let (tell, told) = channel();
    /// let running = Runtime::new(Config::default())?.start(move |shard| {
    ///     if shard.id() == ShardId::new(0) {
    ///         let server = shard.serve_admin("127.0.0.1:0")?;
    ///         let address = shard.context().server_address(server).and_then(|address| address.socket_address());
    ///         let _ = tell.send(address.expect("it is a TCP server"));
    ///     }
    ///     Ok(())
    /// })?;
    /// let mut client = TcpStream::connect(told.recv()?)?;
    /// client.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    /// let mut answer = String::new();
    /// client.read_to_string(&mut answer)?;
    /// assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok\n"));
    /// running.stop();
    /// running.join()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn serve_admin(&mut self, address: impl ToAddress) -> Result<ServerKey> {
        serve(self, address, REQUEST_TIMEOUT)
    }
}

fn serve(shard: &mut Shard<'_>, address: impl ToAddress, request_timeout: Duration) -> Result<ServerKey> {
    let connection = ConnectionOptions {
        write_stall_timeout: Some(WRITE_STALL_TIMEOUT),
        buffer_limit: HEAD_BYTES_MAX,
        ..ConnectionOptions::default()
    };
    let max_connections = Some(VISITORS_MAX);
    let options = ServerOptions { connection, max_connections, attendant: true, ..ServerOptions::default() };
    let local = Rc::clone(shard.local());
    let visited = Rc::clone(&local);
    let acceptor = move |_peer: Endpoint| Visitor { local: Rc::clone(&visited), request_timeout, deadline: None };
    let address = address.to_address().map_err(pants_engine::Error::from)?;
    if local.servers.borrow().is_set_up {
        return Ok(shard.context().listen_with(address, options, acceptor)?);
    }
    // As a listener of one shard, so that it is handed over with the others.
    servers::declare_private(shard, address, options, acceptor)
}

/// One connection to the endpoint.
struct Visitor {
    local: Rc<Local>,
    request_timeout: Duration,
    /// Ends the waiting for a request.
    deadline: Option<TimerKey>,
}

impl Handler for Visitor {
    fn on_connect(&mut self, connection: &mut Connection<'_>) {
        connection.set_delimiter(Delimiter::framer(Heads::default()));
        self.wait(connection);
    }

    fn on_read(&mut self, connection: &mut Connection<'_>, head: &[u8]) {
        if let Some(deadline) = self.deadline.take() {
            connection.context().cancel(deadline);
        }
        let request = match request::parse(head) {
            Ok(request) => request,
            Err(status) => return self.answer(connection, &refusal(status), false),
        };
        let succeeded = self.is_succeeded(connection);
        // The next request is for the successor.
        let stays = request.keep_alive && !succeeded;
        let serves = succeeded || self.local.shutdown.stage() == Stage::Serving;
        let (status, kind, body) = match request.path {
            "/" => (Status::Ok, Body::Html, PAGE),
            "/healthz" => (Status::Ok, Body::Text, "ok\n"),
            "/readyz" if serves => (Status::Ok, Body::Text, "ready\n"),
            "/readyz" => (Status::Unavailable, Body::Text, "draining\n"),
            "/metrics" => return self.gather(connection, Body::Metrics, stays),
            "/stats.json" => return self.gather(connection, Body::Json, stays),
            _ => (Status::NotFound, Body::Text, "404 Not Found\n"),
        };
        self.answer(connection, &response(status, kind, body, stays), stays);
    }

    fn on_overflow_error(&mut self, connection: &mut Connection<'_>, overflow: Overflow) {
        if overflow == Overflow::Read {
            self.answer(connection, &refusal(Status::HeadTooLarge), false);
        }
    }
}

impl Visitor {
    /// Whether a successor serves at this address, which so is ready while this process drains.
    fn is_succeeded(&self, connection: &Connection<'_>) -> bool {
        let group = connection.server().and_then(|server| self.local.servers.borrow().group_of(server));
        group.is_some_and(|group| self.local.groups.is_yielded(group))
    }

    /// Gives the visitor its time for the next request.
    fn wait(&mut self, connection: &mut Connection<'_>) {
        let deadline = connection.defer(self.request_timeout, |visitor: &mut Self, connection| {
            visitor.deadline = None;
            if connection.buffered().is_empty() {
                connection.close();
            } else {
                visitor.answer(connection, &refusal(Status::RequestTimeout), false);
            }
        });
        self.deadline = Some(deadline);
    }

    /// Answers with what all shards say. Until then the visitor is not read.
    fn gather(&mut self, connection: &mut Connection<'_>, kind: Body, stays: bool) {
        connection.pause_reading();
        let key = connection.key();
        Shard::new(connection.context(), &self.local).metrics(move |shard, metrics| {
            let stage = shard.local().shutdown.stage();
            // It may have left.
            let Some(mut connection) = shard.context().connection(key) else { return };
            let answer = response(Status::Ok, kind, &show(&metrics, kind, stage), stays);
            connection.defer(Duration::ZERO, move |visitor: &mut Self, connection| {
                connection.resume_reading();
                visitor.answer(connection, &answer, stays);
            });
        });
    }

    fn answer(&mut self, connection: &mut Connection<'_>, answer: &[u8], stays: bool) {
        connection.write(answer);
        if stays {
            self.wait(connection);
        } else {
            connection.close();
        }
    }
}

fn show(metrics: &Metrics, kind: Body, stage: Stage) -> String {
    match kind {
        Body::Metrics => text::write(metrics, stage == Stage::Serving),
        _ => json::write(metrics, if stage == Stage::Serving { "serving" } else { "draining" }),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::sync::{Mutex, mpsc};
    use std::time::Instant;

    use super::*;
    use crate::{Config, Running, Runtime, Shards};

    const TIMEOUT: Duration = Duration::from_millis(200);

    /// How long a test waits for what must come.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn start() -> (Running, SocketAddr) {
        let (tell, told) = mpsc::channel();
        let tell = Mutex::new(tell);
        let config = Config::builder().shards("1".parse::<Shards>().unwrap()).pin(false).build().unwrap();
        let set_up = move |shard: &mut Shard<'_>| {
            let server = serve(shard, "127.0.0.1:0", TIMEOUT)?;
            let address = shard.context().server_address(server).unwrap().socket_address().unwrap();
            tell.lock().unwrap().send(address).unwrap();
            Ok(())
        };
        let running = Runtime::new(config).unwrap().start(set_up).unwrap();
        (running, told.recv().unwrap())
    }

    fn visit(address: SocketAddr) -> TcpStream {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    #[test]
    fn a_request_that_comes_drop_by_drop_is_cut_off_in_time() {
        let (running, address) = start();
        let (mut slow, begun) = (visit(address), Instant::now());
        slow.set_nonblocking(true).unwrap();
        let mut answer = Vec::new();
        slow.write_all(b"GET / HTTP/1.1\r\n").unwrap();
        // Each drop comes sooner than any timeout that is counted from the last one.
        while answer.is_empty() && begun.elapsed() < PATIENCE {
            let _ = slow.write(b"a: b\r\n");
            let mut buffer = [0; 1024];
            let count = slow.read(&mut buffer).unwrap_or(0);
            answer.extend_from_slice(&buffer[..count]);
            std::thread::sleep(TIMEOUT / 20);
        }
        assert!(answer.starts_with(b"HTTP/1.1 408 Request Timeout\r\n"), "{}", String::from_utf8_lossy(&answer));
        assert!(begun.elapsed() >= TIMEOUT);
        running.stop();
        running.join().unwrap();
    }

    #[test]
    fn a_visitor_who_asks_nothing_more_is_seen_out_without_a_word() {
        let (running, address) = start();
        let mut idle = visit(address);
        idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answers = String::new();
        idle.read_to_string(&mut answers).unwrap();
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
        let mut silent = visit(address);
        assert_eq!(silent.read(&mut [0]).unwrap(), 0);
        running.stop();
        running.join().unwrap();
    }
}
