//! Connecting to a host by its name: the look-up, and the race of its addresses (RFC 8305, "Happy Eyeballs").
//!
//! The connection is there from the beginning, with a placeholder for its socket. Every attempt is a channel of its own; the first that
//! succeeds gives the connection its socket, and the others are dropped.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::channel::state::{CloseReason, Flags};
use crate::context::Context;
use crate::doorbell::{Doorbell, Source};
use crate::key::{Key, TimerKey};
use crate::limits;
use crate::net::address::Address;
use crate::net::socket::Socket;
use crate::net::{order, resolve};
use crate::slots::{Channel, Task};
use crate::transport::Transport;

/// One connection on its way to a host.
#[derive(Debug)]
pub(crate) struct Dial {
    pub(crate) host: Address,
    /// Not tried yet, the best first.
    addresses: VecDeque<SocketAddr>,
    /// The channels of the attempts that are under way.
    attempts: Vec<Key>,
    /// When the next address is tried though the last still hangs.
    next: Option<TimerKey>,
    /// What became of the last attempt that failed.
    pub(crate) error: Option<io::Error>,
}

/// One address being tried.
#[derive(Debug)]
pub(crate) struct Attempt {
    socket: Socket,
    address: SocketAddr,
    connection: Key,
}

/// What a look-up found, on its way to the connection that wants it.
type Answer = (Key, resolve::Answer);

/// Where look-ups leave their answers. There are at most as many as look-ups under way, which the resolver bounds.
#[derive(Debug)]
pub(crate) struct Lookups {
    answers: Sender<Answer>,
    doorbell: Doorbell,
}

/// The engine's end of it.
#[derive(Debug)]
pub(crate) struct Answers(Receiver<Answer>);

impl Lookups {
    pub(crate) fn new(doorbell: Doorbell) -> (Self, Answers) {
        let (answers, receiver) = unbounded();
        (Self { answers, doorbell }, Answers(receiver))
    }
}

impl Dial {
    fn new(host: Address) -> Self {
        Self { host, addresses: VecDeque::new(), attempts: Vec::new(), next: None, error: None }
    }
}

impl Source for Answers {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn drain(&mut self, context: &mut Context, budget: usize) -> usize {
        let mut drained = 0;
        while drained < budget
            && let Ok((connection, answer)) = self.0.try_recv()
        {
            context.handle_answer(connection, answer);
            drained += 1;
        }
        drained
    }
}

impl Context {
    /// Has the host of a connection looked up; [`Context::handle_answer`] goes on from there.
    pub(crate) fn begin_dial(&mut self, connection: Key, name: &str, port: u16) {
        self.dials.insert(connection, Dial::new(Address::Host { name: name.to_owned(), port }));
        let (answers, doorbell) = (self.lookups.answers.clone(), self.lookups.doorbell.clone());
        let deliver = move |answer| {
            // It fails when the engine is gone, and nobody waits.
            if answers.send((connection, answer)).is_ok() {
                doorbell.ring();
            }
        };
        resolve::lookup(name, port, Box::new(deliver));
    }

    fn handle_answer(&mut self, connection: Key, answer: resolve::Answer) {
        // The connection may have been closed, or have waited too long, meanwhile.
        let Some(dial) = self.dials.get_mut(&connection) else { return };
        match answer {
            Ok(addresses) => dial.addresses = order::happy_order(addresses).into(),
            Err(error) => dial.error = Some(error),
        }
        self.try_next_address(connection);
    }

    /// Begins with the next address; when there is none left, and no attempt under way, the connection has failed.
    pub(crate) fn try_next_address(&mut self, connection: Key) {
        self.cancel_next_address(connection);
        // One that was given up, and has not been driven since, begins nothing more.
        while self.connection_slot(connection).is_some_and(|slot| slot.stream.doomed().is_none()) {
            let Some(dial) = self.dials.get_mut(&connection) else { return };
            let Some(address) = dial.addresses.pop_front() else { return self.fail_if_nothing_is_left(connection) };
            match self.begin_attempt(connection, address) {
                Ok(attempt) => return self.note_attempt(connection, attempt),
                Err(error) => self.note_failed_attempt(connection, address, &error),
            }
        }
    }

