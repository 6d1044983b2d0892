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
    /// The kernel's receive buffer, in bytes, 1 to 1,073,741,823; it doubles this, and cuts it to `net.core.rmem_max`
    /// (`SO_RCVBUF`, socket(7)). Default: `None`, the system's.
    pub receive_buffer: Option<usize>,
    /// The kernel's send buffer, in bytes, 1 to 1,073,741,823; it doubles this, and cuts it to `net.core.wmem_max`
    /// (`SO_SNDBUF`, socket(7)). Default: `None`, the system's.
    pub send_buffer: Option<usize>,
    /// Whether datagrams may be sent to broadcast addresses (`SO_BROADCAST`, socket(7)). Default: `false`.
    pub broadcast: bool,
    /// Whether UDP datagrams of one length to or from one peer that follow each other may pass the kernel as one
    /// (`UDP_SEGMENT` and `UDP_GRO`, udp(7)), which costs a fraction of what they cost one by one. On the wire they are the
    /// same, and so they are to the handler. Where the kernel or the device cannot do it, datagrams leave one by one.
    ///
    /// `UDP_GRO` is set as soon as many that were alike have come together, and stays: another program that takes over the
    /// socket must know trains from datagrams, as pants does. One that is [adopted](crate::Context::adopt_datagram) keeps its
    /// own setting. Default: `true`.
    pub segmentation: bool,
}

impl Default for DatagramOptions {
    fn default() -> Self {
        Self {
            reuse_port: false,
            send_queue_cap: limits::DATAGRAM_QUEUE_BYTES,
            receive_buffer: None,
            send_buffer: None,
            broadcast: false,
            segmentation: true,
        }
    }
}

impl DatagramOptions {
    pub(crate) fn check(&self) -> Result<()> {
        let holds = |size: usize| (1..=limits::SOCKET_BUFFER_BYTES_MAX).contains(&size);
        if self.send_buffer.is_some_and(|size| !holds(size)) {
            return Err(Error::Options("send_buffer must be 1 to 1073741823 bytes"));
        }
        if self.receive_buffer.is_some_and(|size| !holds(size)) {
            return Err(Error::Options("receive_buffer must be 1 to 1073741823 bytes"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        DatagramOptions::default().check().unwrap();
    }

    #[test]
    fn a_kernel_buffers_range_ends_where_its_message_says() {
        let receiving = |receive_buffer| DatagramOptions { receive_buffer, ..DatagramOptions::default() }.check();
        let sending = |send_buffer| DatagramOptions { send_buffer, ..DatagramOptions::default() }.check();
        for size in [1, 1_073_741_823] {
            assert!(receiving(Some(size)).is_ok() && sending(Some(size)).is_ok());
        }
        for size in [0, 1_073_741_824] {
            let messages = [receiving(Some(size)), sending(Some(size))].map(|result| result.unwrap_err().to_string());
            let range = "must be 1 to 1073741823 bytes";
            assert_eq!(messages, [format!("options: receive_buffer {range}"), format!("options: send_buffer {range}")]);
        }
    }
}
