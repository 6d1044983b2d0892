//! The dispatcher's part for panics: what they cost, and whom.

use std::any::Any;
use std::mem;

use crate::context::Running;
use crate::dispatch::Dispatcher;
use crate::key::Key;
use crate::slots::Channel;

impl Dispatcher {
    /// A callback has panicked: what it was is logged, what it belonged to is closed, and the loop goes on.
    pub(crate) fn contain(&mut self, payload: &(dyn Any + Send)) {
        let message = payload.downcast_ref::<&str>().copied();
        let message = message.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
        self.context.stats.panics += 1;
        self.context.disturb();
        let running = match mem::replace(&mut self.context.running, Running::Nobody) {
            // The message at hand has not left the usual way.
            Running::Nobody => self.context.heart.channel().map_or(Running::Nobody, Running::Connection),
            running => running,
        };
        match running {
            Running::Connection(key) => self.contain_in_connection(key, message),
            Running::Datagram(key) => self.contain_in_datagrams(key, message),
            Running::Server(key) => {
                // Otherwise its balancer ran.
                let acceptor = self.acceptor.take();
                let name = acceptor.as_ref().map_or("its balancer", |acceptor| acceptor.type_name());
                tracing::error!(acceptor = name, "acceptor panicked: {message}; the connection at hand is lost");
                if let (Some(slot), Some(acceptor)) = (self.context.server_slot(key), acceptor) {
                    slot.acceptor = Some(acceptor);
                }
            }
            Running::Timer(timer) => {
                tracing::error!("timer panicked: {message}; it is cancelled");
                self.context.timers.remove(timer);
            }
            Running::Nobody => tracing::error!("message from another thread panicked: {message}"),
        }
        // What the callback had written to others leaves before another connection may open the outbox.
        self.hold_input();
        self.context.flush_outbox();
        // A server may have been in the middle of accepting.
        let servers = self.context.channels.iter().filter(|(_, channel)| matches!(channel, Channel::Server(_)));
        for server in servers.map(|(key, _)| key).collect::<Vec<_>>() {
            self.context.schedule(server);
        }
        if self.context.options.abort_on_panic {
            std::process::abort();
        }
    }

    fn contain_in_connection(&mut self, key: Key, message: &str) {
        if self.context.outbox.owner() == Some(key) {
            self.context.outbox.clear();
        }
        let Some(slot) = self.context.connection_slot(key) else {
            tracing::error!("handler panicked: {message}; it was being dropped, its connection is closed");
            return;
        };
        let name = self.handlers.get(key).map_or("unknown", |handler| handler.type_name());
        let peer = &slot.stream.peer;
        tracing::error!(handler = name, %peer, "handler panicked: {message}; its connection is closed");
        if !slot.ended {
            slot.stream.doom_panicked();
        }
        self.context.schedule(key);
    }
}