    fn fail_if_nothing_is_left(&mut self, connection: Key) {
        let Some(dial) = self.dials.get_mut(&connection).filter(|dial| dial.attempts.is_empty()) else { return };
        let error = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        let kind = dial.error.get_or_insert_with(error).kind();
        if let Some(slot) = self.connection_slot(connection) {
            slot.stream.doom(CloseReason::Failed(kind));
            self.schedule(connection);
        }
    }

    fn begin_attempt(&mut self, connection: Key, address: SocketAddr) -> io::Result<Key> {
        let Some(slot) = self.connection_slot(connection) else { return Err(io::ErrorKind::NotConnected.into()) };
        let socket = Socket::for_peer(&address.into(), &slot.stream.options)?;
        socket.connect(&address.into())?;
        let attempt = Attempt { socket, address, connection };
        let key = self.channels.insert(Channel::Attempt(Box::new(attempt)));
        let Some(Channel::Attempt(attempt)) = self.channels.get(key) else { unreachable!("it was just inserted") };
        self.registrar
            .register_stream(attempt.socket.as_fd(), key, true)
            .inspect_err(|_| drop(self.channels.remove(key)))?;
        Ok(key)
    }

    fn note_attempt(&mut self, connection: Key, attempt: Key) {
        let Some(dial) = self.dials.get_mut(&connection) else { return };
        dial.attempts.push(attempt);
        if dial.addresses.is_empty() {
            return;
        }
        let timer = self.insert_after(limits::CONNECTION_ATTEMPT_DELAY, Task::NextAddress(connection));
        if let Some(dial) = self.dials.get_mut(&connection) {
            dial.next = Some(timer);
        }
    }

    fn note_failed_attempt(&mut self, connection: Key, address: SocketAddr, error: &io::Error) {
        if let Some(dial) = self.dials.get_mut(&connection) {
            dial.error = Some(io::Error::new(error.kind(), format!("{address}: {error}")));
        }
    }

    /// What to say of a connection that was not there in time: also what became of the addresses that failed before, since
    /// the one that hung is often not the one that should have answered.
    pub(crate) fn connect_timed_out(&mut self, connection: Key) -> io::Error {
        let kind = io::ErrorKind::TimedOut;
        match self.dials.get_mut(&connection).and_then(|dial| dial.error.take()) {
            Some(error) => io::Error::new(kind, format!("{kind}; before that, {error}")),
            None => kind.into(),
        }
    }

    /// Something has happened to an attempt: it has succeeded, failed, or neither yet.
    pub(crate) fn handle_attempt(&mut self, key: Key) {
        let Some(Channel::Attempt(attempt)) = self.channels.get(key) else { return };
        let (connection, address) = (attempt.connection, attempt.address);
        let error = attempt.socket.take_error();
        if error.is_none() && !attempt.socket.has_peer() {
            return;
        }
        let Some(Channel::Attempt(attempt)) = self.channels.remove(key) else { return };
        if let Some(dial) = self.dials.get_mut(&connection) {
            dial.attempts.retain(|known| *known != key);
        }
        match error.map_or_else(|| self.registrar.move_stream(attempt.socket.as_fd(), connection), Err) {
            Ok(()) => self.finish_dial(connection, *attempt),
            Err(error) => {
                self.note_failed_attempt(connection, address, &error);
                self.try_next_address(connection);
            }
        }
    }

    /// Gives the connection its socket; that it is connected the dispatcher finds out.
    fn finish_dial(&mut self, connection: Key, attempt: Attempt) {
        // One that was given up, and has not been driven since, needs no socket.
        let Some(slot) = self.connection_slot(connection).filter(|slot| slot.stream.doomed().is_none()) else { return };
        slot.stream.transport = Transport::Plain(attempt.socket);
        slot.stream.peer = attempt.address.into();
        slot.stream.flags.set(Flags::WRITABLE.or(Flags::READABLE));
        self.forget_dial(connection);
        self.schedule(connection);
    }

