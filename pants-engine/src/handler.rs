//! The traits that a program implements: what happens on a connection, and who handles an accepted one.
//!
//! Callbacks never nest: what a handler asks for takes effect after it returns, or is itself no callback. A callback that
//! panics ends its connection with [`CloseReason::Panicked`] and nothing else.

use crate::channel::state::CloseReason;
use crate::connection::Connection;
use crate::context::Context;
use crate::error::Error;
use crate::framing::pattern::Match;
use crate::hand_off::HandOffError;
use crate::net::endpoint::Endpoint;
use std::any::Any;

/// What happens on one connection. Only [`on_read`](Self::on_read) must be written.
///
/// A handler is plain state of the engine's own thread: it may hold an `Rc`. One without fields costs no memory. Its
/// callbacks never nest with each other's or anybody's. One that panics ends its connection, with
/// [`CloseReason::Panicked`].
///
/// The callbacks come in this order: [`on_connect`](Self::on_connect) once, or
/// [`on_hand_off`](Self::on_hand_off) on a connection that another engine had, then any of the others, then
/// [`on_close`](Self::on_close) once. A client whose connection is not made gets
/// [`on_connect_error`](Self::on_connect_error) instead, alone.
///
/// # Examples
///
/// ```
/// use pants_engine::{Connection, Handler};
///
/// /// Counts what it is sent, and says how much it was when the peer is done.
/// struct Count(usize);
///
/// impl Handler for Count {
///     fn on_read(&mut self, _connection: &mut Connection<'_>, data: &[u8]) {
///         self.0 += data.len();
///     }
///
///     fn on_end(&mut self, connection: &mut Connection<'_>) {
///         connection.write(format!("{} bytes\n", self.0).as_bytes());
///         connection.close();
///     }
/// }
/// ```
pub trait Handler: Any {
    /// The connection is made: a server has accepted it, or a client's attempt has succeeded.
    fn on_connect(&mut self, connection: &mut Connection<'_>) {
        let _ = connection;
    }

