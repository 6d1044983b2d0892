//! Channels: the state of a connection and of a server, with their system calls and without their callbacks.

pub(crate) mod mailbox;
pub(crate) mod server;
pub(crate) mod state;
pub(crate) mod stream;
