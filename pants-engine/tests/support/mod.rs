//! What the tests share: an engine on its own thread, a handler that tells what it sees, and clients that never wait for ever.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Once;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pants_engine::{
    CloseReason, Connection, Context, Engine, Error, HandOffError, Handler, Overflow, Remote, ServerKey, ServerOptions,
    Stats,
};

/// How long a test waits for what must come before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Any free port of this machine alone.
pub(crate) const ANY_PORT: &str = "127.0.0.1:0";

/// What a test's own panics say.
pub(crate) const ON_PURPOSE: &str = "on purpose";

/// An engine that runs on a thread of its own, until it is stopped or dropped.
pub(crate) struct Running {
    pub(crate) remote: Remote,
    thread: Option<JoinHandle<()>>,
    ended: Receiver<Stats>,
}

impl Running {
    /// Makes an engine on a new thread, sets it up there, starts it, and gives what `set_up` returned.
    pub(crate) fn start<T: Send + 'static>(set_up: impl FnOnce(&mut Engine) -> T + Send + 'static) -> (Self, T) {
        let (ready, is_ready) = channel();
        let (end, ended) = channel();
        let run = move || {
            let mut engine = Engine::new().unwrap();
            let value = set_up(&mut engine);
            ready.send((engine.remote(), value)).unwrap();
            engine.start().unwrap();
            // Nobody listens when the test has failed.
            let _ = end.send(engine.context().stats());
        };
        let thread = std::thread::Builder::new().name("engine".to_owned()).spawn(run).unwrap();
        let (remote, value) = is_ready.recv_timeout(PATIENCE).expect("the engine is set up");
        (Self { remote, thread: Some(thread), ended }, value)
    }

    /// A server of `handler`s with default options.
    pub(crate) fn serve<H: Handler>(handler: impl Fn() -> H + Send + 'static) -> (Self, SocketAddr) {
        Self::serve_with(ServerOptions::default(), handler)
    }

    pub(crate) fn serve_with<H: Handler>(
        options: ServerOptions,
        handler: impl Fn() -> H + Send + 'static,
    ) -> (Self, SocketAddr) {
        let (running, (_, address)) = Self::start(move |engine| listen(engine, options, handler));
        (running, address)
    }

    /// Runs `f` on the engine's thread and gives what it returned.
    pub(crate) fn ask<T: Send + 'static>(&self, f: impl FnOnce(&mut Context) -> T + Send + 'static) -> T {
        let (answer, answered) = channel();
        self.remote.send(move |context| answer.send(f(context)).unwrap()).expect("the engine takes a message");
        answered.recv_timeout(PATIENCE).expect("the engine answers")
    }

    pub(crate) fn stats(&self) -> Stats {
        self.ask(|context| context.stats())
    }

    /// Asks again and again until `done`; for what the engine reports nowhere else.
    pub(crate) fn wait_until(&self, mut done: impl FnMut(&Stats) -> bool) {
        let limit = Instant::now() + PATIENCE;
        while !done(&self.stats()) {
            assert!(Instant::now() < limit, "it never came to be: {:?}", self.stats());
            std::thread::yield_now();
        }
    }

    /// Stops the engine and waits for its end.
    pub(crate) fn stop(self) -> Stats {
        self.remote.stop();
        self.join()
    }

    /// Waits until the engine has ended by itself.
    pub(crate) fn join(mut self) -> Stats {
        let stats = self.ended.recv_timeout(PATIENCE).expect("the engine ends");
        self.thread.take().expect("it is joined once").join().expect("the engine's thread ends well");
        stats
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.remote.stop();
        if let Some(thread) = self.thread.take() {
            let ended = self.ended.recv_timeout(PATIENCE).is_ok() && thread.join().is_ok();
            assert!(ended || std::thread::panicking(), "the engine's thread did not end");
        }
    }
}

/// Starts a server and gives its key and address.
pub(crate) fn listen<H: Handler>(
    engine: &mut Engine,
    options: ServerOptions,
    handler: impl Fn() -> H + 'static,
) -> (ServerKey, SocketAddr) {
    let server = engine.context().listen_with(ANY_PORT, options, move |_peer| handler()).unwrap();
    (server, engine.context().server_address(server).unwrap().socket_address().unwrap())
}

/// Turns `engine` on the test's own thread until `done`.
pub(crate) fn turn_until(engine: &mut Engine, mut done: impl FnMut(&mut Engine) -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !done(engine) {
        assert!(Instant::now() < limit, "it never came to be: {engine:?}");
        engine.poll(Some(Duration::from_millis(10))).unwrap();
    }
}

/// Sends back what it is sent.
pub(crate) struct Echo;

impl Handler for Echo {
    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        connection.write(data);
    }
}

/// Takes what it is sent and says nothing.
pub(crate) struct Silent;

impl Handler for Silent {
    fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {}
}

/// What a handler was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Connect,
    HandOff,
    HandOffError(HandOffError),
    Read(Vec<u8>),
    Write,
    End,
    Drain,
    Overflow(Overflow),
    Failure(ErrorKind),
    ConnectFailure(ErrorKind),
    Close(CloseReason),
}

