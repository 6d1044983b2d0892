//! Where the connections of a server are served: here, or by another engine's server.

use std::fmt;

use crate::context::Context;
use crate::net::endpoint::Endpoint;
use crate::net::socket::Socket;

/// A connection that a server has accepted and no handler has yet. It can be sent to another thread, whose engine
/// [admits](Context::admit) it. Dropped, it is closed.
pub struct Newcomer {
    pub(crate) socket: Socket,
    pub(crate) peer: Endpoint,
}

/// Decides for one server of an engine which of its connections are served here; see
/// [`Context::set_balancer`]. A panic here is treated as one of the server's acceptor; from then on the server keeps its
/// connections.
///
/// # Examples
///
/// Every second connection goes to another engine:
///
/// ```
/// use pants_engine::{Balancer, Connection, Context, Engine, Handler, Newcomer};
/// use std::sync::mpsc::{Sender, channel};
///
/// struct ByTurns {
///     mine: bool,
///     way: Sender<Newcomer>,
/// }
///
/// impl Balancer for ByTurns {
///     fn on_accept(&mut self, _context: &mut Context, newcomer: Newcomer) -> Option<Newcomer> {
///         self.mine = !self.mine;
///         if self.mine {
///             return Some(newcomer);
///         }
///         self.way.send(newcomer).err().map(|error| error.0)
///     }
/// }
///
/// struct Echo;
///
/// impl Handler for Echo {
///     fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
///         connection.write(data);
///     }
/// }
///
/// let (way, newcomers) = channel();
/// let (mut first, mut second) = (Engine::new()?, Engine::new()?);
/// let server = first.listen("127.0.0.1:0", |_peer| Echo)?;
/// first.context().set_balancer(server, ByTurns { mine: false, way });
/// let address = first.context().server_address(server).unwrap().socket_address().unwrap();
/// let clients = [std::net::TcpStream::connect(address)?, std::net::TcpStream::connect(address)?];
/// let newcomer = loop {
///     first.poll(None)?;
///     if let Ok(newcomer) = newcomers.try_recv() {
///         break newcomer;
///     }
/// };
///
/// // The second one's server accepts nothing itself.
/// let other = second.context().bind("127.0.0.1:0", Default::default(), |_peer| Echo)?;
/// second.context().open_passive(other)?;
/// assert!(second.context().admit(other, newcomer).is_ok());
/// second.poll(None)?;
/// assert_eq!(second.context().stats().connections_accepted, 1);
/// assert_eq!(first.context().stats().connections_accepted, 1);
/// # drop(clients);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Balancer: 'static {
    /// A connection has been accepted. Comes back what is to be served here; `None` if it was sent elsewhere.
    fn on_accept(&mut self, context: &mut Context, newcomer: Newcomer) -> Option<Newcomer>;

    /// The server has its `max` connections: whether one that is accepted all the same would find room elsewhere. If not, it waits
    /// in the kernel's queue until one ends here, or [`reconsider`](Context::reconsider) is called.
    fn has_room_elsewhere(&self, max: usize) -> bool {
        let _ = max;
        false
    }

    /// The number of the server's open connections has changed, to `open`. Several changes of a turn are told together.
    fn on_change(&mut self, context: &mut Context, open: usize) {
        let _ = (context, open);
    }
}

impl Newcomer {
    /// The other end.
    pub fn peer_address(&self) -> &Endpoint {
        &self.peer
    }
}

impl fmt::Debug for Newcomer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Newcomer").field("peer", &self.peer).finish_non_exhaustive()
    }
}
