//! The context's part for clients: connecting, and taking over sockets that are connected already.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use crate::channel::state::Flags;
use crate::channel::stream::Stream;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::handler::Handler;
use crate::key::{ConnectionKey, Key, TimerKey};
use crate::limits;
use crate::net::address::{Address, ToAddress};
use crate::net::endpoint::Endpoint;
use crate::net::socket::{Connect, Socket, place};
use crate::options::ConnectionOptions;
use crate::slots::{ConnectionSlot, Task};

impl Context {
    /// Begins to connect to `address` with default options; see [`connect_with`](Self::connect_with).
    ///
    /// # Errors
    ///
    /// As [`connect_with`](Self::connect_with).
    pub fn connect(&mut self, address: impl ToAddress, handler: impl Handler) -> Result<ConnectionKey> {
        self.connect_with(address, ConnectionOptions::default(), handler)
    }

    /// Begins to connect to `address`; [`Handler::on_connect`] or [`Handler::on_connect_error`] says how it went. What is
    /// written before that waits. [`Connection::abort`](crate::Connection::abort) gives it up.
    ///
    /// A Unix server whose queue is full is tried again every 10 ms until the connect timeout.
    ///
    /// The options are the connection's own; connections that are given the same `Rc` share them until one's are changed, which
    /// saves memory.
    ///
    /// A port alone is this machine's. A host's name is resolved by helper threads, with what getaddrinfo(3) knows; its
    /// addresses are tried in turn, IPv6 and IPv4 by turns, the next one when one has failed or 250 ms have passed
    /// (RFC 8305). The connect timeout covers it all.
    ///
    /// # Errors
    ///
    /// If the address is not understood, the options contradict each other or the operating system refuses at once, for
    /// example because descriptors have run out, or because nobody is at a Unix address: a path without a file is
    /// [`NotFound`](io::ErrorKind::NotFound), one whose server is dead
    /// [`ConnectionRefused`](io::ErrorKind::ConnectionRefused). Then the handler is dropped and gets no callback.
    pub fn connect_with(
        &mut self,
        address: impl ToAddress,
        options: impl Into<Rc<ConnectionOptions>>,
        handler: impl Handler,
    ) -> Result<ConnectionKey> {
        self.check_open()?;
        let options = options.into();
        options.check()?;
        let address = address.to_address()?;
        let begun = match (&address, place(&address)) {
            (_, Some(peer)) => self.begin_connecting(peer, options),
            (Address::Host { name, port }, None) => self.begin_dialling(name, *port, options),
            (_, None) => Err(io::ErrorKind::InvalidInput.into()),
        };
        let key = begun.map_err(|source| Error::Connect { address, source })?;
        self.new_handlers.push((key, Box::new(handler)));
        self.stats.connections_started += 1;
        Ok(ConnectionKey(key))
    }

    fn begin_connecting(&mut self, peer: Endpoint, options: Rc<ConnectionOptions>) -> io::Result<Key> {
        let socket = Socket::for_peer(&peer, &options)?;
        let connect = socket.connect(&peer)?;
        let stream = Stream::connecting(socket, peer, options, self.clock.tick());
        let key = self.insert_connection(ConnectionSlot::new(stream, None))?;
        if connect == Connect::QueueFull {
            self.connect_again_later(key);
        }
        Ok(key)
    }

    fn begin_dialling(&mut self, name: &str, port: u16, options: Rc<ConnectionOptions>) -> io::Result<Key> {
        let socket = Socket::placeholder()?;
        let stream = Stream::connecting(socket, Endpoint::Unnamed, options, self.clock.tick());
        let key = self.insert_connection(ConnectionSlot::new(stream, None))?;
        self.begin_dial(key, name, port);
        Ok(key)
    }

    /// The timer is the connection's: it goes with it.
    fn connect_again_later(&mut self, key: Key) {
        let timer = self.insert_after(limits::CONNECT_AGAIN_AFTER, Task::ConnectAgain(key));
        if let Some(slot) = self.connection_slot(key) {
            slot.timers.get_or_insert_default().push(timer);
        }
    }

    /// Tries again to connect to a Unix server whose queue was full.
    pub(crate) fn connect_again(&mut self, key: Key, timer: TimerKey) {
        self.forget_handler_timer(key, timer);
        let Some(slot) = self.connection_slot(key) else { return };
        let stream = &mut slot.stream;
        if !stream.flags.any(Flags::CONNECTING) {
            return;
        }
        match stream.transport.socket().connect(&stream.peer) {
            Ok(Connect::QueueFull) => return self.connect_again_later(key),
            // No edge tells of a Unix connection that was made within the call.
            Ok(Connect::Begun) => stream.flags.set(Flags::WRITABLE),
            Err(error) => stream.fail_to_connect(&error),
        }
        self.schedule(key);
    }

    /// Takes over a stream socket that is connected already: one that was inherited, came over another socket, or was made
    /// with options that pants does not offer. It is made non-blocking and close-on-exec. [`Handler::on_connect`] comes in
    /// the next turn.
    ///
    /// # Errors
    ///
    /// If it is not a connected stream socket, the options contradict each other, or the operating system refuses. The
    /// descriptor is closed then.
    ///
    /// # Examples
    ///
    /// ```
    /// use pants_engine::{Connection, ConnectionOptions, Engine, Handler};
    /// use std::os::unix::net::UnixStream;
    ///
    /// struct Echo;
    ///
    /// impl Handler for Echo {
    ///     fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
    ///         connection.write(data);
    ///     }
    /// }
    ///
    /// let (ours, theirs) = UnixStream::pair()?;
    /// let mut engine = Engine::new()?;
    /// engine.context().adopt_connection(ours.into(), ConnectionOptions::default(), Echo)?;
    /// # drop(theirs);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn adopt_connection(
        &mut self,
        socket: OwnedFd,
        options: ConnectionOptions,
        handler: impl Handler,
    ) -> Result<ConnectionKey> {
        self.check_open()?;
        options.check()?;
        let socket = Socket::adopt(socket).map_err(Error::Adopt)?;
        let peer = socket.peer_address().ok_or_else(|| Error::Adopt(io::ErrorKind::NotConnected.into()))?;
        socket.configure(&options).map_err(Error::Adopt)?;
        // As one that has just been connected to: the next turn finds that it is. No edge says so where its buffer is full.
        let mut stream = Stream::connecting(socket, peer, Rc::new(options), self.clock.tick());
        stream.flags.set(Flags::WRITABLE);
        stream.is_shared = true;
        let key = self.insert_connection(ConnectionSlot::new(stream, None)).map_err(Error::Adopt)?;
        self.schedule(key);
        self.new_handlers.push((key, Box::new(handler)));
        self.stats.connections_started += 1;
        Ok(ConnectionKey(key))
    }
}
