//! The context's part for servers: binding, listening, closing.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::balance::{Balancer, Newcomer};
use crate::channel::server::Server;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::handler::{Acceptor, AnyAcceptor};
use crate::key::{ConnectionKey, ServerKey};
use crate::net::address::{Address, ToAddress};
use crate::net::endpoint::Endpoint;
use crate::net::socket::{Bound, Socket};
use crate::net::unix::SocketFile;
use crate::options::ServerOptions;
use crate::pulse::Activity;
use crate::slots::{Channel, ServerSlot, Task};

impl Context {
    /// Starts a server at `address` with default options; see [`listen_with`](Self::listen_with).
    pub fn listen(&mut self, address: impl ToAddress, acceptor: impl Acceptor) -> Result<ServerKey> {
        self.listen_with(address, ServerOptions::default(), acceptor)
    }

    /// Starts a server: binds, listens, and accepts from the next turn on. A host's name is resolved first, which may block
    /// the engine for as long as the resolver takes.
    ///
    /// # Errors
    ///
    /// If the address is not understood, the options contradict each other, or the operating system refuses, for example
    /// because the port is in use.
    pub fn listen_with(
        &mut self,
        address: impl ToAddress,
        options: ServerOptions,
        acceptor: impl Acceptor,
    ) -> Result<ServerKey> {
        let key = self.bind(address, options, acceptor)?;
        self.open(key).inspect_err(|_| drop(self.remove_channel(key.0)))?;
        Ok(key)
    }

    /// Makes a server that is bound to its address but does not listen; [`open`](Self::open) makes it.
    ///
    /// In between, other sockets can be bound to the same address before any of them accepts.
    ///
    /// # Errors
    ///
    /// As [`listen_with`](Self::listen_with).
    pub fn bind(
        &mut self,
        address: impl ToAddress,
        options: ServerOptions,
        acceptor: impl Acceptor,
    ) -> Result<ServerKey> {
        self.check_open()?;
        options.check()?;
        let address: Address = address.to_address()?;
        let bound = Socket::bind(&address, &options).map_err(|(address, source)| Error::Listen { address, source })?;
        self.insert_server(bound, options, acceptor)
    }

    fn insert_server(&mut self, bound: Bound, options: ServerOptions, acceptor: impl Acceptor) -> Result<ServerKey> {
        // Accepted sockets inherit it, which saves system calls for each. The window's scale is agreed by what is set before
        // the socket listens.
        let configured = bound.socket.configure_server(&options);
        configured.map_err(|source| Error::Listen { address: bound.local.clone().into(), source })?;
        self.attendants += usize::from(options.attendant);
        let server = Server::new(bound, options);
        let acceptor: Box<dyn AnyAcceptor> = Box::new(acceptor);
        let name = Activity::Acceptor(acceptor.type_name());
        let key = self.channels.insert(Channel::Server(Box::new(ServerSlot::new(server, acceptor))));
        self.heart.name(key, name);
        Ok(ServerKey(key))
    }

