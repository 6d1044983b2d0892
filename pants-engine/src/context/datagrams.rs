//! The context's part for datagram channels: binding, connecting, and taking over sockets.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::channel::mailbox::Mailbox;
use crate::channel::state::Flags;
use crate::context::Context;
use crate::datagram::Datagram;
use crate::datagram::handler::DatagramHandler;
use crate::datagram::options::DatagramOptions;
use crate::error::{Error, Result};
use crate::key::DatagramKey;
use crate::net::address::ToAddress;
use crate::net::datagram::DatagramSocket;
use crate::net::socket::place;
use crate::slots::{Channel, DatagramSlot};

impl Context {
    /// Opens a datagram channel at `address` with default options; see [`open_datagram_with`](Self::open_datagram_with).
    ///
    /// # Errors
    ///
    /// As [`open_datagram_with`](Self::open_datagram_with).
    pub fn open_datagram(&mut self, address: impl ToAddress, handler: impl DatagramHandler) -> Result<DatagramKey> {
        self.open_datagram_with(address, DatagramOptions::default(), handler)
    }

    /// Opens a datagram channel that is bound to `address`, and reads from the next turn on.
    ///
    /// An IP address or a port means UDP; a port alone takes IPv6 and IPv4 on all interfaces, and names an IPv4 sender as
    /// what it is. A Unix socket's file is replaced if nobody is at it any more, and removed with the channel. A host's
    /// name is resolved while this waits.
    ///
    /// # Errors
    ///
    /// If the address is not understood, an option is out of range, or the operating system refuses, for example because
    /// the port is in use. Then the handler is dropped and gets no callback.
    ///
    /// # Examples
    ///
    /// ```
    /// use pants_engine::{Datagram, DatagramHandler, DatagramOptions, Endpoint, Engine};
    ///
    /// struct Echo;
    ///
    /// impl DatagramHandler for Echo {
    ///     fn on_read(&mut self, datagram: &mut Datagram<'_>, data: &[u8], from: &Endpoint) {
    ///         datagram.send_to(data, from);
    ///     }
    /// }
    ///
    /// let mut engine = Engine::new()?;
    /// let options = DatagramOptions { reuse_port: true, ..DatagramOptions::default() };
    /// let key = engine.context().open_datagram_with("127.0.0.1:0", options, Echo)?;
    /// let channel = engine.context().datagram(key).unwrap();
    /// println!("at {}", channel.local_address());
    /// # Ok::<(), pants_engine::Error>(())
    /// ```
    pub fn open_datagram_with(
        &mut self,
        address: impl ToAddress,
        options: DatagramOptions,
        handler: impl DatagramHandler,
    ) -> Result<DatagramKey> {
        self.check_open()?;
        options.check()?;
        let address = address.to_address()?;
        let socket =
            DatagramSocket::bind(&address, &options).map_err(|(address, source)| Error::Bind { address, source })?;
        self.insert_datagram(socket, &options, handler).map_err(|source| Error::Bind { address, source })
    }

    /// Opens a datagram channel to `address` with default options; see
    /// [`connect_datagram_with`](Self::connect_datagram_with).
    ///
    /// # Errors
    ///
    /// As [`connect_datagram_with`](Self::connect_datagram_with).
    pub fn connect_datagram(&mut self, address: impl ToAddress, handler: impl DatagramHandler) -> Result<DatagramKey> {
        self.connect_datagram_with(address, DatagramOptions::default(), handler)
    }

