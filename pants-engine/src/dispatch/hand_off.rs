//! The dispatcher's part for connections that leave for another engine, or have come from one.

use std::os::fd::AsFd;

use crate::channel::state::Flags;
use crate::dispatch::Dispatcher;
use crate::hand_off::LeftBehind;
use crate::handler::Handler;
use crate::key::Key;

impl Dispatcher {
    /// Takes a connection out of the engine, and has done with it what was asked for.
    pub(super) fn depart(&mut self, key: Key) {
        let Some(departure) = self.context.departures.remove(&key) else { return };
        let Some(slot) = self.context.release(key) else { return };
        self.context.registrar.deregister(slot.stream.transport.socket().as_fd());
        let Some(handler) = self.handlers.remove(key) else { return };
        self.context.stats.connections_handed_out += 1;
        let left_behind = LeftBehind { handler, server: slot.server };
        let connection = slot.stream.detach(&self.context.clock);
        departure(&mut self.context, connection, left_behind);
    }

    /// The first callback of a connection that has arrived, or is back.
    pub(super) fn welcome(&mut self, key: Key) {
        if let Some(slot) = self.context.connection_slot(key) {
            slot.stream.flags.clear(Flags::ARRIVED);
        }
        match self.context.hand_off_errors.remove(&key) {
            Some(error) => self.call(key, |handler, connection| handler.on_hand_off_error(connection, &error)),
            None => self.call(key, Handler::on_hand_off),
        }
    }
}
