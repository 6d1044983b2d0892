//! Whether somebody is there to be loaded.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{self, UnixDatagram, UnixStream};
use std::time::Duration;

use pants_shard::Endpoint;

/// How long one attempt may take, and how long the kernel may take to refuse a datagram.
const PATIENCE: Duration = Duration::from_millis(20);

/// Whether a server on this machine is there: whether it accepts a connection, or a datagram is not refused.
///
/// It gets a connection that is closed at once, or an empty datagram.
pub(super) fn answers(endpoint: &Endpoint, datagrams: bool) -> bool {
    let answer = match (endpoint, datagrams) {
        (Endpoint::Ip(address), false) => connect(*address),
        (Endpoint::Ip(address), true) => send(*address),
        (Endpoint::Path(path), _) => net::SocketAddr::from_pathname(path).and_then(|name| reach(&name, datagrams)),
        (Endpoint::Abstract(name), _) => {
            net::SocketAddr::from_abstract_name(name).and_then(|name| reach(&name, datagrams))
        }
        _ => Err(ErrorKind::AddrNotAvailable.into()),
    };
    answer.is_ok()
}

fn connect(address: SocketAddr) -> io::Result<()> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    // A client may be given the very port that it connects to, and then meets itself (RFC 9293, section 3.5, figure 7).
    if stream.local_addr()? == stream.peer_addr()? { Err(ErrorKind::ConnectionRefused.into()) } else { Ok(()) }
}

fn send(address: SocketAddr) -> io::Result<()> {
    let any: SocketAddr = if address.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    socket.send(&[])?;
    socket.set_read_timeout(Some(PATIENCE))?;
    match socket.recv(&mut [0]) {
        Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Err(error),
        // An answer, or none: but nobody has refused it.
        _ => Ok(()),
    }
}

fn reach(name: &net::SocketAddr, datagrams: bool) -> io::Result<()> {
    if datagrams { UnixDatagram::unbound()?.connect_addr(name) } else { UnixStream::connect_addr(name).map(drop) }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_server_answers_from_when_it_listens_to_when_it_goes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Endpoint::Ip(listener.local_addr().unwrap());
        assert!(answers(&address, false));
        drop(listener);
        assert!(!answers(&address, false));
    }

    #[test]
    fn a_datagram_socket_answers_by_not_refusing() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = Endpoint::Ip(socket.local_addr().unwrap());
        assert!(answers(&address, true));
        drop(socket);
        assert!(!answers(&address, true));
    }

    #[test]
    fn unix_sockets_answer_by_their_kind() {
        let name = format!("pants-load-probe-{}", std::process::id());
        let endpoint = Endpoint::Abstract(Arc::from(name.as_bytes()));
        assert!(!answers(&endpoint, false) && !answers(&endpoint, true));
        let address = net::SocketAddr::from_abstract_name(&name).unwrap();
        let listener = UnixListener::bind_addr(&address).unwrap();
        assert!(answers(&endpoint, false) && !answers(&endpoint, true));
        drop(listener);
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        assert!(answers(&endpoint, true) && !answers(&endpoint, false));
        drop(socket);
    }

    #[test]
    fn a_file_that_a_server_has_left_behind_does_not_answer() {
        let path = std::env::temp_dir().join(format!("pants-load-probe-{}.sock", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let endpoint = Endpoint::Path(Arc::from(path.as_path()));
        assert!(answers(&endpoint, false));
        drop(listener);
        assert!(!answers(&endpoint, false));
        std::fs::remove_file(&path).unwrap();
        assert!(!answers(&endpoint, false));
    }
}
