//! The trait of those who handle a datagram channel.

use std::any::Any;

use crate::channel::state::CloseReason;
use crate::datagram::Datagram;
use crate::error::Error;
use crate::net::endpoint::Endpoint;

/// What happens on one datagram channel. Only [`on_read`](Self::on_read) must be written.
///
/// As with a connection's [`Handler`](crate::Handler), callbacks never nest, and one that panics ends its channel, with
/// [`CloseReason::Panicked`]. [`on_close`](Self::on_close) comes once, and last.
///
/// # Examples
///
/// ```
/// use pants_engine::{Datagram, DatagramHandler, Endpoint};
///
/// /// Sends every datagram back to where it came from.
/// struct Echo;
///
/// impl DatagramHandler for Echo {
///     fn on_read(&mut self, datagram: &mut Datagram<'_>, data: &[u8], from: &Endpoint) {
///         datagram.send_to(data, from);
///     }
/// }
/// ```
pub trait DatagramHandler: Any {
    /// A datagram has come: the whole of one, and nothing else; it may be empty. The slice is the engine's read buffer;
    /// what is to be kept must be copied.
    ///
    /// UDP datagrams that wait together are read together, up to 32 of them or as many trains (see
    /// [`segmentation`](crate::DatagramOptions::segmentation)), and what this sends meanwhile leaves together when it has had
    /// them all. If it [pauses reading](Datagram::pause_reading), the rest of them is kept; if it closes the channel or panics,
    /// the rest is lost, and counted in [`Stats::datagrams_dropped`](crate::Stats::datagrams_dropped), while what it had sent
    /// leaves all the same.
    ///
    /// A Unix sender without a name is [`Endpoint::Unnamed`], and cannot be answered. The name of one that has one is
    /// allocated for each datagram; an IP address is not.
    fn on_read(&mut self, datagram: &mut Datagram<'_>, data: &[u8], from: &Endpoint);

    /// Datagrams were queued, and now all have left or were given up. Does not come for those that the kernel took at
    /// once.
    fn on_write(&mut self, datagram: &mut Datagram<'_>) {
        let _ = datagram;
    }

    /// The engine [drains](crate::Context::drain), nothing is queued and nothing more waits to be read. By default the
    /// channel [closes](Datagram::close). A handler that still owes an answer closes it later, before the drain's deadline.
    fn on_shutdown(&mut self, datagram: &mut Datagram<'_>) {
        datagram.close();
    }

    /// A datagram was lost, and why is known; the channel goes on. Of several that one callback could not send, the first
    /// is told; of those that [`on_read`](Self::on_read) has sent of several at once, each, up to 64.
    ///
    /// * [`Error::Send`]: the kernel refused one, because it is too long (`EMSGSIZE`), its network cannot be reached, or
    ///   nobody is there.
    /// * [`Error::Receive`]: on a connected UDP channel, that an earlier one was refused; with
    ///   [`ConnectionRefused`](std::io::ErrorKind::ConnectionRefused) if nobody has the port (udp(7)).
    /// * [`Error::Truncated`]: a Unix datagram was longer than the read buffer's 64 KiB. It is not passed on.
    fn on_error(&mut self, datagram: &mut Datagram<'_>, error: &Error) {
        let _ = (datagram, error);
    }

    /// The channel is closed, for `reason`: [`Finished`](CloseReason::Finished) after [`Datagram::close`],
    /// [`Panicked`](CloseReason::Panicked) or [`Stopped`](CloseReason::Stopped). Sending does nothing.
    fn on_close(&mut self, datagram: &mut Datagram<'_>, reason: CloseReason) {
        let _ = (datagram, reason);
    }

    /// What messages about this handler call it.
    #[doc(hidden)]
    fn type_name(&self) -> &'static str {
        std::any::type_name::<Self>()
    }
}
