//! A chat by lines over all shards: rooms, nicknames, and members who may be slow without anybody waiting for them.
//!
//! What it keeps to:
//!
//! * **Who is where.** Each shard keeps its own members, by room. Nobody knows of all: `/who` and `/rooms` ask
//!   every shard, and put together what they say.
//! * **What is said** goes to the speaker's own shard at once, and as one message to each other shard, which writes it to its
//!   members of that room. The bytes are shared. A lane keeps its order, so everybody hears one speaker's lines in the order in
//!   which they were said. Lines of different speakers may come to different members in different orders: an answer may even
//!   be heard before its question, by somebody on a third shard.
//! * **A slow member** misses what would make its write queue longer than `limits.write_high_water`, and from then on
//!   everything, answers to its own commands too, until the queue is empty; then it is told how much it was. So the queue is
//!   bounded more strictly than by `on_congested`, which comes after a turn's lines are all queued, and the engine never pauses
//!   the reading of a member who listens slowly: it may still speak, and its end is seen. One who takes nothing at all for
//!   `timeouts.write_stall` is cut off.
//! * **A full lane** means a shard that is behind. What is for it waits in a backlog, in order, and whoever speaks meanwhile
//!   is not read until the backlog is empty: so nothing that is said is lost, and each connection adds one line at most.
//!   Arrivals and departures cannot be held back; so the backlog has a bound as well, and what would pass it is dropped, logged,
//!   and its speaker told.
//! * **Nicknames** are unique over all shards, upper and lower case being the same: shard 0 is their registrar, which others ask
//!   by [`Bus::request`](pants_shard::Bus::request). The asker is not read until it answers, so what follows a `/nick` is said under
//!   the new name. Of two who ask for one name, the first to be heard gets it. The registrar books a name for the shard that asks:
//!   if the connection is gone when the answer comes, that shard gives the name back, as it does when a member leaves or takes
//!   another name. A release never is dropped from a backlog. Guests' names need no registrar: a guest's number says which shard
//!   gave it, and nobody can take such a name.

mod backlog;
mod hall;
mod line;
mod listing;
mod member;
mod name;
mod post;
mod registrar;
mod table;

use std::rc::Rc;

use pants_shard::Shard;

use self::hall::Hall;
use self::line::LINE_MAX;
use self::member::Member;

/// What the log calls the chat.
const LOG_TARGET: &str = "pants-chat";

/// Declares the chat's servers on a shard.
///
/// # Errors
///
/// If a server cannot be declared.
pub fn set_up(shard: &mut Shard<'_>) -> pants_shard::Result<()> {
    let mut options = shard.config().server_options();
    options.connection.buffer_limit = LINE_MAX;
    // A member who listens slowly may speak; that its queue stays bounded is the hall's business.
    options.connection.auto_pause = false;
    let hall = Hall::open(shard, options.connection.write_high_water);
    for address in shard.config().listen().to_vec() {
        let hall = Rc::clone(&hall);
        shard.listen_with(address, options.clone(), move |_peer| Member::new(&hall))?;
    }
    Ok(())
}
