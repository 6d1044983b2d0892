//! The way in: shards set up one after the other, and listen one after the other, or not at all.
//!
//! A turnstile counts steps. Of N shards, shard i sets up at step i and listens at step N + i, so that every socket is bound
//! before the first one accepts, and the sockets of a `SO_REUSEPORT` group stand in the order of their shards. The first
//! failure opens the turnstile for all, to leave.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use pants_engine::{Doorbell, Endpoint, Pulse};

use crate::bus::mailbox::Mailroom;
use crate::error::Error;
use crate::shard_id::ShardId;

#[derive(Debug)]
pub(crate) struct Startup {
    shards: usize,
    state: Mutex<State>,
    changed: Condvar,
    pub(crate) mailroom: Mailroom,
}

#[derive(Debug, Default)]
struct State {
    step: usize,
    /// One for each shard whose engine is made, by shard.
    doorbells: Vec<Option<Doorbell>>,
    /// One for each shard whose engine is made, by shard.
    pulses: Vec<Option<Pulse>>,
    addresses: Vec<Endpoint>,
    datagram_addresses: Vec<Endpoint>,
    admin: Option<Endpoint>,
    failed: bool,
    failure: Option<Error>,
}

/// Another shard has failed: leave.
#[derive(Debug)]
pub(crate) struct Abandoned;

impl Startup {
    pub(crate) fn new(shards: usize) -> Self {
        let state = State { doorbells: vec![None; shards], pulses: vec![None; shards], ..State::default() };
        Self { shards, state: Mutex::new(state), changed: Condvar::new(), mailroom: Mailroom::default() }
    }

    /// Tells of a shard's doorbell, and waits for everybody's.
    pub(crate) fn exchange_doorbells(&self, shard: ShardId, doorbell: Doorbell) -> Result<Vec<Doorbell>, Abandoned> {
        self.lock().doorbells[shard.index()] = Some(doorbell);
        self.changed.notify_all();
        let state = self.wait_until(|state| state.doorbells.iter().all(Option::is_some))?;
        Ok(state.doorbells.iter().flatten().cloned().collect())
    }

    /// Notes what shows what a shard is at.
    pub(crate) fn note_pulse(&self, shard: ShardId, pulse: Pulse) {
        self.lock().pulses[shard.index()] = Some(pulse);
    }

    /// The pulses of all shards, by shard, once they have started.
    pub(crate) fn take_pulses(&self) -> Vec<Pulse> {
        std::mem::take(&mut self.lock().pulses).into_iter().flatten().collect()
    }

    /// Waits for a shard's turn to set up.
    pub(crate) fn wait_to_set_up(&self, shard: ShardId) -> Result<(), Abandoned> {
        self.wait_until(|state| state.step >= shard.index()).map(drop)
    }

    /// Waits until all have set up and it is a shard's turn to listen.
    pub(crate) fn wait_to_open(&self, shard: ShardId) -> Result<(), Abandoned> {
        self.wait_until(|state| state.step >= self.shards + shard.index()).map(drop)
    }

    /// A shard's step is done: the next one's turn.
    pub(crate) fn step(&self) {
        self.lock().step += 1;
        self.changed.notify_all();
    }

    /// Waits until every shard listens.
    pub(crate) fn wait_until_open(&self) -> Result<(), Abandoned> {
        self.wait_until(|state| state.step >= 2 * self.shards).map(drop)
    }

    /// A shard has failed: everybody leaves. The first failure is the one that is told.
    pub(crate) fn fail(&self, shard: ShardId, error: Error) {
        let mut state = self.lock();
        state.failed = true;
        state.failure.get_or_insert(Error::Shard { shard, source: Box::new(error) });
        self.changed.notify_all();
    }

    pub(crate) fn take_failure(&self) -> Option<Error> {
        self.lock().failure.take()
    }

    /// Notes an address at which a server listens, once however many shards do.
    pub(crate) fn note_address(&self, address: Endpoint) {
        insert(&mut self.lock().addresses, address);
    }

    /// No server listens there any more.
    pub(crate) fn forget_address(&self, address: &Endpoint) {
        self.lock().addresses.retain(|known| known != address);
    }

    pub(crate) fn addresses(&self) -> Vec<Endpoint> {
        self.lock().addresses.clone()
    }

    /// Notes an address at which there are datagram channels, once however many shards have one.
    pub(crate) fn note_datagram_address(&self, address: Endpoint) {
        insert(&mut self.lock().datagram_addresses, address);
    }

    pub(crate) fn datagram_addresses(&self) -> Vec<Endpoint> {
        self.lock().datagram_addresses.clone()
    }

    /// Notes where the admin endpoint is.
    pub(crate) fn note_admin(&self, address: Endpoint) {
        self.lock().admin = Some(address);
    }

    pub(crate) fn admin(&self) -> Option<Endpoint> {
        self.lock().admin.clone()
    }

    fn wait_until(&self, reached: impl Fn(&State) -> bool) -> Result<MutexGuard<'_, State>, Abandoned> {
        let waits = |state: &mut State| !state.failed && !reached(state);
        let state = self.changed.wait_while(self.lock(), waits).unwrap_or_else(PoisonError::into_inner);
        if state.failed { Err(Abandoned) } else { Ok(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held, and what it holds is valid at every moment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn insert(addresses: &mut Vec<Endpoint>, address: Endpoint) {
    if !addresses.contains(&address) {
        addresses.push(address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread;

    #[test]
    fn steps_are_taken_in_the_order_of_the_shards() {
        let startup = Startup::new(4);
        let (sender, steps) = mpsc::channel();
        thread::scope(|scope| {
            for index in (0..4).rev() {
                let (startup, sender) = (&startup, sender.clone());
                scope.spawn(move || {
                    let shard = ShardId::new(index);
                    startup.wait_to_set_up(shard).unwrap();
                    sender.send(("set up", index)).unwrap();
                    startup.step();
                    startup.wait_to_open(shard).unwrap();
                    sender.send(("open", index)).unwrap();
                    startup.step();
                });
            }
            startup.wait_until_open().unwrap();
        });
        let expected = ["set up", "open"].into_iter().flat_map(|step| (0..4).map(move |index| (step, index)));
        assert_eq!(steps.try_iter().collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    }

    #[test]
    fn one_failure_releases_everybody_and_names_the_shard() {
        let startup = Startup::new(3);
        thread::scope(|scope| {
            for index in [0, 2] {
                let startup = &startup;
                scope.spawn(move || startup.wait_to_open(ShardId::new(index)).unwrap_err());
            }
            startup.fail(ShardId::new(1), Error::LateListen);
            startup.fail(ShardId::new(2), Error::LateListen);
            startup.wait_until_open().unwrap_err();
        });
        assert!(startup.take_failure().unwrap().to_string().starts_with("shard-1: "));
    }
}
