//! The dispatcher's part for servers: accepting, the shortage of descriptors, closing.

use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;

use rustix::io::Errno;

use crate::balance::{Balancer, Newcomer};
use crate::channel::server::Accepted;
use crate::channel::stream::Stream;
use crate::context::{Context, Running};
use crate::dispatch::Dispatcher;
use crate::error::Error;
use crate::handler::AnyAcceptor;
use crate::key::{Key, ServerKey};
use crate::limits;
use crate::net::endpoint::Endpoint;
use crate::net::socket::Socket;
use crate::pulse::Activity;
use crate::slots::{Channel, ConnectionSlot, Task};

impl Dispatcher {
    /// Accepts until the kernel's queue is empty, the server is full or must pause, or the budget is used up; then tells the
    /// balancer what came of it.
    pub(crate) fn accept(&mut self, key: Key) {
        self.accept_queued(key);
        let Context { channels, registrar, .. } = &mut self.context;
        if let Some(Channel::Server(slot)) = channels.get_mut(key)
            && let Some(watch) = slot.server.take_watch()
        {
            registrar.watch_listener(slot.server.socket.as_fd(), key, watch);
        }
        if self.context.server_slot(key).is_some_and(|slot| slot.change_due) {
            self.tell_of_change(key);
        }
    }

    fn accept_queued(&mut self, key: Key) {
        for _ in 0..limits::ACCEPT_BUDGET {
            let draining = self.context.drain.is_some();
            let Some(slot) = self.context.server_slot(key) else { return };
            if slot.server.open && !slot.server.announced {
                self.announce(key);
                continue;
            }
            if let Some(Newcomer { socket, peer }) = slot.next_newcomer() {
                self.admit(key, socket, peer);
                continue;
            }
            if !slot.wants_accept() {
                let queued = !slot.server.passive && slot.server.ready && slot.server.open;
                let emptied = slot.newcomers.is_empty() && !queued;
                let drains = draining && !slot.server.options.attendant;
                if (drains || slot.server.retiring) && emptied {
                    self.close_server(key);
                }
                return;
            }
            let all = slot.server.retiring || draining;
            match slot.server.accept(all) {
                Accepted::Connection(socket, peer) => self.place(key, Newcomer { socket, peer }),
                Accepted::Nothing => {}
                Accepted::Lost(errno) => self.complain(key, errno),
                Accepted::Exhausted(errno) => self.pause_accepting(key, errno),
            }
        }
        self.context.schedule(key);
    }

    /// Tells the acceptor that its server listens, before the first connection.
    fn announce(&mut self, key: Key) {
        let Some(slot) = self.context.server_slot(key) else { return };
        slot.server.announced = true;
        let address = slot.server.address.clone();
        self.context.enter(Running::Server(key));
        self.with_acceptor(key, |acceptor| acceptor.on_listen(&address));
        self.context.running = Running::Nobody;
    }

    /// Serves an accepted connection here, unless the balancer takes it.
    fn place(&mut self, key: Key, newcomer: Newcomer) {
        let Some(slot) = self.context.server_slot(key) else { return };
        let kept = match slot.balancer.take() {
            None => Some(newcomer),
            Some(mut balancer) => {
                self.context.running = Running::Server(key);
                let kept = balancer.on_accept(&mut self.context, newcomer);
                self.put_back_balancer(key, balancer);
                kept
            }
        };
        let Some(newcomer) = kept else { return };
        match self.context.server_slot(key) {
            // There was room elsewhere, and is none any more.
            Some(slot) if slot.is_full() => slot.newcomers.push_back(newcomer),
            _ => self.admit(key, newcomer.socket, newcomer.peer),
        }
    }

    fn tell_of_change(&mut self, key: Key) {
        let Some(slot) = self.context.server_slot(key) else { return };
        slot.change_due = false;
        let open = slot.server.connections;
        if let Some(mut balancer) = slot.balancer.take() {
            self.context.running = Running::Server(key);
            balancer.on_change(&mut self.context, open);
            self.put_back_balancer(key, balancer);
        }
    }

    /// One that has panicked is not put back: from then on the server keeps its connections.
    fn put_back_balancer(&mut self, key: Key, balancer: Box<dyn Balancer>) {
        self.context.running = Running::Nobody;
        // What it has written leaves before another connection may open the outbox.
        self.context.flush_outbox();
        if let Some(slot) = self.context.server_slot(key) {
            // It may have set another in its place.
            slot.balancer.get_or_insert(balancer);
        }
    }

