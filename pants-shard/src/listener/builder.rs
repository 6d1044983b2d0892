//! What a program says of one listener.

use std::fmt;
use std::rc::Rc;

use pants_engine::{Acceptor, Address, ServerKey, ServerOptions};

use super::{Declaration, Declared};
use crate::balance::leveller::{Movable, Mover, mover};
use crate::balance::{Balance, Balancing};
use crate::error::{Error, Result};
use crate::shard::{Local, Shard};

/// A listener that is being declared, in set-up, and equally on every shard; [`Shard::listener`] gives one.
///
/// # Examples
///
/// Live connections move when one shard has many more than the others:
///
/// ```
/// use pants_shard::{Balance, Config, Connection, Handler, Movable, Runtime, Shard};
///
/// struct Echo;
///
/// impl Handler for Echo {
///     fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
///         connection.write(data);
///     }
/// }
///
/// impl Movable for Echo {
///     type State = ();
///
///     fn pack(&self) -> Option<()> {
///         Some(())
///     }
///
///     fn unpack(_shard: &mut Shard<'_>, _state: ()) -> Self {
///         Self
///     }
/// }
///
/// let running = Runtime::new(Config::default())?.start(|shard| {
///     shard.listener("127.0.0.1:0").balance(Balance::Rebalance).listen_movable(|_peer| Echo)?;
///     Ok(())
/// })?;
/// # running.stop();
/// # running.join()?;
/// # Ok::<(), pants_shard::Error>(())
/// ```
#[must_use = "nothing is declared before `listen` or `listen_movable`"]
pub struct ListenerBuilder<'s, 'a> {
    shard: &'s mut Shard<'a>,
    address: pants_engine::Result<Address>,
    options: ServerOptions,
    balance: Balance,
}

impl<'s, 'a> ListenerBuilder<'s, 'a> {
    pub(crate) fn new(shard: &'s mut Shard<'a>, address: pants_engine::Result<Address>) -> Self {
        let (options, balance) = (shard.config().server_options(), shard.config().balance());
        Self { shard, address, options, balance }
    }

    /// The server's options. Default: the configuration's.
    pub fn options(mut self, options: ServerOptions) -> Self {
        self.options = options;
        self
    }

    /// Which shard serves a connection. Default: the configuration's `balance`.
    pub fn balance(mut self, balance: Balance) -> Self {
        self.balance = balance;
        self
    }

    /// Declares the server: its socket is bound now, and listens when every shard has set up.
    ///
    /// With [`Balance::Rebalance`] live connections stay where they are, since nothing is known of how to move their handlers;
    /// new ones are placed as with [`Balance::LeastConnections`].
    ///
    /// # Errors
    ///
    /// As [`Shard::listen_with`].
    pub fn listen(self, acceptor: impl Acceptor) -> Result<ServerKey> {
        self.declare(None, acceptor)
    }

    /// The same, with handlers that can move between shards.
    ///
    /// # Errors
    ///
    /// As [`Shard::listen_with`].
    pub fn listen_movable<A>(self, acceptor: A) -> Result<ServerKey>
    where
        A: Acceptor,
        A::Handler: Movable,
    {
        let mover = mover::<A::Handler>();
        self.declare(Some(mover), acceptor)
    }

    fn declare(self, mover: Option<Mover>, acceptor: impl Acceptor) -> Result<ServerKey> {
        let Self { shard, address, options, balance } = self;
        let address = address?;
        let local = Rc::clone(shard.local());
        let Local { groups, servers, config, .. } = &*local;
        let mut servers = servers.borrow_mut();
        if servers.is_set_up {
            return Err(Error::LateListen);
        }
        let name = Declared { address: address.to_string(), nth: servers.count(&address), private: false };
        let group = groups.declared(&name);
        let options = balance.server_options(options, config.placement(), shard.id());
        let declaration = Declaration { shard: shard.id(), address, name, options };
        let mut served = groups.bind(shard.context(), config, group, &declaration, acceptor)?;
        served.balancing = Balancing { balance, mover };
        let key = served.keys[0];
        servers.insert(served);
        Ok(key)
    }
}

impl fmt::Debug for ListenerBuilder<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerBuilder").field("address", &self.address).finish_non_exhaustive()
    }
}
