//! Opening a datagram channel with the last descriptor: alone in its process, because the limit is the whole process's, and so is
//! what is known of the kernel's batches.

#[path = "support/scarcity.rs"]
mod scarcity;

use std::cell::Cell;
use std::net::UdpSocket;
use std::rc::Rc;
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{UdpGroSegment, UdpGsoSegment};
use pants_engine::{Datagram, DatagramHandler, DatagramOptions, Endpoint, Engine, Error};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit, setrlimit};
use scarcity::use_up;

const SEGMENT: usize = 100;
const COUNT: usize = 10;

/// Counts the datagrams, each of which must be one.
struct Counts(Rc<Cell<usize>>);

impl DatagramHandler for Counts {
    fn on_read(&mut self, _datagram: &mut Datagram<'_>, data: &[u8], _from: &Endpoint) {
        assert_eq!(data.len(), SEGMENT);
        self.0.set(self.0.get() + 1);
    }
}

/// Once a shortage had made it seem that the kernel knew no trains, the process never learned better, and took them for datagrams.
#[test]
fn a_shortage_refuses_a_datagram_channel_and_is_over_when_it_is_over() {
    let plenty = getrlimit(Resource::Nofile);
    let mut engine = Engine::new().unwrap();
    let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
    setsockopt(&ours, UdpGroSegment, &true).unwrap();
    let copy = ours.try_clone().unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let received = Rc::new(Cell::new(0));
    let used = use_up();
    let counts = Counts(Rc::clone(&received));
    let refused = engine.context().adopt_datagram(copy.into(), DatagramOptions::default(), counts);
    let Err(Error::Adopt(error)) = refused else { panic!("{refused:?}") };
    assert_eq!(error.raw_os_error(), Some(Errno::MFILE.raw_os_error()), "{error}");
    drop(used);
    setrlimit(Resource::Nofile, plenty).unwrap();

    let copy = ours.try_clone().unwrap();
    let counts = Counts(Rc::clone(&received));
    engine.context().adopt_datagram(copy.into(), DatagramOptions::default(), counts).unwrap();
    setsockopt(&peer, UdpGsoSegment, &(SEGMENT as i32)).unwrap();
    peer.send_to(&[7; SEGMENT * COUNT], ours.local_addr().unwrap()).unwrap();
    for _ in 0..100 {
        engine.poll(Some(Duration::from_millis(100))).unwrap();
        if received.get() == COUNT {
            return;
        }
    }
    panic!("{} of {COUNT} came", received.get());
}
