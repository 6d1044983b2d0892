//! A stream's way out of one engine and into another.

use std::rc::Rc;

use crate::channel::state::Flags;
use crate::channel::stream::Stream;
use crate::clock::Clock;
use crate::hand_off::{Age, Detached, Luggage};
use crate::options::ConnectionOptions;

impl Stream {
    /// Packs everything that the connection needs elsewhere.
    pub(crate) fn detach(self, clock: &Clock) -> Detached {
        // What belongs to the old handler or to this engine stays here.
        const STAYS: Flags = Flags::LEAVING.or(Flags::ARRIVED).or(Flags::SHUTDOWN_DUE).or(Flags::ON_WRITE_UNHEARD);
        let age = |tick| Age::of(tick, clock);
        Detached(Box::new(Luggage {
            transport: self.transport,
            flags: self.flags.without(STAYS),
            peer: self.peer,
            options: Rc::unwrap_or_clone(self.options),
            queue: self.queue,
            framing: self.framing,
            heard: age(self.heard),
            spoke: age(self.spoke),
            since: age(self.since),
            is_shared: self.is_shared,
        }))
    }

    /// Unpacks what has come. `shared` is what its server's connections have: one that has no options of its own shares it.
    ///
    /// The new poller tells anew what the socket is ready for, an end or an error included, so nothing is missed on the way.
    pub(crate) fn attach(luggage: Luggage, shared: Option<&Rc<ConnectionOptions>>, clock: &Clock) -> Self {
        let options = match shared {
            Some(shared) if **shared == luggage.options => Rc::clone(shared),
            _ => Rc::new(luggage.options),
        };
        Self {
            transport: luggage.transport,
            flags: luggage.flags.or(Flags::ARRIVED),
            peer: luggage.peer,
            options,
            queue: luggage.queue,
            framing: luggage.framing,
            heard: luggage.heard.to_tick(clock),
            spoke: luggage.spoke.to_tick(clock),
            since: luggage.since.to_tick(clock),
            errno: None,
            doom: None,
            is_shared: luggage.is_shared,
        }
    }
}
