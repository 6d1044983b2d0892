//! placeholder
use std::net::SocketAddr;
use std::path::Path;
pub(crate) fn haproxy(_: SocketAddr, _: SocketAddr) -> String {
    String::new()
}
pub(crate) fn nginx(_: SocketAddr, _: SocketAddr, _: &Path) -> String {
    String::new()
}
