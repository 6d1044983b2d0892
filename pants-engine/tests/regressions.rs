//! One case for each bug that there was.

mod support;

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use pants_engine::{
    Acceptor, CloseReason, Connection, ConnectionKey, ConnectionOptions, Context, Endpoint, Engine, Handler,
    ServerOptions,
};
use support::*;

#[test]
fn an_event_for_a_channel_closed_earlier_in_the_same_batch_reaches_nobody() {
    /// The first that is read to aborts the other.
    struct Duel(Rc<RefCell<Vec<ConnectionKey>>>, Rc<Cell<u32>>);
    impl Handler for Duel {
        fn on_connect(&mut self, connection: &mut Connection<'_>) {
            self.0.borrow_mut().push(connection.key());
        }
        fn on_read(&mut self, connection: &mut Connection<'_>, _data: &[u8]) {
            self.1.set(self.1.get() + 1);
            let own = connection.key();
            for key in self.0.borrow().iter().filter(|key| **key != own) {
                if let Some(mut other) = connection.context().connection(*key) {
                    other.abort();
                }
            }
        }
        fn on_close(&mut self, _connection: &mut Connection<'_>, reason: CloseReason) {
            assert_eq!(reason, CloseReason::Aborted);
        }
    }
    let (keys, reads) = (Rc::default(), Rc::new(Cell::new(0)));
    let mut engine = Engine::new().unwrap();
    let (all, count) = (Rc::clone(&keys), Rc::clone(&reads));
    let (_, address) = listen(&mut engine, ServerOptions::default(), move || Duel(Rc::clone(&all), Rc::clone(&count)));
    let mut clients = [client(address), client(address)];
    turn_until(&mut engine, |_| keys.borrow().len() == 2);
    for client in &mut clients {
        client.write_all(b"x").unwrap();
    }
    turn_until(&mut engine, |engine| engine.context().stats().connections_closed == 1);
    assert_eq!(reads.get(), 1);
}

#[test]
fn a_write_before_another_question_to_the_connection_still_leaves() {
    struct Curious;
    impl Handler for Curious {
        fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
            connection.write(data);
            assert_eq!(connection.queued_bytes(), data.len());
        }
    }
    let (_running, address) = Running::serve(|| Curious);
    assert_echoes(&mut client(address), b"hello");
}

#[test]
fn a_write_before_a_pause_in_the_same_callback_still_leaves() {
    let (handler, _seen) = recorder(|connection, event| {
        if let Event::Read(data) = event {
            connection.write(data);
            connection.pause_reading();
        }
    });
    let (_running, address) = Running::serve(handler);
    assert_echoes(&mut client(address), b"hello");
}

#[test]
fn a_reply_that_is_closed_behind_leaves_at_once() {
    let (handler, seen) = recorder(|connection, event| {
        if let Event::Read(data) = event {
            connection.write(data);
            connection.close();
        }
    });
    let (_running, address) = Running::serve(handler);
    let mut client = client(address);
    client.write_all(b"hello").unwrap();
    assert_eq!(receive_all(&mut client), b"hello");
    drop(client);
    assert_eq!(close_reason(&seen), CloseReason::Finished);
}

#[test]
fn a_connection_begun_before_the_start_gets_its_on_connect() {
    let listener = TcpListener::bind(ANY_PORT).unwrap();
    let address = listener.local_addr().unwrap();
    let (handler, seen) = recorder(|_, _| {});
    let (_running, _) = Running::start(move |engine| engine.connect(address, handler()).unwrap());
    assert_eq!(next(&seen), Event::Connect);
}

#[test]
fn a_connection_begun_in_the_last_phase_of_a_turn_gets_its_on_connect() {
    /// Connects anew from `on_close`, which for an aborted connection comes in the last phase.
    struct Again(SocketAddr, Option<Box<dyn FnOnce() -> Recorder>>);
    impl Handler for Again {
        fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {}
        fn on_close(&mut self, connection: &mut Connection<'_>, _reason: CloseReason) {
            let handler = self.1.take().unwrap()();
            connection.context().connect(self.0, handler).unwrap();
        }
    }
    let listener = TcpListener::bind(ANY_PORT).unwrap();
    let address = listener.local_addr().unwrap();
    let (handler, seen) = recorder(|_, _| {});
    let (_running, _) = Running::start(move |engine| {
        let key = engine.connect(address, Again(address, Some(Box::new(handler)))).unwrap();
        let context = engine.context();
        context.defer(Duration::from_millis(50), move |context| context.connection(key).unwrap().abort());
    });
    assert_eq!(next(&seen), Event::Connect);
}

#[test]
fn a_connect_timeout_counts_from_the_call_and_not_from_the_last_turn() {
    let listener = TcpListener::bind(ANY_PORT).unwrap();
    let (handler, seen) = recorder(|_, _| {});
    let mut engine = Engine::new().unwrap();
    let (made, timeout) = (Instant::now(), Duration::from_millis(500));
    // A set-up that takes its time.
    while made.elapsed() < 2 * timeout {
        std::thread::yield_now();
    }
    let options = ConnectionOptions { connect_timeout: Some(timeout), ..ConnectionOptions::default() };
    engine.context().connect_with(listener.local_addr().unwrap(), options, handler()).unwrap();
    let mut first = None;
    turn_until(&mut engine, |_| {
        first = seen.try_recv().ok();
        first.is_some()
    });
    assert_eq!(first, Some(Event::Connect));
}