    /// Bytes have come: without a [delimiter](Connection::set_delimiter) at least one and at most 64 KiB, as they were in the
    /// kernel's buffer, or all that was kept for a delimiter that is gone; with one, a frame, which may be empty. The slice is the engine's; what is to be kept must be copied.
    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]);

    /// A frame has come that a [delimiter](Connection::set_delimiter) has cut out; with a regular expression `frame` has what its
    /// groups captured. By default it goes to [`on_read`](Self::on_read).
    fn on_match(&mut self, connection: &mut Connection<'_>, frame: &Match<'_>) {
        self.on_read(connection, frame.data());
    }

    /// Everything written has been handed to the kernel. A handler that produces much writes its next piece here.
    ///
    /// The default does nothing, and spares its connection further calls: see
    /// [`ignore_on_write`](Connection::ignore_on_write), which a handler that passes its callbacks on to others that change
    /// undoes in its own `on_write`.
    fn on_write(&mut self, connection: &mut Connection<'_>) {
        connection.ignore_on_write(true);
    }

    /// The connection has come from another engine, where another handler had it: instead of [`on_connect`](Self::on_connect).
    /// What that handler had set on it still holds, its delimiter, options and a pause of reading among it; the key is a new one.
    /// By default nothing.
    fn on_hand_off(&mut self, connection: &mut Connection<'_>) {
        let _ = connection;
    }

    /// The connection was to leave for another engine and is back, with a new key; it goes on as before. Its
    /// [timers](Connection::defer) were cancelled. By default nothing.
    fn on_hand_off_error(&mut self, connection: &mut Connection<'_>, error: &HandOffError) {
        let _ = (connection, error);
    }

    /// The peer has sent FIN: no more bytes will come, though it may still read. Comes after the last byte, and so, as
    /// [`on_read`](Self::on_read), not while reading is paused; of a frame that has not come whole the beginning is
    /// [kept](Connection::buffered), and a delimiter that is set here may still cut frames out of it. By default the connection
    /// [closes](Connection::close): what is queued leaves, then FIN. A handler that still owes an answer, which comes from a timer, a
    /// helper thread or another shard, closes it later, behind that.
    fn on_end(&mut self, connection: &mut Connection<'_>) {
        connection.close();
    }

    /// The engine [drains](Context::drain), and nothing more waits to be read here. By default the connection
    /// [closes](Connection::close). A handler that still owes an answer closes it later, before the drain's deadline.
    fn on_shutdown(&mut self, connection: &mut Connection<'_>) {
        connection.close();
    }

    /// The write queue has passed the [high-water mark](crate::ConnectionOptions::write_high_water): the peer takes less than is
    /// written. Unless [`auto_pause`](crate::ConnectionOptions::auto_pause) is off, the connection is not read meanwhile; whoever
    /// feeds it from elsewhere should pause there.
    fn on_congested(&mut self, connection: &mut Connection<'_>) {
        let _ = connection;
    }

    /// After [`on_congested`](Self::on_congested) the queue is down to the
    /// [low-water mark](crate::ConnectionOptions::write_low_water) again.
    fn on_drained(&mut self, connection: &mut Connection<'_>) {
        let _ = connection;
    }

    /// A buffer is full. [`Overflow::Write`]: more was written than
    /// [`write_cap`](crate::ConnectionOptions::write_cap) allows; the write was refused as a whole. [`Overflow::Read`]: a frame is
    /// longer than [`buffer_limit`](crate::ConnectionOptions::buffer_limit), or its delimiter's own limit;
    /// [`buffered`](Connection::buffered) has what has come.
    ///
    /// After this the connection is reset, with [`CloseReason::Overflow`]; but after a read overflow it may be
    /// [closed](Connection::close) here instead, so that a reply that says what is wrong arrives.
    fn on_overflow_error(&mut self, connection: &mut Connection<'_>, overflow: Overflow) {
        let _ = (connection, overflow);
    }

    /// The connection has failed, other than by the peer's reset: [`on_close`](Self::on_close) follows. After
    /// [`Error::Frame`], input that cannot become a frame, it may be [closed](Connection::close) here in good order.
    fn on_error(&mut self, connection: &mut Connection<'_>, error: &Error) {
        let _ = (connection, error);
    }

    /// A client's connection was not made. No other callback came before, and none follows.
    fn on_connect_error(&mut self, context: &mut Context, error: &Error) {
        let _ = (context, error);
    }

    /// The connection is closed, for `reason`. It still has its key and addresses; writing does nothing. Comes once, and
    /// nothing comes after it.
    fn on_close(&mut self, connection: &mut Connection<'_>, reason: CloseReason) {
        let _ = (connection, reason);
    }

    /// What messages about this handler call it.
    #[doc(hidden)]
    fn type_name(&self) -> &'static str {
        std::any::type_name::<Self>()
    }
}

/// Which of a connection's buffers is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Overflow {
    /// What is received and is no whole frame yet.
    Read,
    /// What is written and has not left yet.
    Write,
}

