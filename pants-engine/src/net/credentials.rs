//! Who is at the other end of a Unix connection.

/// The process at the other end of a Unix connection, as the kernel knows it (`SO_PEERCRED`, unix(7)).
///
/// They are those of the moment at which the peer called connect(2), listen(2) or socketpair(2). The process may have
/// ended since, and another may have its number; the user and the group stay true.
///
/// # Examples
///
/// ```
/// use pants_engine::{Connection, Handler};
///
/// /// Serves one user alone.
/// struct Private {
///     uid: u32,
/// }
///
/// impl Handler for Private {
///     fn on_connect(&mut self, connection: &mut Connection<'_>) {
///         if connection.peer_credentials().is_none_or(|peer| peer.uid != self.uid) {
///             connection.abort();
///         }
///     }
///
///     fn on_read(&mut self, _connection: &mut Connection<'_>, _data: &[u8]) {}
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Credentials {
    /// The process' number, as this process sees it.
    pub pid: u32,
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
}