#[test]
fn on_listen_comes_first_even_if_a_client_waits_already() {
    struct Order(Sender<&'static str>);
    impl Acceptor for Order {
        type Handler = Silent;
        fn on_listen(&mut self, _address: &Endpoint) {
            self.0.send("listen").unwrap();
        }
        fn on_accept(&mut self, _peer: Endpoint) -> Option<Silent> {
            self.0.send("accept").unwrap();
            None
        }
    }
    let (tell, told) = channel();
    let mut engine = Engine::new().unwrap();
    let server = engine.listen(ANY_PORT, Order(tell)).unwrap();
    let _client = client(engine.context().server_address(server).unwrap().socket_address().unwrap());
    engine.poll(Some(PATIENCE)).unwrap();
    engine.poll(Some(Duration::ZERO)).unwrap();
    assert_eq!(told.try_iter().collect::<Vec<_>>(), ["listen", "accept"]);
}

#[test]
fn reading_resumed_by_the_connections_own_timer_goes_on() {
    let (handler, seen) = recorder(|connection, event| match event {
        Event::Connect => connection.pause_reading(),
        Event::Read(data) if data[0] == b'1' => connection.pause_reading(),
        _ => {}
    });
    struct Resumes(Recorder);
    impl Handler for Resumes {
        fn on_connect(&mut self, connection: &mut Connection<'_>) {
            self.0.on_connect(connection);
            connection.defer(Duration::from_millis(100), |_: &mut Self, connection| connection.resume_reading());
        }
        fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
            self.0.on_read(connection, data);
        }
    }
    let (_running, address) = Running::serve(move || Resumes(handler()));
    let mut client = client(address);
    client.write_all(b"late").unwrap();
    assert_eq!(next(&seen), Event::Connect);
    assert_eq!(next(&seen), Event::Read(b"late".to_vec()));
}

#[test]
fn clients_that_wait_behind_one_whose_on_connect_panics_are_served() {
    hush();
    struct First(bool);
    impl Handler for First {
        fn on_connect(&mut self, connection: &mut Connection<'_>) {
            if self.0 {
                std::panic::panic_any(ON_PURPOSE);
            }
            connection.write(b"welcome");
            connection.close();
        }
        fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {}
    }
    // All are in the kernel's queue before the engine looks, so that no edge follows the first.
    let (running, (_first, mut second, mut third)) = Running::start(|engine| {
        let first = Cell::new(true);
        let (_, address) = listen(engine, ServerOptions::default(), move || First(first.take()));
        (client(address), client(address), client(address))
    });
    assert_eq!(receive_all(&mut second), b"welcome");
    assert_eq!(receive_all(&mut third), b"welcome");
    assert_eq!(running.stats().panics, 1);
}

#[test]
fn what_a_timer_wrote_before_it_panicked_still_leaves() {
    hush();
    let (handler, seen) = recorder(|connection, event| {
        if *event == Event::Connect {
            let key = connection.key();
            connection.context().defer(Duration::from_millis(1), move |context| {
                context.connection(key).unwrap().write(b"last words");
                std::panic::panic_any(ON_PURPOSE);
            });
        }
    });
    let (_running, address) = Running::serve(handler);
    let mut client = client(address);
    assert_eq!(receive(&mut client, 10), b"last words");
    assert_eq!(up_to(&seen, |event| *event == Event::Write), [Event::Connect, Event::Write]);
}