    /// Ends what is still under way for a connection; gives what was known.
    pub(crate) fn forget_dial(&mut self, connection: Key) -> Option<Dial> {
        if self.dials.is_empty() {
            return None;
        }
        self.cancel_next_address(connection);
        let mut dial = self.dials.remove(&connection)?;
        for attempt in dial.attempts.drain(..) {
            self.channels.remove(attempt);
        }
        Some(dial)
    }

    fn cancel_next_address(&mut self, connection: Key) {
        if let Some(timer) = self.dials.get_mut(&connection).and_then(|dial| dial.next.take()) {
            self.timers.remove(timer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io::{ErrorKind, Read};
    use std::net::{TcpListener, TcpStream};
    use std::rc::Rc;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::channel::stream::Stream;
    use crate::connection::Connection;
    use crate::engine::Engine;
    use crate::error::Error;
    use crate::handler::Handler;
    use crate::key::ConnectionKey;
    use crate::net::endpoint::Endpoint;
    use crate::options::ConnectionOptions;
    use crate::slots::ConnectionSlot;

    /// How long a test waits for what must come.
    const PATIENCE: Duration = Duration::from_secs(10);

    #[derive(Debug, PartialEq, Eq)]
    enum Told {
        Connect(SocketAddr),
        Failure(ErrorKind, String),
        Drain,
        Close(CloseReason),
    }

    #[derive(Clone, Default)]
    struct Recorder(Rc<RefCell<Vec<Told>>>);

    impl Handler for Recorder {
        fn on_connect(&mut self, connection: &mut Connection<'_>) {
            let peer = connection.peer_address().socket_address().unwrap();
            self.0.borrow_mut().push(Told::Connect(peer));
        }

        fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {}

        fn on_shutdown(&mut self, connection: &mut Connection<'_>) {
            self.0.borrow_mut().push(Told::Drain);
            connection.close();
        }

        fn on_connect_error(&mut self, _context: &mut Context, error: &Error) {
            let Error::Connect { source, .. } = error else { unreachable!("it is about connecting") };
            self.0.borrow_mut().push(Told::Failure(source.kind(), error.to_string()));
        }

        fn on_close(&mut self, _connection: &mut Connection<'_>, reason: CloseReason) {
            self.0.borrow_mut().push(Told::Close(reason));
        }
    }

    /// An engine with a connection on its way to a host whose look-up the test answers.
    struct Dialling {
        engine: Engine,
        key: Key,
        recorder: Recorder,
    }

    impl Dialling {
        fn new(connect_timeout: Option<Duration>) -> Self {
            let (mut engine, recorder) = (Engine::new().unwrap(), Recorder::default());
            let context = engine.context();
            let options = ConnectionOptions { connect_timeout, ..ConnectionOptions::default() };
            let (socket, now) = (Socket::placeholder().unwrap(), context.clock.tick());
            let stream = Stream::connecting(socket, Endpoint::Unnamed, Rc::new(options), now);
            let key = context.insert_connection(ConnectionSlot::new(stream, None)).unwrap();
            context.dials.insert(key, Dial::new(Address::Host { name: "host".to_owned(), port: 80 }));
            context.new_handlers.push((key, Box::new(recorder.clone())));
            Self { engine, key, recorder }
        }

        fn answer(&mut self, addresses: &[SocketAddr]) {
            let key = self.key;
            self.engine.context().handle_answer(key, Ok(addresses.to_vec()));
        }

        fn connection(&mut self) -> Connection<'_> {
            let key = self.key;
            self.engine.context().connection(ConnectionKey(key)).unwrap()
        }

        fn turn_until(&mut self, done: impl Fn(&mut Context, &[Told]) -> bool) {
            let limit = Instant::now() + PATIENCE;
            while !done(self.engine.context(), &self.recorder.0.borrow()) {
                assert!(Instant::now() < limit, "it never came to be: {:?}", self.recorder.0);
                self.engine.poll(Some(Duration::from_millis(10))).unwrap();
            }
        }

        /// Waits for the first thing that is told.
        fn told(&mut self) -> Told {
            self.turn_until(|_, told| !told.is_empty());
            self.recorder.0.borrow_mut().remove(0)
        }

        /// Nothing is left, and nothing more is told.
        #[track_caller]
        fn assert_over(&mut self) {
            for _ in 0..3 {
                self.engine.poll(Some(Duration::ZERO)).unwrap();
            }
            assert_eq!(*self.recorder.0.borrow(), []);
            let context = self.engine.context();
            assert_eq!((context.channels.len(), context.dials.len(), context.timers.len()), (0, 0, 0));
            assert_eq!(context.stats().connections_open, 0);
        }
    }

    fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    fn nobody() -> SocketAddr {
        listener().1
    }

    /// A server whose queue is full: whoever connects hangs.
    fn deaf() -> (SocketAddr, impl Sized) {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
            waiting.push(stream);
            assert!(waiting.len() < 10, "the queue does not fill");
        }
        (address, (socket, waiting))
    }

    fn aborted() -> Told {
        Told::Failure(ErrorKind::ConnectionAborted, "cannot connect to host:80: connection aborted".to_owned())
    }

    #[test]
    fn an_address_that_hangs_is_overtaken_by_the_next_which_gets_what_was_written() {
        let ((deaf, _kept), (listener, address)) = (deaf(), listener());
        let mut dialling = Dialling::new(None);
        assert!(dialling.connection().write(b"early"));
        let begun = Instant::now();
        dialling.answer(&[deaf, address, nobody()]);
        assert_eq!(dialling.told(), Told::Connect(address));
        // Ticks are of a millisecond.
        assert!(begun.elapsed() >= limits::CONNECTION_ATTEMPT_DELAY - Duration::from_millis(1));
        let context = dialling.engine.context();
        assert_eq!((context.channels.len(), context.dials.len()), (1, 0), "the attempts are gone");
        let (mut server, _) = listener.accept().unwrap();
        dialling.turn_until(|context, _| context.stats().bytes_out == 5);
        let mut received = [0; 5];
        server.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"early");
        drop(server);
        assert_eq!(dialling.told(), Told::Close(CloseReason::Finished));
        dialling.assert_over();
    }

