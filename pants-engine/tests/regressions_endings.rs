//! How connections ended wrongly once: one test for each.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use pants_engine::{
    CloseReason, Connection, ConnectionOptions, Datagram, DatagramHandler, DatagramOptions, Endpoint, Engine, Handler,
    ServerOptions,
};
use rustix::event::{PollFd, PollFlags, Timespec};
use support::*;

/// Has an engine's client upload to a server that says why it refuses, and resets, since it has not read all. The engine's next
/// call on that connection is a send. Gives what the handler was told, once the connection has closed.
fn refuse_upload(script: Script) -> Vec<Event> {
    let listener = TcpListener::bind(ANY_PORT).unwrap();
    let (handler, seen) = recorder(script);
    let mut engine = Engine::new().unwrap();
    let key = engine.connect(listener.local_addr().unwrap(), handler()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    engine.context().connection(key).unwrap().write(b"upload");
    turn_until(&mut engine, |engine| engine.context().stats().bytes_out == 6);
    server.read_exact(&mut [0]).unwrap();
    server.write_all(b"too large").unwrap();
    drop(server);
    let mut connection = engine.context().connection(key).unwrap();
    connection.write(b"more");
    connection.flush();
    assert!(!connection.write(b"and more"), "nothing more is taken");
    turn_until(&mut engine, |engine| engine.context().connection(key).is_none());
    seen.try_iter().filter(|event| !matches!(event, Event::Connect | Event::Write)).collect()
}

/// When a send was the first to see the reset, the answer before it was lost.
#[test]
fn what_a_peer_said_before_it_reset_is_delivered_though_a_send_sees_the_reset_first() {
    let events = refuse_upload(|_, _| {});
    assert_eq!(events, [Event::Read(b"too large".to_vec()), Event::Close(CloseReason::Reset)]);
}

/// While the handler has paused reading nobody would read the answer, and nothing else would end the connection.
#[test]
fn a_reset_that_a_send_sees_ends_a_paused_connection_at_once() {
    let events = refuse_upload(|connection, event| {
        if *event == Event::Connect {
            connection.pause_reading();
        }
    });
    assert_eq!(events, [Event::Close(CloseReason::Reset)]);
}

/// A connection that closes reads nothing any more, so that the peer's silence says nothing: what is queued leaves.
#[test]
fn the_read_timeout_does_not_cut_a_reply_short_that_leaves_behind_a_close() {
    const SIZE: usize = 16 << 20;
    const TIMEOUT: Duration = Duration::from_millis(100);
    let connection = ConnectionOptions { read_timeout: Some(TIMEOUT), ..ConnectionOptions::default() };
    let (handler, seen) = recorder(|connection: &mut Connection<'_>, event: &Event| {
        if *event == Event::Connect {
            connection.write(&vec![7; SIZE]);
            connection.close();
        }
    });
    let (_running, address) = Running::serve_with(ServerOptions { connection, ..ServerOptions::default() }, handler);
    let mut client = client(address);
    client.read_exact(&mut [0]).unwrap();
    // As long as the peer says nothing, that is the point.
    std::thread::sleep(3 * TIMEOUT);
    assert_eq!(receive_all(&mut client).len(), SIZE - 1);
    drop(client);
    assert_eq!(close_reason(&seen), CloseReason::Finished);
}

/// Epoll reports no writable edge for a socket whose buffer is full, so that an adopted one seemed never to be connected.
#[test]
fn a_connection_whose_buffer_is_full_can_be_adopted() {
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let mut written = 0;
    while let Ok(count) = ours.write(&[7; 4096]) {
        written += count;
    }
    let (handler, seen) = recorder(close_when_asked);
    let (_running, _) = Running::start(move |engine| {
        engine.context().adopt_connection(ours.into(), ConnectionOptions::default(), handler()).unwrap()
    });
    assert_eq!(next(&seen), Event::Connect);
    theirs.read_exact(&mut vec![0; written]).unwrap();
    drop(theirs);
    assert_eq!(close_reason(&seen), CloseReason::Finished);
}

/// Whether the kernel has an event for the engine.
fn is_woken(engine: &Engine) -> bool {
    let mut asked = [PollFd::new(engine, PollFlags::IN)];
    rustix::event::poll(&mut asked, Some(&Timespec::default())).unwrap() > 0
}