#[test]
fn a_drain_ends_though_every_on_close_at_its_deadline_panics() {
    hush();
    struct Stubborn(Sender<()>);
    impl Handler for Stubborn {
        fn on_connect(&mut self, _connection: &mut Connection<'_>) {
            self.0.send(()).unwrap();
        }
        fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {}
        fn on_shutdown(&mut self, _connection: &mut Connection<'_>) {}
        fn on_close(&mut self, _connection: &mut Connection<'_>, _reason: CloseReason) {
            std::panic::panic_any(ON_PURPOSE);
        }
    }
    let (tell, told) = channel();
    let (running, address) = Running::serve(move || Stubborn(tell.clone()));
    let _clients: Vec<TcpStream> = (0..3).map(|_| client(address)).collect();
    (0..3).for_each(|_| next(&told));
    running.remote.drain(Duration::from_millis(100));
    let stats = running.join();
    assert_eq!((stats.panics, stats.connections_open), (3, 0));
}

#[test]
fn a_drain_does_not_wait_for_a_server_that_was_never_opened() {
    let (running, _) = Running::start(|engine| {
        engine.context().bind(ANY_PORT, ServerOptions::default(), |_| Silent).unwrap();
    });
    running.remote.drain(PATIENCE * 3);
    running.join();
}

#[test]
fn a_drain_tells_a_connection_whose_peer_has_ended_at_once() {
    let (handler, seen) = recorder(|connection, event| {
        if *event == Event::Drain {
            connection.write(b"goodbye");
            connection.close();
        }
    });
    let (running, address) = Running::serve(handler);
    let mut client = client(address);
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(up_to(&seen, |event| *event == Event::End), [Event::Connect, Event::End]);
    running.remote.drain(PATIENCE * 3);
    assert_eq!(receive_all(&mut client), b"goodbye");
    running.join();
}

#[test]
fn an_engine_that_has_drained_can_be_started_again() {
    let mut engine = Engine::new().unwrap();
    engine.context().drain(Duration::from_secs(1));
    engine.start().unwrap();
    let ran = Rc::new(Cell::new(false));
    let flag = Rc::clone(&ran);
    engine.context().defer(Duration::from_millis(1), move |context| {
        flag.set(!context.is_draining());
        context.stop();
    });
    engine.start().unwrap();
    assert!(ran.get());
}

#[test]
fn a_foreign_loop_that_sleeps_before_its_first_poll_is_woken() {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use std::os::fd::AsFd;
    let engine = Engine::new().unwrap();
    assert_eq!(engine.next_deadline(), None);
    let remote = engine.remote();
    std::thread::spawn(move || remote.send(|_| {}).unwrap()).join().unwrap();
    let timeout = Timespec { tv_sec: 1, tv_nsec: 0 };
    let fd = engine.as_fd();
    assert_eq!(poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)).unwrap(), 1);
}

#[test]
fn a_foreign_loop_is_told_of_a_timer_however_far() {
    let mut engine = Engine::new().unwrap();
    assert_eq!(engine.next_deadline(), None);
    engine.context().defer(Duration::from_secs(48 * 3600), |_: &mut Context| {});
    engine.poll(Some(Duration::ZERO)).unwrap();
    assert!(engine.next_deadline().is_some_and(|deadline| deadline > Instant::now()));
}

#[test]
fn an_every_turn_timer_does_not_run_in_the_turn_that_made_it() {
    let turns = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&turns);
    let mut engine = Engine::new().unwrap();
    engine.context().callback(move |context| {
        seen.borrow_mut().push(context.stats().turns);
        let seen = Rc::clone(&seen);
        context.every_turn(move |context| seen.borrow_mut().push(context.stats().turns));
    });
    turn_until(&mut engine, |_| turns.borrow().len() == 3);
    assert_eq!(*turns.borrow(), [1, 2, 3]);
}

#[test]
fn an_end_that_overtakes_the_event_at_hand_is_not_lost() {
    const FULL: usize = 64 * 1024;
    const WARM: usize = 64 * FULL;
    #[derive(Default)]
    struct Scene {
        client: RefCell<Option<TcpStream>>,
        key: Cell<Option<ConnectionKey>>,
        total: Cell<usize>,
        ended: Cell<bool>,
    }
    /// Is sent more while it has its first full buffer, and pauses at the second, which leaves the kernel with nothing.
    struct Brimful(Rc<Scene>);
    impl Handler for Brimful {
        fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
            let total = self.0.total.get() + data.len();
            self.0.total.set(total);
            if total == WARM + FULL {
                self.0.client.borrow_mut().as_mut().unwrap().write_all(&[2; FULL]).unwrap();
            } else if total == WARM + 2 * FULL {
                assert_eq!(data.len(), FULL);
                self.0.key.set(Some(connection.key()));
                connection.pause_reading();
            }
        }
        fn on_end(&mut self, connection: &mut Connection<'_>) {
            self.0.ended.set(true);
            connection.close();
        }
    }
    let scene = Rc::new(Scene::default());
    let mut engine = Engine::new().unwrap();
    let handlers = Rc::clone(&scene);
    let (_, address) = listen(&mut engine, ServerOptions::default(), move || Brimful(Rc::clone(&handlers)));
    let mut peer = client(address);
    *scene.client.borrow_mut() = Some(peer.try_clone().unwrap());
    // The window must have grown for a full buffer to arrive in one go.
    for piece in 1..=WARM / FULL {
        peer.write_all(&[0; FULL]).unwrap();
        turn_until(&mut engine, |_| scene.total.get() == piece * FULL);
    }
    peer.write_all(&[1; FULL]).unwrap();
    turn_until(&mut engine, |_| scene.key.get().is_some());
    let key = scene.key.get().unwrap();
    let due = Instant::now() + Duration::from_millis(1);
    engine.context().defer_until(due, move |context: &mut Context| {
        context.connection(key).unwrap().resume_reading();
        peer.shutdown(Shutdown::Write).unwrap();
    });
    // Timers come before events. That it is due now lets it run when the turn's events have been fetched, FIN not among them.
    while due.elapsed() < Duration::from_millis(1) {
        std::hint::spin_loop();
    }
    turn_until(&mut engine, |_| scene.ended.get());
}
