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
    ///
    /// # Examples
    ///
    /// ```
    /// use pants_engine::{Connection, Handler};
    /// use std::time::Duration;
    ///
    /// /// Answers a line each 5 ms, and has whoever is faster wait.
    /// struct Patient;
    ///
    /// impl Handler for Patient {
    ///     fn on_connect(&mut self, connection: &mut Connection<'_>) {
    ///         connection.set_delimiter("\n");
    ///     }
    ///
    ///     fn on_read(&mut self, connection: &mut Connection<'_>, _line: &[u8]) {
    ///         connection.write(b"yes\n");
    ///         connection.pause_reading();
    ///         connection.defer(Duration::from_millis(5), |_: &mut Patient, connection| connection.resume_reading());
    ///     }
    /// #
    /// #     fn on_close(&mut self, connection: &mut Connection<'_>, _reason: pants_engine::CloseReason) {
    /// #         connection.context().stop();
    /// #     }
    /// }
    /// # use std::io::{Read, Write};
    /// # let (ours, mut theirs) = std::os::unix::net::UnixStream::pair()?;
    /// # theirs.write_all(b"one\ntwo\nthree\n")?;
    /// # theirs.shutdown(std::net::Shutdown::Write)?;
    /// # let begun = std::time::Instant::now();
    /// # let mut engine = pants_engine::Engine::new()?;
    /// # engine.context().adopt_connection(ours.into(), Default::default(), Patient)?;
    /// # engine.start()?;
    /// # let mut answers = String::new();
    /// # theirs.read_to_string(&mut answers)?;
    /// # assert_eq!(answers, "yes\nyes\nyes\n");
    /// # assert!(begun.elapsed() >= Duration::from_millis(10));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
