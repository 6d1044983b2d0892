//! A member: the handler of one connection.

use std::rc::Rc;

use pants_shard::{CloseReason, Connection, Handler, Overflow};

use super::hall::Hall;
use super::line::{self, HELP, LINE_MAX, Line};

/// What the hall knows of it, it knows by the connection's key.
pub(super) struct Member(Rc<Hall>);

impl Member {
    pub(super) fn new(hall: &Rc<Hall>) -> Self {
        Self(Rc::clone(hall))
    }

    /// Says a last word, and leaves.
    fn part(&self, connection: &mut Connection<'_>, word: &str) {
        self.0.reply(connection, word);
        self.0.depart(connection);
        connection.close();
    }
}

impl Handler for Member {
    fn on_connect(&mut self, connection: &mut Connection<'_>) {
        connection.set_delimiter("\n");
        self.0.arrive(connection);
    }

    fn on_read(&mut self, connection: &mut Connection<'_>, data: &[u8]) {
        let Self(hall) = self;
        let text = line::clean(data);
        match Line::parse(&text) {
            Ok(Line::Nothing) => {}
            Ok(Line::Say(text)) => hall.say(connection, |nick| format!("<{nick}> {text}\n")),
            Ok(Line::Me(text)) => hall.say(connection, |nick| format!("* {nick} {text}\n")),
            Ok(Line::Nick(nick)) => hall.ask_for_nick(connection, nick),
            Ok(Line::Join(room)) => hall.join(connection, room),
            Ok(Line::Leave) => hall.leave(connection),
            Ok(Line::Rooms) => hall.list_rooms(connection),
            Ok(Line::Who) => hall.list_members(connection),
            Ok(Line::Help) => hall.reply(connection, HELP),
            Ok(Line::Quit) => self.part(connection, "-- goodbye\n"),
            Err(mistake) => hall.reply(connection, &format!("-- {mistake}\n")),
        }
    }

    fn on_write(&mut self, connection: &mut Connection<'_>) {
        self.0.catch_up(connection);
    }

    fn on_overflow_error(&mut self, connection: &mut Connection<'_>, overflow: Overflow) {
        if overflow == Overflow::Read {
            self.part(connection, &format!("-- that line is too long: {LINE_MAX} bytes at most\n"));
        }
    }

    fn on_end(&mut self, connection: &mut Connection<'_>) {
        self.0.depart(connection);
        connection.close();
    }

    /// All members leave now: nobody needs to be told of the others.
    fn on_shutdown(&mut self, connection: &mut Connection<'_>) {
        self.0.reply(connection, "-- the server ends; goodbye\n");
        self.0.forget(connection);
        connection.close();
    }

    fn on_close(&mut self, connection: &mut Connection<'_>, _reason: CloseReason) {
        self.0.depart(connection);
    }
}