/// Says who handles the connections of one server. A closure `FnMut(Endpoint) -> impl Handler` is one.
///
/// # Examples
///
/// ```
/// use pants_engine::{Acceptor, Connection, Endpoint, Handler};
///
/// struct OnlyLocal;
/// struct Echo;
///
/// impl Acceptor for OnlyLocal {
///     type Handler = Echo;
///
///     fn on_accept(&mut self, peer: Endpoint) -> Option<Echo> {
///         peer.ip()?.is_loopback().then_some(Echo)
///     }
/// }
///
/// impl Handler for Echo {
///     fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
///         connection.write(data);
///     }
/// }
///
/// let mut engine = pants_engine::Engine::new()?;
/// engine.listen("127.0.0.1:0", OnlyLocal)?;
/// # Ok::<(), pants_engine::Error>(())
/// ```
pub trait Acceptor: 'static {
    /// What handles a connection.
    type Handler: Handler;

    /// A connection has come from `peer`: who handles it? `None` closes it at once. A panic here costs that connection.
    fn on_accept(&mut self, peer: Endpoint) -> Option<Self::Handler>;

    /// The server listens at `address` from now on.
    ///
    /// # Examples
    ///
    /// ```
    /// use pants_engine::{Acceptor, Connection, Endpoint, Engine, Error, Handler};
    /// use std::cell::RefCell;
    /// use std::rc::Rc;
    ///
    /// struct Echo;
    ///
    /// impl Handler for Echo {
    ///     fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
    ///         connection.write(data);
    ///     }
    /// }
    ///
    /// /// Keeps a journal of what its server does.
    /// struct Journal(Rc<RefCell<Vec<String>>>);
    ///
    /// impl Acceptor for Journal {
    ///     type Handler = Echo;
    ///
    ///     fn on_accept(&mut self, peer: Endpoint) -> Option<Echo> {
    ///         self.0.borrow_mut().push(format!("accepted {peer}"));
    ///         Some(Echo)
    ///     }
    ///
    ///     fn on_listen(&mut self, address: &Endpoint) {
    ///         self.0.borrow_mut().push(format!("open at {address}"));
    ///     }
    ///
    ///     fn on_error(&mut self, error: &Error) {
    ///         self.0.borrow_mut().push(error.to_string());
    ///     }
    ///
    ///     fn on_close(&mut self) {
    ///         self.0.borrow_mut().push("closed".to_owned());
    ///     }
    /// }
    ///
    /// let journal = Rc::new(RefCell::new(Vec::new()));
    /// let mut engine = Engine::new()?;
    /// let server = engine.listen("127.0.0.1:0", Journal(Rc::clone(&journal)))?;
    /// let address = engine.context().server_address(server).unwrap();
    /// engine.poll(None)?;
    /// engine.context().close_server(server);
    /// engine.poll(None)?;
    /// assert_eq!(*journal.borrow(), [format!("open at {address}"), "closed".to_owned()]);
    /// # Ok::<(), Error>(())
    /// ```
    fn on_listen(&mut self, address: &Endpoint) {
        let _ = address;
    }

    /// Accepting has failed; the server tries again. At most once a second.
    fn on_error(&mut self, error: &Error) {
        let _ = error;
    }

    /// The server is closed; its connections may still be open.
    fn on_close(&mut self) {}
}

impl<F, H> Acceptor for F
where
    F: FnMut(Endpoint) -> H + 'static,
    H: Handler,
{
    type Handler = H;

    fn on_accept(&mut self, peer: Endpoint) -> Option<H> {
        Some(self(peer))
    }
}

/// An acceptor whose handlers' type is forgotten.
pub(crate) trait AnyAcceptor {
    fn on_accept(&mut self, peer: Endpoint) -> Option<Box<dyn Handler>>;
    fn on_listen(&mut self, address: &Endpoint);
    fn on_error(&mut self, error: &Error);
    fn on_close(&mut self);
    fn type_name(&self) -> &'static str;
}

impl<A: Acceptor> AnyAcceptor for A {
    fn on_accept(&mut self, peer: Endpoint) -> Option<Box<dyn Handler>> {
        Acceptor::on_accept(self, peer).map(|handler| Box::new(handler) as Box<dyn Handler>)
    }

    fn on_listen(&mut self, address: &Endpoint) {
        Acceptor::on_listen(self, address);
    }

    fn on_error(&mut self, error: &Error) {
        Acceptor::on_error(self, error);
    }

    fn on_close(&mut self) {
        Acceptor::on_close(self);
    }

    fn type_name(&self) -> &'static str {
        std::any::type_name::<A>()
    }
}
