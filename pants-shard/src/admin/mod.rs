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
use crate::metrics::Metrics;
use crate::shard::{Local, Shard};
use crate::shutdown::Stage;

/// The most visitors at a time; others wait in the kernel's queue.
const VISITORS_MAX: usize = 64;

/// How long a visitor may take from one answer to the end of its next request, and to take an answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(10);

const PAGE: &str = include_str!("page.html");

impl Shard<'_> {
    /// Serves the admin endpoint at `address`, on this shard, from now on until the runtime has ended. One shard is enough:
    /// it asks the others, over the bus, when somebody looks.
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
    /// There is no password and no TLS: whoever reaches the address can read. Choose loopback, such as `127.0.0.1:9090`, or
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
        let connection = ConnectionOptions {
            write_stall_timeout: Some(WRITE_STALL_TIMEOUT),
            buffer_limit: HEAD_BYTES_MAX,
            ..ConnectionOptions::default()
        };
        let options = ServerOptions {
            connection,
            max_connections: Some(VISITORS_MAX),
            attendant: true,
            ..ServerOptions::default()
        };
        let local = Rc::clone(self.local());
        let acceptor = move |_peer: Endpoint| Visitor { local: Rc::clone(&local), deadline: None };
        Ok(self.context().listen_with(address, options, acceptor)?)
    }
}

/// One connection to the endpoint.
struct Visitor {
    local: Rc<Local>,
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
        let stays = request.keep_alive;
        let serves = self.local.shutdown.stage() == Stage::Serving;
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
    /// Gives the visitor its time for the next request.
    fn wait(&mut self, connection: &mut Connection<'_>) {
        let deadline = connection.defer(REQUEST_TIMEOUT, |visitor: &mut Self, connection| {
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
