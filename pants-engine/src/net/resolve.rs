//! stub
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
pub(crate) fn lookup(name: &str, port: u16, deliver: Box<dyn FnOnce(io::Result<Vec<SocketAddr>>) + Send>) {
    let name = name.to_owned();
    std::thread::spawn(move || deliver((name.as_str(), port).to_socket_addrs().map(Iterator::collect)));
}
pub(crate) fn happy_order(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    addresses
}