    /// Opens a datagram channel that is connected to `address`: it receives from there alone,
    /// [`Datagram::send`] sends there, and [`DatagramHandler::on_error`] learns if nobody is there (UDP). Nothing is sent
    /// by connecting. A port alone is this machine's. A Unix channel gets an abstract name, so that it can be answered.
    ///
    /// # Errors
    ///
    /// If the address is not understood, an option is out of range, or the operating system refuses. A host's name is
    /// refused with [`io::ErrorKind::InvalidInput`], for the engine would stand still while it is resolved. Then the
    /// handler is dropped and gets no callback.
    ///
    /// # Examples
    ///
    /// ```
    /// use pants_engine::{Datagram, DatagramHandler, Endpoint, Engine};
    ///
    /// struct Ask;
    ///
    /// impl DatagramHandler for Ask {
    ///     fn on_read(&mut self, datagram: &mut Datagram<'_>, data: &[u8], _from: &Endpoint) {
    ///         println!("{}", String::from_utf8_lossy(data));
    ///         datagram.close();
    ///     }
    /// }
    ///
    /// let mut engine = Engine::new()?;
    /// let key = engine.context().connect_datagram("127.0.0.1:4040", Ask)?;
    /// engine.context().datagram(key).unwrap().send(b"the time, please");
    /// # Ok::<(), pants_engine::Error>(())
    /// ```
    pub fn connect_datagram_with(
        &mut self,
        address: impl ToAddress,
        options: DatagramOptions,
        handler: impl DatagramHandler,
    ) -> Result<DatagramKey> {
        self.check_open()?;
        options.check()?;
        let address = address.to_address()?;
        let peer = place(&address).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "a datagram channel connects to an address, not to a host's name",
            )
        });
        peer.and_then(|peer| DatagramSocket::connect(&peer, &options))
            .and_then(|socket| self.insert_datagram(socket, &options, handler))
            .map_err(|source| Error::Connect { address, source })
    }

    /// Takes over a UDP or Unix datagram socket: one that was inherited, or made with options that pants does not offer.
    /// It is made non-blocking and close-on-exec; what `options` says beyond the defaults is set. A Unix socket's file is
    /// left to whoever made it.
    ///
    /// # Errors
    ///
    /// If it is no such socket, an option is out of range, or the operating system refuses. The descriptor is
    /// closed then.
    ///
    /// # Examples
    ///
    /// ```
    /// use pants_engine::{Datagram, DatagramHandler, DatagramOptions, Endpoint, Engine};
    /// use std::os::unix::net::UnixDatagram;
    ///
    /// struct Echo;
    ///
    /// impl DatagramHandler for Echo {
    ///     fn on_read(&mut self, datagram: &mut Datagram<'_>, data: &[u8], _from: &Endpoint) {
    ///         datagram.send(data);
    ///     }
    /// }
    ///
    /// let (ours, theirs) = UnixDatagram::pair()?;
    /// let mut engine = Engine::new()?;
    /// engine.context().adopt_datagram(ours.into(), DatagramOptions::default(), Echo)?;
    /// # drop(theirs);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn adopt_datagram(
        &mut self,
        socket: OwnedFd,
        options: DatagramOptions,
        handler: impl DatagramHandler,
    ) -> Result<DatagramKey> {
        self.check_open()?;
        options.check()?;
        let socket = DatagramSocket::adopt(socket, &options).map_err(Error::Adopt)?;
        self.insert_datagram(socket, &options, handler).map_err(Error::Adopt)
    }

    fn insert_datagram(
        &mut self,
        socket: DatagramSocket,
        options: &DatagramOptions,
        handler: impl DatagramHandler,
    ) -> io::Result<DatagramKey> {
        let mailbox = Mailbox::new(socket, options.send_queue_cap)?;
        let slot = DatagramSlot { mailbox, scheduled: false, ended: false };
        let key = self.channels.insert(Channel::Datagram(Box::new(slot)));
        let Some(Channel::Datagram(slot)) = self.channels.get_mut(key) else { unreachable!("it was just inserted") };
        if let Err(error) = self.registrar.register_datagrams(slot.mailbox.as_fd(), key) {
            self.channels.remove(key);
            return Err(error);
        }
        if self.drain.is_some() {
            slot.mailbox.flags.set(Flags::SHUTDOWN_DUE.or(Flags::READABLE));
            self.schedule(key);
        }
        self.new_datagram_handlers.push((key, Box::new(handler)));
        Ok(DatagramKey(key))
    }

    /// A datagram channel by its key, to send or to close it; `None` when it has closed.
    pub fn datagram(&mut self, key: DatagramKey) -> Option<Datagram<'_>> {
        match self.channels.get(key.0) {
            Some(Channel::Datagram(slot)) if !slot.ended => Some(Datagram::new(self, key.0)),
            _ => None,
        }
    }
}
