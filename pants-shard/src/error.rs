//! The shards' error: what failed, on which shard, and why.

use std::fmt;
use std::io;
use std::path::PathBuf;

use pants_engine::Address;

use crate::config::ConfigError;
use crate::placement::CpuId;
use crate::shard_id::ShardId;

/// The result of the runtime's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong in a runtime.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is not valid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An engine refused.
    #[error(transparent)]
    Engine(#[from] pants_engine::Error),
    /// One shard failed, which stopped them all.
    #[error("{shard}: {source}")]
    Shard {
        /// The shard that failed first.
        shard: ShardId,
        /// What it failed of.
        source: Box<Error>,
    },
    /// Another program listens at an address, and one of the two does not share it.
    #[error(
        "cannot listen on {0}: another program listens there; stop it, choose another port, or set share_port in both"
    )]
    PortTaken(Address),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Spawn(#[source] io::Error),
    /// A thread could not be pinned.
    #[error("cannot pin the thread to CPU {cpu}: {source}")]
    Pin {
        /// The CPU it was to stay on.
        cpu: CpuId,
        /// What the operating system said.
        source: io::Error,
    },
    /// The set-up closure, or the shard outside of any callback, panicked with this message.
    #[error("panicked: {0}")]
    Panicked(String),
    /// [`Shard::listen`](crate::Shard::listen) was called after set-up.
    #[error("a shard's listeners are declared in set-up; afterwards Listeners adds them on all shards")]
    LateListen,
    /// [`Shard::open_datagram`](crate::Shard::open_datagram) was called after set-up.
    #[error(
        "a shard's datagram channels are declared in set-up; afterwards its Context opens those of one shard alone"
    )]
    LateDatagrams,
    /// A second shard has declared a Unix datagram socket.
    #[error(
        "cannot open datagrams at {0} on a second shard: a Unix datagram socket has one queue; open it on one shard alone, \
         which passes on what is for others over its Bus"
    )]
    UnixDatagrams(Address),
    /// The process that serves could not hand its listening sockets over, or this one could not offer them.
    #[error("cannot hand over at {path}: {source}")]
    Handover {
        /// Where the sockets are handed over.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The shards listen at this address already.
    #[error("the shards listen on {0} already")]
    AlreadyListening(Address),
    /// No shard listens at this address.
    #[error("no shard listens on {0}")]
    NotListening(Address),
    /// Too many changes of the listeners wait to be made.
    #[error("too many changes of the listeners are under way")]
    TooManyChanges,
    /// The runtime has stopped, or drains.
    #[error("the runtime drains or has stopped")]
    Stopped,
    /// [`Shard::mailbox`](crate::Shard::mailbox) was called after set-up, for messages of this type.
    #[error("a shard's mailboxes are declared in set-up, and that for {0} was not")]
    LateMailbox(&'static str),
    /// A shard has declared two mailboxes for messages of this type.
    #[error("a second mailbox for {0} on the same shard; give its messages a type of their own")]
    MailboxTwice(&'static str),
    /// Some shards have declared a mailbox for messages of this type, and others have not.
    #[error("the mailbox for {0} is missing on some shards; declare it on every one")]
    MailboxMissing(&'static str),
    /// An error of the program's own set-up.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

/// As its display: what a `main` that returns it prints.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error {
    /// Wraps an error of the program's own, to be returned from set-up.
    ///
    /// # Examples
    ///
    /// ```
    /// let error = pants_shard::Error::other("the table of users is empty");
    /// assert_eq!(error.to_string(), "the table of users is empty");
    /// ```
    pub fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Other(error.into())
    }
}

/// What a panic said.
pub(crate) fn panic_message(payload: &(dyn std::any::Any + Send)) -> String {
    let message = payload.downcast_ref::<&str>().copied();
    let message = message.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    message.unwrap_or("no message").to_owned()
}