    /// Makes a connection of an accepted socket, if the acceptor wants it.
    fn admit(&mut self, key: Key, socket: Socket, peer: Endpoint) {
        if self.context.closing_all {
            // Those that were there have been closed by now, and nobody would close this one.
            self.context.stats.connections_refused += 1;
            return;
        }
        self.context.enter(Running::Server(key));
        let handler = self.with_acceptor(key, |acceptor| acceptor.on_accept(peer.clone())).flatten();
        self.context.running = Running::Nobody;
        let Some(handler) = handler else {
            self.context.stats.connections_refused += 1;
            return;
        };
        let now = self.context.clock.tick();
        let Some(slot) = self.context.server_slot(key) else { return };
        let attendant = slot.server.options.attendant;
        let stream = Stream::new(socket, peer, Rc::clone(&slot.server.connection_options), now);
        let slot = ConnectionSlot { attendant, ..ConnectionSlot::new(stream, Some(ServerKey(key))) };
        let connection = match self.context.insert_connection(slot) {
            Ok(connection) => connection,
            Err(error) => return self.complain(key, Errno::from_io_error(&error).unwrap_or(Errno::NOMEM)),
        };
        self.context.heart.name(connection, Activity::Handler((*handler).type_name()));
        self.handlers.insert(connection, handler);
        if self.context.server_slot(key).is_some_and(|slot| slot.count_connection(1)) {
            self.context.schedule(key);
        }
        self.context.stats.connections_accepted += u64::from(!attendant);
        if self.context.drain.is_some() {
            self.context.schedule(connection);
        }
        self.context.enter(Running::Connection(connection));
        self.call(connection, crate::handler::Handler::on_connect);
        self.settle(connection);
        self.context.flush_outbox();
        self.context.running = Running::Nobody;
    }

    /// Out of descriptors, or of memory: tries again by timer, and does not watch for those that wait until then.
    fn pause_accepting(&mut self, key: Key, errno: Errno) {
        let now = self.context.clock.tick();
        let Some(slot) = self.context.server_slot(key) else { return };
        let pause = slot.server.handle_shortage(now);
        if slot.server.turn_one_away(now) {
            self.context.stats.connections_refused += 1;
        }
        self.context.timers.insert(now.after(pause), Task::AcceptAgain(key));
        self.complain(key, errno);
    }

    pub(crate) fn accept_again(&mut self, key: Key) {
        if let Some(slot) = self.context.server_slot(key) {
            slot.server.paused = false;
            self.accept(key);
        }
    }

    /// Counts a failed `accept`, and tells of it once in a while.
    fn complain(&mut self, key: Key, errno: Errno) {
        self.context.stats.accept_errors += 1;
        let now = self.context.clock.tick();
        let Some(slot) = self.context.server_slot(key) else { return };
        if !slot.server.may_log(now) {
            return;
        }
        let error = Error::Accept { address: slot.server.address.clone().into(), source: io::Error::from(errno) };
        tracing::warn!("{error}; the server goes on");
        self.context.enter(Running::Server(key));
        self.with_acceptor(key, |acceptor| acceptor.on_error(&error));
        self.context.running = Running::Nobody;
    }

    /// Closes a listening socket. Its connections stay.
    pub(crate) fn close_server(&mut self, key: Key) {
        // They were accepted, and have been told so by their clients' kernels.
        while let Some(Newcomer { socket, peer }) =
            self.context.server_slot(key).and_then(|slot| slot.newcomers.pop_front())
        {
            self.admit(key, socket, peer);
        }
        if let Some(Channel::Server(slot)) = self.context.remove_channel(key) {
            self.context.registrar.deregister(slot.server.socket.as_fd());
            let Some(mut acceptor) = slot.acceptor else { return };
            self.context.enter(Running::Server(key));
            acceptor.on_close();
            self.context.running = Running::Nobody;
        }
    }

    fn with_acceptor<R>(&mut self, key: Key, f: impl FnOnce(&mut dyn AnyAcceptor) -> R) -> Option<R> {
        self.acceptor = self.context.server_slot(key)?.acceptor.take();
        let result = self.acceptor.as_mut().map(|acceptor| f(&mut **acceptor));
        if let Some(slot) = self.context.server_slot(key) {
            slot.acceptor = self.acceptor.take();
        }
        result
    }
}
