//! Channels: the state of a connection, of a server and of a datagram socket, with their system calls and without their callbacks.

pub(crate) mod mailbox;
pub(crate) mod server;
pub(crate) mod state;
pub(crate) mod stream;