/// What a [`Recorder`] does about an event.
pub(crate) type Script = fn(&mut Connection<'_>, &Event);

/// A handler that passes on what it is told, after its script has acted on it. Unlike a plain handler it closes neither at
/// the peer's end nor in a drain, unless the script does.
pub(crate) struct Recorder<S = Script> {
    events: Sender<Event>,
    script: S,
}

impl<S: FnMut(&mut Connection<'_>, &Event)> Recorder<S> {
    fn tell(&mut self, connection: &mut Connection<'_>, event: Event) {
        // First the script, so that whoever gets the event finds done what was to be done.
        (self.script)(connection, &event);
        let _ = self.events.send(event);
    }
}

impl<S: FnMut(&mut Connection<'_>, &Event) + 'static> Handler for Recorder<S> {
    fn on_connect(&mut self, connection: &mut Connection<'_>) {
        self.tell(connection, Event::Connect);
    }

    fn on_hand_off(&mut self, connection: &mut Connection<'_>) {
        self.tell(connection, Event::HandOff);
    }

    fn on_hand_off_error(&mut self, connection: &mut Connection<'_>, error: &HandOffError) {
        self.tell(connection, Event::HandOffError(error.clone()));
    }

    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        self.tell(connection, Event::Read(data.to_vec()));
    }

    fn on_write(&mut self, connection: &mut Connection<'_>) {
        self.tell(connection, Event::Write);
    }

    fn on_end(&mut self, connection: &mut Connection<'_>) {
        self.tell(connection, Event::End);
    }

    fn on_shutdown(&mut self, connection: &mut Connection<'_>) {
        self.tell(connection, Event::Drain);
    }

    fn on_overflow_error(&mut self, connection: &mut Connection<'_>, overflow: Overflow) {
        self.tell(connection, Event::Overflow(overflow));
    }

    fn on_error(&mut self, connection: &mut Connection<'_>, error: &Error) {
        self.tell(connection, Event::Failure(kind_of(error)));
    }

    fn on_connect_error(&mut self, _context: &mut Context, error: &Error) {
        let _ = self.events.send(Event::ConnectFailure(kind_of(error)));
    }

    fn on_close(&mut self, connection: &mut Connection<'_>, reason: CloseReason) {
        self.tell(connection, Event::Close(reason));
    }
}

/// Makes handlers that follow `script`, and gives where their events arrive.
pub(crate) fn recorder(script: Script) -> (impl Fn() -> Recorder + Send + 'static, Receiver<Event>) {
    recorder_with(script)
}

/// As [`recorder`], with a script that remembers: each connection has one of its own.
pub(crate) fn recorder_with<S>(script: S) -> (impl Fn() -> Recorder<S> + Send + 'static, Receiver<Event>)
where
    S: FnMut(&mut Connection<'_>, &Event) + Clone + Send + 'static,
{
    let (events, seen) = channel();
    (move || Recorder { events: events.clone(), script: script.clone() }, seen)
}

/// What a connection does that serves by the book: it closes at the peer's end and in a drain.
pub(crate) fn close_when_asked(connection: &mut Connection<'_>, event: &Event) {
    if matches!(event, Event::End | Event::Drain) {
        connection.close();
    }
}

/// The next of what a channel carries.
pub(crate) fn next<T>(seen: &Receiver<T>) -> T {
    seen.recv_timeout(PATIENCE).expect("something is told in time")
}

/// Waits for the first event that `wanted` accepts; gives it with those before it.
pub(crate) fn up_to(seen: &Receiver<Event>, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        events.push(next(seen));
        if wanted(&events[events.len() - 1]) {
            return events;
        }
    }
}

/// Waits for the connection's end; gives the reason. Must be the last that is told of it.
pub(crate) fn close_reason(seen: &Receiver<Event>) -> CloseReason {
    match up_to(seen, |event| matches!(event, Event::Close(_))).pop() {
        Some(Event::Close(reason)) => reason,
        _ => unreachable!("it was waited for"),
    }
}

/// How often the connections' ends were told of up to now.
pub(crate) fn closes(seen: &Receiver<Event>) -> usize {
    seen.try_iter().filter(|event| matches!(event, Event::Close(_))).count()
}

/// A client that gives up after [`PATIENCE`].
pub(crate) fn client(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Sends `data` and expects it back.
pub(crate) fn assert_echoes(stream: &mut TcpStream, data: &[u8]) {
    stream.write_all(data).unwrap();
    assert_eq!(receive(stream, data.len()), data);
}

/// The next `count` bytes.
pub(crate) fn receive(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// Everything up to FIN.
pub(crate) fn receive_all(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Reads until the connection has ended: whether it was by a reset.
pub(crate) fn ends_with_reset(stream: &mut TcpStream) -> bool {
    match std::io::copy(stream, &mut std::io::sink()) {
        Ok(_) => false,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => true,
        Err(error) => panic!("neither an end nor a reset: {error}"),
    }
}

/// Closes with RST.
pub(crate) fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// Bytes without a pattern that a lost or a repeated piece could hide in: a linear congruential generator (Knuth, TAOCP 2,
/// 3.3.4).
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(4) {
            let word = (self.next() as u32).to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }

    pub(crate) fn bytes(count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        Self(count as u64).fill(&mut bytes);
        bytes
    }
}

/// Keeps the panics that a test causes itself out of its output.
pub(crate) fn hush() {
    static HUSHED: Once = Once::new();
    HUSHED.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if panic.payload().downcast_ref::<&str>() != Some(&ON_PURPOSE) {
                others(panic);
            }
        }));
    });
}

fn kind_of(error: &Error) -> ErrorKind {
    match error {
        Error::Connect { source, .. } | Error::Connection { source, .. } | Error::Accept { source, .. } => {
            source.kind()
        }
        Error::Frame { .. } => ErrorKind::InvalidData,
        _ => ErrorKind::Other,
    }
}