    /// Takes over a stream socket that is bound already: one that was inherited, or made with options that pants does not
    /// offer. It is made non-blocking and close-on-exec; if it does not listen yet, it does now. A Unix socket's file
    /// is left to whoever made it.
    ///
    /// # Errors
    ///
    /// If it is not a stream socket, the options contradict each other, or the operating system refuses. The descriptor is
    /// closed then.
    ///
    /// # Examples
    ///
    /// ```
    /// use pants_engine::{Connection, Engine, Handler, ServerOptions};
    /// use std::net::TcpListener;
    ///
    /// struct Echo;
    ///
    /// impl Handler for Echo {
    ///     fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
    ///         connection.write(data);
    ///     }
    /// }
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let mut engine = Engine::new()?;
    /// engine.context().adopt_server(listener.into(), ServerOptions::default(), |_peer| Echo)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn adopt_server(
        &mut self,
        socket: OwnedFd,
        options: ServerOptions,
        acceptor: impl Acceptor,
    ) -> Result<ServerKey> {
        let key = self.bind_socket(socket, options, acceptor)?;
        self.open(key).inspect_err(|_| drop(self.remove_channel(key.0)))?;
        Ok(key)
    }

    /// As [`adopt_server`](Self::adopt_server), but accepts only from [`open`](Self::open) on.
    ///
    /// # Errors
    ///
    /// As [`adopt_server`](Self::adopt_server).
    pub fn bind_socket(
        &mut self,
        socket: OwnedFd,
        options: ServerOptions,
        acceptor: impl Acceptor,
    ) -> Result<ServerKey> {
        self.check_open()?;
        options.check()?;
        let socket = Socket::adopt(socket).map_err(Error::Adopt)?;
        let local = socket.local_address().map_err(Error::Adopt)?;
        self.insert_server(Bound { socket, local, file: None }, options, acceptor)
    }

    /// A server's listening socket, to set options that pants does not offer, or to hand it on.
    pub fn server_socket(&self, key: ServerKey) -> Option<BorrowedFd<'_>> {
        match self.channels.get(key.0) {
            Some(Channel::Server(slot)) => Some(slot.server.socket.as_fd()),
            _ => None,
        }
    }

    /// Whether `address` is free: binds a socket there that shares with nobody, and lets it go.
    ///
    /// With `SO_REUSEPORT` a second program of the same user can bind a port that is in use, and takes a part of its
    /// connections; this finds the first.
    ///
    /// # Errors
    ///
    /// If the address is not understood, or cannot be bound, with what the operating system said.
    pub fn probe(&self, address: impl ToAddress) -> Result<()> {
        let bound = Socket::bind(&address.to_address()?, &ServerOptions::default());
        bound.map(drop).map_err(|(address, source)| Error::Listen { address, source })
    }

    /// Lets a bound server listen and accept. Its [`on_listen`](Acceptor::on_listen) comes in the next turn, before
    /// any connection.
    ///
    /// # Errors
    ///
    /// If there is no such server, it is open already, or the operating system refuses; then the server stays bound.
    pub fn open(&mut self, key: ServerKey) -> Result<()> {
        let Some(Channel::Server(slot)) = self.channels.get_mut(key.0) else { return Err(Error::NoServer) };
        let server = &mut slot.server;
        if server.open {
            return Err(Error::NoServer);
        }
        server
            .socket
            .listen(server.options.backlog)
            .and_then(|()| self.registrar.register_listener(server.socket.as_fd(), key.0))
            .map_err(|source| Error::Listen { address: server.address.clone().into(), source })?;
        server.open = true;
        self.schedule(key.0);
        Ok(())
    }

    /// Opens a bound server that accepts nothing itself: its connections are [admitted](Self::admit).
    ///
    /// # Errors
    ///
    /// If there is no such server, or it is open already.
    pub fn open_passive(&mut self, key: ServerKey) -> Result<()> {
        let Some(Channel::Server(slot)) = self.channels.get_mut(key.0) else { return Err(Error::NoServer) };
        if slot.server.open {
            return Err(Error::NoServer);
        }
        (slot.server.open, slot.server.passive) = (true, true);
        self.schedule(key.0);
        Ok(())
    }

    /// Has a server serve a connection that another engine's server has accepted, from the next turn on, as if this one had:
    /// [`on_accept`](Acceptor::on_accept) is asked, but no [`Balancer`].
    ///
    /// # Errors
    ///
    /// If there is no such server, or it has as many connections as it may have. The connection comes back.
    pub fn admit(&mut self, key: ServerKey, newcomer: Newcomer) -> Result<(), Newcomer> {
        let closing = self.closing_all;
        match self.server_slot(key.0).filter(|slot| slot.server.open && !slot.is_full() && !closing) {
            Some(slot) => slot.newcomers.push_back(newcomer),
            None => return Err(newcomer),
        }
        self.schedule(key.0);
        Ok(())
    }

    /// As [`admit`](Self::admit), for a connection that this server's own [`Balancer`] had sent elsewhere, and that was refused
    /// there. Where the server has its most connections, it waits until one ends.
    ///
    /// # Errors
    ///
    /// If there is no such server, or the engine is closing every channel. The connection comes back.
    pub fn admit_again(&mut self, key: ServerKey, newcomer: Newcomer) -> Result<(), Newcomer> {
        let closing = self.closing_all;
        let Some(slot) = self.server_slot(key.0).filter(|_| !closing) else { return Err(newcomer) };
        slot.newcomers.push_back(newcomer);
        self.schedule(key.0);
        Ok(())
    }

    /// Has `balancer` decide, from now on, where the connections that a server accepts are served. Without such a server this
    /// does nothing.
    pub fn set_balancer(&mut self, key: ServerKey, balancer: impl Balancer) {
        if let Some(slot) = self.server_slot(key.0) {
            slot.balancer = Some(Box::new(balancer));
        }
    }

    /// Has a server look again whether it may accept, since its [`Balancer`] has heard of room elsewhere.
    pub fn reconsider(&mut self, key: ServerKey) {
        self.schedule(key.0);
    }

    /// How many connections of a server are open.
    pub fn connections_open(&self, key: ServerKey) -> usize {
        match self.channels.get(key.0) {
            Some(Channel::Server(slot)) => slot.server.connections + slot.newcomers.len(),
            _ => 0,
        }
    }

    /// Closes a server; its connections stay. [`Acceptor::on_close`] comes after the present callback. A stale key does
    /// nothing.
    pub fn close_server(&mut self, key: ServerKey) {
        self.timers.insert_next_turn(Task::CloseServer(key.0));
    }

    /// Accepts what waits in a server's queue, and then closes it as [`close_server`](Self::close_server) does: at once, or
    /// where `max_connections` is reached, as places become free. A stale key does nothing.
    ///
    /// What comes between the last `accept` and the close, and what has not finished its handshake, is reset, unless other
    /// sockets share the port and `net.ipv4.tcp_migrate_req` is set (ip-sysctl).
    pub fn retire_server(&mut self, key: ServerKey) {
        let Some(Channel::Server(slot)) = self.channels.get_mut(key.0) else { return };
        slot.server.retiring = true;
        // Only `accept` says that nobody waits.
        slot.server.ready = true;
        self.schedule(key.0);
    }

    /// Says whether a Unix server removes its socket's file when it closes. It does where it has made the file, and does not
    /// where the socket was adopted; a process that goes on with another's socket takes over the file too, and the
    /// other leaves it. For a server without a file this does nothing.
    ///
    /// # Errors
    ///
    /// If there is no such server, or the file that it is to remove is not there.
    pub fn remove_file_on_close(&mut self, key: ServerKey, removes: bool) -> Result<()> {
        let Some(Channel::Server(slot)) = self.channels.get_mut(key.0) else { return Err(Error::NoServer) };
        let server = &mut slot.server;
        if !removes {
            server.file.take().into_iter().for_each(SocketFile::leave);
        } else if let (Endpoint::Path(path), None) = (&server.address, &server.file) {
            server.file = Some(SocketFile::found(path).map_err(Error::Adopt)?);
        }
        Ok(())
    }

    /// Where a server listens: the port it was given, if it asked for port 0.
    pub fn server_address(&self, key: ServerKey) -> Option<Endpoint> {
        match self.channels.get(key.0) {
            Some(Channel::Server(slot)) => Some(slot.server.address.clone()),
            _ => None,
        }
    }

    /// The engine's servers, in no particular order. Takes time in proportion to the engine's channels.
    pub fn servers(&self) -> impl Iterator<Item = ServerKey> {
        let servers = self.channels.iter().filter(|(_, channel)| matches!(channel, Channel::Server(_)));
        servers.map(|(key, _)| ServerKey(key))
    }

    /// The connections of a server that are open now, in no particular order. Takes time in proportion to the engine's
    /// channels.
    pub fn connections(&self, key: ServerKey) -> Vec<ConnectionKey> {
        let of_server = |channel: &Channel| matches!(channel, Channel::Connection(slot) if slot.server == Some(key));
        self.channels.iter().filter(|(_, channel)| of_server(channel)).map(|(key, _)| ConnectionKey(key)).collect()
    }
}