    #[test]
    fn an_address_that_refuses_is_followed_by_the_next_at_once() {
        let (_listener, address) = listener();
        let mut dialling = Dialling::new(None);
        dialling.answer(&[nobody(), nobody(), address]);
        assert_eq!(dialling.told(), Told::Connect(address));
        // Two would have been waited for; one may pass on a machine that is busy.
        assert!(dialling.engine.context().stats().timers_fired < 2, "it waited");
        assert_eq!(dialling.engine.context().timers.len(), 0);
    }

    #[test]
    fn when_all_addresses_refuse_the_error_names_the_host_and_the_last() {
        let last = nobody();
        let mut dialling = Dialling::new(None);
        dialling.answer(&[nobody(), last]);
        let Told::Failure(kind, text) = dialling.told() else { panic!("it cannot have connected") };
        assert_eq!(kind, ErrorKind::ConnectionRefused);
        assert!(text.starts_with(&format!("cannot connect to host:80: {last}: ")), "{text}");
        dialling.assert_over();
    }

    #[test]
    fn a_name_without_an_address_is_an_error() {
        let mut dialling = Dialling::new(None);
        dialling.answer(&[]);
        let text = "cannot connect to host:80: the name has no address".to_owned();
        assert_eq!(dialling.told(), Told::Failure(ErrorKind::NotFound, text));
        dialling.assert_over();
    }

    #[test]
    fn of_two_that_succeed_in_one_turn_one_is_kept() {
        let ((one, first), (two, second)) = (listener(), listener());
        let mut dialling = Dialling::new(None);
        dialling.answer(&[first, second]);
        let key = dialling.key;
        dialling.engine.context().try_next_address(key);
        let servers = [one.accept().unwrap().0, two.accept().unwrap().0];
        let Told::Connect(kept) = dialling.told() else { panic!("it cannot have failed") };
        let lost = if kept == first { &servers[1] } else { &servers[0] };
        lost.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!((&mut &*lost).read(&mut [0]).unwrap(), 0, "its server sees it go");
        let context = dialling.engine.context();
        assert_eq!((context.channels.len(), context.dials.len(), context.timers.len()), (1, 0, 0));
    }

