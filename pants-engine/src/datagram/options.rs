//! What can be set on a datagram channel, with the defaults.

use crate::error::{Error, Result};
use crate::limits;

/// What can be set on a datagram channel.
///
/// # Examples
///
/// ```
/// use pants_engine::DatagramOptions;
///
/// let options = DatagramOptions { receive_buffer: Some(4 * 1024 * 1024), ..DatagramOptions::default() };
/// # drop(options);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatagramOptions {
    /// Whether other sockets of this user may be bound to the same address (`SO_REUSEPORT`, socket(7)); the kernel then
    /// spreads senders over them. Means nothing for a Unix socket. Default: `false`.
    pub reuse_port: bool,
    /// What may be queued when the kernel takes no more, in bytes; each datagram counts 64 more than it holds. Past it
    /// datagrams are dropped; with 0 none is queued. Default: 1 MiB.
    pub send_queue_cap: usize,
    /// The kernel's receive buffer, in bytes, 1 to 2,147,483,647; it doubles this, and cuts it to `net.core.rmem_max`
    /// (`SO_RCVBUF`, socket(7)). Default: `None`, the system's.
    pub receive_buffer: Option<usize>,
    /// The kernel's send buffer, in bytes, 1 to 2,147,483,647; it doubles this, and cuts it to `net.core.wmem_max`
    /// (`SO_SNDBUF`, socket(7)). Default: `None`, the system's.
    pub send_buffer: Option<usize>,
    /// Whether datagrams may be sent to broadcast addresses (`SO_BROADCAST`, socket(7)). Default: `false`.
    pub broadcast: bool,
}

impl Default for DatagramOptions {
    fn default() -> Self {
        Self {
            reuse_port: false,
            send_queue_cap: limits::DATAGRAM_QUEUE_BYTES,
            receive_buffer: None,
            send_buffer: None,
            broadcast: false,
        }
    }
}

impl DatagramOptions {
    pub(crate) fn check(&self) -> Result<()> {
        let buffers = [self.receive_buffer, self.send_buffer];
        if buffers.into_iter().flatten().any(|size| size == 0 || i32::try_from(size).is_err()) {
            return Err(Error::Options("a kernel buffer must have between 1 and 2147483647 bytes"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_impossible_buffers_are_not() {
        let with = |receive_buffer| DatagramOptions { receive_buffer, ..DatagramOptions::default() }.check();
        assert!(with(None).is_ok() && with(Some(1)).is_ok());
        assert!(with(Some(0)).is_err() && with(Some(1 << 31)).is_err());
    }
}