/// An adopted connection over TCP whose socket lives on, and the peer.
fn adopt_a_copy(engine: &mut Engine, options: ConnectionOptions) -> (OwnedFd, std::net::TcpStream) {
    let listener = TcpListener::bind(ANY_PORT).unwrap();
    let peer = client(listener.local_addr().unwrap());
    let (kept, _) = listener.accept().unwrap();
    let (handler, _) = recorder(close_when_asked);
    engine.context().adopt_connection(kept.try_clone().unwrap().into(), options, handler()).unwrap();
    (kept.into(), peer)
}

/// No FIN left: closing the descriptor was taken for enough, and is not while another one of the socket is open.
#[test]
fn the_peer_of_a_socket_that_lives_on_elsewhere_is_told_of_the_end() {
    let mut engine = Engine::new().unwrap();
    let (_kept, mut peer) = adopt_a_copy(&mut engine, ConnectionOptions::default());
    peer.shutdown(Shutdown::Write).unwrap();
    turn_until(&mut engine, |engine| engine.context().stats().connections_open == 0);
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    let timeout = Some(Duration::from_millis(10));
    let impatient = ConnectionOptions { idle_timeout: timeout, ..ConnectionOptions::default() };
    let (_kept, mut peer) = adopt_a_copy(&mut engine, impatient);
    turn_until(&mut engine, |engine| engine.context().stats().connections_open == 0);
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
}

/// A socket stayed registered while it lived on elsewhere: it woke the engine, and could not be adopted again.
#[test]
fn a_connection_that_has_closed_wakes_nobody_and_its_socket_can_be_adopted_again() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let mut engine = Engine::new().unwrap();
    for _ in 0..2 {
        let (handler, _) = recorder(|_, _| {});
        let copy = ours.try_clone().unwrap();
        let key = engine.context().adopt_connection(copy.into(), ConnectionOptions::default(), handler()).unwrap();
        engine.context().connection(key).unwrap().abort();
        turn_until(&mut engine, |engine| engine.context().stats().connections_open == 0);
    }
    theirs.write_all(b"for nobody").unwrap();
    assert!(!is_woken(&engine));
}

/// The same where the program itself has copied the descriptor.
#[test]
fn a_connection_whose_socket_was_lent_wakes_nobody_when_it_has_closed() {
    struct Lends(Sender<OwnedFd>);
    impl Handler for Lends {
        fn on_connect(&mut self, connection: &mut Connection<'_>) {
            self.0.send(connection.socket().unwrap().try_clone_to_owned().unwrap()).unwrap();
            connection.abort();
        }
        fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {}
    }
    let (lend, lent) = channel();
    let mut engine = Engine::new().unwrap();
    let (_, address) = listen(&mut engine, ServerOptions::default(), move || Lends(lend.clone()));
    let mut peer = client(address);
    turn_until(&mut engine, |engine| engine.context().stats().connections_closed == 1);
    let _copy = lent.recv().unwrap();
    peer.write_all(b"for nobody").unwrap();
    assert!(!is_woken(&engine));
}

/// The same for datagrams.
#[test]
fn a_datagram_channel_that_has_closed_wakes_nobody_and_its_socket_can_be_adopted_again() {
    struct Deaf;
    impl DatagramHandler for Deaf {
        fn on_read(&mut self, _datagram: &mut Datagram<'_>, _data: &[u8], _from: &Endpoint) {}
    }
    let ours = UdpSocket::bind(ANY_PORT).unwrap();
    let mut engine = Engine::new().unwrap();
    for _ in 0..2 {
        let copy = ours.try_clone().unwrap();
        let key = engine.context().adopt_datagram(copy.into(), DatagramOptions::default(), Deaf).unwrap();
        engine.context().datagram(key).unwrap().close();
        turn_until(&mut engine, |engine| engine.context().datagram(key).is_none());
    }
    let peer = UdpSocket::bind(ANY_PORT).unwrap();
    peer.send_to(b"for nobody", ours.local_addr().unwrap()).unwrap();
    assert!(!is_woken(&engine));
}