    #[test]
    fn an_attempts_event_after_the_timeout_in_the_same_turn_reaches_nobody() {
        let (listener, address) = listener();
        let timeout = Duration::from_millis(1);
        let mut dialling = Dialling::new(Some(timeout));
        dialling.answer(&[address]);
        // The event is there, and then the deadline has come as well: timers are first.
        let _server = listener.accept().unwrap();
        std::thread::sleep(3 * timeout);
        assert!(matches!(dialling.told(), Told::Failure(ErrorKind::TimedOut, _)));
        dialling.assert_over();
    }

    #[test]
    fn one_that_takes_too_long_is_told_what_had_failed_before() {
        let ((deaf, _kept), refusing) = (deaf(), nobody());
        let mut dialling = Dialling::new(Some(Duration::from_millis(50)));
        dialling.answer(&[refusing, deaf]);
        let Told::Failure(kind, text) = dialling.told() else { panic!("it cannot have connected") };
        assert_eq!(kind, ErrorKind::TimedOut);
        let begins = format!("cannot connect to host:80: timed out; before that, {refusing}: Connection refused");
        assert!(text.starts_with(&begins), "{text}");
        dialling.assert_over();
    }

    #[test]
    fn one_that_is_given_up_is_told_so_whatever_had_failed_before() {
        let (deaf, _kept) = deaf();
        let mut dialling = Dialling::new(None);
        dialling.answer(&[nobody(), deaf, nobody()]);
        let key = dialling.key;
        dialling.turn_until(|context, _| context.dials[&key].error.is_some());
        dialling.connection().abort();
        assert_eq!(dialling.told(), aborted());
        dialling.assert_over();
    }

    #[test]
    fn one_that_is_given_up_tries_no_address_and_hears_no_answer() {
        let (_listener, address) = listener();
        let mut dialling = Dialling::new(None);
        dialling.connection().abort();
        dialling.answer(&[address]);
        assert_eq!(dialling.engine.context().channels.len(), 1, "no attempt was begun");
        assert_eq!(dialling.told(), aborted());
        dialling.answer(&[address]);
        dialling.assert_over();
    }

    #[test]
    fn one_that_succeeds_in_the_turn_in_which_it_is_given_up_is_dropped() {
        let (listener, address) = listener();
        let mut dialling = Dialling::new(None);
        dialling.answer(&[address]);
        let (mut server, _) = listener.accept().unwrap();
        dialling.connection().abort();
        assert_eq!(dialling.told(), aborted());
        server.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(server.read(&mut [0]).unwrap(), 0, "its server sees it go");
        dialling.assert_over();
    }

    #[test]
    fn closing_everything_ends_a_dial_with_its_attempts_and_timers() {
        let deaf = [deaf(), deaf(), deaf()];
        let mut dialling = Dialling::new(Some(PATIENCE));
        dialling.answer(&deaf.each_ref().map(|(address, _)| *address));
        let key = dialling.key;
        dialling.turn_until(|context, _| context.dials[&key].attempts.len() == 2);
        dialling.engine.close_all();
        assert_eq!(dialling.told(), aborted());
        dialling.assert_over();
    }

    #[test]
    fn a_drain_lets_a_dial_succeed_and_tells_it_then() {
        let (_listener, address) = listener();
        let mut dialling = Dialling::new(None);
        dialling.engine.context().drain(PATIENCE);
        dialling.engine.poll(Some(Duration::ZERO)).unwrap();
        assert!(!dialling.engine.context().is_drained());
        dialling.answer(&[address]);
        assert_eq!((dialling.told(), dialling.told()), (Told::Connect(address), Told::Drain));
    }

    #[test]
    fn a_drains_deadline_ends_a_dial() {
        let (deaf, _kept) = deaf();
        let mut dialling = Dialling::new(None);
        dialling.answer(&[deaf, deaf]);
        dialling.engine.context().drain(Duration::from_millis(20));
        assert_eq!(dialling.told(), aborted());
        assert!(dialling.engine.context().is_drained());
        dialling.assert_over();
    }
}
