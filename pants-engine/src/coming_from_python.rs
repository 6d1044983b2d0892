//! For those who know the Python framework of the same name: each of its words, the word here, and what differs.
//!
//! Its ideas are all here: an engine that watches channels and timers, callbacks named `on_*`, a delimiter that cuts input
//! into frames. A first program reads the same in both:
//!
//! ```python
//! from pants import Engine, Server, Stream
//!
//! class Echo(Stream):
//!     def on_read(self, data):
//!         self.write(data)
//!
//! Server(ConnectionClass=Echo).listen(4040)
//! Engine.instance().start()
//! ```
//!
//! ```no_run
//! use pants_engine::{Connection, Engine, Handler};
//!
//! struct Echo;
//!
//! impl Handler for Echo {
//!     fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
//!         connection.write(data);
//!     }
//! }
//!
//! fn main() -> pants_engine::Result<()> {
//!     let mut engine = Engine::new()?;
//!     engine.listen(4040, |_peer| Echo)?;
//!     engine.start()
//! }
//! ```
//!
//! # The engine
//!
//! | Python | here | what differs |
//! | --- | --- | --- |
//! | `Engine()` | [`Engine::new`](crate::Engine::new), [`with_options`](crate::Engine::with_options) | stays on its thread; many engines may live in one process |
//! | `Engine.instance()` | none | a program makes its engine; callbacks reach it by [`Connection::context`](crate::Connection::context) |
//! | `engine.start(poll_timeout)` | [`Engine::start`](crate::Engine::start) | sleeps until there is something to do; `poll_timeout` has become [`longest_turn`](crate::EngineOptions::longest_turn) |
//! | `engine.stop()` | [`Context::stop`](crate::Context::stop), [`Context::drain`](crate::Context::drain) | `start` closes every channel before it returns; `drain` first serves them out |
//! | `engine.poll(timeout)` | [`Engine::poll`](crate::Engine::poll) | `None` is without a bound, for a loop of one's own see [`next_deadline`](crate::Engine::next_deadline) |
//! | `engine.latest_poll_time` | [`Context::now`](crate::Context::now) | monotonic, so nothing fires early or late when the time of day is set |
//! | `engine.add_channel`, `remove_channel` | [`adopt_connection`](crate::Context::adopt_connection) and its like | registers by itself |
//! | `engine.callback(f)` | [`Context::callback`](crate::Context::callback) | |
//! | `engine.loop(f)` | [`Context::every_turn`](crate::Context::every_turn) | `loop` is a keyword |
//! | `engine.defer(seconds, f)` | [`Context::defer`](crate::Context::defer), [`Connection::defer`](crate::Connection::defer) | takes a [`Duration`](std::time::Duration); none of it means the next turn |
//! | `engine.cycle(seconds, f)` | [`Context::cycle`](crate::Context::cycle) | at a fixed rate: lateness does not add up |
//! | `timer()`, `timer.cancel()` | [`Context::cancel`](crate::Context::cancel) | by the [`TimerKey`](crate::TimerKey) |
//!
//! # Servers
//!
//! | Python | here | what differs |
//! | --- | --- | --- |
//! | `Server` | [`Acceptor`](crate::Acceptor), a closure or a type of one's own | it makes handlers; its socket is the engine's, reached by [`ServerKey`](crate::ServerKey) |
//! | `ConnectionClass` | [`Acceptor::Handler`](crate::Acceptor::Handler) | made for each connection by `on_accept`, with what the program gives it |
//! | `server.listen(address, backlog)` | [`Context::listen_with`](crate::Context::listen_with) | a [`ToAddress`](crate::ToAddress): `4040`, `"host:4040"`, `"./path"`; [`backlog`](crate::ServerOptions::backlog) is an option |
//! | `slave=True` | none | a port alone takes IPv6 and IPv4 with one socket |
//! | `server.channels` | [`Context::connections`](crate::Context::connections) | gives keys |
//! | `server.listening` | [`Context::server_address`](crate::Context::server_address) | `None` when it has closed |
//! | `server.close()` | [`Context::close_server`](crate::Context::close_server) | as there, connections stay |
//! | `on_accept(socket, addr)` | [`Acceptor::on_accept`](crate::Acceptor::on_accept) | gets the peer and returns the handler, or `None` to refuse |
//! | `on_listen()`, `on_close()` | [`Acceptor::on_listen`](crate::Acceptor::on_listen), [`on_close`](crate::Acceptor::on_close) | `on_listen` gets the address |
//!
//! # Streams
//!
//! | Python | here | what differs |
//! | --- | --- | --- |
//! | `Stream`, `Connection` | [`Handler`](crate::Handler) and [`Connection`](crate::Connection) | the program's part and the engine's part, apart |
//! | `stream.connect(address)` | [`Context::connect`](crate::Context::connect) | what is written before it is made waits, and does not raise |
//! | `stream.connected` | [`Context::connection`](crate::Context::connection) | `None` when it has closed |
//! | `write(data)` | [`Connection::write`](crate::Connection::write) | what one callback writes leaves together; `false` when it is closed, not an exception |
//! | `write_file(file, nbytes, offset)` | [`Connection::write_file`](crate::Connection::write_file) | offset first; a length of 0 is nothing, not everything |
//! | `write_packed(*data, format=…)` | [`Connection::write_packed`](crate::Connection::write_packed) | a struct of fixed layout instead of a format |
//! | `flush()`, `flush=True` | [`Connection::flush`](crate::Connection::flush) | seldom needed |
//! | `close()` | [`Connection::close`](crate::Connection::close) | as there, what is queued leaves first, then FIN |
//! | `close(flush=False)` | [`Connection::abort`](crate::Connection::abort) | the peer learns of it, by RST |
//! | `read_delimiter = …` | [`Connection::set_delimiter`](crate::Connection::set_delimiter) | see below |
//! | `buffer_size = …` | [`Connection::set_buffer_limit`](crate::Connection::set_buffer_limit), [`buffer_limit`](crate::ConnectionOptions::buffer_limit) | does not grow by itself for a large number as delimiter |
//! | `remote_address` | [`Connection::peer_address`](crate::Connection::peer_address), [`set_peer_address`](crate::Connection::set_peer_address) | an [`Endpoint`](crate::Endpoint), still there in `on_close` |
//! | `local_address` | [`Connection::local_address`](crate::Connection::local_address) | |
//! | `stream.server` | [`Connection::server`](crate::Connection::server) | a key |
//! | `on_connect`, `on_read`, `on_write` | [`on_connect`](crate::Handler::on_connect), [`on_read`](crate::Handler::on_read), [`on_write`](crate::Handler::on_write) | `on_read` borrows its bytes; what is to be kept must be copied |
//! | `on_close()` | [`Handler::on_close`](crate::Handler::on_close) | says why: [`CloseReason`](crate::CloseReason) |
//! | none | [`Handler::on_end`](crate::Handler::on_end) | the peer has sent FIN and may still read |
//! | `on_connect_error(e)` | [`Handler::on_connect_error`](crate::Handler::on_connect_error) | comes alone, without `on_close` |
//! | `on_overflow_error(e)` | [`Handler::on_overflow_error`](crate::Handler::on_overflow_error) | for what is written, too: the queue is bounded |
//! | `on_read_error`, `on_write_error`, `on_error` | [`Handler::on_error`](crate::Handler::on_error) | the connection closes, whatever it does |
//!
//! # Datagrams
//!
//! | Python | here | what differs |
//! | --- | --- | --- |
//! | `Datagram` | [`DatagramHandler`](crate::DatagramHandler) and [`Datagram`](crate::Datagram) | |
//! | `listen(addr)` | [`Context::open_datagram`](crate::Context::open_datagram) | shares its port only if [asked](crate::DatagramOptions::reuse_port) |
//! | `write(data, address)` | [`Datagram::send_to`](crate::Datagram::send_to), [`send`](crate::Datagram::send) | an empty datagram is one, too |
//! | `remote_address` in `on_read` | the argument `from` of [`on_read`](crate::DatagramHandler::on_read) | |
//! | `read_delimiter` | none | a datagram is whole, and one callback |
//! | `close()`, `end()` | [`Datagram::close`](crate::Datagram::close) | what is queued is tried once more |
//!
//! # Callbacks get the connection
//!
//! There a stream was an object with the program's attributes and the framework's. Here the handler has the program's, and
//! each callback is lent the connection. What is `self.write(data)` there is `connection.write(data)` here, and
//! `self.engine.defer(…)` is `connection.context().defer(…)`. A timer that needs the handler is
//! [`Connection::defer`](crate::Connection::defer), which gets both and goes when the connection does.
//!
//! # Keys instead of references
//!
//! A connection cannot be kept, since it is lent. What is kept is its [`key`](crate::Connection::key), and
//! [`Context::connection`](crate::Context::connection) gives the connection back, or `None` when it has closed. A key is never
//! used again for another connection, so that one that is stale reaches nobody. This writes to all connections of a server:
//!
//! ```
//! use pants_engine::{Connection, Handler};
//!
//! struct EchoToAll;
//!
//! impl Handler for EchoToAll {
//!     fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
//!         let Some(server) = connection.server() else { return };
//!         let context = connection.context();
//!         for key in context.connections(server) {
//!             if let Some(mut other) = context.connection(key) {
//!                 other.write(data);
//!             }
//!         }
//!     }
//! }
//! ```
//!
//! # Nothing is called from within a callback
//!
//! There `close()` called `on_close` before it returned. Here it only says what is to be done; `on_close` comes when the present
//! callback has returned. So a callback never finds its own state half changed, and a `RefCell` that several handlers share may
//! stay borrowed while one writes or closes.
//!
//! # Errors
//!
//! An exception in a callback was logged, and the channel went on. A panic here is logged, too, but ends its connection, with
//! [`CloseReason::Panicked`](crate::CloseReason::Panicked), and no other: a handler that was left in the middle is not called again. What
//! can fail by itself, such as [`listen`](crate::Context::listen), returns a [`Result`](crate::Result). What happens on a connection later
//! is told to its handler, and closing is not left to it.
//!
//! # Delimiters
//!
//! | `read_delimiter` | [`set_delimiter`](crate::Connection::set_delimiter) |
//! | --- | --- |
//! | `None` | [`Delimiter::none()`](crate::Delimiter::none) |
//! | `"\r\n"` | `"\r\n"` |
//! | `512` | `512` |
//! | `re.compile(…)`, `regex_search = True` | [`Delimiter::regex`](crate::Delimiter::regex) |
//! | `re.compile(…)`, `regex_search = False` | [`Delimiter::regex_match`](crate::Delimiter::regex_match), and [`on_match`](crate::Handler::on_match) for the groups |
//! | `struct.Struct("!LLH")` | [`Delimiter::of`](crate::Delimiter::of) a struct of [`zerocopy`]'s numbers, which `on_read` reads the bytes as |
//! | `NetStruct` | a [`LengthPrefix`](crate::LengthPrefix), or a [`Framer`](crate::Framer) of one's own |
//!
//! As there, it may change within `on_read`, and holds from the next byte on. A frame may be empty: two line ends in a row are
//! an empty line.
//!
//! # Timers
//!
//! There are the same four kinds, and two more: [`defer_until`](crate::Context::defer_until) an instant, and
//! [`defer_precise`](crate::Context::defer_precise) for less than a millisecond. A delay is counted from the call, not from the
//! beginning of the turn, and never comes early. Closures get the [`Context`](crate::Context), since nothing is global; what else they need
//! they capture, a handler's key for example. A closure that panics is cancelled; there a timer that raised was logged
//! and, if it repeats, went on.
//!
//! # What is new
//!
//! * Back-pressure: a connection whose peer does not take what is written is [not read](crate::ConnectionOptions::auto_pause) until it
//!   does; [`on_congested`](crate::Handler::on_congested) and [`on_drained`](crate::Handler::on_drained) say so. Reading can be
//!   [paused](crate::Connection::pause_reading) by hand.
//! * [Timeouts](crate::ConnectionOptions::idle_timeout) for idle, silent, stalled and unmade connections.
//! * [`Remote`](crate::Remote), for other threads. There, an engine was for one thread alone.
//! * All cores: the crate `pants-shard` runs one engine on each.
//!
//! # What is not here
//!
//! * TLS: `startSSL` and the callbacks `on_ssl_*`. A proxy in front, for now.
//! * HTTP: `pants.http`, `pants.web` and WebSockets. No protocol is here, only [framing](crate::Delimiter) to write them with.
//! * `pants.util.dns`: names are resolved by the system, by [`connect`](crate::Context::connect_with) in the background and by
//!   [`listen`](crate::Context::listen_with) in place.
//! * `pants.contrib`: IRC, telnet, SOCKS and the Qt engine. In another loop an engine runs by [`poll`](crate::Engine::poll).
//! * Systems other than Linux.
