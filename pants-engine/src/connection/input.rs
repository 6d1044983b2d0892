//! A connection's input: pausing it, and how it is cut into frames.

use crate::channel::state::Flags;
use crate::connection::Connection;
use crate::framing::delimiter::Delimiter;

impl Connection<'_> {
    /// Has the input cut into frames by `delimiter`, from the next byte on: within
    /// [`on_read`](crate::Handler::on_read), from the one behind the frame at hand. What was kept of a frame that has not come
    /// whole belongs to the next one.
    ///
    /// # Examples
    ///
    /// ```
    /// use pants_engine::{Connection, Handler};
    ///
    /// /// A line says how many bytes follow it.
    /// struct Upload { in_body: bool }
    ///
    /// impl Handler for Upload {
    ///     fn on_connect(&mut self, connection: &mut Connection<'_>) {
    ///         connection.set_delimiter("\r\n");
    ///     }
    ///
    ///     fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
    ///         self.in_body = !self.in_body;
    ///         match std::str::from_utf8(data).ok().and_then(|line| line.parse::<usize>().ok()) {
    ///             Some(length) if self.in_body => connection.set_delimiter(length),
    ///             _ => connection.set_delimiter("\r\n"),
    ///         }
    ///     }
    /// }
    /// ```
    pub fn set_delimiter(&mut self, delimiter: impl Into<Delimiter>) {
        self.slot().stream.set_delimiter(delimiter.into());
        self.touch();
    }

    /// Changes [`buffer_limit`](crate::ConnectionOptions::buffer_limit) for this connection alone: the longest a frame may be, in
    /// bytes, its delimiter or header included.
    pub fn set_buffer_limit(&mut self, limit: usize) {
        self.slot().stream.set_buffer_limit(limit);
        self.touch();
    }

    /// What has come and was not passed on: the beginning of a frame that has not come whole, or, in
    /// [`on_overflow_error`](crate::Handler::on_overflow_error), of one that is too long. Empty within
    /// [`on_read`](crate::Handler::on_read).
    pub fn buffered(&self) -> &[u8] {
        self.look().stream.buffered()
    }

    /// Stops reading: not even the data at hand is followed by more. The kernel's buffer fills, and then the peer waits.
    pub fn pause_reading(&mut self) {
        self.slot().stream.flags.set(Flags::PAUSED_BY_USER);
    }

    /// Goes on reading, from this turn or the next.
    pub fn resume_reading(&mut self) {
        let now = self.context.clock.tick();
        self.slot().stream.resume(now);
        self.touch();
    }
}
