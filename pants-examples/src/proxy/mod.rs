//! A proxy on layer 4: what comes from a client goes to an upstream server, and back, byte for byte.
//!
//! Each client's connection makes a *pair* with one to an upstream. What a pair keeps to:
//!
//! * FIN of one side becomes FIN to the other, behind the bytes that came before it; the other direction goes on. A reset
//!   becomes a reset. (Unix sockets know none: whoever is behind one sees an end.)
//! * While one side's write queue is above its high-water mark, the other side is not read, and nothing else is held up. So a
//!   pair holds at most the mark and what one turn may read, in either direction.
//! * The client is not read before its upstream's connection is made. So an upstream that cannot be reached has had no
//!   byte, and the next one is as good.
//! * Idle timeouts are the pair's: what passes on one side keeps both alive.

mod ending;
mod line;
mod pair;
mod settings;
mod upstreams;

use std::rc::Rc;
use std::time::Duration;

use pants_shard::{ConnectionOptions, Shard};

use self::pair::End;
use self::upstreams::Upstreams;

pub use self::settings::{KEYS, ProxyFlags, Settings};

/// What the pairs of one shard have in common.
#[derive(Debug)]
struct Route {
    upstreams: Upstreams,
    /// Of the connections to upstreams.
    options: ConnectionOptions,
    /// How long nothing may pass in a pair.
    idle_timeout: Option<Duration>,
    /// The same once one side has ended.
    fin_timeout: Option<Duration>,
}

/// Declares the proxy's servers on a shard.
///
/// # Errors
///
/// If a server cannot be declared.
pub fn set_up(shard: &mut Shard<'_>, settings: &Settings) -> pants_shard::Result<()> {
    let mut options = shard.config().server_options();
    let connection = &mut options.connection;
    let idle_timeout = connection.idle_timeout.take();
    // It is the other side that pauses when this one's queue is full: a peer that does not read may well write.
    connection.auto_pause = false;
    let route = Rc::new(Route {
        upstreams: Upstreams::new(settings.to.clone(), shard.id().index()),
        options: connection.clone(),
        idle_timeout,
        fin_timeout: settings.fin_timeout,
    });
    for address in shard.config().listen().to_vec() {
        let route = Rc::clone(&route);
        shard.listen_with(address, options.clone(), move |peer| End::client(&route, peer))?;
    }
    Ok(())
}
