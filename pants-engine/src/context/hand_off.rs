//! The context's part for connections that come from other engines.

use std::rc::Rc;

use crate::channel::state::CloseReason;
use crate::channel::stream::Stream;
use crate::context::Context;
use crate::hand_off::{Detached, HandOffError, LeftBehind, Refused};
use crate::handler::Handler;
use crate::key::{ConnectionKey, Key, ServerKey};
use crate::slots::{Channel, ConnectionSlot};

impl Context {
    /// Takes over a connection that another engine has [detached](crate::Connection::detach), for `handler`, whose
    /// [`on_hand_off`](Handler::on_hand_off) comes first. With `server` it becomes one of that server's connections.
    ///
    /// # Errors
    ///
    /// If the engine is closing every channel, the server is gone or has its most connections, or the operating system
    /// refuses. The connection comes back; `handler` is dropped.
    ///
    /// # Examples
    ///
    /// Two engines, of which the second serves what the first has accepted:
    ///
    /// ```
    /// use pants_engine::{Connection, Detached, Engine, Handler};
    /// use std::sync::mpsc::{Sender, channel};
    ///
    /// struct Doorman(Sender<Detached>);
    /// struct Echo;
    ///
    /// impl Handler for Doorman {
    ///     fn on_connect(&mut self, connection: &mut Connection<'_>) {
    ///         let way = self.0.clone();
    ///         connection.detach(move |_context, connection, _left_behind| way.send(connection).unwrap());
    ///     }
    ///
    ///     fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {}
    /// }
    ///
    /// impl Handler for Echo {
    ///     fn on_hand_off(&mut self, connection: &mut Connection<'_>) {
    ///         connection.write(b"welcome\n");
    ///         connection.close();
    ///     }
    ///
    ///     fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {}
    /// #   fn on_close(&mut self, connection: &mut Connection<'_>, _: pants_engine::CloseReason) {
    /// #       connection.context().stop();
    /// #   }
    /// }
    ///
    /// let (way, arrivals) = channel();
    /// let mut first = Engine::new()?;
    /// let server = first.listen("127.0.0.1:0", move |_peer| Doorman(way.clone()))?;
    /// # let address = first.context().server_address(server).unwrap().socket_address().unwrap();
    /// # let client = std::thread::spawn(move || {
    /// #     let mut heard = String::new();
    /// #     let mut client = std::net::TcpStream::connect(address)?;
    /// #     std::io::Read::read_to_string(&mut client, &mut heard).map(|_| heard)
    /// # });
    /// let connection = loop {
    ///     first.poll(None)?;
    ///     if let Ok(connection) = arrivals.try_recv() {
    ///         break connection;
    ///     }
    /// };
    ///
    /// let mut second = Engine::new()?;
    /// second.context().attach(connection, None, Echo).map_err(|refused| refused.error)?;
    /// second.start()?;
    /// # assert_eq!(client.join().unwrap()?, "welcome\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn attach(
        &mut self,
        connection: Detached,
        server: Option<ServerKey>,
        handler: impl Handler,
    ) -> Result<ConnectionKey, Refused> {
        if let Err(error) = self.can_attach(server) {
            return Err(Refused { connection, error });
        }
        let key = self.settle_in(connection, server, Box::new(handler))?;
        self.stats.connections_handed_in += 1;
        Ok(ConnectionKey(key))
    }

    /// Takes a connection back that was refused elsewhere. Its handler's
    /// [`on_hand_off_error`](Handler::on_hand_off_error) comes first. It has another key than before. An engine that is closing
    /// every channel closes it too.
    ///
    /// # Errors
    ///
    /// If the operating system refuses: then there is nowhere that the connection could be, and it is best dropped.
    pub fn attach_again(
        &mut self,
        connection: Detached,
        left_behind: LeftBehind,
        error: HandOffError,
    ) -> Result<ConnectionKey, Refused> {
        let LeftBehind { handler, server } = left_behind;
        let key = self.settle_in(connection, server, handler)?;
        if self.closing_all
            && let Some(slot) = self.connection_slot(key)
        {
            slot.stream.doom(CloseReason::Stopped);
        }
        self.hand_off_errors.insert(key, error);
        self.stats.connections_handed_out -= 1;
        Ok(ConnectionKey(key))
    }

    /// Whether a connection would be [attached](Self::attach) to this server now, or to none.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn can_attach(&self, server: Option<ServerKey>) -> Result<(), HandOffError> {
        let Some(server) = server else {
            return self.check_open().map_err(|_| HandOffError::Stopping);
        };
        match self.channels.get(server.0) {
            Some(Channel::Server(_)) if self.closing_all => Err(HandOffError::Stopping),
            Some(Channel::Server(slot)) if slot.is_full() => Err(HandOffError::Full),
            Some(Channel::Server(_)) => Ok(()),
            _ => Err(HandOffError::Stopping),
        }
    }

    fn settle_in(
        &mut self,
        connection: Detached,
        server: Option<ServerKey>,
        handler: Box<dyn Handler>,
    ) -> Result<Key, Refused> {
        // Its server may have closed, which leaves its connections.
        let home = server.and_then(|server| self.server_slot(server.0)).map(|slot| &slot.server);
        let attendant = home.is_some_and(|server| server.options.attendant);
        let shared = home.map(|server| Rc::clone(&server.connection_options));
        let stream = Stream::attach(*connection.0, shared.as_ref(), &self.clock);
        let slot = ConnectionSlot { attendant, ..ConnectionSlot::new(stream, server) };
        let key = self.try_insert_connection(slot).map_err(|(slot, error)| Refused {
            connection: slot.stream.detach(&self.clock),
            error: HandOffError::Failed(error.kind()),
        })?;
        if let Some(server) = server
            && self.server_slot(server.0).is_some_and(|slot| slot.count_connection(1))
        {
            self.schedule(server.0);
        }
        self.new_handlers.push((key, handler));
        self.schedule(key);
        Ok(key)
    }
}
