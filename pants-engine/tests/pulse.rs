//! The pulse: it says what runs while it runs, and works within turns only.

mod support;

use std::cell::RefCell;
use std::net::UdpSocket;
use std::rc::Rc;
use std::time::Duration;

use pants_engine::{
    Acceptor, Activity, CloseReason, Connection, Context, Datagram, DatagramHandler, Endpoint, Engine, Handler, Pulse,
};
use support::*;

/// Notes under which name each callback runs.
#[derive(Clone)]
struct Journal {
    pulse: Pulse,
    seen: Rc<RefCell<Vec<(&'static str, Activity)>>>,
}

impl Journal {
    fn new(engine: &Engine) -> Self {
        Self { pulse: engine.pulse(), seen: Rc::default() }
    }

    fn note(&self, callback: &'static str) {
        assert!(self.pulse.beat().is_working());
        self.seen.borrow_mut().push((callback, self.pulse.activity()));
    }

    /// Under which names a callback has run.
    fn of(&self, callback: &str) -> Vec<Activity> {
        self.seen.borrow().iter().filter(|(name, _)| *name == callback).map(|(_, activity)| *activity).collect()
    }
}

struct Served(Journal);
struct Client(Journal);
struct Mail(Journal);
struct Door(Journal);

impl Handler for Served {
    fn on_connect(&mut self, _connection: &mut Connection<'_>) {
        self.0.note("served on_connect");
    }

    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        self.0.note("served on_read");
        connection.write(data);
        let journal = self.0.clone();
        connection.defer(Duration::from_millis(1), move |_: &mut Self, connection| {
            journal.note("served timer");
            connection.close();
        });
    }
}

impl Handler for Client {
    fn on_connect(&mut self, connection: &mut Connection<'_>) {
        self.0.note("client on_connect");
        connection.write(b"hello");
    }

    fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {
        self.0.note("client on_read");
    }

    fn on_close(&mut self, _connection: &mut Connection<'_>, _reason: CloseReason) {
        self.0.note("client on_close");
    }
}

impl DatagramHandler for Mail {
    fn on_read(&mut self, _datagram: &mut Datagram<'_>, _data: &[u8], _from: &Endpoint) {
        self.0.note("mail");
    }
}

impl Acceptor for Door {
    type Handler = Served;

    fn on_accept(&mut self, _peer: Endpoint) -> Option<Served> {
        self.0.note("on_accept");
        Some(Served(self.0.clone()))
    }

    fn on_listen(&mut self, _address: &Endpoint) {
        self.0.note("on_listen");
    }
}

#[test]
fn every_callback_runs_under_its_name() {
    let mut engine = Engine::new().unwrap();
    let journal = Journal::new(&engine);
    let server = engine.listen(ANY_PORT, Door(journal.clone())).unwrap();
    let address = engine.context().server_address(server).unwrap().socket_address().unwrap();
    engine.connect(address, Client(journal.clone())).unwrap();
    turn_until(&mut engine, |_| !journal.of("client on_close").is_empty());
    for (callback, expected) in [
        ("on_listen", Activity::Acceptor("pulse::Door")),
        ("on_accept", Activity::Acceptor("pulse::Door")),
        ("served on_connect", Activity::Handler("pulse::Served")),
        ("served on_read", Activity::Handler("pulse::Served")),
        ("served timer", Activity::Handler("pulse::Served")),
        ("client on_connect", Activity::Handler("pulse::Client")),
        ("client on_read", Activity::Handler("pulse::Client")),
        ("client on_close", Activity::Handler("pulse::Client")),
    ] {
        assert_eq!(journal.of(callback), [expected], "{callback}");
    }
}

#[test]
fn datagrams_timers_and_messages_have_theirs() {
    let mut engine = Engine::new().unwrap();
    let journal = Journal::new(&engine);
    let mail = engine.open_datagram(ANY_PORT, Mail(journal.clone())).unwrap();
    let address = engine.context().datagram(mail).unwrap().local_address().socket_address().unwrap();
    UdpSocket::bind(ANY_PORT).unwrap().send_to(b"hello", address).unwrap();
    let timer = |name| {
        let journal = journal.clone();
        move |_: &mut Context| journal.note(name)
    };
    engine.context().callback(timer("callback"));
    engine.context().defer(Duration::from_millis(1), timer("defer"));
    engine.context().defer_precise(Duration::from_millis(1), timer("precise"));
    turn_until(&mut engine, |_| journal.seen.borrow().len() == 4);
    assert_eq!(journal.of("mail"), [Activity::Handler("pulse::Mail")]);
    for name in ["callback", "defer", "precise"] {
        assert_eq!(journal.of(name), [Activity::Timer], "{name}");
    }
    let pulse = engine.pulse();
    let (tell, told) = std::sync::mpsc::channel();
    engine.remote().send(move |_| tell.send(pulse.activity()).unwrap()).unwrap();
    engine.poll(Some(Duration::ZERO)).unwrap();
    assert_eq!(next(&told), Activity::Message);
}

#[test]
fn an_engine_works_within_its_turns_and_not_between_them() {
    let mut engine = Engine::new().unwrap();
    let pulse = engine.pulse();
    let before = pulse.beat();
    for _ in 0..3 {
        engine.poll(Some(Duration::ZERO)).unwrap();
        assert!(!pulse.beat().is_working());
    }
    assert_ne!(pulse.beat(), before);
    pulse.note_stall();
    assert_eq!(engine.context().stats().stalls, 1);
    assert!(!pulse.has_ended());
    drop(engine);
    assert!(pulse.has_ended() && !pulse.beat().is_working());
}

#[test]
fn a_turn_ends_also_when_a_callback_panics() {
    hush();
    let mut engine = Engine::new().unwrap();
    engine.context().callback(|_| std::panic::panic_any(ON_PURPOSE));
    engine.poll(Some(Duration::ZERO)).unwrap();
    assert_eq!(engine.context().stats().panics, 1);
    assert!(!engine.pulse().beat().is_working());
}
