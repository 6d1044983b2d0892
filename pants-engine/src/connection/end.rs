//! The ways in which a connection ends, or leaves its engine.

use crate::channel::state::{CloseReason, Flags};
use crate::connection::Connection;
use crate::context::Context;
use crate::hand_off::{Detached, LeftBehind};

impl Connection<'_> {
    /// Closes in good order: what was written leaves, then FIN; nothing more is read. When the peer's FIN has come too, or
    /// 5 s later, [`on_close`](crate::Handler::on_close) comes with [`CloseReason::Finished`].
    ///
    /// Input that arrives meanwhile is discarded: closing the descriptor over unread input would send RST, and RST
    /// destroys a reply that is still on its way (RFC 9112, section 9.6).
    pub fn close(&mut self) {
        let now = self.context.clock.tick();
        self.slot().stream.want_close(now);
        self.touch();
    }

    /// Closes at once with RST; what is queued is lost. [`on_close`](crate::Handler::on_close) comes with
    /// [`CloseReason::Aborted`] after the present callback.
    ///
    /// A Unix socket knows no RST: its peer sees an end as any other, or ECONNRESET if it has sent what was not read.
    pub fn abort(&mut self) {
        self.slot().stream.doom(CloseReason::Aborted);
        self.touch();
    }

    /// Sends FIN after what was written, and goes on reading: a half-close. When the peer has sent its own FIN,
    /// [`on_end`](crate::Handler::on_end) comes and the connection closes.
    ///
    /// # Examples
    ///
    /// ```
    /// use pants_engine::{CloseReason, Connection, Handler};
    ///
    /// /// Asks one question, says that this was all, and reads the answer to its end.
    /// struct Ask {
    ///     answer: Vec<u8>,
    /// }
    ///
    /// impl Handler for Ask {
    ///     fn on_connect(&mut self, connection: &mut Connection<'_>) {
    ///         connection.write(b"what time is it?");
    ///         connection.shutdown_write();
    ///     }
    ///
    ///     fn on_read(&mut self, _connection: &mut Connection<'_>, data: &[u8]) {
    ///         self.answer.extend_from_slice(data);
    ///     }
    ///
    ///     fn on_close(&mut self, connection: &mut Connection<'_>, _reason: CloseReason) {
    ///         println!("{}", String::from_utf8_lossy(&self.answer));
    ///         connection.context().stop();
    ///     }
    /// }
    /// # use std::io::{Read, Write};
    /// # let (ours, mut theirs) = std::os::unix::net::UnixStream::pair()?;
    /// # let clock = std::thread::spawn(move || {
    /// #     let mut question = String::new();
    /// #     theirs.read_to_string(&mut question).and_then(|_| theirs.write_all(b"late")).map(|()| question)
    /// # });
    /// # let mut engine = pants_engine::Engine::new()?;
    /// # engine.context().adopt_connection(ours.into(), Default::default(), Ask { answer: Vec::new() })?;
    /// # engine.start()?;
    /// # assert_eq!(engine.context().stats().bytes_in, 4);
    /// # assert_eq!(clock.join().unwrap()?, "what time is it?");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn shutdown_write(&mut self) {
        self.slot().stream.want_fin();
        self.touch();
    }

    /// Whether the connection can be [detached](Self::detach): it is made, has not ended, is not closing, and does not leave already.
    pub fn can_detach(&self) -> bool {
        const NEVER: Flags = Flags::CONNECTING.or(Flags::CLOSING).or(Flags::DOOMED).or(Flags::LEAVING);
        let slot = self.look();
        !slot.ended && !slot.stream.flags.any(NEVER)
    }

    /// Has the connection leave this engine after the present callback, with all that is not read or not written yet. `then`
    /// is called between callbacks, with what another engine can [attach](Context::attach) and with what stays here. Of the
    /// handler nothing is heard any more; its [timers](Self::defer) are cancelled.
    ///
    /// What is written in the present callback still travels along. If the connection ends meanwhile, by
    /// [`abort`](Self::abort) or a panic, `then` is dropped instead. One that [cannot be detached](Self::can_detach) stays, `then` is
    /// dropped, and `false` comes back.
    ///
    /// # Examples
    ///
    /// See [`Context::attach`].
    pub fn detach(&mut self, then: impl FnOnce(&mut Context, Detached, LeftBehind) + 'static) -> bool {
        if !self.can_detach() {
            return false;
        }
        self.slot().stream.flags.set(Flags::LEAVING);
        self.context.departures.insert(self.key, Box::new(then));
        self.touch();
        true
    }
}
