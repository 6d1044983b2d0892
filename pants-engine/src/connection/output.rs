//! A connection's output: writing, and what becomes of it.

use std::fs::File;
use std::io::IoSlice;
use std::ptr;
use std::sync::Arc;

use zerocopy::{Immutable, IntoBytes};

use crate::buffer::write::FilePiece;
use crate::channel::state::Flags;
use crate::connection::{Connection, Outcome};
use crate::context::Context;
use crate::key::{ConnectionKey, Key};
use crate::limits;
use crate::slots::Channel;

impl Connection<'_> {
    /// Writes `data` behind everything written before; it is copied or sent before this returns.
    ///
    /// Small writes of one callback leave together when it returns. What the kernel will not take is queued, and leaves as
    /// soon as it will; [`on_write`](crate::Handler::on_write) says when all has left. What is written to another connection
    /// than the callback's own may wait until what else is ready has been received, as with [`relay`](Self::relay).
    ///
    /// Returns whether `data` was taken. It is not after [`close`](Self::close), [`shutdown_write`](Self::shutdown_write)
    /// or the connection's end; nor when it is longer than [`write_cap`](crate::ConnectionOptions::write_cap) or the queue would
    /// be, which ends the connection.
    pub fn write(&mut self, data: &[u8]) -> bool {
        if self.is_fresh && ptr::eq(data, self.input) {
            self.is_fresh = false;
            self.outcome = Outcome::Echo;
            return true;
        }
        if self.outcome != Outcome::Other {
            return self.write_beside_echo(data);
        }
        self.context.outbox.push_if_open(self.key, data) || self.write_from_other(data)
    }

    /// The first thing written that is no echo. Apart, so that nothing of it weighs on one.
    #[inline(never)]
    fn write_beside_echo(&mut self, data: &[u8]) -> bool {
        if self.outcome != Outcome::Nothing {
            return self.write_behind_echo(data);
        }
        self.open_outbox();
        self.context.outbox.push_opened(self.key, data) || self.write_from_other(data)
    }

    /// Apart, so that what copies the echo takes no registers from what has none.
    #[cold]
    #[inline(never)]
    fn write_behind_echo(&mut self, data: &[u8]) -> bool {
        self.leave_usual_way();
        self.write(data)
    }

    /// The outbox may be open to another connection, whose callback writes to this one.
    #[inline(never)]
    fn write_from_other(&mut self, data: &[u8]) -> bool {
        let stream = &self.look().stream;
        let takes_output = self.context.outbox.can_relay_to(self.key) && stream.takes_output_at_once();
        let is_held = stream.flags.any(Flags::HELD);
        if takes_output && !is_held && data.len() > limits::RELAYED_COPY_BYTES && self.context.outbox.owner().is_none()
        {
            return self.write_uncopied(data);
        }
        (takes_output && self.context.outbox.relay(self.key, data)) || self.write_past_outbox(data)
    }

    /// As [`write_from_other`](Self::write_from_other), for much: it goes straight to the kernel, from where it is.
    #[inline(never)]
    fn write_uncopied(&mut self, data: &[u8]) -> bool {
        let Context { channels, outbox, clock, stats, .. } = &mut *self.context;
        let Some(Channel::Connection(slot)) = channels.get_mut(self.key) else { return false };
        if slot.stream.exceeds_cap(data.len()) {
            return self.write_past_outbox(data);
        }
        outbox.note_relay();
        let all_done = slot.stream.send_unasked(data, clock, stats);
        let taken = !slot.stream.flags.any(Flags::DOOMED);
        if !all_done {
            self.context.schedule(self.key);
        }
        taken
    }

    /// The outbox is full or a third one's, or the connection must be looked at before it may be written to.
    #[inline(never)]
    fn write_past_outbox(&mut self, data: &[u8]) -> bool {
        let stream = &mut self.slot().stream;
        if data.is_empty() || !stream.accepts_output() {
            return stream.accepts_output();
        }
        if stream.can_send() && self.context.outbox.push(self.key, data) {
            return true;
        }
        // Its own bytes before these, and another's out of the way.
        self.context.flush_outbox();
        let Context { channels, outbox, clock, stats, .. } = &mut *self.context;
        let Some(Channel::Connection(slot)) = channels.get_mut(self.key) else { return false };
        let stream = &mut slot.stream;
        if stream.exceeds_cap(data.len()) {
            stream.flags.set(Flags::OVERFLOWED);
        } else if !stream.can_send() || !outbox.push(self.key, data) {
            stream.send(data, clock, stats);
        }
        self.note_written()
    }

    /// After a write: has the connection driven if that has left something to be done. Returns whether it was taken.
    fn note_written(&mut self) -> bool {
        let stream = &self.look().stream;
        let taken = !stream.flags.any(Flags::OVERFLOWED.or(Flags::DOOMED));
        if stream.needs_settling() {
            self.context.disturb();
            self.touch();
        }
        taken
    }

    /// Writes `data` to another connection, behind everything written to it before, as [`write`](Self::write) on that one does.
    ///
    /// For what [`on_read`](crate::Handler::on_read) was given, whole, this is the shortest way: it is neither copied, if it is long, nor
    /// sent before what else is ready has been received, up to 16 messages. So a proxy's upstream is woken when there is more to
    /// do than one message. Whatever else is asked of either connection sends it first.
    ///
    /// Returns whether it was taken: not if that connection is closed, or takes nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use pants_engine::{Connection, ConnectionKey, ConnectionOptions, Engine, Handler};
    /// use std::{cell::Cell, rc::Rc};
    ///
    /// /// Passes on what comes to another connection.
    /// struct Passer(Rc<Cell<Option<ConnectionKey>>>);
    ///
    /// impl Handler for Passer {
    ///     fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
    ///         if let Some(other) = self.0.get() {
    ///             connection.relay(other, data);
    ///         }
    ///     }
    /// }
    /// # use std::io::{Read, Write};
    /// # use std::os::unix::net::UnixStream;
    /// # let mut engine = Engine::new()?;
    /// # let (one, mut client) = UnixStream::pair()?;
    /// # let (two, mut upstream) = UnixStream::pair()?;
    /// let other = Rc::new(Cell::new(None));
    /// let context = engine.context();
    /// context.adopt_connection(one.into(), ConnectionOptions::default(), Passer(Rc::clone(&other)))?;
    /// let key = context.adopt_connection(two.into(), ConnectionOptions::default(), Passer(Rc::default()))?;
    /// other.set(Some(key));
    /// # client.write_all(b"hello")?;
    /// # while engine.context().stats().writes == 0 {
    /// #     engine.poll(None)?;
    /// # }
    /// # let mut heard = [0; 5];
    /// # upstream.read_exact(&mut heard)?;
    /// # assert_eq!(&heard, b"hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn relay(&mut self, to: ConnectionKey, data: &[u8]) -> bool {
        if self.is_fresh && ptr::eq(data, self.input) && self.can_relay_input(to.0) {
            self.context.outbox.note_relaying(to.0, data.len());
            self.is_fresh = false;
            self.outcome = Outcome::Relay;
            return true;
        }
        self.context().connection(to).is_some_and(|mut other| other.write(data))
    }

    /// Whether the input may wait, and go to this connection uncopied.
    #[inline]
    fn can_relay_input(&self, to: Key) -> bool {
        let Some(Channel::Connection(slot)) = self.context.channels.get(to) else { return false };
        let count = self.input.len();
        let fits = count <= limits::HELD_COPY_BYTES
            || !slot.stream.exceeds_cap(count.saturating_add(self.context.outbox.len_of(to)));
        to != self.key && !slot.ended && slot.stream.takes_output_at_once() && fits
    }

    /// Writes bytes that other connections are sent too, behind everything written before: a line of a chat, a price. They go
    /// to the socket from where they are, and what the kernel will not take is queued by reference, so that a slow
    /// connection costs no copy of them. (Fewer than 256 bytes are copied then: a reference costs as much.)
    ///
    /// For the water marks and [`write_cap`](crate::ConnectionOptions::write_cap) they count as if they were copied. In the
    /// connection's own callback they leave together with what was written there before, if both are small.
    ///
    /// Returns whether they were taken, as [`write`](Self::write).
    ///
    /// # Examples
    ///
    /// Everybody hears what anybody says, for the price of one `send` each:
    ///
    /// ```
    /// use pants_engine::{Connection, Handler};
    /// use std::sync::Arc;
    ///
    /// struct Member;
    ///
    /// impl Handler for Member {
    ///     fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
    ///         let data: Arc<[u8]> = data.into();
    ///         let Some(server) = connection.server() else { return };
    ///         let context = connection.context();
    ///         for key in context.connections(server) {
    ///             if let Some(mut member) = context.connection(key) {
    ///                 member.write_shared(&data);
    ///             }
    ///         }
    ///     }
    /// }
    /// # use std::io::{Read, Write};
    /// # let mut engine = pants_engine::Engine::new()?;
    /// # let server = engine.listen("127.0.0.1:0", |_peer| Member)?;
    /// # let address = engine.context().server_address(server).and_then(|address| address.socket_address()).unwrap();
    /// # let mut clients = [(); 3].map(|()| std::net::TcpStream::connect(address).unwrap());
    /// # while engine.context().connections_open(server) < 3 {
    /// #     engine.poll(None)?;
    /// # }
    /// # clients[0].write_all(b"hello")?;
    /// # while engine.context().stats().writes < 3 {
    /// #     engine.poll(None)?;
    /// # }
    /// # for client in &mut clients {
    /// #     let mut heard = [0; 5];
    /// #     client.read_exact(&mut heard)?;
    /// #     assert_eq!(&heard, b"hello");
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn write_shared(&mut self, data: &Arc<[u8]>) -> bool {
        self.leave_usual_way();
        if self.context.outbox.is_holding() {
            self.context.send_held();
        }
        let outbox = &self.context.outbox;
        let has_written = outbox.owner().is_some_and(|owner| owner == self.key);
        if has_written || outbox.is_open_to(self.key) {
            let most = if has_written { limits::OUTBOX_BYTES } else { limits::SHARED_BYTES_MIN - 1 };
            if data.len() <= most {
                return self.write(data);
            }
            self.context.flush_outbox();
        }
        self.send_shared(data)
    }

    fn send_shared(&mut self, data: &Arc<[u8]>) -> bool {
        let Context { channels, clock, stats, .. } = &mut *self.context;
        let Some(Channel::Connection(slot)) = channels.get_mut(self.key) else { return false };
        let stream = &mut slot.stream;
        if data.is_empty() || !stream.accepts_output() {
            return stream.accepts_output();
        }
        if stream.exceeds_cap(data.len()) {
            stream.flags.set(Flags::OVERFLOWED);
        } else {
            stream.send_shared(data, clock, stats);
        }
        !stream.needs_settling() || self.note_written()
    }

    /// Writes the contents of `slices` in their order, as one write: it is taken whole or not at all, and what does not fit
    /// the gathering of small writes leaves in one system call (sendmsg(2)) if the kernel takes it.
    ///
    /// Returns whether it was taken, as [`write`](Self::write).
    pub fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> bool {
        let len: usize = slices.iter().map(|slice| slice.len()).sum();
        let stream = &mut self.slot().stream;
        if len == 0 || !stream.accepts_output() {
            return stream.accepts_output();
        }
        if stream.can_send() && self.context.outbox.push_vectored(self.key, slices, len) {
            return true;
        }
        // What was written before goes first.
        self.context.flush_outbox();
        let Context { channels, outbox, clock, stats, .. } = &mut *self.context;
        let Some(Channel::Connection(slot)) = channels.get_mut(self.key) else { return false };
        let stream = &mut slot.stream;
        if stream.exceeds_cap(len) {
            stream.flags.set(Flags::OVERFLOWED);
        } else if !stream.can_send() || !outbox.push_vectored(self.key, slices, len) {
            stream.send_vectored(slices, clock, stats);
        }
        self.note_written()
    }

    /// Writes the bytes of a value of fixed layout, as [`write`](Self::write) does: a struct of
    /// [`zerocopy::big_endian`] numbers, for one.
    ///
    /// # Examples
    ///
    /// ```
    /// use pants_engine::zerocopy::{self, Immutable, IntoBytes, big_endian::U16};
    /// use pants_engine::{Connection, Handler};
    ///
    /// #[derive(IntoBytes, Immutable)]
    /// #[zerocopy(crate = "pants_engine::zerocopy")]
    /// #[repr(C)]
    /// struct Reading {
    ///     sensor: U16,
    ///     value: U16,
    /// }
    ///
    /// struct Sensor;
    ///
    /// impl Handler for Sensor {
    ///     fn on_read(&mut self, connection: &mut Connection<'_>, _question: &[u8]) {
    ///         connection.write_packed(&Reading { sensor: 1.into(), value: 515.into() });
    ///     }
    /// }
    /// ```
    pub fn write_packed(&mut self, value: &(impl IntoBytes + Immutable + ?Sized)) -> bool {
        self.write(value.as_bytes())
    }

    /// Writes `length` bytes of `file` from `offset` on, behind everything written before, without copying them through
    /// this process (sendfile(2)). Several connections may share the file; its own position is neither used nor moved.
    ///
    /// They are read when the kernel takes them: pieces of the file that are not in the page cache are read from the disk
    /// then, and **that blocks the engine**. For the water marks and
    /// [`write_cap`](crate::ConnectionOptions::write_cap) each call counts as 4 KiB, whatever its length. A file that has become shorter than it
    /// was promised to be ends the connection with RST and [`CloseReason::Failed`](crate::CloseReason::Failed), after
    /// [`on_error`](crate::Handler::on_error): the peer must not take what it got for the whole. A
    /// Unix socket knows no RST: the peer sees an end as any other (ECONNRESET only if it has sent what was not read), and a
    /// protocol must say by itself how long the file is. A program that does not
    /// ignore SIGPIPE, as those whose `main` is not Rust's, is killed by it if the peer has reset (sendfile(2) knows no
    /// flag against it).
    ///
    /// Returns whether it was taken, as [`write`](Self::write); a length of 0 writes nothing. An end, `offset` and `length`
    /// together, past 2⁶³ − 1 is none that a file can have, and is not taken.
    ///
    /// # Examples
    ///
    /// ```
    /// use pants_engine::{Connection, Handler};
    /// use std::{fs::File, sync::Arc};
    ///
    /// /// Sends a file to whoever connects.
    /// struct Sender(Arc<File>);
    ///
    /// impl Handler for Sender {
    ///     fn on_connect(&mut self, connection: &mut Connection<'_>) {
    ///         let length = self.0.metadata().map_or(0, |file| file.len());
    ///         connection.write_file(Arc::clone(&self.0), 0, length);
    ///         connection.close();
    ///     }
    ///
    ///     fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {}
    /// }
    /// ```
    pub fn write_file(&mut self, file: impl Into<Arc<File>>, offset: u64, length: u64) -> bool {
        // What was written before goes first.
        self.flush();
        let now = self.context.clock.tick();
        let stream = &mut self.slot().stream;
        let possible = offset.checked_add(length).is_some_and(|end| i64::try_from(end).is_ok());
        if !stream.accepts_output() || !possible || !stream.can_count(length) {
            return false;
        }
        if stream.exceeds_cap(limits::FILE_PIECE_BYTES) {
            stream.flags.set(Flags::OVERFLOWED);
            self.touch();
            return false;
        }
        stream.send_file(FilePiece { file: file.into(), offset, left: length }, now);
        // It leaves when the callback has returned, also if that is the connection's own.
        self.context.schedule(self.key);
        true
    }

    /// Hands what was written so far, to any connection, to the kernel now, rather than when the callback returns or later. [Files](Self::write_file), and
    /// what is written behind them, leave after it all the same.
    pub fn flush(&mut self) {
        self.leave_usual_way();
        self.context.flush_outbox();
    }

    /// Says whether [`on_write`](crate::Handler::on_write) need not be called on this connection any more. The default `on_write`
    /// says so.
    pub fn ignore_on_write(&mut self, ignore: bool) {
        let flags = &mut self.slot().stream.flags;
        flags.clear(Flags::ON_WRITE_UNHEARD);
        flags.set(Flags::ON_WRITE_UNHEARD.when(ignore));
    }

    /// Bytes written that the kernel has not taken yet, those of files included.
    pub fn queued_bytes(&self) -> usize {
        // The same width: pants needs a 64-bit target.
        let echoed = if self.outcome == Outcome::Echo { self.input.len() } else { 0 };
        self.look().stream.queued() as usize + self.context.outbox.len_of(self.key) + echoed
    }
}
